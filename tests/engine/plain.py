"""The determinism contract of `Recipe`, written out as a plain loop that knows nothing of gradscope's engine."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, IterableDataset

from gradscope import Recipe, Session
from gradscope.protocol.phases import Phase


@dataclass
class Outcome:
    """What a training run leaves behind."""

    losses: list[float] = field(default_factory=list)
    rates: list[list[float]] = field(default_factory=list)
    scales: list[float | None] = field(default_factory=list)
    """The loss scale after each step."""
    skipped: list[bool] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seeded(make: Callable[[], Recipe], seed: int = 0) -> Recipe:
    """Contract, part 1."""
    seed_all(seed)
    return make()


def plain_loader(recipe: Recipe, seed: int) -> DataLoader[Any]:
    """Contract, part 2."""
    if isinstance(recipe.dataset, DataLoader):
        return recipe.dataset
    order = {} if isinstance(recipe.dataset, IterableDataset) else {"shuffle": recipe.shuffle}
    return DataLoader(
        recipe.dataset,
        recipe.batch_size,
        collate_fn=recipe.collate,
        generator=torch.Generator().manual_seed(seed),
        **order,
    )


def train_plainly(recipe: Recipe, *, seed: int = 0, epochs: int = 1, steps: int | None = None) -> Outcome:
    """Contract, parts 3 to 5: whole epochs, or broken off after `steps` steps. Validation (6) changes nothing, so it is
    not here; a scheduler that wants its results is not supported."""
    outcome = Outcome()
    if isinstance(recipe.model, nn.Module):
        recipe.model.train()
    for _ in _steps(recipe, plain_loader(recipe, seed), outcome, epochs if steps is None else 10**9):
        if len(outcome.losses) == steps:
            break
    outcome.state = state_of(recipe)
    return outcome


def _steps(recipe: Recipe, loader: DataLoader[Any], outcome: Outcome, epochs: int) -> Iterator[None]:
    scaler = torch.amp.GradScaler("cpu") if recipe.precision == "fp16" else None
    for _ in range(epochs):
        epoch_losses: dict[str, list[float]] = {name: [] for name in recipe.optimizers}
        batches = Peekable(loader)
        while batches.has_next():
            window = Window(batches, recipe.accumulate, _length(loader))
            for name, optimizer in recipe.optimizers.items():
                losses: list[float] = []
                skipped = _step(recipe, name, optimizer, window, scaler, losses)
                # Those that the step has used: a training step may have added a parameter group.
                outcome.rates.append([float(g["lr"]) for o in recipe.optimizers.values() for g in o.param_groups])
                epoch_losses[name] += losses
                scheduler = recipe.schedulers.get(name)
                if scheduler is not None and recipe.scheduler_unit == "step" and not skipped:
                    scheduler.step()
                outcome.losses.append(sum(losses) / len(losses))
                outcome.scales.append(None if scaler is None else scaler.get_scale())
                outcome.skipped.append(skipped)
                is_last_turn = name == list(recipe.optimizers)[-1]
                if is_last_turn and recipe.scheduler_unit == "epoch" and not batches.has_next():
                    _end_epoch(recipe, epoch_losses)
                yield


class Peekable:
    """The batches of an epoch; whether there is another one is found by asking for it."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._iterator = iter(loader)
        self._ahead: list[Any] = []
        self.taken = 0

    def has_next(self) -> bool:
        if not self._ahead:
            self._ahead = list(itertools.islice(self._iterator, 1))
        return bool(self._ahead)

    def take(self) -> Any:
        assert self.has_next()
        self.taken += 1
        return self._ahead.pop()


class Window:
    """The micro-batches of one step. Each is loaded when it is come to, and kept for a further evaluation."""

    def __init__(self, batches: Peekable, size: int, length: int | None) -> None:
        self.divisor = size if length is None else min(size, length - batches.taken)
        self._batches, self._size = batches, size
        self._loaded: list[Any] = []
        self._is_complete = False

    def __iter__(self) -> Iterator[Any]:
        yield from self._loaded
        while not self._is_complete:
            self._loaded.append(self._batches.take())
            yield self._loaded[-1]
            self._is_complete = len(self._loaded) == self._size or not self._batches.has_next()


def _end_epoch(recipe: Recipe, losses: dict[str, list[float]]) -> None:
    for name, scheduler in recipe.schedulers.items():
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(sum(losses[name]) / len(losses[name]))
        else:
            scheduler.step()


