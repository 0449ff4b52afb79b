"""What was tried, in words: of which moment it is, how far it is, what the numbers mean."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.phases import Rest
from gradscope.protocol.what_if.tried import Measured, Mode, ProbeSetting, Standing, TrialProgress
from gradscope.state.app_state import AppState

_CONTEXT = "WhatIf"


def tr(text: str) -> str:
    return QCoreApplication.translate(_CONTEXT, text)


def measured_text(of: Measured, *, is_stale: bool) -> str:
    """ "Step 12, with the gradients that wait; losses of the batch of step 12 (64 samples)"."""
    turn = f" ({of.turn})" if of.turn else ""
    if of.standing is Standing.BACKWARD_DONE:
        which = tr("Step {step}{turn}, with the gradients that wait")
    elif of.standing is Standing.FORWARD_DONE:
        which = tr("Step {step}{turn}, with the gradients of its forward")
    else:
        which = tr("A step{turn} from where step {step} begins, with the gradients of the newest batch")
    text = which.format(step=of.step, turn=turn)
    batch = tr("losses of the batch of step {step}").format(step=of.batch_step)
    if of.samples:
        batch += " " + tr("({count} samples)").format(count=of.samples)
    text = f"{text}; {batch}"
    return tr("Training has moved on. {what}").format(what=text) if is_stale else text


def refused_text(state: AppState, refusal: str) -> str:
    """Why nothing can be tried now, and what to do about it."""
    position = state.position
    if position.running:
        todo = tr("It can be tried when training has stopped: press Pause, then “Try the steps”")
    elif position.rest in (Rest.IN_FORWARD, Rest.IN_BACKWARD, Rest.IN_STEP):
        todo = tr("Go on to the end of this phase, with its button in the tool bar; then press “Try the steps”")
    else:
        return tr("Nothing can be tried now. {why}").format(why=refusal)
    return tr("Nothing can be tried now. {why}. {todo}").format(why=refusal, todo=todo)


def progress_text(progress: TrialProgress | None) -> str:
    if progress is None:
        return tr("Waiting for the engine")
    told = tr("{what}: {done} of about {planned} forwards")
    return told.format(what=progress.what, done=f"{progress.done:,}", planned=f"{progress.planned:,}")


def probe_text(setting: ProbeSetting, *, error: str) -> str:
    """ "Batch of step 12 (64 samples), run after each step in eval mode"."""
    samples = " " + tr("({count} samples)").format(count=setting.samples) if setting.samples else ""
    when = {0: tr("run when asked"), 1: tr("run after each step")}.get(
        setting.every, tr("run after every {every} steps").format(every=setting.every)
    )
    text = tr("Batch of step {step}{samples}, {when} in {mode} mode").format(
        step=setting.batch_step, samples=samples, when=when, mode=mode_text(setting.mode)
    )
    if error:
        return tr("{what}. The newest run failed: {why}").format(what=text, why=error)
    return f"{text}. {setting.note}" if setting.note else text


def mode_text(mode: Mode) -> str:
    return tr("eval") if mode is Mode.EVAL else tr("train")
