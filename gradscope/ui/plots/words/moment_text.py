"""Which moment the numbers of a subject are of; of a gradient also which gradient it is. App process."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.messages import Report, SessionInfo
from gradscope.protocol.phases import Phase
from gradscope.protocol.scripts import Ability
from gradscope.protocol.subjects import SubjectKind
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.records.newest import Latest
from gradscope.state.shown_step import PHASE_OF_KIND, Recorded
from gradscope.ui.plots.words.formats import exact, short
from gradscope.ui.words.optimizer_states import meaning_of
from gradscope.ui.words.shown_step import together_note, why_not_recorded

_CONTEXT = "Wording"
_GRADIENTS = (SubjectKind.GRAD, SubjectKind.ACTIVATION_GRAD)


def newest_moment(state: AppState, kind: SubjectKind) -> str:
    """Of which moment the numbers of a kind are that are shown; which gradient it is."""
    report, steps = state.shown.reports.get(PHASE_OF_KIND[kind]), state.history.blocks[kind].steps
    if not len(steps):
        return ""
    if state.shown.step is not None:
        if state.shown.summaries(kind) is None:
            return why_not_recorded(state, kind)
        return moment_text(kind, state.shown.step, report=report, session=state.session)
    # A phase that is broken off, or stopped, may have no numbers of its own yet; after a checkpoint was loaded, those of the
    # steps before it are left; a later step may not have been captured.
    step = int(steps[-1])
    text = moment_text(kind, step, report=report if report and report.step == step else None, session=state.session)
    if is_left_behind(state, kind):
        text += "; " + QCoreApplication.translate(_CONTEXT, "nothing was captured since")
    return text


def in_less_room(state: AppState, kind: SubjectKind, moment: str) -> list[str]:
    """A `newest_moment` with less and less around its step; nothing where it is no moment."""
    shown, steps = state.shown, state.history.blocks[kind].steps
    if not moment or (shown.step is not None and shown.summaries(kind) is None):
        return []
    step = int(steps[-1]) if shown.step is None else shown.step
    parts = moment.split("; ")
    forms = ["; ".join(parts[:count]) for count in range(len(parts), 0, -1)]
    words = parts[0].split(", ")
    translate, is_last = QCoreApplication.translate, kind in _GRADIENTS
    # The step comes last of a gradient, and first of everything else.
    forms += [", ".join(words[-count:] if is_last else words[:count]) for count in range(len(words) - 1, 0, -1)]
    text = translate(_CONTEXT, "before step {step}") if is_last else translate(_CONTEXT, "step {step}")
    return [*forms, text.format(step=step)]


def is_left_behind(state: AppState, kind: SubjectKind) -> bool:
    """Whether the newest complete phase had nothing of a kind that steps before it had; never of an earlier step."""
    if state.shown.step is not None:
        return False
    report, steps = state.reports.get(PHASE_OF_KIND[kind]), state.history.blocks[kind].steps
    return report is not None and report.complete and len(steps) > 0 and report.step > steps[-1]


def moment_of(state: AppState, latest: Latest) -> str:
    """Of which moment the newest summary of a subject is; which gradient it is, and whether it is still there."""
    translate, key = QCoreApplication.translate, latest.row.key
    if latest.phase is None:
        text = (
            translate(_CONTEXT, "Before step {step}") if latest.step else translate(_CONTEXT, "Before the first step")
        )
        return text.format(step=latest.step)
    newest = state.shown.reports.get(latest.phase)
    report = newest if newest is not None and newest.step == latest.step else None
    owner = _owner(key.name, state.session) if key.kind is SubjectKind.GRAD else ""
    text = moment_text(key.kind, latest.step, report=report, session=state.session, owner=owner)
    if isinstance(latest, Recorded) and latest.first_step < latest.step:
        text += "; " + together_note(latest.first_step, latest.step)
    if key.kind is SubjectKind.GRAD and key.name in state.cleared and state.shown.step is None:
        text += "; " + translate(_CONTEXT, "Zero grad has cleared it since")
    if key.kind is SubjectKind.OPTIMIZER_STATE and meaning_of(key.leaf):
        text = f"{meaning_of(key.leaf)}. {text}"
    return text


def moment_text(
    kind: SubjectKind, step: int, *, report: Report | None, session: SessionInfo | None, owner: str = ""
) -> str:
    """ "Gradient of the loss, batch 12 of epoch 0, before step 41; before clipping".

    `report` is the one of that moment; `owner` the optimizer that holds the parameter, where there are several.
    """
    has_epochs = session is None or session.script is None or session.batches_per_epoch is not None
    can_undo = session is None or Ability.UNDO_PHASE not in session.refused
    parts = [_subject(kind, step, report, has_epochs=has_epochs, can_undo=can_undo), *_turn(report, session)]
    if kind in _GRADIENTS and report is not None and report.scale is not None:
        text = QCoreApplication.translate(_CONTEXT, "divided by the loss scale {scale}")
        parts.append(text.format(scale=exact(report.scale)))
    if owner and report is not None and report.optimizer not in ("", owner):
        # Only the other optimizer clears it, at the start of its own turn.
        text = QCoreApplication.translate(_CONTEXT, "added to what the turn of {optimizer} has left, and not used")
        parts.append(text.format(optimizer=visible(owner)))
    elif kind is SubjectKind.GRAD and session is not None:
        parts += _of_recipe(session)
    if kind is SubjectKind.CLIPPED_GRAD:
        parts += _clipping(report, session)
    return "; ".join(parts)


def _owner(name: str, session: SessionInfo | None) -> str:
    """The optimizer that holds a parameter; "" where there is only one, or none that holds it."""
    groups = () if session is None else session.groups
    return next((group.optimizer for group in groups if name in group.parameters), "")


def _subject(kind: SubjectKind, step: int, report: Report | None, *, has_epochs: bool, can_undo: bool) -> str:
    translate = QCoreApplication.translate
    if report is not None and report.skipped and kind is SubjectKind.UPDATE:
        return translate(_CONTEXT, "Step {step} was skipped and changed nothing").format(step=step)
    what = {
        SubjectKind.ACTIVATION: translate(_CONTEXT, "Forward of step {step}"),
        SubjectKind.ACTIVATION_GRAD: _gradient_of(report),
        SubjectKind.GRAD: _sum_of(report),
        SubjectKind.CLIPPED_GRAD: translate(_CONTEXT, "Gradient after clipping, in step {step}"),
        SubjectKind.UPDATE: translate(_CONTEXT, "Change made by step {step}"),
        SubjectKind.PARAMETER: translate(_CONTEXT, "After step {step}"),
        SubjectKind.OPTIMIZER_STATE: translate(_CONTEXT, "After step {step}"),
        SubjectKind.BUFFER: _buffer_after(report, can_undo=can_undo),
    }[kind]
    if report is not None:
        if kind in (SubjectKind.ACTIVATION, SubjectKind.BUFFER) and report.window > 1:
            # How many there will be, and what each is divided by, only a recipe says.
            in_recipe = translate(_CONTEXT, ", micro-batch {number} of {window}")
            what += in_recipe if report.line is None else translate(_CONTEXT, ", micro-batch {number}")
        # What an epoch is in a script is known where its loader is.
        with_epoch = translate(_CONTEXT, ", batch {batch} of epoch {epoch}")
        what += with_epoch if has_epochs else translate(_CONTEXT, ", batch {batch}")
    if kind in _GRADIENTS:
        what += translate(_CONTEXT, ", before step {step}")
    if report is None:
        return what.format(step=step)
    return what.format(step=step, batch=report.batch, epoch=report.epoch, number=report.micro + 1, window=report.window)


def _buffer_after(report: Report | None, *, can_undo: bool) -> str:
    translate = QCoreApplication.translate
    if report is not None and not report.complete and can_undo:
        return translate(_CONTEXT, "As before the forward of step {step}, which was undone")
    if report is not None and not report.complete and report.phase is Phase.FORWARD:
        return translate(_CONTEXT, "In the forward of step {step}, which has not ended")
    if report is None or report.phase is Phase.FORWARD:
        return translate(_CONTEXT, "After the forward of step {step}")
    if report.phase is Phase.BACKWARD:
        return translate(_CONTEXT, "After the backward of step {step}")
    return translate(_CONTEXT, "After step {step}")


def _gradient_of(report: Report | None) -> str:
    """Of one micro-batch."""
    translate = QCoreApplication.translate
    if report is None or report.window == 1:
        return translate(_CONTEXT, "Gradient of the loss")
    if report.line is not None:
        return translate(_CONTEXT, "Gradient of the loss, backward {number} of step {step}")
    return translate(_CONTEXT, "Gradient of loss / {window}, micro-batch {number} of {window}")


def _sum_of(report: Report | None) -> str:
    """What `.grad` holds: the micro-batches so far."""
    translate = QCoreApplication.translate
    if report is None or report.window == 1:
        return translate(_CONTEXT, "Gradient of the loss")
    if report.line is not None:
        return (
            translate(_CONTEXT, "Gradients of {number} backwards added up")
            if report.micro
            else translate(_CONTEXT, "Gradient of the loss")
        )
    if report.micro == 0:
        return translate(_CONTEXT, "Gradient of loss / {window}, micro-batch 1 of {window}")
    return translate(_CONTEXT, "Gradients of loss / {window}, micro-batches 1 to {number} of {window} added up")


def _turn(report: Report | None, session: SessionInfo | None) -> list[str]:
    """Whose turn it was, where there are several."""
    is_the_only_one = session is not None and len(session.optimizers) < 2
    if report is None or not report.optimizer or is_the_only_one:
        return []
    return [QCoreApplication.translate(_CONTEXT, "turn of {optimizer}").format(optimizer=visible(report.optimizer))]


def _of_recipe(session: SessionInfo) -> list[str]:
    translate = QCoreApplication.translate
    parts = []
    if session.zero_grad == "manual":
        parts.append(translate(_CONTEXT, "added to what has been there since the last Zero grad"))
    if session.clip_norm is not None or session.clip_value is not None:
        parts.append(translate(_CONTEXT, "before clipping"))
    return parts


def _clipping(report: Report | None, session: SessionInfo | None) -> list[str]:
    translate = QCoreApplication.translate
    parts = []
    if report is not None and report.clip is not None and report.clip.coefficient is not None:
        text = translate(_CONTEXT, "multiplied with {coefficient} by clip_norm")
        parts.append(text.format(coefficient=short(report.clip.coefficient)))
    if session is not None and session.clip_value is not None:
        parts.append(translate(_CONTEXT, "cut off at ±{value} by clip_value").format(value=short(session.clip_value)))
    return parts
