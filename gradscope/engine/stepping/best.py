"""The weights of the best validation so far."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from gradscope.engine.model.modules import state_dict_of
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.surroundings.blame import users_code
from gradscope.protocol.messages import Validated


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best validation by the recipe's `best_metric`, and a copy of the weights that it was of."""

    metric: str
    value: float
    step: int
    epoch: int
    state_dict: dict[str, Any]


def judged(recipe: Recipe, validation: Validated, best: Best | None) -> tuple[Validated, Best | None]:
    """Whether a validation of the model as it is now is the best so far; then with a copy of the weights, else None. `best`
    is the best before."""
    metric = recipe.best_metric
    if metric is None or not _is_better(validation.value(metric), best, recipe.best_mode):
        return validation, None
    value = validation.value(metric)
    weights = _copy_of_state(recipe.model)
    found = Best(metric=metric, value=value, step=validation.step, epoch=validation.epoch, state_dict=weights)
    return replace(validation, is_best=True), found


def _is_better(value: float, best: Best | None, mode: str) -> bool:
    if value != value:
        return False
    if best is None:
        return True
    return value < best.value if mode == "min" else value > best.value


def _copy_of_state(model: Any) -> dict[str, Any]:
    with users_code("model.state_dict()"):
        state = state_dict_of(model) if isinstance(model, nn.Module) else dict(model)
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in state.items()}
