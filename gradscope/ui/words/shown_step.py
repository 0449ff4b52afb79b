"""An earlier step that is looked at, in words: which it is, and what a view says of what was not recorded of it."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.subjects import SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.records.newest import Latest
from gradscope.state.shown_step import Recorded

_CONTEXT = "ShownStep"


def heading(state: AppState) -> str:
    """ "Showing step 40 of 0 to 120; training stands at step 121"; "" while the newest of everything is shown."""
    translate, step = QCoreApplication.translate, state.shown.step
    if step is None:
        return ""
    span, text = state.shown.span(), translate(_CONTEXT, "Showing step {step} of {oldest} to {newest}")
    if span is not None:
        text = translate(
            _CONTEXT, "Showing step {step} of {oldest} to {newest}, kept together with those from {first} on"
        )
    told = text.format(
        step=step, oldest=state.shown.oldest, newest=state.shown.newest, first=0 if span is None else span[0]
    )
    if state.snapshot is not None:
        return told + "; " + translate(_CONTEXT, "the snapshot is of step {now}").format(now=state.position.step)
    if state.position.running:
        return told + "; " + translate(_CONTEXT, "training goes on at step {now}").format(now=state.position.step)
    return told + "; " + translate(_CONTEXT, "training stands at step {now}").format(now=state.position.step)


def together_note(first: int, last: int) -> str:
    """What a number is that the history keeps of several steps."""
    text = QCoreApplication.translate(
        _CONTEXT,
        "the history of this long run keeps steps {first} to {last} together: the newest numbers; NaN, Inf, min and max are "
        "of all of them",
    )
    return text.format(first=first, last=last)


def why_not_recorded(state: AppState, kind: SubjectKind) -> str:
    """Why there are no numbers of a kind, or of one of its subjects, in the step that is shown."""
    translate, step, steps = QCoreApplication.translate, state.shown.step, state.history.blocks[kind].steps
    several = state.shown.together(kind)
    if several is not None and state.shown.column(kind) is None:
        text = translate(
            _CONTEXT,
            "Nothing was recorded of step {step} by itself: the history of this long run keeps steps {first} to {last} "
            "together, as step {last}",
        )
        return text.format(step=step, first=several[0], last=several[1])
    if state.shown.column(kind) is not None:
        return translate(_CONTEXT, "Not seen in step {step}: it did not run, or was not captured then").format(
            step=step
        )
    if step is None or not len(steps):
        return translate(_CONTEXT, "Nothing of this was recorded in step {step}").format(step=step)
    at = int(abs(steps - step).argmin())
    text = translate(_CONTEXT, "Nothing of this was recorded in step {step}; the nearest that was is step {near}")
    return text.format(step=step, near=int(steps[at]))


def why_no_histogram(state: AppState, latest: Recorded) -> str:
    """Where none was kept: which are the nearest that were."""
    translate = QCoreApplication.translate
    steps = state.history.histograms[latest.row.key.kind].steps
    before = [step for step in steps if step < latest.step][-1:]
    after = [step for step in steps if step > latest.step][:1]
    near = translate(_CONTEXT, " and ").join(str(step) for step in (*before, *after))
    if not near:
        return translate(_CONTEXT, "No histogram of step {step} was kept").format(step=latest.step)
    text = translate(_CONTEXT, "No histogram of step {step} was kept; the nearest are of steps {near}")
    if len(before) + len(after) == 1:
        text = translate(_CONTEXT, "No histogram of step {step} was kept; the nearest is of step {near}")
    return text.format(step=latest.step, near=near)


def why_no_values(state: AppState, latest: Latest) -> str:
    """Why there are no single values, only a summary; "" where there may be."""
    if not isinstance(latest, Recorded) or state.closer.found(latest) is not None:
        return ""
    translate = QCoreApplication.translate
    if state.snapshot is not None:
        text = translate(
            _CONTEXT, "Of step {step} there are summaries: the snapshot holds the values of its own moment"
        )
    elif state.in_script:
        text = translate(_CONTEXT, "The values of step {step} were not kept, only their summary was")
    else:
        text = translate(
            _CONTEXT,
            "The values of step {step} were not kept, only their summary was: press Compute again",
        )
    return text.format(step=latest.step)


def why_not_explained(state: AppState, latest: Latest) -> str:
    """The same of what is computed from gradients and weights; "" where it can be."""
    if not isinstance(latest, Recorded):
        return ""
    text = QCoreApplication.translate(
        _CONTEXT, "This is computed from what the engine holds now, and not from step {step}: go back to now to see it"
    )
    return text.format(step=latest.step)


def why_no_moments(state: AppState) -> str:
    """Why it is not known what ran in the step that is shown."""
    kept = list(state.history.kept)
    translate = QCoreApplication.translate
    if not kept:
        return translate(_CONTEXT, "What ran in step {step} was not kept").format(step=state.shown.step)
    text = translate(_CONTEXT, "What ran in step {step} was not kept; it is from step {first} on")
    return text.format(step=state.shown.step, first=kept[0])
