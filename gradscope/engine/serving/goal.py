"""What a session is on its way to: the Go of the app that is being worked on, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.messages import Go
from gradscope.protocol.phases import Position, Rest, RunUntil, Verb


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
        if self.verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP, Verb.VALIDATE):
            return True
        if position.rest is not Rest.READY:
            return False
        if self.verb is Verb.NEXT_BATCH:
            return position.optimizer == self.first_optimizer
        if self.until_step is not None:
            return position.step >= self.until_step
        return self.until_epoch is not None and position.epoch >= self.until_epoch

    def ends_with_next_step(self, position: Position) -> bool:
        """Whether the step that begins now is the last one (as far as can be known)."""
        if self.verb is not Verb.RUN:
            return True
        if self.until_step is not None:
            return position.step + 1 >= self.until_step
        if self.until_epoch is not None and position.batches_per_epoch is not None:
            return position.epoch + 1 >= self.until_epoch and position.batch + 1 >= position.batches_per_epoch
        return False
