"""A session that is asked at every moment whether it stops there, and what it stands like where it does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import plain

from gradscope import Recipe, Session
from gradscope.engine.stops.stops import Stops
from gradscope.protocol.phases import Moment, Phase
from gradscope.protocol.stops.point import StopHit, StopPoint


@dataclass
class Halt:
    """Where training has stopped."""

    hit: StopHit
    after: Phase | None
    """The phase that was complete; None inside one."""
    state: dict[str, Any]
    """As `plain.state_of` has it."""


@dataclass
class Halting:
    """A gate that asks `Stops`, and goes on at once."""

    stops: Stops = field(default_factory=Stops)
    halts: list[Halt] = field(default_factory=list)
    recipe: Recipe | None = None

    @property
    def is_armed(self) -> bool:
        return self.stops.is_armed

    def stop(self, moment: Moment) -> None:
        self.note(self.stops.at(moment, sys._getframe(1)), None)

    def note(self, hits: list[StopHit], phase: Phase | None) -> None:
        assert self.recipe is not None
        self.halts += [Halt(hit, phase, plain.state_of(self.recipe)) for hit in hits]

    @property
    def hits(self) -> list[StopHit]:
        return [halt.hit for halt in self.halts]


class Halted:
    """The session, its gate, and the phases one by one."""

    def __init__(self, session: Session, gate: Halting) -> None:
        self.session, self.gate = session, gate

    def run(self, steps: int) -> list[Halt]:
        while self.session.position.step < steps:
            report = self.session.advance()
            self.gate.note(self.gate.stops.after(report), report.phase)
        return self.gate.halts


@contextmanager
def halting(make: Callable[[], Recipe], *texts: str, every: int = 1, **options: Any) -> Iterator[Halted]:
    """With these stops, numbered from 0."""
    gate = Halting()
    assert gate.stops.set([StopPoint(id=n, text=text, every=every) for n, text in enumerate(texts)]) == []
    gate.recipe = plain.seeded(make)
    with Session(gate.recipe, gate=gate, **options) as session:
        gate.stops.follow(session.book, session.findings if session.verdicts is not None else None)
        yield Halted(session, gate)
        assert session.observer.errors == []


def halts(make: Callable[[], Recipe], *texts: str, steps: int = 3, every: int = 1, **options: Any) -> list[Halt]:
    """Where a training of so many steps stops."""
    with halting(make, *texts, every=every, **options) as halted:
        return halted.run(steps)
