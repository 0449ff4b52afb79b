"""Going back in words: how far it can be gone, what it costs, and what branches are called."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.comparing import Divergence
from gradscope.protocol.messages.timeline import Branch
from gradscope.protocol.numbers import number
from gradscope.state.going_back.timeline import Timeline
from gradscope.state.history import History
from gradscope.ui.words.text import byte_size

_CONTEXT = "Timeline"


def reach(timeline: Timeline) -> str:
    """ "Back to every step from 12 on; 214 MiB of 1 GiB", or why one cannot go back."""
    translate, told = QCoreApplication.translate, timeline.told
    refusal = timeline.refusal()
    if told is None or refusal is not None:
        return refusal or ""
    cost = translate(_CONTEXT, "{used} of {limit}").format(
        used=byte_size(told.used_bytes), limit=byte_size(told.limit_bytes)
    )
    kept = len(told.checkpoints)
    spread = 0 if kept < 2 else told.checkpoints[-1] - told.checkpoints[0] + 1 - kept
    if spread == 0:
        text = translate(_CONTEXT, "Back to every step from {earliest} on, each of which is kept; {cost}")
    else:
        text = translate(
            _CONTEXT,
            "Back to every step from {earliest} on: {kept} states are kept, and the steps between them are run again; {cost}",
        )
    return text.format(earliest=told.earliest, kept=kept, cost=cost)


def weights_kept(timeline: Timeline) -> str:
    """Of a script: what can be done about its earlier steps, and what is kept of them."""
    translate, told = QCoreApplication.translate, timeline.told
    text = translate(
        _CONTEXT,
        "What a script has done stays done: its steps can be looked at, and it can be run again to one of them",
    )
    if told is None or not (told.checkpoints or told.reason):
        return text
    if told.reason:
        return f"{text}. {told.reason}"
    cost = translate(_CONTEXT, "{used} of {limit}").format(
        used=byte_size(told.used_bytes), limit=byte_size(told.limit_bytes)
    )
    kept = translate(_CONTEXT, "The weights of the marked steps ({kept}) can be restored; {cost}")
    return f"{text}. {kept.format(kept=len(told.checkpoints), cost=cost)}"


def branch_name(branch: Branch) -> str:
    """ "Branch 1, from step 40: group 0: lr 0.1 -> 0.01"."""
    translate = QCoreApplication.translate
    if branch.parent is None:
        return translate(_CONTEXT, "Branch {id}, from the beginning").format(id=branch.id)
    text = translate(_CONTEXT, "Branch {id}, from step {step}").format(id=branch.id, step=branch.from_step)
    return f"{text}: {branch.change}" if branch.change else text


def last_loss(history: History | None) -> str:
    """ "loss 0.231"; "" where none is known."""
    if history is None or not len(history.loss):
        return ""
    loss = number(float(history.loss.values[-1, 0]), digits=3)
    return QCoreApplication.translate(_CONTEXT, "loss {loss}").format(loss=loss)


def parting(found: Divergence | None, *, now: int, other: int) -> str:
    """Where the branch that training is on and the one beside it part, and by how much. Of a branch and itself, which was
    made once more from a step on: what was not the same."""
    translate = QCoreApplication.translate
    if found is None:
        if other == now:
            return ""
        text = translate(_CONTEXT, "Branches {now} and {other} are the same wherever both have been recorded")
        return text.format(now=now, other=other)
    if other == now:
        text = translate(_CONTEXT, "Not as it was before going back: {where}")
    else:
        text = translate(_CONTEXT, "Branches {now} and {other} part in {where}")
    return text.format(now=now, other=other, where=found.sentence)
