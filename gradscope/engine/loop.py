"""The training step of the determinism contract (see `Recipe`), in the bodies of its three phases, and the undoing of each.

Capture hangs on it from outside (`observer`), and so does pausing (`observer.passing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradscope.engine import notes
from gradscope.engine.advice import asks_for_closure
from gradscope.engine.batches import BatchSource
from gradscope.engine.checks import checked_loss, input_and_target, loss_of, or_nan
from gradscope.engine.clipping import clip_gradients
from gradscope.engine.devices import copy_batch
from gradscope.engine.foreign_leaves import ForeignLeaves
from gradscope.engine.observer import Observer
from gradscope.engine.own_moves import OwnMoves
from gradscope.engine.parameters import PreviousValues, is_uninitialised
from gradscope.engine.quantities.values import at_least_float32
from gradscope.engine.randomness import RandomStates
from gradscope.engine.recipe import TRAIN_LOSS
from gradscope.engine.schedule import Timing
from gradscope.engine.training import Training, Turn, groups_of
from gradscope.engine.undo import ForwardUndo, GradientUndo, StepUndo
from gradscope.engine.unwinding import is_interruption
from gradscope.engine.usercode import describe_error
from gradscope.engine.validation import Validator
from gradscope.protocol.messages import Clip, Validated
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectKind


@dataclass
class Window:
    """The micro-batches whose gradients are added up before a step."""

    size: int = 1
    """Also the divisor of the loss. The last window of a loader without a length may end before."""
    micro: int = 0
    """Index of the current micro-batch, or the next one."""
    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    batches: list[Any] = field(default_factory=list)
    """On the device; kept only for an optimizer that evaluates the loss again."""

    @property
    def mean_loss(self) -> float | None:
        return sum(self.losses) / len(self.losses) if self.losses else None


class Loop:
    """One phase after the other. What each has come to is in the attributes until the next one begins."""

    def __init__(
        self,
        training: Training,
        batches: BatchSource,
        observer: Observer,
        device: torch.device,
        validator: Validator | None,
    ) -> None:
        self.training = training
        self.batches = batches
        self.in_user_code = False
        """True while the user's code runs: only then may an interruption raise wherever it happens to be."""
        self._user_code = _UserCode(self)
        self.batch: Any = None
        """The newest batch, on the device."""
        self.loss: float | None = None
        """Of the newest micro-batch, not divided by the window."""
        self.scale: float | None = None
        """What the loss and so the gradients are multiplied with; None without a scaler."""
        self.clip: Clip | None = None
        """Of the newest step, until the next forward."""
        self.substep = SubStep.BATCH
        """What is under way, or was the last to be."""
        self.is_skipped = False
        self.evaluations = 0
        self.notes: list[str] = []
        self.validation: Validated | None = None
        """Of the newest step, where it ended an epoch."""
        self.window = Window(size=_window_size(training, batches))
        self._turn = 0
        self._done = -1
        self._movable: dict[str, Tensor] = {}
        self._clipped: dict[str, Tensor] = {}
        self.are_clipped_changed = False
        """The optimizer may have changed the clipped gradients in its step."""
        self._observer = observer
        self._device = device
        self._validator = validator
        self._graph: Tensor | None = None
        self._epoch_losses: dict[str, tuple[float, int]] = {}
        self._losses_epoch = batches.epoch
        self._forward_undo = ForwardUndo(training.modules)
        self._closure_undo = ForwardUndo(training.modules)
        self._own_moves = OwnMoves(training)
        self._foreign_leaves = ForeignLeaves(training)
        self._gradients_before: dict[str, tuple[int, int]] | None = None
        """Where a forward does not begin with cleared gradients: which there were."""
        self._holdings = notes.Holdings.of(training, observer.tensors())
        """What is apart at the start was told then."""
        self._older_gradients = GradientUndo()
        self._step_undo = StepUndo(training)
        self._seen_gradients = GradientUndo()
        """As the backward left them: the step may unscale and clip them."""
        self._touched: set[str] = set()
        """Whose gradients this window's backwards have changed."""
        self._scaled_names: set[str] = set()
        """Whose gradients, as the backward left them, carry the loss scale."""
        self._unscaled: set[str] = set()
        """Those of them that the newest step has unscaled since."""
        self._has_moved = False
        """The optimizer has begun to move the parameters in this step."""
        self._are_gradients_lost = False
        """The step has changed gradients of which no copy is kept."""
        self.broken_off: BaseException | None = None
        """What broke off the validation of a step that could not be undone, and so was completed."""

    @property
    def turn(self) -> Turn:
        """Whose step this is."""
        return self.training.turns[self._turn]

    @property
    def is_last_turn(self) -> bool:
        return self._turn + 1 == len(self.training.turns)

    @property
    def keeps_copies(self) -> bool:
        """Of what a step changes: parameters, gradients, the optimizer's state."""
        return not self._observer.capture.is_off

    @property
    def step_undo(self) -> StepUndo:
        """What options and state were before the newest step."""
        return self._step_undo

    @property
    def forward_states(self) -> RandomStates | None:
        """The random states that the newest forward began with, its batch loaded; None before the first."""
        return self._forward_undo.states

    @property
    def own_moves(self) -> OwnMoves:
        """What the newest forward has moved by itself."""
        return self._own_moves

    @property
    def forward_undo(self) -> ForwardUndo:
        """What the buffers were when the newest forward began."""
        return self._forward_undo

    # ------------------------------------------------------------------------------------------ forward

    def forward(self) -> None:
        passing, elapsed, turn = self._observer.passing, self._observer.elapsed, self.turn
        self.notes, self.clip, self.substep = [], None, SubStep.BATCH
        self._forget_seen()
        self._own_moves.forget()
        self._forward_undo.remember()
        start = elapsed()
        with self.user_code():
            loaded = self.batches.current(self._forward_undo.states)
        self.batch = copy_batch(loaded, self._device)
        self._forward_undo.remember_random_states()
        passing(SubStep.BATCH, start=start)
        self.substep = SubStep.FORWARD
        if self._losses_epoch != self.batches.epoch:
            # The pass before was lost: its losses do not belong to this one.
            self._epoch_losses.clear()
            self._losses_epoch = self.batches.epoch
        if self.window.micro == 0:
            self._touched.clear()
            self.window = Window(size=_window_size(self.training, self.batches), epoch=self.batches.epoch)
            if self.training.zero_grad == "auto":
                self._clear_gradients(turn)
                passing(SubStep.ZERO_GRAD)
        is_first, is_cleared = self.window.micro == 0, self.training.zero_grad == "auto"
        is_clear = is_first and is_cleared
        # Where nothing is cleared, a gradient may be of an earlier step or of this forward.
        self._gradients_before = (
            {name: _identity(tensor.grad) for name, tensor in (self._movable or self.movable()).items()}
            if is_first and not is_cleared
            else None
        )
        self._own_moves.begin(turn, self._observer.known_tensors(), are_gradients_clear=is_clear)
        try:
            self._graph = checked_loss(self._loss_of(turn, self.batch))
        finally:
            self._own_moves.end()
        self.loss = float(self._graph.detach())
        self.notes += self._own_moves.notes()
        self.notes += self._foreign_leaves.look(turn, self._graph, self._observer.known_tensors().values())
        passing(SubStep.LOSS)

    def _loss_of(self, turn: Turn, batch: Any) -> Any:
        passing, elapsed, training = self._observer.passing, self._observer.elapsed, self.training
        start = elapsed()
        with training.autocast():
            if turn.training_step is not None:
                with self.user_code():
                    loss = loss_of(turn.training_step(training.model, batch))
                passing(SubStep.FORWARD, start=start)
                self.substep = SubStep.LOSS
                return loss
            x, target = input_and_target(batch)
            assert callable(training.model) and training.loss is not None
            with self.user_code():
                output = training.model(x)
            passing(SubStep.FORWARD, start=start)
            self.substep = SubStep.LOSS
            with self.user_code():
                return training.loss(output, target)

    def undo_forward(self) -> str:
        told = [f"The forward was undone: buffers and random states are as before, and {self.batches.fate}"]
        return ". ".join([*told, *self._restore_forward()])

    def _restore_forward(self) -> list[str]:
        """Sentences about what a forward is not expected to do."""
        self._forward_undo.restore()
        self._graph = None
        self.loss = None
        if self.window.micro and self.window.epoch != self.batches.epoch:
            # The batch was lost with its epoch: a window does not go on in the next.
            self.window = Window(size=_window_size(self.training, self.batches))
        return self._own_moves.restore()

    # ------------------------------------------------------------------------------------------ backward

    def backward(self) -> bool:
        """True if the window's gradients are complete; else the next micro-batch adds to them."""
        assert self._graph is not None
        self.substep = SubStep.BACKWARD
        movable = self.movable()
        self._older_gradients.remember(movable)
        self.notes = self._stale_gradients(movable) if self.window.micro == 0 else []
        scaler = self.training.scaler
        # Who was touched matters only where gradients of several kinds lie beside each other.
        is_noted = scaler is not None or len(self.training.turns) > 1
        before = {name: _identity(tensor.grad) for name, tensor in movable.items()} if is_noted else {}
        self.scale = None if scaler is None else float(scaler.get_scale())
        self._observer.gradient_scale = self.scale
        start = self._observer.elapsed()
        with self.user_code():
            self.differentiated(self._graph).backward()
        self._graph = None
        if is_noted:
            self._note_touched(before, movable)
        self._observer.passing(SubStep.BACKWARD, start=start)
        is_complete = self._is_complete()
        if self._has_reached_nothing():
            self.notes.append(notes.nothing_reached(self.turn))
        # Nothing can go wrong any more.
        self._older_gradients.forget(keep_memory=self.window.size > 1)
        return is_complete

    def _stale_gradients(self, movable: dict[str, Tensor]) -> list[str]:
        gradients = {name: tensor.grad for name, tensor in movable.items() if tensor.grad is not None}
        if not gradients:
            return []
        before = self._gradients_before
        if before is None:
            # They were cleared when the forward began; those of others, who had none to be cleared, tell nothing.
            own = {id(tensor) for tensor in self.turn.parameters}
            new = {name for name in gradients if id(movable[name]) in own}
        else:
            new = {name for name, gradient in gradients.items() if before.get(name) != _identity(gradient)}
        self._own_moves.calls_backward = bool(new)
        return notes.stale_gradients(self.training, self.turn, movable, of_this_forward=new)

    def _has_reached_nothing(self) -> bool:
        """As far as the hooks on parameters tell: with capture off there are none."""
        capture, groups = self._observer.capture, self.turn.optimizer.param_groups
        if any(tensor.grad is not None for group in groups for tensor in group["params"]):
            return False
        # A hook of the user's may have stepped the optimizer, and dropped the gradient.
        return not (capture.is_off or capture.is_partial or self.own_names().intersection(self._observer.reached))

    def differentiated(self, loss: Tensor) -> Tensor:
        """What the backward of a micro-batch with this loss starts from."""
        return self._scaled(self._divided(loss))

    def own_batch(self) -> Any:
        """A copy of the current batch as it was loaded: a forward may have written into its own."""
        return copy_batch(self.batches.loaded(), self._device)

    def _divided(self, loss: Tensor) -> Tensor:
        return loss / self.window.size if self.window.size > 1 else loss

    def _scaled(self, loss: Tensor) -> Tensor:
        scaler = self.training.scaler
        return loss if scaler is None else scaler.scale(loss)

    def _is_complete(self) -> bool:
        if self.window.micro + 1 == self.window.size:
            return True
        with self.user_code():
            return self.batches.is_last()

    def finish_micro_batch(self, *, is_complete: bool) -> None:
        """After a backward: note its loss, and go on to the next micro-batch if there is one in this window."""
        self.window.losses.append(or_nan(self.loss))
        if self.turn.needs_closure or self.turn.may_need_closure:
            self.window.batches.append(self.batch)
        if not is_complete:
            self.window.micro += 1
            self.batches.advance()

    def undo_backward(self) -> str:
        self._older_gradients.restore()
        told = [
            "The backward was undone, and its forward, whose graph is used up: the same batch is ready for a new forward"
        ]
        return ". ".join([*told, *self._restore_forward()])

    # ------------------------------------------------------------------------------------------ step

    def step(self, number: int) -> None:
        """Step `number`: unscale, clip, move the parameters, set the next scale, validate, set the next rate."""
        passing, elapsed, training = self._observer.passing, self._observer.elapsed, self.training
        self.notes, self.clip, self.is_skipped, self.evaluations, self.validation = [], None, False, 0, None
        self.substep = SubStep.STEP
        self._remember_step()
        self.notes += notes.Holdings.of(training, self._observer.tensors()).changes(self._holdings)
        turn, scaler = self.turn, training.scaler
        if scaler is not None:
            start, self.substep = elapsed(), SubStep.UNSCALE
            scaler.unscale_(turn.optimizer)
            self._unscaled = self.own_names()
            passing(SubStep.UNSCALE, start=start)
        if training.clips:
            start, self.substep = elapsed(), SubStep.CLIP
            self.clip = self._clip(turn)
            # Each evaluation of a closure has clipped gradients of its own.
            self._clipped = {} if turn.needs_closure else self._clipped_by_name(turn)
            self.are_clipped_changed = turn.may_change_gradients
            for key, gradient in self.clipped():
                self._observer.note(key, gradient)
            passing(SubStep.CLIP, start=start)
        start, self.substep = elapsed(), SubStep.STEP
        self._has_moved = True
        if scaler is None and turn.may_need_closure:
            self._step_with_or_without_closure(turn)
        else:
            with self.user_code():
                if scaler is not None:
                    scaler.step(turn.optimizer)
                elif turn.needs_closure:
                    turn.optimizer.step(self._closure)  # type: ignore[arg-type]
                else:
                    turn.optimizer.step()
        passing(SubStep.STEP, start=start)
        if scaler is not None:
            self.substep = SubStep.UPDATE
            scaler.update()
            self.is_skipped = float(scaler.get_scale()) < or_nan(self.scale)
            passing(SubStep.UPDATE)
        self.substep = SubStep.BATCH
        ends_epoch = self.is_last_turn and self._is_last_batch()
        if ends_epoch and self._validator is not None:
            start, self.substep = elapsed(), SubStep.VALIDATE
            self._validate_after(number)
            passing(SubStep.VALIDATE, start=start)
        start, self.substep = elapsed(), SubStep.SCHEDULE
        self._schedule(ends_epoch=ends_epoch)
        passing(SubStep.SCHEDULE, start=start)

    def _step_with_or_without_closure(self, turn: Turn) -> None:
        """The first step of an optimizer whose signature leaves it open: without, and with one where that fails for it."""
        versions = [tensor._version for tensor in self._movable.values()]
        try:
            with self.user_code():
                turn.optimizer.step()
        except Exception as error:
            is_untouched = versions == [tensor._version for tensor in self._movable.values()]
            if not asks_for_closure(error) or not (is_untouched or self.keeps_copies):
                raise
            self._restore_step()
            turn.settle_closure(is_needed=True)
            self._remember_step()
            if self.training.clips:
                self.clip, self._clipped = self._clip(turn), {}
            self._has_moved = True
            with self.user_code():
                turn.optimizer.step(self._closure)  # type: ignore[arg-type]
            self.notes.append(
                f"{type(turn.optimizer).__name__}.step() is given a closure from now on: without one it failed "
                f"({describe_error(error)})"
            )
        else:
            turn.settle_closure(is_needed=False)

    def _validate_after(self, number: int) -> None:
        """The validation of a step that ends an epoch. Where the step could not be undone, it stands without it."""
        try:
            validation = self._validate(after=number)
            self.validation = replace(validation, notes=())
            self.notes += validation.notes
        except BaseException as error:
            if self.keeps_copies or self._needs_validation:
                raise
            if is_interruption(error):
                self.broken_off = error
                return
            self.notes.append(f"The validation after this step failed, and was left out: {describe_error(error)}")

    @property
    def _needs_validation(self) -> bool:
        """A scheduler is stepped with its result."""
        schedulers = [turn.scheduler for turn in self.training.turns]
        is_plateau = any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in schedulers)
        return is_plateau and self.training.scheduler_metric != TRAIN_LOSS

    def _is_last_batch(self) -> bool:
        """Where the loader does not know its length, the next batch is asked for."""
        with self.user_code():
            is_last = self.batches.is_last()
        if not self.batches.is_exact:
            self._step_undo.remember_random_states()
        return is_last

    def _remember_step(self) -> None:
        # Until all copies are complete there is nothing to put back.
        self._observer.previous.forget()
        self._step_undo.forget()
        self._closure_undo.forget()
        self._seen_gradients.forget(keep_memory=True)
        self._has_moved, self.broken_off = False, None
        self._movable = self.movable()
        turn, training = self.turn, self.training
        is_changing = training.clips or training.scaler is not None or turn.needs_closure or turn.may_change_gradients
        if not self.keeps_copies:
            self._are_gradients_lost = is_changing
            self._step_undo.remember(turn, with_state=False)
            return
        if is_changing:
            self._seen_gradients.remember(self._movable)
        if turn.needs_closure:
            self._closure_undo.remember()
        self._step_undo.remember(turn)
        self._observer.previous.remember(self._movable)

    def _clip(self, turn: Turn) -> Clip:
        return clip_gradients(self._clipped_by_name(turn), self.training.clip_norm, self.training.clip_value)

    def _clipped_by_name(self, turn: Turn) -> dict[str, Tensor]:
        """In torch's order, on which the last digit of the norm depends."""
        names = {id(tensor): name for name, tensor in self._movable.items()}
        clipped = self.training.clipped_parameters(turn)
        return {names[id(tensor)]: tensor for tensor in clipped if id(tensor) in names}

    def _closure(self) -> Tensor:
        """The loss and its gradients at the parameters as they are now. The first time, the phases have computed them."""
        self.evaluations += 1
        if self.evaluations == 1:
            return _number(or_nan(self.window.mean_loss))
        with torch.enable_grad(), self._observer.muted():
            if self.training.zero_grad == "auto":
                self.turn.optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for batch in self.window.batches:
                loss = checked_loss(self._loss_again(batch))
                total += float(loss.detach())
                self._divided(loss).backward()
            if self.training.clips:
                self._clip(self.turn)
        return _number(total / len(self.window.batches))

    def _loss_again(self, batch: Any) -> Any:
        training, turn = self.training, self.turn
        with training.autocast():
            if turn.training_step is not None:
                return loss_of(turn.training_step(training.model, batch))
            x, target = input_and_target(batch)
            assert callable(training.model) and training.loss is not None
            return training.loss(training.model(x), target)

    def _schedule(self, *, ends_epoch: bool) -> None:
        if self.training.scheduler_unit == "epoch":
            for turn in self.training.turns if ends_epoch else ():
                self._step_scheduler(turn)
        elif not self.is_skipped:
            self._step_scheduler(self.turn)

    def _step_scheduler(self, turn: Turn) -> None:
        scheduler = turn.scheduler
        if scheduler is None:
            return
        with self.user_code():
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(self._scheduler_metric(turn))
            else:
                scheduler.step()

    def _scheduler_metric(self, turn: Turn) -> float:
        metric = self.training.scheduler_metric
        if metric != TRAIN_LOSS:
            assert self.validation is not None
            return self.validation.value(metric)
        total, count = self._epoch_losses.get(turn.name, (0.0, 0))
        if turn is self.turn:
            total, count = self._with_window(total, count)
        return total / count if count else float("nan")

    def _with_window(self, total: float, count: int) -> tuple[float, int]:
        for loss in self.window.losses:
            total, count = total + loss, count + 1
        return total, count

    def finish_step(self, number: int) -> None:
        """Step `number` is done: its batch too, after the last turn."""
        self._done = number
        self._epoch_losses[self.turn.name] = self._with_window(*self._epoch_losses.get(self.turn.name, (0.0, 0)))
        if self.is_last_turn:
            self.batches.advance()
            if self.batches.index == 0:
                self._epoch_losses.clear()
        self._turn = (self._turn + 1) % len(self.training.turns)
        self.window = Window(size=_window_size(self.training, self.batches), epoch=self.batches.epoch)

    def undo_step(self) -> str:
        if not self.keeps_copies and (self._has_moved or self._are_gradients_lost):
            raise NothingKept("with capture off, no copy of the parameters is kept")
        self._restore_step()
        undone = "The step was undone: parameters, gradients, rates and schedule are as before"
        return f"{undone}; {self.batches.fate}" if self.batches.is_broken_off else undone

    def _restore_step(self) -> None:
        """What `_remember_step` has copied, as far as it has."""
        self._observer.previous.restore()
        self._seen_gradients.restore()
        self._unscaled = set()
        self._closure_undo.restore()
        self._step_undo.restore()

    # ------------------------------------------------------------------------------------------ beside the phases

    def renew_window(self) -> None:
        """Before its first forward, a window takes the size that is set now."""
        self.window = Window(size=_window_size(self.training, self.batches), epoch=self.batches.epoch)

    def zero_grad(self) -> None:
        """Clear the gradients of the optimizer whose turn it is."""
        self._forget_seen()
        self._clear_gradients(self.turn)

    def _forget_seen(self) -> None:
        """From here on a gradient is what `.grad` says, not what a backward had left."""
        self._seen_gradients.forget(keep_memory=True)
        self._scaled_names -= self._unscaled
        self._unscaled = set()
        self._are_gradients_lost = False

    def _clear_gradients(self, turn: Turn) -> None:
        turn.optimizer.zero_grad(set_to_none=True)
        if self._scaled_names:
            cleared = {id(tensor) for tensor in turn.parameters}
            self._scaled_names -= {name for name, tensor in self._movable.items() if id(tensor) in cleared}

    def validate(self) -> Validated:
        """One pass over the validation data; training is untouched by it."""
        return self._validate(after=self._done)

    def _validate(self, *, after: int) -> Validated:
        assert self._validator is not None
        with self._observer.lifted():
            return self._validator.run(step=after, epoch=self.batches.epoch, copies_parameters=self.keeps_copies)

    @property
    def epoch_losses(self) -> dict[str, tuple[float, int]]:
        """Of each turn: the sum and the number of the epoch's losses so far."""
        return dict(self._epoch_losses)

    def continue_at(self, step: int, batches: BatchSource, epoch_losses: dict[str, tuple[float, int]]) -> None:
        """Stand before step `step` and the current batch of `batches`, with nothing left of another step."""
        if batches is not self.batches:
            self.batches.close()
        self._forget()
        self.batches = batches
        self.notes, self.validation = [], None
        self.loss = self.scale = self.clip = self._observer.gradient_scale = None
        self.evaluations, self.is_skipped = 0, False
        self.window = Window(size=_window_size(self.training, batches), epoch=batches.epoch)
        self._observer.previous.forget()
        self._turn, self._done = 0, step - 1
        self._epoch_losses = dict(epoch_losses)
        self._losses_epoch = batches.epoch
        self._movable = self.movable()

    def timing(self, *, steps_done: int = 0) -> Timing:
        """Where the next step is (the one after `steps_done` more)."""
        turns, length = len(self.training.turns), self.batches.length
        turn = (self._turn + steps_done) % turns
        if length is None:
            return Timing(turn=turn, steps_to_epoch_end=None, steps_per_epoch=None)
        per_epoch = turns * -(-length // self.training.accumulate)
        # The window under way may be of another size than those to come.
        after_window = length - (self.batches.index - self.window.micro) - self.window.size
        windows = 1 + -(-max(0, after_window) // self.training.accumulate)
        to_end = max(turns * windows - self._turn - steps_done, 0) or per_epoch
        return Timing(turn=turn, steps_to_epoch_end=to_end, steps_per_epoch=per_epoch)

    def gradient(self, name: str, tensor: Tensor) -> Tensor | None:
        """`.grad` as the newest backward left it: unclipped, and divided by the loss scale. None where there is none.

        Raises NothingKept where the step has changed it and capture is off.
        """
        if self._are_gradients_lost and tensor.grad is not None:
            raise NothingKept("Capture is off: the gradient as the backward left it is not kept")
        gradient = self._seen_gradients.get(name)
        if gradient is None:
            if tensor.grad is None:
                return None
            gradient = tensor.grad.detach()
        scale = self.scale_of(name)
        return gradient if scale is None else gradient.to(at_least_float32(gradient)) / scale

    def scale_of(self, name: str) -> float | None:
        """What a parameter's gradient, as the newest backward left it, is to be divided by."""
        return self.scale if name in self._scaled_names else None

    def is_left_over(self, name: str, tensor: Tensor) -> bool:
        """Whether a gradient is of another optimizer's turn: this window's backwards have not reached it."""
        if len(self.training.turns) == 1 or name in self._touched:
            return False
        return all(tensor is not own for own in self.turn.parameters)

    def others_names(self) -> frozenset[str]:
        """The parameters that only other optimizers hold than the one whose turn it is."""
        if len(self.training.turns) == 1:
            return frozenset()
        own = {id(tensor) for tensor in self.turn.parameters}
        others = {id(tensor) for turn in self.training.turns for tensor in turn.parameters} - own
        return frozenset(name for name, tensor in self._observer.tensors().items() if id(tensor) in others)

    def own_names(self) -> set[str]:
        """The parameters that this step is to move."""
        own = {id(tensor) for tensor in self.turn.parameters}
        return {name for name, tensor in self.movable().items() if id(tensor) in own}

    def _note_touched(self, before: dict[str, tuple[int, int]], movable: dict[str, Tensor]) -> None:
        touched = {name for name, tensor in movable.items() if _identity(tensor.grad) != before[name]}
        self._touched |= touched
        if self.scale is not None:
            self._scaled_names |= touched

    def clipped(self) -> Iterator[tuple[SubjectKey, Tensor]]:
        """The gradients as the optimizer has seen them, where clipping may have changed them."""
        for name, tensor in self._clipped.items() if self.clip is not None else ():
            if tensor.grad is not None:
                yield SubjectKey(SubjectKind.CLIPPED_GRAD, name), tensor.grad

    def optimizer_state(self) -> Iterator[tuple[SubjectKey, Tensor]]:
        """The tensors that the optimizers remember of each parameter; not the counters of steps."""
        names = {id(tensor): name for name, tensor in self._movable.items()}
        # A frozen parameter is still the model's, and what is remembered of it is under its name.
        names |= {id(tensor): name for name, tensor in self._observer.tensors().items() if id(tensor) in names}
        holders = Counter(id(tensor) for turn in self.training.turns for tensor in turn.parameters)
        for turn in self.training.turns:
            # Asked once: it looks at a signature, which takes longer than all the rest.
            is_of_all = turn.needs_closure
            for parameter, state in turn.optimizer.state.items():
                if not isinstance(state, dict) or id(parameter) not in names:
                    continue
                whose = f"[{turn.name}]" if holders[id(parameter)] > 1 else ""
                for key, value in state.items():
                    if _is_state_of(parameter, key, value, is_of_all=is_of_all):
                        leaf = f"{whose}.{key}"
                        yield SubjectKey(SubjectKind.OPTIMIZER_STATE, names[id(parameter)], leaf=leaf), value

    def movable(self) -> dict[str, Tensor]:
        """The model's parameters, and what else the optimizers hold (a loss function with weights of its own)."""
        found = self._observer.moving()
        known = {id(tensor) for tensor in found.values()}
        for i, group in enumerate(groups_of(self.training.optimizers)):
            for k, tensor in enumerate(group["params"]):
                if id(tensor) not in known and not is_uninitialised(tensor):
                    found[f"(optimizer group {i}, parameter {k})"] = tensor
        return found

    def user_code(self) -> _UserCode:
        """What is inside is the user's code."""
        return self._user_code

    def drop_copies(self) -> None:
        """Between two steps: what the newest one could be explained with is not wanted any more."""
        self._step_undo = StepUndo(self.training)
        self._seen_gradients.forget()
        self._closure_undo.forget()
        self._observer.previous = PreviousValues()

    def close(self) -> None:
        self.batches.end_workers()
        self._forget()

    def _forget(self) -> None:
        """Let go of everything that belongs to a step."""
        self._forward_undo.forget()
        self._own_moves.forget()
        self._closure_undo.forget()
        self._step_undo.forget()
        self._touched.clear()
        self._scaled_names.clear()
        self._unscaled = set()
        self._older_gradients.forget()
        self._seen_gradients.forget()
        self._graph = self.batch = None
        self._movable, self._clipped = {}, {}
        self.window = Window()


class _UserCode:
    """A context that is entered several times in each phase: a generator takes three times as long."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._loop.in_user_code = True

    def __exit__(self, *error: object) -> None:
        self._loop.in_user_code = False


class NothingKept(Exception):
    """What is asked for is not kept at this capture level; the text says so."""


def _window_size(training: Training, batches: BatchSource) -> int:
    """Micro-batches of a window that begins with the current batch."""
    if batches.length is None:
        return training.accumulate
    return max(1, min(training.accumulate, batches.length - batches.index))


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _identity(gradient: Tensor | None) -> tuple[int, int]:
    """Differs after a backward that has changed the gradient."""
    return (0, 0) if gradient is None else (id(gradient), gradient._version)


def _is_state_of(parameter: Tensor, key: str, value: Any, *, is_of_all: bool) -> bool:
    """Whether it is a tensor that belongs to the parameter: neither a counter of steps nor of all parameters (LBFGS)."""
    if not isinstance(value, Tensor) or key == "step":
        return False
    return value.shape == parameter.shape or bool(value.dim() and not is_of_all)
