"""The determinism contract of `Recipe`, written out as a plain loop that knows nothing of gradscope's engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, IterableDataset

from gradscope import Recipe, Session


@dataclass
class Outcome:
    """What a training run leaves behind."""

    losses: list[float] = field(default_factory=list)
    rates: list[list[float]] = field(default_factory=list)
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
    """Contract, parts 3 and 4: whole epochs, or broken off after `steps` steps."""
    loader, model, optimizer = plain_loader(recipe, seed), recipe.model, recipe.optimizer
    scheduler, outcome = recipe.scheduler, Outcome()
    if isinstance(model, nn.Module):
        model.train()
    for _ in range(epochs if steps is None else 10**9):
        epoch_losses = []
        for batch in loader:
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(recipe, batch)
            outcome.rates.append([float(group["lr"]) for group in optimizer.param_groups])
            loss.backward()
            optimizer.step()
            if scheduler is not None and recipe.scheduler_unit == "step":
                scheduler.step()
            epoch_losses.append(loss.item())
            outcome.losses.append(loss.item())
            if len(outcome.losses) == steps:
                outcome.state = state_of(recipe)
                return outcome
        if scheduler is not None and recipe.scheduler_unit == "epoch":
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(sum(epoch_losses) / len(epoch_losses))
            else:
                scheduler.step()
    outcome.state = state_of(recipe)
    return outcome


def _loss(recipe: Recipe, batch: Any) -> Tensor:
    if recipe.training_step is not None:
        returned = recipe.training_step(recipe.model, batch)
        return returned[0] if isinstance(returned, tuple) else returned
    x, y = batch
    return recipe.loss(recipe.model(x), y)


def train_observed(session: Session, *, epochs: int = 1, steps: int | None = None) -> Outcome:
    """The same number of epochs or steps, phase by phase."""
    while session.position.step < steps if steps is not None else session.position.epoch < epochs:
        session.forward()
        session.backward()
        session.step()
    return outcome_of(session)


def outcome_of(session: Session) -> Outcome:
    losses = [record.loss for record in session.history]
    rates = [list(record.lr) for record in session.history]
    return Outcome(losses, rates, state_of(session.recipe))


def state_of(recipe: Recipe) -> dict[str, Any]:
    """A deep copy of everything that training moves."""
    model = recipe.model
    tensors = model.state_dict() if isinstance(model, nn.Module) else dict(model)
    named = model.named_parameters() if isinstance(model, nn.Module) else model.items()
    state = {
        "tensors": {name: t.detach() for name, t in tensors.items()},
        "grads": {name: None if p.grad is None else p.grad.detach() for name, p in named},
        "optimizer": recipe.optimizer.state_dict(),
        "scheduler": None if recipe.scheduler is None else _without_functions(recipe.scheduler.state_dict()),
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
    assert_same(one.state, other.state, "state")
