"""A pass over the validation data that leaves training exactly as it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.aside.door import Aside
from gradscope.engine.data.batches import make_validation_loader, without_signals
from gradscope.engine.data.iterators import Iterators, end_workers_of
from gradscope.engine.data.passes import generators_of
from gradscope.engine.model.compiled import eager
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.model.losses import input_and_target
from gradscope.engine.model.modules import set_training
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.stepping.training import Training
from gradscope.engine.surroundings.devices import copy_batch
from gradscope.engine.wording import with_article
from gradscope.protocol.messages import VALIDATION_LOSS, Validated


class Validator:
    """Runs the recipe's validation. `user_code` is entered around everything of the user's."""

    def __init__(
        self,
        recipe: Recipe,
        training: Training,
        device: torch.device,
        user_code: Callable[[], AbstractContextManager[None]],
    ) -> None:
        assert recipe.validation is not None
        self._recipe = recipe
        self._training = training
        self._device = device
        self._user_code = user_code
        self._loader = make_validation_loader(recipe)
        self._iterators = Iterators(self._loader)

    def run(self, *, step: int, epoch: int, copies_parameters: bool = True) -> Validated:
        """Raises what the user's code raises; training is as before then too. `copies_parameters`: see `Aside`."""
        started = time.perf_counter()
        sums, samples, batches = _Sums(), 0, 0
        aside = Aside(self._training.roots(), copies_parameters=copies_parameters)
        with aside, self._in_eval(), torch.no_grad():
            with self._user_code(), without_signals():
                iterator = self._iterators.begin()
            try:
                while True:
                    with self._user_code():
                        batch = next(iterator, self)
                    if batch is self:
                        break
                    batch = copy_batch(batch, self._device)
                    size = _samples_in(batch)
                    with self._user_code():
                        sums.add(self._evaluate(batch), size)
                    samples, batches = samples + size, batches + 1
            finally:
                if not self._loader.persistent_workers:
                    end_workers_of(iterator)
        means = sums.means()
        return Validated(
            step=step,
            epoch=epoch,
            loss=means.pop(VALIDATION_LOSS, None),
            metrics=means,
            batches=batches,
            samples=samples,
            seconds=time.perf_counter() - started,
            notes=aside.notes,
        )

    def close(self) -> None:
        """End the worker processes that outlive a pass of this one."""
        self._iterators.end()

    def _evaluate(self, batch: Any) -> dict[str, Any]:
        """name -> number or 0-d tensor, of one batch."""
        training, recipe = self._training, self._recipe
        step = eager(recipe.validation_step) or training.turns[0].training_step
        with training.autocast():
            if step is not None:
                returned = step(training.model, batch)
                loss, output = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
                target = batch[1] if isinstance(batch, (list, tuple)) and len(batch) == 2 else batch
                if output is None and recipe.metrics:
                    raise TypeError("the step returned a loss only; metrics need (loss, output)")
            else:
                x, target = input_and_target(batch)
                assert callable(training.model) and training.loss is not None
                output = training.model(x)
                loss = training.loss(output, target)
        found = {VALIDATION_LOSS: loss}
        found.update({name: metric(output, target) for name, metric in recipe.metrics.items()})
        for name, value in found.items():
            is_number = isinstance(value, (Number, np.number)) and not isinstance(value, complex)
            if not is_number and not (isinstance(value, Tensor) and value.numel() == 1):
                what = "loss" if name == VALIDATION_LOSS else f"metric {name!r}"
                raise TypeError(f"the {what} is {with_article(type(value).__name__)}; expected one number")
        return found

    @contextlib.contextmanager
    def _in_eval(self) -> Iterator[None]:
        """The loader's own random numbers are put back after it."""
        generators = generators_of(self._loader)
        states = [generator.get_state() for generator in generators]
        try:
            set_training(self._training.model, False)
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


class _Sums:
    """Weighted sums; tensors are added where they are, and fetched once at the end."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._weight = 0

    def add(self, values: dict[str, Any], weight: int) -> None:
        for name, value in values.items():
            number = value.detach().to(_widest(value)) if isinstance(value, Tensor) else float(value)
            self._sums[name] = self._sums.get(name, 0.0) + number * weight
        self._weight += weight

    def means(self) -> dict[str, float]:
        return {name: float(total) / self._weight for name, total in self._sums.items()} if self._weight else {}


def _widest(value: Tensor) -> torch.dtype:
    return torch.float32 if value.device.type == "mps" else torch.float64


def _samples_in(batch: Any) -> int:
    first = next((tensor for _, tensor in tensor_leaves(batch)), None)
    return int(first.shape[0]) if first is not None and first.dim() else 1
