"""What charts and the inspector say while there is nothing to show: which button to press. App process."""

from __future__ import annotations

import math

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.phases import Rest
from gradscope.protocol.subjects import LAYER_KINDS, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.ui.plots.words.formats import BEYOND, kept
from gradscope.ui.words.capture import why_not_captured

_CONTEXT = "Wording"


def lost_ratios_note() -> str:
    """Why there is no ratio where `has_lost_ratios`."""
    text = QCoreApplication.translate(
        _CONTEXT, "no ratio where both norms are beyond {most}, more than the history holds"
    )
    return text.format(most=BEYOND)


def kept_number(value: float) -> str:
    """A number of the history, exactly, and what to know of it where it is beyond float32."""
    if not math.isinf(value):
        return kept(value)
    text = QCoreApplication.translate(_CONTEXT, "{number} (more than the history holds, drawn as infinite)")
    return text.format(number=kept(value))


def what_to_press(state: AppState, kind: SubjectKind, name: str | None = None) -> str:
    """What a plot of subjects, or a view of the one of that name, says while it has nothing to draw."""
    translate = QCoreApplication.translate
    if state.session is None:
        return translate(_CONTEXT, "Open a recipe to begin")
    is_layer = kind in LAYER_KINDS
    if is_layer and not state.session.modules:
        return translate(_CONTEXT, "This model has no layers, so there is nothing between input and loss to show")
    not_captured = why_not_captured(state, kind, name)
    if not_captured:
        return not_captured
    if state.snapshot is not None:
        return translate(_CONTEXT, "The snapshot has none of these: there were none at its moment")
    if state.position.rest is Rest.ENDED:
        return _ended_before()
    match kind:
        case SubjectKind.ACTIVATION:
            return translate(_CONTEXT, "Press Forward (F5) to see activations")
        case SubjectKind.ACTIVATION_GRAD | SubjectKind.GRAD:
            return translate(_CONTEXT, "Press Forward (F5), then Backward (F6) to see gradients")
        case SubjectKind.UPDATE:
            return translate(_CONTEXT, "Press Forward (F5), Backward (F6), then Step (F7) to see updates")
        case SubjectKind.CLIPPED_GRAD:
            if state.session.clip_norm is None and state.session.clip_value is None:
                return not_clipped(state)
            return translate(_CONTEXT, "Press Forward (F5), Backward (F6), then Step (F7) to see clipped gradients")
        case SubjectKind.OPTIMIZER_STATE:
            return translate(
                _CONTEXT, "Press Step (F7) to see what the optimizer remembers; plain SGD remembers nothing"
            )
        case SubjectKind.BUFFER:
            if not state.session.buffers:
                return translate(_CONTEXT, "This model has no buffers")
            return translate(_CONTEXT, "Press Forward (F5) to see buffers")
        case _:
            # They are known from the beginning, unless capture was off then.
            return translate(_CONTEXT, "Make a step (F8) to see parameters")


def not_clipped(state: AppState) -> str:
    """Why there is nothing to show of clipping."""
    if state.in_script:
        return QCoreApplication.translate(_CONTEXT, "The script has not clipped its gradients so far")
    return QCoreApplication.translate(_CONTEXT, "This recipe does not clip its gradients")


def nothing_yet(state: AppState, to_press: str) -> str:
    """What a view says while it has nothing to show: what a session needs for it."""
    translate = QCoreApplication.translate
    if state.session is None:
        return translate(_CONTEXT, "Open a recipe to begin")
    if state.snapshot is not None:
        return translate(_CONTEXT, "The snapshot was written before there was any")
    return _ended_before() if state.position.rest is Rest.ENDED else to_press


def nothing_tried(state: AppState, to_press: str) -> str:
    """The same of what is tried beside a training: that goes into no snapshot."""
    if state.snapshot is not None:
        return QCoreApplication.translate(_CONTEXT, "What was tried is not in a snapshot")
    return nothing_yet(state, to_press)


def _ended_before() -> str:
    return QCoreApplication.translate(_CONTEXT, "The script has ended before there was any")
