"""How a session trains: what its recipe says, and what has been changed by hand since."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.blame import users_code
from gradscope.engine.compiled import eager
from gradscope.engine.error_parts import module_name
from gradscope.engine.modules import modules_in, parameters_of
from gradscope.engine.recipe import Recipe
from gradscope.engine.recipe_checks import needs_closure, takes_closure
from gradscope.protocol.phases import SubStep

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class _Closure(Enum):
    """What an optimizer's step does with a closure."""

    NEEDED = auto()
    UNUSED = auto()
    UNKNOWN = auto()


@dataclass
class Turn:
    """One optimizer's part in the training of each batch; most recipes have a single turn, named ""."""

    name: str
    optimizer: Optimizer
    scheduler: LRScheduler | None
    training_step: Callable[[Any, Any], Any] | None

    _known: tuple[Any, _Closure] = (None, _Closure.UNUSED)
    """The newest step function that was looked at, and what it does with a closure."""

    @property
    def needs_closure(self) -> bool:
        return self._closure is _Closure.NEEDED

    @property
    def may_need_closure(self) -> bool:
        """Its signature says that a closure can be left out, and it has not been seen to do without."""
        return self._closure is _Closure.UNKNOWN

    def settle_closure(self, *, is_needed: bool) -> None:
        """It has been seen whether this optimizer's step needs one."""
        self._known = self._known[0], _Closure.NEEDED if is_needed else _Closure.UNUSED

    @property
    def _closure(self) -> _Closure:
        step = self.optimizer.step
        function = getattr(step, "__func__", step)
        if function is not self._known[0]:
            is_torchs = module_name(type(self.optimizer)).partition(".")[0] == "torch"
            use = _Closure.UNKNOWN if takes_closure(self.optimizer) and not is_torchs else _Closure.UNUSED
            self._known = function, _Closure.NEEDED if needs_closure(self.optimizer) else use
        return self._known[1]

    @property
    def parameters(self) -> list[Tensor]:
        """What its optimizer holds."""
        with users_code("Reading the optimizer's param_groups"):
            return [tensor for group in self.optimizer.param_groups for tensor in group["params"]]

    @property
    def may_change_gradients(self) -> bool:
        """torch's own optimizers leave `.grad` as it is, but for SGD with Nesterov momentum."""
        is_nesterov = any(group.get("nesterov") for group in groups_of([self.optimizer]))
        return is_nesterov or not type(self.optimizer).__module__.startswith("torch.")

    def schedulers(self) -> Iterator[LRScheduler]:
        """Its scheduler, and those that a SequentialLR or ChainedScheduler holds."""
        if self.scheduler is not None:
            yield from _with_nested(self.scheduler)


class Training:
    """The settings of a training step. Each may be changed between two phases; the next one goes by it."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.model = recipe.model
        self.loss = eager(recipe.loss)
        self.turns = [
            Turn(
                name,
                optimizer,
                recipe.schedulers.get(name),
                eager(recipe.training_step[name] if isinstance(recipe.training_step, dict) else recipe.training_step),
            )
            for name, optimizer in recipe.optimizers.items()
        ]
        self.accumulate = recipe.accumulate
        self.zero_grad = recipe.zero_grad
        self.clip_norm = recipe.clip_norm
        self.clip_value = recipe.clip_value
        self.precision = recipe.precision
        self.scheduler_unit = recipe.scheduler_unit
        self.scheduler_metric = recipe.scheduler_metric
        self.has_validation = recipe.validation is not None
        self.scaler = torch.amp.GradScaler(device.type) if recipe.precision == "fp16" else None
        self._device = device

    @property
    def optimizers(self) -> list[Optimizer]:
        return [turn.optimizer for turn in self.turns]

    @property
    def clips(self) -> bool:
        return self.clip_norm is not None or self.clip_value is not None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of every forward."""
        if self.precision is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, _AUTOCAST_DTYPES[self.precision])

    def clipped_parameters(self, turn: Turn) -> list[Tensor]:
        """The parameters whose gradients are clipped together."""
        if len(self.turns) > 1:
            return turn.parameters
        return [*(parameters_of(self.model) if isinstance(self.model, nn.Module) else self.model.values())]

    def modules(self) -> Iterator[nn.Module]:
        """Every module that a forward runs: the model's, and those of a loss that is one."""
        yield from modules_of(self.model, self.loss)

    def roots(self) -> dict[str, object]:
        """What a forward runs, by the names that the user gave: all of the user's state that training goes by can be
        reached from there."""
        steps = {
            f"training_step[{turn.name!r}]" if turn.name else "training_step": turn.training_step for turn in self.turns
        }
        return {"model": self.model, "loss": self.loss, **steps}

    def substeps(self) -> tuple[SubStep, ...]:
        """The stations that a step goes through, in order."""
        missing = {
            SubStep.ZERO_GRAD: self.zero_grad != "auto",
            SubStep.UNSCALE: self.scaler is None,
            SubStep.UPDATE: self.scaler is None,
            SubStep.CLIP: not self.clips,
            SubStep.VALIDATE: not self.has_validation,
        }
        return tuple(substep for substep in SubStep if not missing.get(substep, False))

    def schedulers(self) -> Iterator[LRScheduler]:
        """Every scheduler, and those that a SequentialLR or ChainedScheduler holds."""
        for turn in self.turns:
            yield from turn.schedulers()


def modules_of(*parts: Any) -> Iterator[nn.Module]:
    """Every module in those parts that are modules."""
    for part in parts:
        yield from modules_in(part)


def _with_nested(scheduler: LRScheduler) -> Iterator[LRScheduler]:
    yield scheduler
    for nested in getattr(scheduler, "_schedulers", ()):
        yield from _with_nested(nested)


def groups_of(optimizers: list[Optimizer]) -> list[dict[str, Any]]:
    """The parameter groups of all optimizers, one after the other: rates and momenta are listed in this order."""
    with users_code("Reading the optimizer's param_groups"):
        return [group for optimizer in optimizers for group in optimizer.param_groups]


def rates_of(optimizers: list[Optimizer]) -> tuple[float, ...]:
    """The current learning rate of every parameter group; NaN for a group that has none."""
    with users_code("Reading the optimizer's learning rates"):
        return tuple(float(group.get("lr", float("nan"))) for group in groups_of(optimizers))


def momenta_of(optimizers: list[Optimizer]) -> tuple[float, ...]:
    """The momentum (or the first beta, as in OneCycleLR) of every parameter group; NaN for a group that has neither."""
    with users_code("Reading the optimizer's momenta"):
        return tuple(_momentum(group) for group in groups_of(optimizers))


def _momentum(group: dict[str, Any]) -> float:
    if "momentum" in group:
        return float(group["momentum"])
    betas = group.get("betas")
    return float(betas[0]) if isinstance(betas, (tuple, list)) and betas else float("nan")
