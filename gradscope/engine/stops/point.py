"""One point that a person has set, parsed, with what has come of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gradscope.protocol.failure import BadInput
from gradscope.protocol.stops import tree
from gradscope.protocol.stops.evaluation import (
    At,
    Binding,
    Lookup,
    Trigger,
    Variable,
    asks_for_findings,
    figures_of,
    happenings_of,
    holding,
    kinds_of,
)
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.point import StopPoint
from gradscope.protocol.stops.telling import sentence, subject_of
from gradscope.protocol.stops.tree import Stop
from gradscope.protocol.subjects import SubjectKey

_Edge = frozenset[tuple[Variable, SubjectKey | None]]


class Told(NamedTuple):
    """What is said of a stop that holds."""

    subject: str
    text: str


class ArmedPoint:
    """Counts how often it has held. Where a condition stays true, that is once for each subject and step."""

    def __init__(self, point: StopPoint, stop: Stop) -> None:
        self.point, self.stop = point, stop
        self.hits = 0
        condition = stop.condition
        self.kinds = frozenset() if condition is None else kinds_of(condition)
        self.figures = frozenset() if condition is None else figures_of(condition)
        self.happenings = frozenset() if condition is None else happenings_of(condition)
        self.asks_for_findings = condition is not None and asks_for_findings(condition)
        self._true: set[_Edge] = set()
        """The subjects that it has held for in this step."""

    @staticmethod
    def of(point: StopPoint) -> ArmedPoint:
        """Raises BadInput for a text that says nothing."""
        return ArmedPoint(point, parse(point.text))

    def continues(self, other: ArmedPoint) -> None:
        """It was set anew, and goes on where the one of the same number was."""
        self.hits = other.hits
        if other.stop == self.stop:
            self._true = other._true

    def begin_step(self) -> None:
        self._true.clear()

    @property
    def is_inside_phases(self) -> bool:
        """Whether it can hold in the middle of a phase."""
        place = self.stop.place
        return self.stop.condition is not None or not (
            isinstance(place, (tree.At, tree.Every)) and place.unit is tree.Unit.STEP
        )

    def is_about(self, trigger: Trigger) -> bool:
        """Whether what has become known can make its condition true."""
        if isinstance(trigger, SubjectKey):
            return trigger.kind in self.kinds
        return trigger in self.figures or trigger in self.happenings

    def watch(self, triggers: Iterable[Trigger], lookup: Lookup, *, found_now: bool = False) -> list[Told]:
        """For a condition alone: what it holds for now, and has not held for in this step. `found_now`: there are findings
        that were not there before."""
        condition = self.stop.condition
        if condition is None or self.stop.place is not None:
            return []
        told: list[Told] = []
        news: list[Trigger | None] = [trigger for trigger in triggers if self.is_about(trigger)]
        if not news and found_now and self.asks_for_findings:
            news.append(None)
        for trigger in news:
            now: dict[_Edge, Binding] = {_edge(b): b for b in holding(condition, lookup, trigger)}
            for edge in [edge for edge in self._true if edge not in now and _is_of(edge, trigger)]:
                self._true.discard(edge)
            for edge in [edge for edge in now if edge not in self._true]:
                self._true.add(edge)
                told.append(Told(subject_of(now[edge]), sentence(condition, lookup, now[edge])))
        return told

    def pass_place(self, text: str, lookup: Lookup, *, at: At | None = None) -> list[Told]:
        """Training has come to its place, which `text` says. Nothing where its condition is not true."""
        name = "" if at is None else at.name
        if self.stop.condition is None:
            return [Told(name, text)]
        binding = next(iter(holding(self.stop.condition, lookup, at=at)), None)
        if binding is None:
            return []
        return [Told(subject_of(binding) or name, f"{text}: {sentence(self.stop.condition, lookup, binding)}")]

    def count(self) -> bool:
        """It holds once more: whether training is to stop for it."""
        self.hits += 1
        return self.hits % self.point.every == 0


def _edge(binding: Binding) -> _Edge:
    return frozenset(binding.items())


def _is_of(edge: _Edge, trigger: Trigger | None) -> bool:
    """Whether a subject is one that the trigger is about: of all others nothing new is known."""
    if not isinstance(trigger, SubjectKey):
        return True
    return any(
        key is not None and (key.name, key.call, key.leaf) == (trigger.name, trigger.call, trigger.leaf)
        for _, key in edge
    )


def armed(points: Iterable[StopPoint]) -> list[ArmedPoint]:
    """Those that are enabled. Raises BadInput for the first whose text says nothing, enabled or not."""
    found: list[ArmedPoint] = []
    ids: set[int] = set()
    for point in points:
        made = ArmedPoint.of(point)
        if point.id in ids:
            raise BadInput(f"Two stops have the number {point.id}; expected a number of its own for each")
        ids.add(point.id)
        if point.is_enabled:
            found.append(made)
    return found
