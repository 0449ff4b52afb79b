"""The training step of the determinism contract (see `Recipe`), in the bodies of its three phases, and the undoing of each.

Capture hangs on it from outside (`observer`), and so does pausing (`observer.passing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.book import notes
from gradscope.engine.book.gradient_copies import GradientCopies
from gradscope.engine.book.gradients import Gradients, NothingKept, identity
from gradscope.engine.book.window import Window
from gradscope.engine.capture.observer import Observer
from gradscope.engine.data.batches import BatchSource
from gradscope.engine.model.closures import asks_for_closure
from gradscope.engine.model.losses import checked_loss, input_and_target, loss_of, or_nan
from gradscope.engine.model.parameters import PreviousValues
from gradscope.engine.nonfinite.backward import BackwardAgain
from gradscope.engine.nonfinite.forward import ForwardAgain
from gradscope.engine.stepping.clipping import clip_gradients
from gradscope.engine.stepping.closure import Closure
from gradscope.engine.stepping.epoch_end import EpochEnd
from gradscope.engine.stepping.foreign_leaves import ForeignLeaves
from gradscope.engine.stepping.own_moves import OwnMoves
from gradscope.engine.stepping.schedule import Timing
from gradscope.engine.stepping.training import RecipeTurn, Training
from gradscope.engine.stepping.undo import ForwardUndo, StepUndo
from gradscope.engine.stepping.user_code import UserCode
from gradscope.engine.stepping.validation import Validator
from gradscope.engine.surroundings.devices import copy_batch
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.messages import Clip, Validated
from gradscope.protocol.phases import SubStep


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
        self._user_code = UserCode()
        self.batch: Any = None
        """The newest batch, on the device."""
        self.loss: float | None = None
        """Of the newest micro-batch, not divided by the window."""
        self.clip: Clip | None = None
        """Of the newest step, until the next forward."""
        self.substep = SubStep.BATCH
        """What is under way, or was the last to be."""
        self.is_skipped = False
        self.notes: list[str] = []
        self.window = Window(size=training.window_size(batches))
        self._turn, self._done, self.line = 0, -1, None
        self._observer = observer
        self._device = device
        self._graph: Tensor | None = None
        self.gradients = Gradients(self, observer)
        self.epoch_end = EpochEnd(training, validator, observer, self.user_code, epoch=batches.epoch)
        self.forward_undo = ForwardUndo(training.modules)
        """The buffers as the newest forward began with them, and the random states, its batch loaded."""
        self._closure = Closure(training, observer, self._clip)
        self.own_moves = OwnMoves(training)
        """What the newest forward has moved by itself."""
        self._foreign_leaves = ForeignLeaves(training)
        self._gradients_before: dict[str, tuple[int, int]] | None = None
        """Where a forward does not begin with cleared gradients: which there were."""
        self._holdings = notes.Holdings.of(training.turns, observer.tensors())
        """What is apart at the start was told then."""
        self._older_gradients = GradientCopies()
        self.step_before = StepUndo(training)
        """What options and state were before the newest step."""
        self._has_moved = False
        """The optimizer has begun to move the parameters in this step."""

    @property
    def turns(self) -> list[RecipeTurn]:
        return self.training.turns

    @property
    def turn(self) -> RecipeTurn:
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
    def evaluations(self) -> int:
        """How often the newest step has evaluated a closure."""
        return self._closure.evaluations

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        return self.training.scaler

    def autocast(self) -> AbstractContextManager[Any]:
        return self.training.autocast()

    # ------------------------------------------------------------------------------------------ forward

    def forward(self) -> None:
        passing, elapsed, turn, gradients = self._observer.passing, self._observer.elapsed, self.turn, self.gradients
        self.notes, self.clip, self.substep = [], None, SubStep.BATCH
        gradients.forget_seen()
        gradients.forget_clipped()
        self.own_moves.forget()
        self.forward_undo.remember()
        start = elapsed()
        with self._user_code:
            loaded = self.batches.current(self.forward_undo.states)
        self.batch = copy_batch(loaded, self._device)
        self.forward_undo.remember_random_states()
        passing(SubStep.BATCH, start=start)
        self.substep = SubStep.FORWARD
        self.epoch_end.begin_batch(self.batches.epoch)
        is_first, is_cleared = self.window.micro == 0, self.training.zero_grad == "auto"
        if is_first:
            gradients.begin_window()
            self.window = Window(size=self.training.window_size(self.batches), epoch=self.batches.epoch)
            if is_cleared:
                self._observer.coming(SubStep.ZERO_GRAD)
                gradients.clear(turn)
                passing(SubStep.ZERO_GRAD)
        # Where nothing is cleared, a gradient may be of an earlier step or of this forward.
        self._gradients_before = (
            {name: identity(tensor.grad) for name, tensor in (gradients.held or gradients.movable()).items()}
            if is_first and not is_cleared
            else None
        )
        self.own_moves.begin(turn, self._observer.known_tensors(), are_gradients_clear=is_first and is_cleared)
        try:
            self._graph = checked_loss(self._loss_of(turn, self.batch))
        finally:
            self.own_moves.end()
        self.loss = float(self._graph.detach())
        self.notes += self.own_moves.notes()
        self.notes += self._foreign_leaves.look(turn, self._graph, self._observer.known_tensors().values())
        passing(SubStep.LOSS)

    def _loss_of(self, turn: RecipeTurn, batch: Any) -> Any:
        passing, elapsed, training = self._observer.passing, self._observer.elapsed, self.training
        start = elapsed()
        with training.autocast():
            if turn.training_step is not None:
                with self._user_code:
                    loss = loss_of(turn.training_step(training.model, batch))
                passing(SubStep.FORWARD, start=start)
                self.substep = SubStep.LOSS
                return loss
            x, target = input_and_target(batch)
            assert callable(training.model) and training.loss is not None
            with self._user_code:
                output = training.model(x)
            passing(SubStep.FORWARD, start=start)
            self.substep = SubStep.LOSS
            with self._user_code:
                return training.loss(output, target)

    def undo_forward(self) -> str:
        told = f"The forward was undone: buffers and random states are as before, and {self.batches.fate}"
        return ". ".join([told, *self._restore_forward()])

    def _restore_forward(self) -> list[str]:
        """Sentences about what a forward is not expected to do."""
        self.forward_undo.restore()
        self._graph = None
        self.loss = None
        if self.window.micro and self.window.epoch != self.batches.epoch:
            # The batch was lost with its epoch: a window does not go on in the next.
            self.window = Window(size=self.training.window_size(self.batches))
        return self.own_moves.restore()

    # ------------------------------------------------------------------------------------------ backward

    def backward(self) -> bool:
        """True if the window's gradients are complete; else the next micro-batch adds to them."""
        assert self._graph is not None
        self.substep = SubStep.BACKWARD
        movable = self.gradients.movable()
        self._older_gradients.remember(movable)
        self.notes = self._stale_gradients(movable) if self.window.micro == 0 else []
        scaler = self.training.scaler
        self.gradients.begin_backward(movable, None if scaler is None else float(scaler.get_scale()))
        start = self._observer.elapsed()
        with self._user_code:
            self.differentiated(self._graph).backward()
        self._graph = None
        self.gradients.end_backward(movable)
        self._observer.passing(SubStep.BACKWARD, start=start)
        is_complete = self._is_complete()
        if self.gradients.have_reached_nothing():
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
            new = {name for name, gradient in gradients.items() if before.get(name) != identity(gradient)}
        self.own_moves.calls_backward = bool(new)
        return notes.stale_gradients(self.training.turns, self.turn, movable, of_this_forward=new)

    def buffer_before(self, module: nn.Module, name: str) -> Tensor | None:
        return self.forward_undo.before(module, name)

    @property
    def loaded_batch(self) -> Any:
        """The current batch as it was loaded: a forward may have written into its own copy."""
        return self.batches.loaded()

    def forward_again(self, layers: Mapping[str, nn.Module]) -> ForwardAgain:
        """The newest forward once more, on a batch of its own."""
        return ForwardAgain(
            objective=self.training.objective(self.turn),
            batch=self._own_batch,
            parameters=self.gradients.movable().values(),
            layers=layers,
            begin=self.forward_undo.restore,
            copies_parameters=self.keeps_copies,
        )

    def backward_again(self) -> BackwardAgain:
        """The newest forward and backward once more, on a batch of their own."""
        return BackwardAgain(
            objective=self.training.objective(self.turn),
            batch=self._own_batch(),
            leaves=[t for t in self.gradients.movable().values() if t.requires_grad and t.is_leaf],
            begin=self.forward_undo.restore,
            scaled=self.differentiated,
        )

    def _own_batch(self) -> Any:
        return copy_batch(self.loaded_batch, self._device)

    def differentiated(self, loss: Tensor) -> Tensor:
        """What the backward of a micro-batch with this loss starts from."""
        share, scaler = self.window.share_of(loss), self.training.scaler
        return share if scaler is None else scaler.scale(share)

    def _is_complete(self) -> bool:
        if self.window.micro + 1 == self.window.size:
            return True
        with self._user_code:
            return self.batches.is_last()

    def finish_micro_batch(self, *, is_complete: bool) -> None:
        """After a backward: note its loss, and go on to the next micro-batch if there is one in this window."""
        self.window.losses.append(or_nan(self.loss))
        if self.turn.may_use_closure:
            self.window.batches.append(self.batch)
        if not is_complete:
            self.window.micro += 1
            self.batches.advance()

    def undo_backward(self) -> str:
        self._older_gradients.restore()
        told = "The backward was undone, and its forward, whose graph is used up: the same batch is ready for a new forward"
        return ". ".join([told, *self._restore_forward()])

    # ------------------------------------------------------------------------------------------ step

    def step(self, number: int) -> None:
        """Step `number`: unscale, clip, move the parameters, set the next scale, validate, set the next rate."""
        passing, coming, training = self._observer.passing, self._observer.coming, self.training
        self.notes, self.clip, self.is_skipped = [], None, False
        self.epoch_end.begin_step()
        self.substep = SubStep.STEP
        self._remember_step()
        self.notes += notes.Holdings.of(training.turns, self._observer.tensors()).changes(self._holdings)
        turn, scaler = self.turn, training.scaler
        if scaler is not None:
            start, self.substep = coming(SubStep.UNSCALE), SubStep.UNSCALE
            scaler.unscale_(turn.optimizer)
            self.gradients.note_unscaled()
            passing(SubStep.UNSCALE, start=start)
        if training.clips:
            start, self.substep = coming(SubStep.CLIP), SubStep.CLIP
            self.clip = self._clip(turn)
            # Each evaluation of a closure has clipped gradients of its own.
            clipped = {} if turn.needs_closure else self.gradients.named(self.training.clipped_parameters(turn))
            self.gradients.note_clipped(clipped, may_change=turn.may_change_gradients)
            for key, gradient in self.gradients.clipped():
                self._observer.note(key, gradient)
            passing(SubStep.CLIP, start=start)
        self._move_parameters(turn)
        self._end_step(number, turn)

    def _move_parameters(self, turn: RecipeTurn) -> None:
        passing, elapsed, scaler = self._observer.passing, self._observer.elapsed, self.training.scaler
        start, self.substep = elapsed(), SubStep.STEP
        self._has_moved = True
        if scaler is None and turn.may_need_closure:
            self._step_with_or_without_closure(turn)
        else:
            with self._user_code:
                if scaler is not None:
                    scaler.step(turn.optimizer)
                elif turn.needs_closure:
                    turn.optimizer.step(self._closure.evaluate)  # type: ignore[arg-type]
                else:
                    turn.optimizer.step()
        passing(SubStep.STEP, start=start)
        if scaler is not None:
            self._observer.coming(SubStep.UPDATE)
            self.substep = SubStep.UPDATE
            scaler.update()
            self.is_skipped = float(scaler.get_scale()) < or_nan(self.gradients.scale)
            passing(SubStep.UPDATE)

    def _end_step(self, number: int, turn: RecipeTurn) -> None:
        passing, coming, epoch_end = self._observer.passing, self._observer.coming, self.epoch_end
        self.substep = SubStep.BATCH
        ends_epoch = self.is_last_turn and self._is_last_batch()
        if ends_epoch and epoch_end.has_validation:
            start, self.substep = coming(SubStep.VALIDATE), SubStep.VALIDATE
            self.notes += epoch_end.validate_step(number, self.batches.epoch, can_be_undone=self.keeps_copies)
            passing(SubStep.VALIDATE, start=start)
        start, self.substep = coming(SubStep.SCHEDULE), SubStep.SCHEDULE
        epoch_end.schedule(turn, self.window.losses, ends_epoch=ends_epoch, is_skipped=self.is_skipped)
        passing(SubStep.SCHEDULE, start=start)

    def _step_with_or_without_closure(self, turn: RecipeTurn) -> None:
        """The first step of an optimizer whose signature leaves it open: without, and with one where that fails for it."""
        versions = [tensor._version for tensor in self.gradients.held.values()]
        try:
            with self._user_code:
                turn.optimizer.step()
        except Exception as error:
            is_untouched = versions == [tensor._version for tensor in self.gradients.held.values()]
            if not asks_for_closure(error) or not (is_untouched or self.keeps_copies):
                raise
            self._restore_step()
            turn.settle_closure(is_needed=True)
            self._remember_step()
            if self.training.clips:
                self.clip = self._clip(turn)
                self.gradients.note_clipped({}, may_change=True)
            self._has_moved = True
            with self._user_code:
                turn.optimizer.step(self._closure.evaluate)  # type: ignore[arg-type]
            self.notes.append(
                f"{type(turn.optimizer).__name__}.step() is given a closure from now on: without one it failed "
                f"({describe_error(error)})"
            )
        else:
            turn.settle_closure(is_needed=False)

    def _is_last_batch(self) -> bool:
        """Where the loader does not know its length, the next batch is asked for."""
        with self._user_code:
            is_last = self.batches.is_last()
        if not self.batches.is_exact:
            self.step_before.remember_random_states()
        return is_last

    def _remember_step(self) -> None:
        # Until all copies are complete there is nothing to put back.
        self._observer.previous.forget()
        self.step_before.forget()
        self._closure.forget()
        turn, training = self.turn, self.training
        self._closure.prepare(turn, self.window)
        self._has_moved = False
        self.gradients.begin_step()
        is_changing = training.clips or training.scaler is not None or turn.needs_closure or turn.may_change_gradients
        self.gradients.remember(is_changing=is_changing, is_kept=self.keeps_copies)
        if not self.keeps_copies:
            # Nothing is undone then but a step that begins once more, with a closure.
            if turn.may_need_closure:
                self.step_before.remember_step(turn, with_state=False)
            return
        if turn.needs_closure:
            self._closure.remember()
        self.step_before.remember_step(turn)
        self._observer.previous.remember(self.gradients.held)

    def _clip(self, turn: RecipeTurn) -> Clip:
        clipped = self.gradients.named(self.training.clipped_parameters(turn))
        return clip_gradients(clipped, self.training.clip_norm, self.training.clip_value)

    def finish_step(self, number: int) -> None:
        """Step `number` is done: its batch too, after the last turn."""
        self._done, batches = number, self.batches
        self._closure.forget()
        self.epoch_end.note_losses(self.turn, self.window.losses)
        if self.is_last_turn:
            batches.advance()
            if batches.index == 0:
                self.epoch_end.forget_losses()
        self._turn = (self._turn + 1) % len(self.training.turns)
        self.window = Window(size=self.training.window_size(batches), epoch=batches.epoch)

    def undo_step(self) -> str:
        if not self.keeps_copies and (self._has_moved or self.gradients.are_lost):
            raise NothingKept("with capture off, no copy of the parameters is kept")
        self._restore_step()
        undone = "The step was undone: parameters, gradients, rates and schedule are as before"
        return f"{undone}; {self.batches.fate}" if self.batches.is_broken_off else undone

    def _restore_step(self) -> None:
        """What `_remember_step` has copied, as far as it has."""
        self._observer.previous.restore()
        self.gradients.restore()
        self._closure.restore()
        self.step_before.restore()

    # ------------------------------------------------------------------------------------------ beside the phases

    def renew_window(self) -> None:
        """Before its first forward, a window takes the size that is set now."""
        self.window = Window(size=self.training.window_size(self.batches), epoch=self.batches.epoch)

    def zero_grad(self) -> None:
        """Clear the gradients of the optimizer whose turn it is."""
        self.gradients.forget_seen()
        self.gradients.clear(self.turn)

    def validate(self) -> Validated:
        """One pass over the validation data; training is untouched by it."""
        return self.epoch_end.validate(after=self._done, epoch=self.batches.epoch, copies_parameters=self.keeps_copies)

    def continue_at(self, step: int, batches: BatchSource, epoch_losses: dict[str, tuple[float, int]]) -> None:
        """Stand before step `step` and the current batch of `batches`, with nothing left of another step."""
        if batches is not self.batches:
            self.batches.close()
        self.forget()
        self.batches = batches
        self.notes, self.loss, self.clip, self.is_skipped = [], None, None, False
        self.window = Window(size=self.training.window_size(batches), epoch=batches.epoch)
        self._observer.previous.forget()
        self._turn, self._done = 0, step - 1
        self.epoch_end.continue_at(batches.epoch, epoch_losses)
        self.gradients.held = self.gradients.movable()

    def timing(self, *, steps_done: int = 0) -> Timing:
        """Where the next step is (the one after `steps_done` more)."""
        turns, accumulate = len(self.training.turns), self.training.accumulate
        return Timing.of(
            self.batches, self.window, turn=self._turn, turns=turns, accumulate=accumulate, steps_done=steps_done
        )

    @property
    def in_user_code(self) -> bool:
        return self._user_code.is_on

    def user_code(self) -> UserCode:
        """What is inside is the user's code."""
        return self._user_code

    def drop_copies(self) -> None:
        """Between two steps: what the newest one could be explained with is not wanted any more."""
        self.step_before = StepUndo(self.training)
        self.gradients.drop_copies()
        self._closure.forget()
        self._observer.previous = PreviousValues()

    def close(self) -> None:
        self.batches.end_workers()
        self.epoch_end.close()
        self.forget()

    def forget(self) -> None:
        """Let go of everything that belongs to a step."""
        self.forward_undo.forget()
        self.own_moves.forget()
        self._closure.forget()
        self.step_before.forget()
        self._older_gradients.forget()
        self.gradients.forget()
        self._graph = self.batch = None
        self.window = Window()
