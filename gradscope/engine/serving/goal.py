"""What a session is on its way to: the Go of the app that is being worked on, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.stops.stride import STRIDES
from gradscope.protocol.messages import Go
from gradscope.protocol.phases import Phase, Position, Rest, RunUntil, Verb


@dataclass(frozen=True)
class Goal:
    """The Go that is being worked on: where it ends."""

    number: int
    verb: Verb
    until_step: int | None = None
    until_epoch: int | None = None
    first_optimizer: str = ""
    """Whose turn begins a batch."""
    stops_at_nonfinite: bool = False
    """It ends where the training's first NaN or Inf is found."""

    @staticmethod
    def of(number: int, go: Go, position: Position, *, first_optimizer: str) -> Goal:
        """`position` is where it begins."""
        is_run = go.verb is Verb.RUN
        return Goal(
            number,
            go.verb,
            until_step=position.step + go.steps if is_run and go.until is RunUntil.STEPS else None,
            until_epoch=position.epoch + 1 if is_run and go.until is RunUntil.EPOCH else None,
            first_optimizer=first_optimizer,
            # A phase that is asked for by itself ends anyway.
            stops_at_nonfinite=go.verb in (Verb.RUN, Verb.NEXT_BATCH) and not go.keep_going,
        )

    def is_met(self, position: Position) -> bool:
        if self.verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP, Verb.VALIDATE) or self.verb in STRIDES:
            return True
        if position.rest is not Rest.READY:
            return False
        if self.verb is Verb.NEXT_BATCH:
            return position.optimizer == self.first_optimizer
        if self.until_step is not None:
            return position.step >= self.until_step
        return self.until_epoch is not None and position.epoch >= self.until_epoch

    def stops_at(self, report: object) -> bool:
        """Whether what a phase has shown is a reason to stop on the way: the first NaN or Inf."""
        return self.stops_at_nonfinite and isinstance(report, PhaseReport) and report.first_nonfinite is not None

    def ends_with_next_step(self, position: Position) -> bool:
        """Whether the step that begins now is the last one (as far as can be known)."""
        if self.verb is not Verb.RUN:
            return True
        if self.until_step is not None:
            return position.step + 1 >= self.until_step
        if self.until_epoch is not None and position.batches_per_epoch is not None:
            return position.epoch + 1 >= self.until_epoch and position.batch + 1 >= position.batches_per_epoch
        return False


@dataclass(frozen=True)
class ScriptGoal:
    """The same in a script, which runs on to it by itself."""

    number: int
    verb: Verb
    until_step: int | None = None
    stops_at_nonfinite: bool = False

    @staticmethod
    def of(number: int, go: Go, position: Position) -> ScriptGoal:
        is_counted = go.verb is Verb.RUN and go.until is RunUntil.STEPS
        return ScriptGoal(
            number,
            go.verb,
            until_step=position.step + go.steps if is_counted else None,
            stops_at_nonfinite=go.verb is Verb.RUN and not go.keep_going,
        )

    def is_met(self, phase: Phase, position: Position) -> bool:
        """When `phase` has ended, and the script stands there."""
        if self.verb is Verb.NEXT or self.verb in STRIDES:
            return True
        if self.verb is not Verb.RUN:
            return self.verb.value == phase.value
        return self.until_step is not None and phase is Phase.STEP and position.step >= self.until_step

    def ends_with_next_step(self, position: Position) -> bool:
        """Whether the step that begins now is the last one, as far as can be known."""
        return self.verb is not Verb.RUN or (self.until_step is not None and position.step + 1 >= self.until_step)
