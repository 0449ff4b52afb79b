"""What a step does when it has moved the parameters: validate at the end of an epoch, set the next rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradscope.engine.capture.observer import Observer
from gradscope.engine.recipe.fields import TRAIN_LOSS
from gradscope.engine.stepping.training import RecipeTurn, Training
from gradscope.engine.stepping.validation import Validator
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.messages import Validated


class EpochEnd:
    """The validation and the schedulers of one training, and the losses of the epoch that a scheduler may go by."""

    def __init__(
        self,
        training: Training,
        validator: Validator | None,
        observer: Observer,
        user_code: Callable[[], AbstractContextManager[None]],
        *,
        epoch: int,
    ) -> None:
        self._training, self._validator, self._observer, self._user_code = training, validator, observer, user_code
        self.validation: Validated | None = None
        """Of the newest step, where it ended an epoch."""
        self.broken_off: BaseException | None = None
        """What broke off the validation of a step that could not be undone, and so was completed."""
        self._losses: dict[str, tuple[float, int]] = {}
        self._epoch = epoch

    def begin_step(self) -> None:
        self.validation = self.broken_off = None

    # ------------------------------------------------------------------------------------------ losses

    @property
    def losses(self) -> dict[str, tuple[float, int]]:
        """Of each turn: the sum and the number of the epoch's losses so far."""
        return dict(self._losses)

    def begin_batch(self, epoch: int) -> None:
        """A batch of that epoch was loaded."""
        if self._epoch != epoch:
            # The pass before was lost: its losses do not belong to this one.
            self._losses.clear()
            self._epoch = epoch

    def note_losses(self, turn: RecipeTurn, losses: Sequence[float]) -> None:
        """A step of that turn is done."""
        self._losses[turn.name] = self._sum_of(turn, losses)

    def forget_losses(self) -> None:
        """Another epoch begins."""
        self._losses.clear()

    def continue_at(self, epoch: int, losses: dict[str, tuple[float, int]]) -> None:
        self.validation, self.broken_off = None, None
        self._losses, self._epoch = dict(losses), epoch

    def _sum_of(self, turn: RecipeTurn, losses: Sequence[float]) -> tuple[float, int]:
        """With those of a step under way."""
        total, count = self._losses.get(turn.name, (0.0, 0))
        for loss in losses:
            total, count = total + loss, count + 1
        return total, count

    # ------------------------------------------------------------------------------------------ validation

    @property
    def has_validation(self) -> bool:
        return self._validator is not None

    def close(self) -> None:
        """There is no other pass over the validation data."""
        if self._validator is not None:
            self._validator.close()

    def validate(self, *, after: int, epoch: int, copies_parameters: bool) -> Validated:
        """One pass over the validation data after step `after`; training is untouched by it."""
        assert self._validator is not None
        with self._observer.lifted():
            return self._validator.run(step=after, epoch=epoch, copies_parameters=copies_parameters)

    def validate_step(self, number: int, epoch: int, *, can_be_undone: bool) -> list[str]:
        """The validation of a step that ends an epoch, into `validation`; what is to be said of it is returned.

        Where the step cannot be undone, it stands without its validation."""
        try:
            validation = self.validate(after=number, epoch=epoch, copies_parameters=can_be_undone)
        except BaseException as error:
            if can_be_undone or self._is_needed:
                raise
            if is_interruption(error):
                self.broken_off = error
                return []
            return [f"The validation after this step failed, and was left out: {describe_error(error)}"]
        self.validation = replace(validation, notes=())
        return list(validation.notes)

    @property
    def _is_needed(self) -> bool:
        """A scheduler is stepped with its result."""
        schedulers = [turn.scheduler for turn in self._training.turns]
        is_plateau = any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in schedulers)
        return is_plateau and self._training.scheduler_metric != TRAIN_LOSS

    # ------------------------------------------------------------------------------------------ schedule

    def schedule(self, turn: RecipeTurn, losses: Sequence[float], *, ends_epoch: bool, is_skipped: bool) -> None:
        """Step the schedulers whose time it is, in a step of `turn` with these losses of its micro-batches."""
        if self._training.scheduler_unit == "epoch":
            for other in self._training.turns if ends_epoch else ():
                self._step_scheduler(other, losses if other is turn else ())
        elif not is_skipped:
            self._step_scheduler(turn, losses)

    def _step_scheduler(self, turn: RecipeTurn, losses: Sequence[float]) -> None:
        scheduler = turn.scheduler
        if scheduler is None:
            return
        with self._user_code():
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(self._metric(turn, losses))
            else:
                scheduler.step()

    def _metric(self, turn: RecipeTurn, losses: Sequence[float]) -> float:
        metric = self._training.scheduler_metric
        if metric != TRAIN_LOSS:
            assert self.validation is not None
            return self.validation.value(metric)
        total, count = self._sum_of(turn, losses)
        return total / count if count else float("nan")
