"""The levels of capture in words: what each is called, what it costs, and what a view says of what was not captured."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QCoreApplication

from gradscope.protocol.capture import Capture, CaptureLevel
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import MEAN, MIN, ZERO, SubjectKind, has_norms_only
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.records.newest import Latest
from gradscope.state.shown_step import Recorded
from gradscope.ui.words.quantities import Quantity
from gradscope.ui.words.shown_step import why_no_histogram
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

_CONTEXT = "Capture"
_MAX_NAME = 20
_OF_NORMS = (Quantity.L2, Quantity.RATIO)
"""What norms are enough for."""
_OF_FLOATS = (Quantity.MEAN, Quantity.STD, Quantity.L2)
"""What whole numbers are not asked for."""

NAMES = {
    CaptureLevel.FULL: QT_TRANSLATE_NOOP("Capture", "Full"),
    CaptureLevel.LAYERS: QT_TRANSLATE_NOOP("Capture", "Chosen layers"),
    CaptureLevel.NORMS: QT_TRANSLATE_NOOP("Capture", "Norms only"),
    CaptureLevel.OFF: QT_TRANSLATE_NOOP("Capture", "Off"),
}
COSTS = {
    CaptureLevel.FULL: QT_TRANSLATE_NOOP(
        "Capture", "Every number and a histogram of every tensor, in every step: costs the most time"
    ),
    CaptureLevel.LAYERS: QT_TRANSLATE_NOOP(
        "Capture", "The same, but only of the layers that you name: costs less, and nothing is seen of the others"
    ),
    CaptureLevel.NORMS: QT_TRANSLATE_NOOP(
        "Capture",
        "How many NaN and Inf, and the L2 norm: costs little; no mean, range, zeros, histograms or optimizer state",
    ),
    CaptureLevel.OFF: QT_TRANSLATE_NOOP(
        "Capture",
        "Only loss and learning rate: costs nothing; nothing else is recorded, and a failed step cannot be undone",
    ),
}
"""What a level costs, and what is lost by it."""


def name_of(level: CaptureLevel) -> str:
    return QCoreApplication.translate(_CONTEXT, NAMES[level])


def cost_of(level: CaptureLevel) -> str:
    return QCoreApplication.translate(_CONTEXT, COSTS[level])


def short_name(capture: Capture) -> str:
    """For a button: "Full", "Norms only", "Off", the layer's name, or how many were chosen."""
    if capture.level is not CaptureLevel.LAYERS:
        return name_of(capture.level)
    if len(capture.layers) == 1 and len(capture.layers[0]) <= _MAX_NAME:
        return capture.layers[0]
    if len(capture.layers) == 1:
        end = capture.layers[0][1 - _MAX_NAME :]
        # Whole parts of the name, where there is one.
        return "…" + (end.partition(".")[2] or end)
    return QCoreApplication.translate(_CONTEXT, "{count} layers").format(count=len(capture.layers))


def why_not_captured(state: AppState, kind: SubjectKind, name: str | None = None) -> str:
    """Why the next steps record nothing of a subject, or of a whole kind; "" if they do. In a snapshot: its steps."""
    translate, capture = QCoreApplication.translate, state.capture
    if state.session is None:
        return ""
    if capture.is_off:
        if state.snapshot is not None:
            return translate(_CONTEXT, "Capture was off when this snapshot was written: nothing was recorded")
        return translate(_CONTEXT, "Capture is off, so nothing is recorded: choose Full under Session, Capture")
    if capture.norms_only and kind is SubjectKind.OPTIMIZER_STATE:
        return _of_norms(state)
    if name is not None and not capture.wants(name):
        layers = ", ".join(map(visible, capture.layers))
        if state.snapshot is not None:
            return translate(_CONTEXT, "Not captured: this snapshot has chosen layers only ({layers})").format(
                layers=layers
            )
        return translate(
            _CONTEXT,
            "Not captured: only chosen layers are ({layers}). Choose “Capture this layer too” from its menu in Layers",
        ).format(layers=layers)
    return ""


def is_left_behind(state: AppState, latest: Latest) -> bool:
    """Whether a subject's newest summary is of an earlier step than the newest phase that would have made one."""
    newest = state.reports.get(latest.phase or Phase.STEP)
    if newest is None or not newest.complete or isinstance(latest, Recorded):
        return False
    # What was there before the first step is old as soon as that is done.
    return newest.step > latest.step if latest.phase is not None else newest.step >= latest.step


def why_left_behind(state: AppState, latest: Latest) -> str:
    """Why a subject's newest summary is of an earlier step than the newest phase; "" if it is not, or nobody chose so."""
    key = latest.row.key
    return why_not_captured(state, key.kind, key.name) if is_left_behind(state, latest) else ""


def why_unmeasured(state: AppState, kind: SubjectKind, quantity: Quantity, rows: list[int]) -> str:
    """Why no step has this quantity of these subjects of a kind (their numbers), and what to choose; "" where one may have
    it."""
    block = state.history.blocks[kind]
    lowest, means = (block.column(column)[rows, -1:] for column in (MIN, MEAN))
    if quantity in _OF_FLOATS and np.isnan(means).all() and not np.isnan(lowest).all():
        return QCoreApplication.translate(
            _CONTEXT, "These are whole numbers, of which only the range is known: choose Largest |x| above"
        )
    zeros = block.column(ZERO)
    if quantity in _OF_NORMS or not np.isnan(zeros[:, -1:]).all() or not np.isnan(zeros).all():
        return ""
    if state.capture.norms_only:
        text = QCoreApplication.translate(
            _CONTEXT, "Only norms are captured, and this takes more: choose L2 norm above"
        )
        full = QCoreApplication.translate(_CONTEXT, "or Full under Session, Capture")
        return text if state.snapshot is not None else f"{text}, {full}"
    return _of_norms(state)


def why_no_value(state: AppState) -> str:
    """Why there is no mean where the newest summary has only a norm; "" where norms are not the reason."""
    return _of_norms(state) if state.capture.norms_only else ""


def why_no_distribution(state: AppState, latest: Latest) -> str:
    """Why a summary has no range, no moments and no histogram; "" where it has."""
    if isinstance(latest, Recorded) and not latest.has_histogram:
        return why_no_histogram(state, latest)
    return _of_norms(state) if has_norms_only(latest.summary) else ""


def _of_norms(state: AppState) -> str:
    translate = QCoreApplication.translate
    if state.snapshot is not None:
        return translate(_CONTEXT, "Only norms were captured when this snapshot was written: this takes more")
    if state.capture.norms_only:
        return translate(_CONTEXT, "Only norms are captured, and this takes more: choose Full under Session, Capture")
    return translate(_CONTEXT, "Only norms were captured of it so far: the next step has more")
