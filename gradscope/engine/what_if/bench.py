"""Steps and losses beside a training that stands still: each begins from the same state, and all of it is put back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.book.optimizer_before import copy_of_state
from gradscope.engine.findings.kept import Kept
from gradscope.engine.findings.restore import kept_gradients, put_back_after
from gradscope.engine.model.modules import set_training
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.stepping.training import RecipeTurn
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.surroundings.devices import copy_batch
from gradscope.engine.what_if.place import Place, is_same_batch
from gradscope.engine.what_if.vectors import Parameters, Vector
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.what_if.tried import Mode, TrialProgress

Progressing = Callable[[TrialProgress], bool]
"""Called after every forward; where it returns False, everything is put back and TrialCancelled raised."""


class TrialCancelled(Exception):
    """What was tried was cancelled. Everything has been put back."""


class StepBench:
    """Made by `open_bench`; right inside of it only.

    Every loss is of the newest batch (or a given one), with the buffers and the random numbers that the newest forward has
    begun with: two losses differ by the parameters alone.
    """

    def __init__(self, stepper: Stepper, place: Place, progress: Progressing | None) -> None:
        self.stepper, self.place = stepper, place
        self.training = stepper.training
        self.objective = self.training.objective(place.turn)
        self.forwards = self.planned = 0
        self.what = ""
        """What is under way, for the progress."""
        self.notes: list[str] = []
        self._progress = progress
        self._own_gradients = [(tensor, gradient.clone()) for tensor, gradient in _gradients(stepper)]
        """Of now: of the step that is under way, or what an older one has left."""
        self._older_gradients = [(tensor, gradient.clone()) for tensor, gradient in kept_gradients(stepper)]
        self._rewind: Callable[[], None] = lambda: None
        self.parameters: Parameters

    def enter(self, rewind: Callable[[], None]) -> None:
        """Everything is behind the door now."""
        self._rewind = rewind
        self.parameters = Parameters(self.stepper.loop.gradients.movable())
        self._states = {optimizer: dict(optimizer.state) for optimizer in self.training.optimizers}

    # ------------------------------------------------------------------------------------------ losses

    def loss(self, *, batch: Any = None, mode: Mode = Mode.TRAIN, at: Callable[[], None] = lambda: None) -> float:
        """Of the parameters at the origin, or where `at` puts them."""
        self.rewind()
        at()
        self.begin_forward(mode)
        # Without a graph, a step of the recipe's own may not run: it may differentiate inside.
        with torch.set_grad_enabled(self.place.turn.training_step is not None):
            value = self.value_of(self.own(batch))
        loss = float(value.detach() if isinstance(value, Tensor) else value)
        self.tick()
        return loss

    def gradient(self) -> Vector:
        """Of the loss of the newest batch at the origin, not divided, scaled or clipped."""
        self.rewind()
        self.begin_forward(Mode.TRAIN)
        scaler = self.training.scaler
        loss = self.value_of(self.own(None), checked=True)
        self.tick()
        with self.calling("The backward"):
            (loss if scaler is None else scaler.scale(loss)).backward()
        scale = 1.0 if scaler is None else float(scaler.get_scale())
        return [part / scale for part in self.parameters.gradient()]

    def other_batches(self, count: int) -> list[Any]:
        """At most so many batches of the data, from the start of a pass in the training's order, without the newest. Outside
        the door: the data is gone through by a loader of its own."""
        if not count:
            return []
        kept = Kept(self.stepper, None, self._tell)
        batches = [batch for batch in kept.batches() if not is_same_batch(batch, self.place.batch)]
        self.notes += [note for note in kept.notes if note not in self.notes]
        return batches[:count]

    # ------------------------------------------------------------------------------------------ what they are made of

    def rewind(self) -> None:
        """Everything as it was when the bench was opened; there are no gradients."""
        self._rewind()
        for optimizer, state in self._states.items():
            optimizer.state.clear()
            optimizer.state.update(copy_of_state(state))

    def begin_forward(self, mode: Mode) -> None:
        self.stepper.loop.forward_undo.restore()
        if mode is Mode.EVAL:
            set_training(self.training.model, False)
            set_training(self.training.loss, False)

    def value_of(self, batch: Any, *, checked: bool = False) -> Any:
        with self.calling("The forward"), self.training.autocast():
            return self.objective(batch) if checked else self.objective.value(batch)

    def put_gradients(self, *, waiting: bool) -> None:
        """Copies of those of the step that is `waiting`, or of those that a new step begins with."""
        for tensor, gradient in self._own_gradients if waiting else self._older_gradients:
            tensor.grad = gradient.clone()

    def own(self, batch: Any) -> Any:
        """A forward may write into its batch."""
        return copy_batch(self.place.batch if batch is None else batch, self.stepper.device)

    @contextlib.contextmanager
    def calling(self, what: str) -> Iterator[None]:
        try:
            with users_code(f"{what} of something that was tried"), self.stepper.loop.user_code():
                yield
        except UserCodeFailed as error:
            if isinstance(error.__cause__, TrialCancelled):
                # Inside an optimizer that evaluates the loss itself.
                raise error.__cause__ from None
            raise

    def tick(self) -> None:
        """A forward is done."""
        self.forwards += 1
        self._tell()

    def _tell(self) -> None:
        told = TrialProgress(what=self.what, done=self.forwards, planned=max(self.planned, self.forwards))
        if self._progress is not None and not self._progress(told):
            raise TrialCancelled


@contextlib.contextmanager
def open_bench(
    stepper: Stepper,
    progress: Progressing | None = None,
    *,
    before: Callable[[StepBench], None] = lambda bench: None,
) -> Iterator[StepBench]:
    """Everything that is done inside is put back, bit for bit, whatever is raised. `before` is called in front of the door.

    Raises BadInput where nothing can be tried now, and UserCodeFailed where the user's code fails.
    """
    place = Place.of(stepper)
    try:
        bench = StepBench(stepper, place, progress)
        with stepper.observer.lifted():
            before(bench)
            with put_back_after(stepper) as aside:
                bench.enter(aside.rewind)
                yield bench
            bench.notes += [note for note in aside.notes if note not in bench.notes]
    except (torch.OutOfMemoryError, MemoryError) as error:
        # In the user's code it would be theirs.
        raise BadInput(
            f"There is no memory on {stepper.device} for what is tried; expected room for a few copies of the parameters, "
            "some of them in float64"
        ) from error
    except UserCodeFailed as error:
        raise UserCodeFailed(replace(error.failure, undone="Training is as before")) from error


def _gradients(stepper: Stepper) -> Sequence[tuple[Tensor, Tensor]]:
    found: dict[int, Any] = {id(tensor): tensor for tensor in stepper.loop.gradients.movable().values()}
    turns: list[RecipeTurn] = stepper.training.turns
    found |= {id(tensor): tensor for turn in turns for tensor in turn.parameters}
    return [(tensor, tensor.grad) for tensor in found.values() if tensor.grad is not None]
