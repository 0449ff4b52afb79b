"""What was tried, in words: of which moment it is, how far it is, what the numbers mean."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.what_if.tried import Measured, Mode, ProbeSetting, Standing, TrialProgress

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