def _step(recipe: Recipe, name: str, optimizer: Any, window: Window, scaler: Any, losses: list[float]) -> bool:
    """True if the scaler has left the step out. `losses` takes the micro-batches' losses of the first evaluation."""

    def gradients() -> float:
        if recipe.zero_grad == "auto":
            optimizer.zero_grad(set_to_none=True)
        found, n = [], window.divisor
        for batch in window:
            with _autocast(recipe):
                loss = _loss(recipe, name, batch)
            found.append(loss.item())
            loss = loss / n if n > 1 else loss
            (loss if scaler is None else scaler.scale(loss)).backward()
        if not losses:
            losses.extend(found)
        if scaler is not None:
            scaler.unscale_(optimizer)
        if recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(_clipped(recipe, optimizer), recipe.clip_norm)
        if recipe.clip_value is not None:
            torch.nn.utils.clip_grad_value_(_clipped(recipe, optimizer), recipe.clip_value)
        return sum(found) / len(found)

    if type(optimizer) is torch.optim.LBFGS:
        optimizer.step(gradients)
        return False
    gradients()
    if scaler is None:
        optimizer.step()
        return False
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() < before


def _length(loader: DataLoader[Any]) -> int | None:
    try:
        return len(loader)
    except TypeError:
        return None


def _autocast(recipe: Recipe) -> Any:
    if recipe.precision is None:
        return nullcontext()
    return torch.autocast("cpu", {"bf16": torch.bfloat16, "fp16": torch.float16}[recipe.precision])


def _clipped(recipe: Recipe, optimizer: Any) -> list[Tensor]:
    if isinstance(recipe.optimizer, dict):
        return [p for group in optimizer.param_groups for p in group["params"]]
    return list(recipe.model.parameters() if isinstance(recipe.model, nn.Module) else recipe.model.values())


def _loss(recipe: Recipe, name: str, batch: Any) -> Tensor:
    step = recipe.training_step[name] if isinstance(recipe.training_step, dict) else recipe.training_step
    if step is not None:
        returned = step(recipe.model, batch)
        return returned[0] if isinstance(returned, tuple) else returned
    x, y = batch
    return recipe.loss(recipe.model(x), y)


def train_observed(session: Session, *, epochs: int = 1, steps: int | None = None) -> Outcome:
    """The same number of epochs or steps, phase by phase."""
    scales = []
    while session.position.step < steps if steps is not None else session.position.epoch < epochs:
        if session.advance().phase is Phase.STEP:
            scaler = session.training.scaler
            scales.append(None if scaler is None else scaler.get_scale())
    return replace(outcome_of(session), scales=scales)


def outcome_of(session: Session) -> Outcome:
    losses = [record.loss for record in session.history]
    rates = [list(record.lr) for record in session.history]
    skipped = [record.is_skipped for record in session.history]
    return Outcome(losses, rates, [None] * len(losses), skipped, state_of(session.recipe))


def state_of(recipe: Recipe) -> dict[str, Any]:
    """A deep copy of everything that training moves."""
    model = recipe.model
    tensors = model.state_dict() if isinstance(model, nn.Module) else dict(model)
    named = model.named_parameters() if isinstance(model, nn.Module) else model.items()
    state = {
        "tensors": {name: t.detach() for name, t in tensors.items()},
        "grads": {name: None if p.grad is None else p.grad.detach() for name, p in named},
        "optimizer": [optimizer.state_dict() for optimizer in recipe.optimizers.values()],
        "scheduler": [_without_functions(scheduler.state_dict()) for scheduler in recipe.schedulers.values()],
        "random": [random.getstate(), np.random.get_state(), torch.get_rng_state()],
    }
    return deepcopy(state)


def _without_functions(state: dict[str, Any]) -> dict[str, Any]:
    nested = [_without_functions(s) for s in state.get("_schedulers", [])]
    return {**{k: v for k, v in state.items() if not callable(v) and k != "lr_lambdas"}, "_schedulers": nested}


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal bit for bit, all the way down; NaN equals NaN."""
    assert type(one) is type(other), f"{where}: {type(one)} and {type(other)}"
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape and one.layout == other.layout, where
        left, right = (t.to_dense() if t.layout is not torch.strided else t for t in (one, other))
        assert torch.equal(left.isnan(), right.isnan()), where
        assert torch.equal(left.nan_to_num(), right.nan_to_num()), f"{where} differs"
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other), where
    elif isinstance(one, Mapping):
        assert list(one) == list(other), f"{where}: {list(one)} and {list(other)}"
        for key in one:
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), f"{where}: {len(one)} and {len(other)} items"
        for i, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{i}]")
    else:
        assert one == other or (one != one and other != other), f"{where}: {one!r} and {other!r}"


def assert_same_outcome(one: Outcome, other: Outcome) -> None:
    assert_same(one.losses, other.losses, "losses")
    assert_same(one.rates, other.rates, "rates")
    assert_same(one.skipped, other.skipped, "skipped")
    assert_same(one.scales, other.scales, "scales")
    assert_same(one.state, other.state, "state")
