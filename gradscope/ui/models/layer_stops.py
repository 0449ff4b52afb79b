"""Which layers and parameters have stops, and which one training is stopped at, for the Layers panel."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import BEGINS, INSIDE
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.point import StopPoint
from gradscope.protocol.stops.tree import And, AtLayer, Condition, Event, Not, Or, Pattern, Stop, Within
from gradscope.state.app_state import AppState
from gradscope.state.tree import Node
from gradscope.ui.words.stops import stopped_in_words


class LayerStops:
    """The stops as they were read the last time; where training stands is asked anew each time."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._points: tuple[StopPoint, ...] = ()
        self._parsed: list[tuple[StopPoint, Stop]] = []
        self._known: dict[tuple[str, bool], list[StopPoint]] = {}
        self.read()

    def read(self) -> None:
        """Something was added, removed, or turned on or off."""
        if self._state.stops.points == self._points:
            return
        self._points, self._parsed, self._known = self._state.stops.points, [], {}
        for point in self._points:
            try:
                self._parsed.append((point, parse(point.text)))
            except BadInput:
                # The Stops panel tells of it.
                continue

    def at(self, node: Node) -> list[StopPoint]:
        """What names a node, or a pattern that fits it. A condition on all layers is no sign of each."""
        key = node.name, node.is_parameter
        if key not in self._known:
            self._known[key] = [point for point, stop in self._parsed if _is_at(stop, node)]
        return self._known[key]

    def of(self, node: Node) -> str:
        """In words; "" for nothing."""
        points = self.at(node)
        if not points:
            return ""
        texts = "; ".join(point.text + ("" if point.is_enabled else _tr(" (off)")) for point in points)
        return _tr("Stops: {stops}").format(stops=texts)

    def is_on(self, node: Node) -> bool:
        return any(point.is_enabled for point in self.at(node))

    @property
    def here(self) -> tuple[str, bool] | None:
        """(name, whether it is a parameter's) of what training is stopped at; None where it is at no layer."""
        position = self._state.position
        moment = position.moment
        if moment is None or moment.event in ("", BEGINS) or position.running or position.rest not in INSIDE.values():
            return None
        numbers = {} if self._state.tree is None else self._state.tree.rows.numbers
        is_parameter = moment.event == Event.GRADIENT and (moment.layer, True) in numbers
        return moment.layer, is_parameter

    def told_here(self) -> str:
        return stopped_in_words(self._state.position)


def _is_at(stop: Stop, node: Node) -> bool:
    place = stop.place
    if isinstance(place, AtLayer):
        is_possible = node.module is not None or (place.event is Event.GRADIENT and node.is_parameter)
        return is_possible and place.pattern.fits(node.name)
    return stop.condition is not None and any(pattern.fits(node.name) for pattern in _patterns(stop.condition))


def _patterns(condition: Condition) -> list[Pattern]:
    """Of layers that a condition is narrowed to."""
    match condition:
        case Within(inner, pattern):
            return [pattern, *_patterns(inner)]
        case Not(inner):
            return _patterns(inner)
        case And(parts) | Or(parts):
            return [pattern for part in parts for pattern in _patterns(part)]
    return []


def _tr(text: str) -> str:
    return QCoreApplication.translate("LayerStops", text)
