"""How a session trains: what its recipe says, and what has been changed by hand since."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.book.driver import Batches
from gradscope.engine.book.turns import Turn
from gradscope.engine.model.compiled import eager
from gradscope.engine.model.known_modules import KnownModules
from gradscope.engine.model.modules import modules_in, parameters_of
from gradscope.engine.model.objective import Objective
from gradscope.engine.recipe.code import Code
from gradscope.engine.recipe.facts import Facts
from gradscope.engine.recipe.recipe import Recipe
from gradscope.protocol.phases import OF_A_RECIPE, SubStep

_AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class RecipeTurn(Turn):
    """A turn of a recipe's, with a step of its own perhaps."""

    training_step: Callable[[Any, Any], Any] | None = None


class Training:
    """The settings of a training step. Each may be changed between two phases; the next one goes by it."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.model = recipe.model
        self.loss = eager(recipe.loss)
        self.turns = [
            RecipeTurn(
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
        self.source = recipe.source
        """The file that it goes by, as it was when it was loaded."""
        self.facts: Facts | None = None
        """What that file said; None where nobody has looked."""
        self.code: Code | None = None
        """The user's code that it goes by, where a file was loaded again; None: as it was opened."""
        self._code_before: list[Code] = []
        """As it was opened, where it has gone on with other code since."""
        self._device = device
        self._modules = KnownModules()

    @property
    def optimizers(self) -> list[Optimizer]:
        return [turn.optimizer for turn in self.turns]

    @property
    def clips(self) -> bool:
        return self.clip_norm is not None or self.clip_value is not None

    def window_size(self, batches: Batches) -> int:
        """Micro-batches of a window that begins with the current batch."""
        if batches.length is None:
            return self.accumulate
        return max(1, min(self.accumulate, batches.length - batches.index))

    def objective(self, turn: RecipeTurn) -> Objective:
        """What a turn's optimizer is to make small."""
        return Objective(self.model, self.loss, turn.training_step)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of every forward."""
        if self.precision is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, _AUTOCAST_DTYPES[self.precision])

    def clipped_parameters(self, turn: Turn) -> list[Tensor]:
        """The parameters whose gradients are clipped together, in torch's order: the norm's last digit depends on it."""
        if len(self.turns) > 1:
            return turn.parameters
        return [*(parameters_of(self.model) if isinstance(self.model, nn.Module) else self.model.values())]

    def modules(self) -> Sequence[nn.Module]:
        """Every module that a forward runs: the model's, and those of a loss that is one."""
        return self._modules.within(self.model, self.loss)

    def go_by(self, code: Code | None) -> None:
        """From here on modules and imports are of this code; None: as it was opened."""
        if code is not None and not self._code_before:
            self._code_before.append(code.as_it_is())
        self.code = code
        self.put_code()

    def put_code(self) -> None:
        """Make it so that the user's modules and imports are of `code`."""
        code = self.code or next(iter(self._code_before), None)
        if code is not None:
            code.put()

    def forget(self) -> None:
        """Hold no module that has left the model."""
        self._modules.forget()

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
        return tuple(substep for substep in OF_A_RECIPE if not missing.get(substep, False))

    def schedulers(self) -> Iterator[LRScheduler]:
        """Every scheduler, and those that a SequentialLR or ChainedScheduler holds."""
        for turn in self.turns:
            yield from turn.schedulers()


def modules_of(*parts: Any) -> Iterator[nn.Module]:
    """Every module in those parts that are modules."""
    for part in parts:
        yield from modules_in(part)
