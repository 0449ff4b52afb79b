"""A training that goes back and forth, beside one that never did: at every place both have the same state, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from plain import seeded

from gradscope import Recipe, Session

LARGE = 2**28


class Spot(NamedTuple):
    """A place between two phases."""

    step: int
    rest: str
    micro: int

    @staticmethod
    def of(session: Session) -> Spot:
        position = session.position
        return Spot(position.step, str(position.rest), position.micro)


class Straight:
    """The hashes and losses of a training that never goes back, at every place of so many steps."""

    def __init__(self, make: Callable[[], Recipe], steps: int, **options: object) -> None:
        self.hashes: dict[Spot, str] = {}
        self.order: list[Spot] = []
        with Session(seeded(make), **options) as session:  # type: ignore[arg-type]
            self._note(session)
            while session.position.step < steps:
                session.advance()
                self._note(session)
            self.losses = [record.loss for record in session.history]

    def _note(self, session: Session) -> None:
        self.hashes[Spot.of(session)] = session.state_hash()
        self.order.append(Spot.of(session))


def run(session: Session, steps: int) -> None:
    """To before that step."""
    while session.position.step < steps:
        session.advance()
