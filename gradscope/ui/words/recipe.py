"""What there is to say of a verb in the recipe that is open: windows, turns, what a step does. For tooltips."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.messages import SessionInfo
from gradscope.protocol.phases import Phase, SubStep, Verb
from gradscope.protocol.scripts import Ability
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState

_CONTEXT = "RecipeNotes"


def note_on(verb: Verb, state: AppState, *, run_steps: int | None = None) -> str:
    """One or two sentences, or "" where nothing is special. `run_steps`: how many steps a run is to make, where known."""
    session = state.session
    if session is None:
        return ""
    if session.script is not None:
        # What its steps are made of is the script's own.
        is_said = verb is Verb.RESET and not state.is_attached
        return session.refused.get(Ability.RESET_IN_PLACE, "") if is_said else ""
    match verb:
        case Verb.FORWARD | Verb.BACKWARD if session.accumulate > 1:
            translate = QCoreApplication.translate
            return translate(
                _CONTEXT,
                "The gradients of {count} micro-batches are added up before each step; the next one is {number} of {window}",
            ).format(count=session.accumulate, number=state.position.micro + 1, window=state.position.window)
        case Verb.STEP:
            return _step(session, state)
        case Verb.NEXT_BATCH:
            return _next_batch(session)
        case Verb.ZERO_GRAD:
            return _zero_grad(session)
        case Verb.RUN:
            return _run(session, state, run_steps)
    return ""


def _step(session: SessionInfo, state: AppState) -> str:
    translate = QCoreApplication.translate
    before = [
        text
        for substep, text in (
            (SubStep.UNSCALE, translate(_CONTEXT, "divides the gradients by the loss scale")),
            (SubStep.CLIP, translate(_CONTEXT, "clips them")),
        )
        if substep in session.substeps
    ]
    notes = []
    if before:
        notes.append(
            translate(_CONTEXT, "Before that it {what}").format(what=translate(_CONTEXT, " and ").join(before))
        )
    if state.position.optimizer:
        turn = translate(_CONTEXT, "It is the turn of the optimizer {name}")
        notes.append(turn.format(name=visible(state.position.optimizer)))
    newest = state.reports.get(Phase.STEP)
    if newest is not None and newest.evaluations:
        text = translate(_CONTEXT, "The newest one has evaluated the loss {count} times")
        notes.append(text.format(count=newest.evaluations))
    return "; ".join(notes)


def _next_batch(session: SessionInfo) -> str:
    translate = QCoreApplication.translate
    if len(session.optimizers) > 1:
        text = translate(_CONTEXT, "Each batch takes one step of each optimizer: {names}")
        return text.format(names=", ".join(map(visible, session.optimizers)))
    if session.accumulate > 1:
        text = translate(_CONTEXT, "A step takes a window of {count} micro-batches: it goes to the end of the window")
        return text.format(count=session.accumulate)
    return ""


def _zero_grad(session: SessionInfo) -> str:
    translate = QCoreApplication.translate
    if session.zero_grad == "manual":
        return translate(_CONTEXT, "Manual in this recipe: gradients add up from step to step until this is pressed")
    if session.accumulate > 1:
        return translate(_CONTEXT, "Automatic in this recipe: they are cleared at the start of every window anyway")
    return translate(_CONTEXT, "Automatic in this recipe: they are cleared at the start of every step anyway")


def _run(session: SessionInfo, state: AppState, run_steps: int | None) -> str:
    translate = QCoreApplication.translate
    horizon = None if state.schedule is None else state.schedule.horizon
    if horizon is not None and run_steps is None:
        text = translate(_CONTEXT, "The schedule ({scheduler}) ends after step {last}")
        return text.format(scheduler=visible(session.scheduler or ""), last=horizon - 1)
    if horizon is not None and run_steps is not None and state.position.step + run_steps > horizon:
        text = translate(_CONTEXT, "The schedule ({scheduler}) ends after step {last}: {count} steps go beyond that")
        return text.format(scheduler=visible(session.scheduler or ""), last=horizon - 1, count=run_steps)
    if len(session.optimizers) > 1:
        text = translate(_CONTEXT, "A step is one optimizer's turn: each batch takes {count} of them")
        return text.format(count=len(session.optimizers))
    return ""
