"""What to do about errors whose own words do not say it to somebody who steps through a training."""

from __future__ import annotations

from gradscope.engine.book.turns import Turn
from gradscope.engine.model.closures import asks_for_closure, takes_closure
from gradscope.engine.stepping.foreign_leaves import kept_results
from gradscope.engine.stepping.loop import Loop
from gradscope.engine.surroundings.error_parts import message_of, safely
from gradscope.engine.wording import listed
from gradscope.protocol.phases import SubStep
from gradscope.protocol.visible import visible

_SECOND_BACKWARD = "Trying to backward through the graph a second time"


def advice(error: BaseException, loop: Loop) -> str:
    """A sentence to follow what was raised, before the phase is undone; "" where there is nothing to add."""
    message = message_of(error)
    substep, turn = loop.substep, loop.turn
    if substep in (SubStep.FORWARD, SubStep.LOSS, SubStep.BACKWARD) and loop.own_moves.said:
        return loop.own_moves.said
    if _SECOND_BACKWARD in message:
        kept = [visible(str(place)) for place in kept_results(loop.training.roots())]
        found = f" ({listed(kept)} {'is' if len(kept) == 1 else 'are'} kept with the graph)" if kept else ""
        return (
            f"Something of an earlier step is used again, a state that the model or the loss has kept{found}: detach() what "
            "is carried over from one step to the next"
        )
    if substep is SubStep.STEP and asks_for_closure(error) and safely(lambda: _may_leave_closure_out(turn), False):
        name = type(turn.optimizer).__name__
        return (
            f"{name}.step() was called without a closure, which its signature says can be left out; with "
            "step(self, closure) it is given one"
        )
    return ""


def advised(said: str, sentence: str) -> str:
    """Both, one after the other."""
    if not sentence:
        return said
    return f"{said} {sentence}" if said.endswith("...") else f"{said}. {sentence}"


def _may_leave_closure_out(turn: Turn) -> bool:
    return not turn.needs_closure and takes_closure(turn.optimizer)
