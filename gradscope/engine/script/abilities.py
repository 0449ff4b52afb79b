"""What a session that a script drives refuses, and why."""

from __future__ import annotations

from gradscope.protocol.scripts import Ability, Script, ScriptKind

_WRITTEN = "This is written in the script: change it there, and press Reset"
REFUSED: dict[str, str] = {
    Ability.RESET_IN_PLACE.value: "Reset starts the script again, in a new process; files that it writes are written again",
    Ability.UNDO_PHASE.value: "A script cannot be taken back: what a phase has done stays done",
    Ability.SEED.value: "The script sets its own seed",
    Ability.VALIDATE.value: "The script validates when it wants to; the next time is shown as evaluate",
    Ability.ZERO_GRAD.value: "The script clears its gradients itself",
    Ability.EDIT_STEP.value: _WRITTEN,
    Ability.EDIT_LAYERS.value: _WRITTEN,
    Ability.CHECK_GRADIENT.value: "The check needs another forward: only a recipe can be run again",
    Ability.SAVE_CHECKPOINT.value: "The script saves its own checkpoints; a snapshot can be exported at any time",
    Ability.LOAD_CHECKPOINT.value: "Going on from a checkpoint is for the script to do",
    Ability.REPRODUCE.value: "The script itself is what comes to this moment, with the same seeds: run it without gradscope",
    Ability.GO_BACK.value: (
        "What a script has done stays done: its earlier steps can be looked at, and to stand at one of them again it is run "
        "again to that step"
    ),
    Ability.RUN_EPOCH.value: "Where an epoch ends is known to the script only",
    Ability.SCHEDULE_AHEAD.value: "The script sets its own rates: they are shown as they are used",
}
"""Sentences by `Ability`; what is not here is allowed."""
_OF_ATTACHED = {
    **{key: text.replace("press Reset", "run the cell again") for key, text in REFUSED.items()},
    Ability.RESET_IN_PLACE.value: "gradscope.watch: run the cell again",
}


def refused_in(script: Script) -> dict[str, str]:
    """By this script: in a process that was not started by the app, nobody starts it again from there."""
    return _OF_ATTACHED if script.kind is ScriptKind.ATTACHED else REFUSED
