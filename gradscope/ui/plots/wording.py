"""Sentences that charts and the inspector share: which moment, which gradient, what to press. App process."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.history import Latest

_CONTEXT = "Wording"


def what_to_press(state: AppState, kind: SubjectKind) -> str:
    """What a plot of subjects says while it has nothing to draw."""
    translate = QCoreApplication.translate
    if state.session is None:
        return translate(_CONTEXT, "Open a recipe to begin")
    is_layer = kind in (SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD)
    if is_layer and not state.session.modules:
        return translate(_CONTEXT, "This model has no layers, so there is nothing between input and loss to show")
    match kind:
        case SubjectKind.ACTIVATION:
            return translate(_CONTEXT, "Press Forward (F5) to see activations")
        case SubjectKind.ACTIVATION_GRAD | SubjectKind.GRAD:
            return translate(_CONTEXT, "Press Forward (F5), then Backward (F6) to see gradients")
        case SubjectKind.UPDATE:
            return translate(_CONTEXT, "Press Forward (F5), Backward (F6), then Step (F7) to see updates")
        case SubjectKind.CLIPPED_GRAD:
            if state.session.clip_norm is None and state.session.clip_value is None:
                return translate(_CONTEXT, "This recipe does not clip its gradients")
            return translate(_CONTEXT, "Press Forward (F5), Backward (F6), then Step (F7) to see clipped gradients")
        case SubjectKind.OPTIMIZER_STATE:
            return translate(
                _CONTEXT, "Press Step (F7) to see what the optimizer remembers; plain SGD remembers nothing"
            )
        case _:
            return translate(_CONTEXT, "Open a recipe to begin")


def newest_moment(state: AppState, kind: SubjectKind) -> str:
    """Which moment the newest numbers of a kind are of; which gradient it is."""
    phase = _PHASE_OF_KIND[kind]
    report = state.reports.get(phase)
    if report is not None:
        return moment_text(kind, report.step, batch=(report.epoch, report.batch))
    # A checkpoint was loaded: what is left are the steps before it.
    steps = state.history.blocks[kind].steps
    return moment_text(kind, int(steps[-1]), batch=None) if len(steps) else ""


def moment_of(state: AppState, latest: Latest) -> str:
    """Which moment the newest summary of a subject is of."""
    translate = QCoreApplication.translate
    if latest.phase is None:
        text = (
            translate(_CONTEXT, "Before step {step}") if latest.step else translate(_CONTEXT, "Before the first step")
        )
        return text.format(step=latest.step)
    report = state.reports.get(latest.phase)
    is_same = report is not None and report.step == latest.step
    batch = (report.epoch, report.batch) if report is not None and is_same else None
    return moment_text(latest.row.key.kind, latest.step, batch=batch)


def moment_text(kind: SubjectKind, step: int, *, batch: tuple[int, int] | None) -> str:
    """ "Gradient of the loss of batch 12 of epoch 0, before step 41"."""
    translate = QCoreApplication.translate
    epoch, number = batch or (0, 0)
    match kind, batch is not None:
        case SubjectKind.ACTIVATION, True:
            text = translate(_CONTEXT, "Forward of step {step}, batch {batch} of epoch {epoch}")
        case SubjectKind.ACTIVATION, False:
            text = translate(_CONTEXT, "Forward of step {step}")
        case ((SubjectKind.ACTIVATION_GRAD | SubjectKind.GRAD), True):
            text = translate(_CONTEXT, "Gradient of the loss, batch {batch} of epoch {epoch}, before step {step}")
        case ((SubjectKind.ACTIVATION_GRAD | SubjectKind.GRAD), False):
            text = translate(_CONTEXT, "Gradient of the loss, before step {step}")
        case SubjectKind.CLIPPED_GRAD, True:
            text = translate(_CONTEXT, "Gradient after clipping, in step {step}, batch {batch} of epoch {epoch}")
        case SubjectKind.CLIPPED_GRAD, False:
            text = translate(_CONTEXT, "Gradient after clipping, in step {step}")
        case SubjectKind.UPDATE, True:
            text = translate(_CONTEXT, "Change made by step {step}, batch {batch} of epoch {epoch}")
        case SubjectKind.UPDATE, False:
            text = translate(_CONTEXT, "Change made by step {step}")
        case _, True:
            text = translate(_CONTEXT, "After step {step}, batch {batch} of epoch {epoch}")
        case _:
            text = translate(_CONTEXT, "After step {step}")
    return text.format(step=step, batch=number, epoch=epoch)


_PHASE_OF_KIND = {
    SubjectKind.ACTIVATION: Phase.FORWARD,
    SubjectKind.ACTIVATION_GRAD: Phase.BACKWARD,
    SubjectKind.GRAD: Phase.BACKWARD,
    SubjectKind.PARAMETER: Phase.STEP,
    SubjectKind.UPDATE: Phase.STEP,
    SubjectKind.CLIPPED_GRAD: Phase.STEP,
    SubjectKind.OPTIMIZER_STATE: Phase.STEP,
}
