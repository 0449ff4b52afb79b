"""Optimizers, each with its scheduler, and the rates that all of them have now."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.model.closures import needs_closure, takes_closure
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.surroundings.error_parts import module_name


class _Closure(Enum):
    """What an optimizer's step does with a closure."""

    NEEDED = auto()
    UNUSED = auto()
    UNKNOWN = auto()


@dataclass
class Turn:
    """One optimizer's part in the training of each batch; most trainings have a single turn, named ""."""

    name: str
    optimizer: Optimizer
    scheduler: LRScheduler | None

    _known: tuple[Any, _Closure] = field(default=(None, _Closure.UNUSED), kw_only=True)
    """The newest step function that was looked at, and what it does with a closure."""

    def let_go(self, nobody: Any) -> Callable[[], bool]:
        """Hold neither optimizer nor scheduler, but `nobody`, until what is returned is called: it takes them back, and says
        whether they are still there."""
        optimizer = weakref.ref(self.optimizer)
        scheduler = None if self.scheduler is None else weakref.ref(self.scheduler)
        self.optimizer, self.scheduler = nobody, None

        def take_back() -> bool:
            alive = optimizer()
            if alive is not None:
                self.optimizer = alive
                self.scheduler = None if scheduler is None else scheduler()
            return alive is not None

        return take_back

    @property
    def needs_closure(self) -> bool:
        """Its step evaluates the loss again."""
        return self._closure is _Closure.NEEDED

    @property
    def may_need_closure(self) -> bool:
        """Its signature says that a closure can be left out, and it has not been seen to do without."""
        return self._closure is _Closure.UNKNOWN

    @property
    def may_use_closure(self) -> bool:
        """One or the other of these."""
        return self._closure is not _Closure.UNUSED

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
        return schedulers_in(self.scheduler)


def schedulers_in(scheduler: LRScheduler | None) -> Iterator[LRScheduler]:
    """It, and those that it holds."""
    if scheduler is not None:
        yield scheduler
        for nested in getattr(scheduler, "_schedulers", ()):
            yield from schedulers_in(nested)


def groups_of(optimizers: Iterable[Optimizer]) -> list[dict[str, Any]]:
    """The parameter groups of all optimizers, one after the other: rates and momenta are listed in this order."""
    with users_code("Reading the optimizer's param_groups"):
        return [group for optimizer in optimizers for group in optimizer.param_groups]


def rates_of(optimizers: Iterable[Optimizer]) -> tuple[float, ...]:
    """The current learning rate of every parameter group; NaN for a group that has none."""
    with users_code("Reading the optimizer's learning rates"):
        return tuple(float(group.get("lr", float("nan"))) for group in groups_of(optimizers))


def rates_and_momenta(optimizers: Iterable[Optimizer]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`rates_of` and `momenta_of`, for every phase."""
    groups = groups_of(optimizers)
    with users_code("Reading the optimizer's learning rates"):
        rates = tuple([float(group.get("lr", math.nan)) for group in groups])
    with users_code("Reading the optimizer's momenta"):
        return rates, tuple([_momentum(group) for group in groups])


def momenta_of(optimizers: Iterable[Optimizer]) -> tuple[float, ...]:
    """The momentum (or the first beta, as in OneCycleLR) of every parameter group; NaN for a group that has neither."""
    with users_code("Reading the optimizer's momenta"):
        return tuple(_momentum(group) for group in groups_of(optimizers))


def _momentum(group: dict[str, Any]) -> float:
    if "momentum" in group:
        return float(group["momentum"])
    betas = group.get("betas")
    return float(betas[0]) if isinstance(betas, (tuple, list)) and betas else float("nan")
