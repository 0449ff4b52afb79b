"""The phase table: which verbs are allowed where a session rests. Buttons, menus and the engine all read it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gradscope.protocol.limits import Count, CountFromOne, Name


class Phase(StrEnum):
    """One of the three parts of a training step; a report always belongs to one of them."""

    FORWARD = "forward"
    BACKWARD = "backward"
    STEP = "step"


class SubStep(StrEnum):
    """The named stations inside a training step, in order."""

    BATCH = "batch"
    ZERO_GRAD = "zero grad"
    """At the start of a window of micro-batches."""
    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    UNSCALE = "unscale"
    CLIP = "clip"
    STEP = "step"
    UPDATE = "update"
    """The gradient scaler sets its next scale."""
    VALIDATE = "validate"
    """After the last step of an epoch."""
    SCHEDULE = "schedule"
    EVALUATE = "evaluate"
    """A script calls a model without gradients: validation, sampling, a teacher. In a script the other sub-steps may come in
    any order, too."""


OF_A_RECIPE = tuple(substep for substep in SubStep if substep is not SubStep.EVALUATE)
"""The sub-steps that a recipe's training step may have."""

PHASE_OF_SUBSTEP: dict[SubStep, Phase] = {
    SubStep.BATCH: Phase.FORWARD,
    SubStep.ZERO_GRAD: Phase.FORWARD,
    SubStep.FORWARD: Phase.FORWARD,
    SubStep.LOSS: Phase.FORWARD,
    SubStep.BACKWARD: Phase.BACKWARD,
    SubStep.UNSCALE: Phase.STEP,
    SubStep.CLIP: Phase.STEP,
    SubStep.STEP: Phase.STEP,
    SubStep.UPDATE: Phase.STEP,
    SubStep.VALIDATE: Phase.STEP,
    SubStep.SCHEDULE: Phase.STEP,
    SubStep.EVALUATE: Phase.FORWARD,
}


class Rest(StrEnum):
    """Where a session stands: between two phases, or stopped inside one."""

    EMPTY = "empty"
    """No recipe is open."""
    READY = "ready"
    """Before a forward (also: after a step)."""
    FORWARD = "forward"
    """A forward is done; its graph waits for the backward."""
    ACCUMULATING = "accumulating"
    """Gradients of a part of the window are there; the next micro-batch adds to them."""
    BACKWARD = "backward"
    """The gradients are complete; the optimizer has not moved."""
    IN_FORWARD = "in forward"
    IN_BACKWARD = "in backward"
    IN_STEP = "in step"
    ENDED = "ended"
    """The script has ended. What it had computed can be looked at."""


class Verb(StrEnum):
    """What a person (or a script) can ask of a session."""

    FORWARD = "forward"
    BACKWARD = "backward"
    STEP = "step"
    NEXT_BATCH = "next_batch"
    NEXT = "next"
    """In a script: to the next end of a phase, whichever it is."""
    ZERO_GRAD = "zero_grad"
    VALIDATE = "validate"
    RUN = "run"
    INTO = "into"
    """To the next moment inside a phase: a layer is entered or left, a gradient has arrived, a sub-step is done."""
    OVER = "over"
    """The same, but a layer that is about to run runs as a whole."""
    OUT = "out"
    """To where the layer that is running is left; outside of all layers, to the end of the phase."""
    PAUSE = "pause"
    RESET = "reset"


BEGINS = "before"
"""The event of a moment at which a sub-step begins."""

INSIDE: dict[Phase, Rest] = {
    Phase.FORWARD: Rest.IN_FORWARD,
    Phase.BACKWARD: Rest.IN_BACKWARD,
    Phase.STEP: Rest.IN_STEP,
}
"""Where a session stands when it is stopped inside a phase."""

AT_REST = frozenset(Rest) - {Rest.EMPTY, Rest.ENDED} - frozenset(INSIDE.values())
"""Between two phases of an open session."""

AFTER: dict[Phase, Rest] = {
    Phase.FORWARD: Rest.FORWARD,
    Phase.BACKWARD: Rest.BACKWARD,
    Phase.STEP: Rest.READY,
}
"""Where a session rests when a phase is complete (a backward inside a window leaves it ACCUMULATING)."""

BEFORE: dict[Phase, Rest] = {
    Phase.FORWARD: Rest.READY,
    Phase.BACKWARD: Rest.FORWARD,
    Phase.STEP: Rest.BACKWARD,
}
"""Where a session has to rest for a phase to begin (a forward also begins from ACCUMULATING)."""

NEXT_PHASE: dict[Rest, Phase] = {
    Rest.READY: Phase.FORWARD,
    Rest.FORWARD: Phase.BACKWARD,
    Rest.ACCUMULATING: Phase.FORWARD,
    Rest.BACKWARD: Phase.STEP,
    Rest.IN_FORWARD: Phase.FORWARD,
    Rest.IN_BACKWARD: Phase.BACKWARD,
    Rest.IN_STEP: Phase.STEP,
}
"""The phase that comes next (or that has to be finished) from each place."""

