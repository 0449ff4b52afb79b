"""The optimizers and schedulers of a script, as they are made, and what they hold."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class Optimizers:
    """None is kept alive. `changes` counts optimizers and parameter groups that were added."""

    def __init__(self) -> None:
        self.changes = 0
        self._optimizers: dict[int, weakref.ref[Optimizer]] = {}
        self._schedulers: dict[int, weakref.ref[LRScheduler]] = {}
        """The outermost of each optimizer, by its id."""
        self._held: dict[int, weakref.ref[Tensor]] = {}
        self._held_at = -1

    def note(self, optimizer: Optimizer) -> None:
        """It is there, and may hold more than before. A copy, or what comes out of a pickle, is known from its first step."""
        known = self._optimizers.get(id(optimizer))
        if known is None or known() is not optimizer:
            self._optimizers[id(optimizer)] = weakref.ref(optimizer)
        self.changes += 1

    def knows(self, optimizer: object) -> bool:
        known = self._optimizers.get(id(optimizer))
        return known is not None and known() is optimizer

    def note_scheduler(self, scheduler: LRScheduler) -> None:
        optimizer = innermost(getattr(scheduler, "optimizer", None))
        if isinstance(optimizer, Optimizer) and self.scheduler_of(optimizer) is not scheduler:
            # A SequentialLR is made after those that it holds.
            self._schedulers[id(optimizer)] = weakref.ref(scheduler)
            self.changes += 1

    def find_all(self, parameters: Collection[int] | None = None) -> None:
        """Those that were made before anybody listened; of optimizers, those that hold one of these (by id)."""
        schedulers = []
        # What nobody holds any more trains nothing.
        gc.collect()
        for thing in gc.get_objects():
            # type(): isinstance would ask a proxy of the user's for its __class__.
            if issubclass(type(thing), Optimizer) and "param_groups" in vars(thing):
                if parameters is None or any(id(tensor) in parameters for tensor in tensors_of(thing)):
                    self.note(thing)
            elif issubclass(type(thing), LRScheduler):
                schedulers.append(thing)
        for scheduler in schedulers:
            if self.knows(getattr(scheduler, "optimizer", None)):
                self.note_scheduler(scheduler)

    def alive(self) -> Iterator[Optimizer]:
        for reference in list(self._optimizers.values()):
            optimizer = reference()
            if optimizer is not None:
                yield optimizer

    @property
    def are_any(self) -> bool:
        return next(self.alive(), None) is not None

    def scheduler_of(self, optimizer: Optimizer) -> LRScheduler | None:
        reference = self._schedulers.get(id(optimizer))
        scheduler = None if reference is None else reference()
        return scheduler if scheduler is not None and innermost(scheduler.optimizer) is optimizer else None

    def hold(self, tensor: Tensor) -> bool:
        """Whether some optimizer moves it."""
        reference = self._held_now().get(id(tensor))
        return reference is not None and reference() is tensor

    def held(self) -> Iterator[Tensor]:
        for reference in list(self._held_now().values()):
            tensor = reference()
            if tensor is not None:
                yield tensor

    def _held_now(self) -> dict[int, weakref.ref[Tensor]]:
        if self._held_at != self.changes:
            self._held = {
                id(tensor): weakref.ref(tensor)
                for optimizer in self.alive()
                for group in optimizer.param_groups
                for tensor in group["params"]
            }
            self._held_at = self.changes
        return self._held


def tensors_of(optimizer: Optimizer) -> list[Tensor]:
    """What it holds, group by group."""
    return [tensor for group in optimizer.param_groups for tensor in group["params"]]


def gradient_identity(tensor: Tensor) -> tuple[int, int]:
    """Another one where the gradient is another tensor, or was changed in place."""
    return (0, 0) if tensor.grad is None else (id(tensor.grad), tensor.grad._version)


def with_subclasses(cls: type) -> list[type]:
    below: list[type] = type.__subclasses__(cls)
    return [cls, *(found for inner in below for found in with_subclasses(inner))]


def innermost(optimizer: Any) -> Any:
    """What is in a library's wrapper around an optimizer."""
    for _ in range(4):
        inside = getattr(optimizer, "__dict__", {})
        inner: Any = inside.get("optimizer", inside.get("_optimizer"))
        if not isinstance(inner, Optimizer):
            break
        optimizer = inner
    return optimizer
