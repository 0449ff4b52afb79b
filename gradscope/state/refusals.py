"""What cannot be done now, and why: as short sentences for tooltips, menus and the status bar."""

from __future__ import annotations

from collections.abc import Mapping

from gradscope.protocol.messages import SessionInfo
from gradscope.protocol.messages.edits import (
    Edit,
    EditDropout,
    EditMode,
    EditOption,
    EditRequiresGrad,
    edit_refusal,
)
from gradscope.protocol.phases import AT_REST, INSIDE, Position, Rest, RunUntil, Verb, refusal
from gradscope.protocol.scripts import Ability, Script, ScriptKind
from gradscope.state.console import ConsoleState
from gradscope.state.edits import Edits
from gradscope.state.engine import EngineState, EngineStatus, Origin
from gradscope.state.findings import FindingsState
from gradscope.state.going_back.timeline import Timeline
from gradscope.state.what_if.trials import WhatIfState

_ABILITY_OF_VERB: Mapping[Verb, Ability] = {Verb.VALIDATE: Ability.VALIDATE, Verb.ZERO_GRAD: Ability.ZERO_GRAD}
_ABILITY_OF_EDIT: Mapping[type[Edit], Ability] = {
    EditOption: Ability.EDIT_OPTIONS,
    **dict.fromkeys((EditDropout, EditRequiresGrad, EditMode), Ability.EDIT_LAYERS),
}
"""Every other edit is one of the training step."""


RUN_THE_CELL_AGAIN = "gradscope.watch: run the cell again"