_ALWAYS = frozenset({Verb.NEXT_BATCH, Verb.RUN, Verb.RESET})
_BETWEEN = _ALWAYS | {Verb.ZERO_GRAD, Verb.VALIDATE, Verb.INTO}
INSIDE_ONLY = frozenset({Verb.OVER, Verb.OUT})
"""What needs a place inside a phase to begin from."""
_INSIDE = _ALWAYS | INSIDE_ONLY | {Verb.INTO}

ALLOWED: dict[Rest, frozenset[Verb]] = {
    Rest.EMPTY: frozenset(),
    Rest.READY: _BETWEEN | {Verb.FORWARD},
    Rest.FORWARD: _BETWEEN | {Verb.BACKWARD},
    Rest.ACCUMULATING: _BETWEEN | {Verb.FORWARD},
    Rest.BACKWARD: _BETWEEN | {Verb.STEP},
    Rest.IN_FORWARD: _INSIDE | {Verb.FORWARD},
    Rest.IN_BACKWARD: _INSIDE | {Verb.BACKWARD},
    Rest.IN_STEP: _INSIDE | {Verb.STEP},
    Rest.ENDED: frozenset({Verb.RESET}),
}
"""The table: the verbs allowed in each place while the session is not running. Running allows only Pause and Reset."""

ALLOWED_IN_SCRIPT = frozenset({Verb.FORWARD, Verb.BACKWARD, Verb.STEP, Verb.NEXT, Verb.RUN, Verb.INTO, Verb.RESET})
"""The same where a script drives, wherever it stands: each of the phases runs on to its next end. Inside a phase, INSIDE_ONLY
too."""

ALLOWED_WHILE_RUNNING: frozenset[Verb] = frozenset({Verb.PAUSE, Verb.RESET})

_NEEDS: dict[tuple[Rest, Verb], str] = {
    (Rest.READY, Verb.BACKWARD): "Backward needs a forward",
    (Rest.READY, Verb.STEP): "Step needs gradients: press Forward, then Backward",
    (Rest.FORWARD, Verb.FORWARD): "The forward of this batch is done: Backward comes next",
    (Rest.FORWARD, Verb.STEP): "Step needs gradients: press Backward first",
    (Rest.ACCUMULATING, Verb.BACKWARD): "Backward needs the forward of the next micro-batch",
    (Rest.ACCUMULATING, Verb.STEP): "Step needs the whole window: the forward of the next micro-batch comes next",
    (Rest.BACKWARD, Verb.FORWARD): "Gradients wait to be used: Step comes next",
    (Rest.BACKWARD, Verb.BACKWARD): "The backward of this batch is done: Step comes next",
}


def refusal(rest: Rest, verb: Verb, *, running: bool = False, in_script: bool = False) -> str | None:
    """Why `verb` cannot be used at `rest` now, as a short phrase for a tooltip or an error; None if it can.

    `in_script`: a script drives the session; what such a session refuses for good is not said here.
    """
    if rest is Rest.EMPTY:
        return "Open a script or a recipe first"
    if running:
        return None if verb in ALLOWED_WHILE_RUNNING else "The session is running: press Pause first"
    if rest is Rest.ENDED and verb not in ALLOWED[rest]:
        return "The script has ended: Reset starts it again"
    if verb in INSIDE_ONLY:
        return None if verb in ALLOWED[rest] else "Nothing is running that could be stepped through: press Into first"
    if in_script and verb is not Verb.PAUSE:
        return None if verb in ALLOWED_IN_SCRIPT else "The script decides that"
    if verb in ALLOWED[rest]:
        return None
    if verb is Verb.PAUSE:
        return "Nothing is running"
    return _NEEDS.get((rest, verb)) or f"Stopped {rest.value}: finish that phase first"


class RunUntil(StrEnum):
    """When a run ends by itself."""

    STEPS = "steps"
    """After a number of completed steps."""
    EPOCH = "epoch"
    """When the pass over the data is complete."""
    PAUSED = "paused"
    """Not by itself."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A point inside a training step: one passage through the engine's single stopping place."""

    step: Count
    substep: SubStep
    event: Name = ""
    """What happens there: "enter", "leave", "gradient", "before" for a sub-step that begins, or "" for one that is done."""
    layer: Name = ""
    """The module's qualified name, or the parameter's; "" for the model itself or no layer."""
    call: Count = 0

    @property
    def phase(self) -> Phase:
        return PHASE_OF_SUBSTEP[self.substep]


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a session stands, as the app shows it."""

    rest: Rest = Rest.EMPTY
    step: Count = 0
    """Completed optimizer steps, which is also the index of the step now being made."""
    epoch: Count = 0
    batch: Count = 0
    """Index of the batch in its epoch (of the current batch, or the next one when ready)."""
    batches_per_epoch: Count | None = None
    """None where the loader does not know its length."""
    micro: Count = 0
    """Index of the micro-batch in its window, from 0 (of the current one, or the next one)."""
    window: CountFromOne = 1
    """Micro-batches in the window, which is also the divisor of the loss. Where the loader has no length, an epoch's last
    window may end before."""
    optimizer: Name = ""
    """Whose turn it is, where the recipe has several named optimizers."""
    running: bool = False
    moment: Moment | None = None
    """Where exactly, when stopped or running inside a phase."""
