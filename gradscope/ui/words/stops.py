"""Stops in words: where training stands, what it has come to, which place of the language something is."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.phases import BEGINS, INSIDE, Moment, Position
from gradscope.protocol.stops.point import StopHit, StopPoint
from gradscope.protocol.visible import visible
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

ENTER, LEAVE, GRADIENT = "enter", "leave", "gradient"
"""Events of a moment, and words of the language."""
_EVENTS = {
    ENTER: QT_TRANSLATE_NOOP("Stops", "%1, entering %2"),
    LEAVE: QT_TRANSLATE_NOOP("Stops", "%1, leaving %2"),
    GRADIENT: QT_TRANSLATE_NOOP("Stops", "%1, at the gradient of %2"),
}


def _tr(text: str, *values: str) -> str:
    translated = QCoreApplication.translate("Stops", text)
    for place, value in enumerate(values, start=1):
        translated = translated.replace(f"%{place}", value)
    return translated


def layer_name(moment: Moment) -> str:
    """ "encoder.1", "encoder.1 #2" for a later call; the model itself has a word."""
    name = visible(moment.layer) or _tr(QT_TRANSLATE_NOOP("Stops", "the model"))
    return f"{name} #{moment.call}" if moment.call else name


def moment_in_words(moment: Moment) -> str:
    """ "forward, entering encoder.1"."""
    if moment.event == BEGINS:
        return _tr(QT_TRANSLATE_NOOP("Stops", "before %1"), moment.substep.value)
    form = _EVENTS.get(moment.event)
    return moment.substep.value if form is None else _tr(form, moment.substep.value, layer_name(moment))


def stopped_in_words(position: Position) -> str:
    """ "Stopped in forward, entering encoder.1"; "" where it is not stopped inside a phase."""
    if position.running or position.moment is None or position.rest not in INSIDE.values():
        return ""
    if position.moment.event == BEGINS:
        return _tr(QT_TRANSLATE_NOOP("Stops", "Stopped before %1"), position.moment.substep.value)
    return _tr(QT_TRANSLATE_NOOP("Stops", "Stopped in %1"), moment_in_words(position.moment))


def hit_place(hit: StopHit) -> str:
    """ "step 41, forward, entering encoder.1"."""
    step = _tr(QT_TRANSLATE_NOOP("Stops", "step %1"), str(hit.step))
    return step if hit.moment is None else f"{step}, {moment_in_words(hit.moment)}"


def stops_in_words(points: Sequence[StopPoint]) -> str:
    """ "3 stops, 1 of them off"; "" for none."""
    if not points:
        return ""
    one = QT_TRANSLATE_NOOP("Stops", "1 stop")
    count = _tr(one) if len(points) == 1 else _tr(QT_TRANSLATE_NOOP("Stops", "%1 stops"), str(len(points)))
    off = sum(not point.is_enabled for point in points)
    return _tr(QT_TRANSLATE_NOOP("Stops", "%1, %2 off"), count, str(off)) if off else count