class Refusals:
    """The questions of the state that are answered with a reason, or None where it can be done."""

    engine: EngineState
    snapshot: Origin | None
    session: SessionInfo | None
    position: Position
    edits: Edits
    findings: FindingsState
    timeline: Timeline
    what_if: WhatIfState
    console: ConsoleState
    has_best_weights: bool
    opening: str | None
    awaited: Script | None

    # ------------------------------------------------------------------------------------------ scripts

    @property
    def in_script(self) -> bool:
        """A script drives the session, or has."""
        return self.session is not None and self.session.script is not None

    @property
    def is_of_script(self) -> bool:
        """The same, or one is being started."""
        return self.awaited is not None or self.in_script

    @property
    def next_verb(self) -> Verb:
        """What the action Next stands for: in a script, the next end of a phase."""
        return Verb.NEXT if self.in_script else Verb.NEXT_BATCH

    def never(self, ability: Ability) -> str | None:
        """Why this session cannot do it, now or later; None where it can."""
        return None if self.session is None else self.session.refused.get(ability)

    @property
    def is_attached(self) -> bool:
        """What trains, or has, is a process that the app has not started."""
        if self.engine.is_attached:
            return True
        script = None if self.session is None else self.session.script
        return script is not None and script.kind is ScriptKind.ATTACHED

    # ------------------------------------------------------------------------------------------ verbs

    def refusal(self, verb: Verb) -> str | None:
        """Why a verb cannot be used now, as a short phrase; None if it can."""
        reason = self._engine_refusal()
        if verb is Verb.RESET and self.is_attached and self.snapshot is None:
            return RUN_THE_CELL_AGAIN
        is_known = self.session is not None and (bool(self.session.path) or self.in_script)
        is_gone = self.engine.status in (EngineStatus.DEAD, EngineStatus.STOPPED) and self.opening is None
        can_be_reset = reason is None or is_gone or reason == self._beside_refusal()
        if verb is Verb.RESET and is_known and self.snapshot is None and can_be_reset:
            # Where the engine has died, another one is started for it.
            return None
        ability = _ABILITY_OF_VERB.get(verb)
        reason = reason or (None if ability is None else self.never(ability))
        if reason is not None:
            return reason
        position = self.position
        reason = refusal(position.rest, verb, running=position.running, in_script=self.in_script)
        if verb is Verb.VALIDATE and self.session is not None and not self.session.has_validation:
            return "This recipe has no validation data: they are given as Recipe(validation=...)"
        return reason

    def run_refusal(self, until: RunUntil) -> str | None:
        """The same of a run."""
        reason = self._engine_refusal()
        if reason is None and until is RunUntil.EPOCH:
            reason = self.never(Ability.RUN_EPOCH)
        return reason or self.refusal(Verb.RUN)

    def engine_refusal_to_end(self) -> str | None:
        """Why the engine's process is not ended from here, nor another one started in its place; None if it can be."""
        if not self.engine.is_attached:
            return None
        if self.engine.status is EngineStatus.DEAD:
            return RUN_THE_CELL_AGAIN
        return "gradscope.watch: this process is not the window's own. Interrupt the kernel to end what runs in it"

    def interrupt_refusal(self) -> str | None:
        """Why nothing can be broken off now; None if it can. A script is not broken off, but says where it is."""
        if self.snapshot is not None:
            return self._engine_refusal()
        return None if self.position.running or self.console.running is not None else "Nothing is running"

    def at_rest_refusal(self) -> str | None:
        """Why the session cannot be taken as it stands now, for a snapshot or a comparison; None if it can.

        That can be done wherever it rests, also after a script has ended.
        """
        reason, position = self._engine_refusal(), self.position
        if reason is None and not (position.rest is Rest.ENDED and not position.running):
            reason = refusal(position.rest, Verb.RUN, running=position.running)
        return reason

    # ------------------------------------------------------------------------------------------ changes

    def edit_refusal(self, edit: type[Edit]) -> str | None:
        """Why an edit cannot be made now, as a short sentence; None if it can (the engine may still find it wrong)."""
        reason = self._engine_refusal() or self.never(_ABILITY_OF_EDIT.get(edit, Ability.EDIT_STEP))
        return reason or edit_refusal(self.position.rest, edit, running=self.position.running)

    def undo_refusal(self) -> str | None:
        """Why the newest edit cannot be undone now; None if it can (the engine may still ask to finish the step first)."""
        if self.edits.undoable is None and self.session is not None and self.snapshot is None:
            return "There is no edit to undo"
        return self.edit_refusal(EditOption)

    def checkpoint_refusal(self, *, loads: bool = False) -> str | None:
        """Why no checkpoint can be saved, or loaded, now, as a short sentence; None if it can."""
        ability = Ability.LOAD_CHECKPOINT if loads else Ability.SAVE_CHECKPOINT
        reason = self._engine_refusal() or self.never(ability) or self.at_rest_refusal()
        if reason is not None or (self.position.rest is Rest.ENDED and not loads):
            return reason
        # In a script each step is a step of its own, whoever's turn it is.
        turns = ("",) if self.session is None or self.in_script else ("", next(iter(self.session.optimizers), ""))
        is_turn = self.in_script or self.position.optimizer in turns
        return None if self.position.rest is Rest.READY and is_turn else self._only_between_steps()

    def check_up_refusal(self) -> str | None:
        """Why no check-up can be made now, as a short sentence; None if it can."""
        reason = self._engine_refusal()
        if reason is None and self.is_attached:
            return "gradscope.watch: this process is not the window's own, and is only looked at"
        reason = reason or self.at_rest_refusal()
        if reason is not None:
            return reason
        if not self.findings.is_watching:
            return "Opened without findings: turn them on in the settings, then press Reset"
        if self.position.rest is Rest.ENDED:
            return "The script has ended: there is no training to try anything on"
        return None if self.position.rest is Rest.READY else self._only_between_steps()

    def going_back_refusal(self, step: int | None = None) -> str | None:
        """Why the training cannot be taken back (to before that step) now, as a short sentence; None if it can."""
        reason = self._engine_refusal() or self.never(Ability.GO_BACK)
        if reason is None and (self.position.rest in (Rest.EMPTY, Rest.ENDED) or self.position.running):
            reason = refusal(self.position.rest, Verb.RUN, running=self.position.running)
        return reason or self.timeline.refusal(step)

    def again_refusal(self) -> str | None:
        """Why the script cannot be run again to an earlier step, as a short sentence; None if it can: wherever Reset can be
        pressed, also where the script has ended, or its engine has died."""
        if self.snapshot is None and not self.in_script:
            return "No script is open"
        return self.refusal(Verb.RESET)

    def weights_refusal(self, step: int) -> str | None:
        """Why the weights of before an earlier step cannot be put back now, as a short sentence; None if they can."""
        reason = self._engine_refusal()
        if reason is None and not self.in_script:
            return "Of a recipe all can be taken back: take the training there"
        if reason is None and self.is_attached:
            return "gradscope.watch: this process is not the window's own, and is only looked at"
        if reason is None and (self.position.rest in (Rest.EMPTY, Rest.ENDED) or self.position.running):
            reason = refusal(self.position.rest, Verb.RUN, running=self.position.running, in_script=True)
        if reason is None and self.position.rest is not Rest.READY:
            reason = self._only_between_steps()
        return reason or self.timeline.weights_refusal(step)

    def recomputing_refusal(self, step: int) -> str | None:
        """Why the values of an earlier step cannot be computed again now, as a short sentence; None if they can."""
        reason = self.going_back_refusal(step)
        if reason is None and self.position.rest not in AT_REST:
            reason = "Only between two phases: finish this one first"
        return reason

    def trial_refusal(self, *, probes: bool = False) -> str | None:
        """Why no step can be tried now, as a short sentence; None if it can. `probes`: why no batch can be pinned, or run
        again."""
        reason = self._engine_refusal()
        if reason is None and self.is_attached and probes:
            return "gradscope.watch: this process is not the window's own, and is only looked at"
        if reason is None and self.in_script and not probes:
            return "Only a recipe's step can be tried: a script owns its loop"
        position = self.position
        if reason is None and (position.rest not in AT_REST or position.running):
            reason = refusal(position.rest, Verb.RUN, running=position.running, in_script=self.in_script)
            reason = reason or "Only between two phases: finish this one first"
        if reason is not None:
            return reason
        if position.rest is Rest.READY and (not position.step or self.what_if.is_batch_gone):
            return "There is no batch yet: press Forward first"
        in_window = position.rest is Rest.ACCUMULATING or (position.rest is Rest.FORWARD and position.micro > 0)
        if in_window and not self.in_script:
            return "Not in the middle of an accumulation: go on to its last backward"
        return None

    def evaluate_refusal(self) -> str | None:
        """Why nothing can be evaluated now, as a short sentence; None if it can. That can be done inside a phase too."""
        if self.snapshot is not None:
            return "This is a snapshot: it has numbers, and no Python to evaluate"
        reason = self._engine_refusal()
        if reason is None and self.session is None:
            return "Open a script or a recipe first"
        if reason is None and self.position.rest is Rest.EMPTY:
            return "The session is gone: press Reset"
        if reason is None and self.position.running:
            return "Training is running: press Pause first"
        return reason

    def capture_refusal(self) -> str | None:
        """Why the level of capture cannot be changed now, as a short sentence; None if it can.

        Between two steps; in a script, between two phases.
        """
        reason, position = self._engine_refusal(), self.position
        if reason is None and (position.rest in (Rest.EMPTY, Rest.ENDED) or position.running):
            reason = refusal(position.rest, Verb.RUN, running=position.running, in_script=self.in_script)
        if reason is None and self.in_script and position.rest not in AT_REST:
            reason = "Only between two phases: press Next to finish this one"
        if reason is None and not self.in_script and position.rest is not Rest.READY:
            reason = self._only_between_steps()
        return reason

    def reproduce_refusal(self) -> str | None:
        """Why no script can be written that comes to this moment, as a short sentence; None if it can (the engine may still
        find something that a script cannot repeat)."""
        reason = self._engine_refusal() or self.never(Ability.REPRODUCE) or self.at_rest_refusal()
        if reason is None and self.position.rest in INSIDE.values():
            return f"Stopped {self.position.rest.value}: finish that phase first"
        if reason is None and self.position.step == 0 and self.position.rest is Rest.READY:
            return "There is no loss yet that a script could print: press Forward first"
        return reason

    def best_refusal(self) -> str | None:
        """Why the best weights cannot be saved now; None if they can."""
        reason = self._engine_refusal() or self.never(Ability.SAVE_CHECKPOINT) or self.at_rest_refusal()
        if reason is None and not self.has_best_weights:
            if self.in_script:
                return "There are no best weights: they are those of a recipe's best validation"
            return "There are no best weights: a validation gives them, where the recipe has a best_metric"
        return reason

    # ------------------------------------------------------------------------------------------ private

    def _engine_refusal(self) -> str | None:
        if self.snapshot is not None:
            return "This is a snapshot: it cannot be trained"
        if self.awaited is not None:
            return "The script has not come to its first training step"
        if self.engine.status is EngineStatus.STARTING:
            return "The engine is starting"
        if self.engine.status is not EngineStatus.READY and self.engine.is_attached:
            return f"Nothing is connected any more. {RUN_THE_CELL_AGAIN}"
        if self.engine.status is not EngineStatus.READY:
            return "The engine is not running: restart it from the Session menu"
        return "A recipe is being opened" if self.opening is not None else self._beside_refusal()

    def _beside_refusal(self) -> str | None:
        """What runs beside the training is no training: it is cancelled, and not paused."""
        if self.console.running is not None:
            return "Something is being evaluated: interrupt it first"
        if self.what_if.running is not None:
            return "Something is being tried: cancel it first"
        return "A check-up is being made: cancel it first" if self.findings.is_checking else None

    def _only_between_steps(self) -> str:
        how = "press Step to complete this one" if self.in_script else "press Next batch to complete this one"
        return f"Only between two steps: {how}"
