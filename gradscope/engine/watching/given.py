"""What `watch()` is given: models, optimizers and schedulers, sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.script.finding.found import Found
from gradscope.engine.script.finding.optimizers import innermost
from gradscope.engine.surroundings.error_parts import class_name
from gradscope.protocol.failure import BadInput


@dataclass
class Given:
    models: list[nn.Module] = field(default_factory=list)
    optimizers: list[Optimizer] = field(default_factory=list)
    schedulers: list[LRScheduler] = field(default_factory=list)

    def tell(self, found: Found) -> None:
        """Where nothing of a kind is given, it is looked for: optimizers by what they hold, models when they are called."""
        found.give(self.models)
        for optimizer in self.optimizers:
            found.optimizers.note(optimizer)
        for scheduler in self.schedulers:
            if not found.optimizers.knows(scheduler.optimizer):
                found.optimizers.note(scheduler.optimizer)
            found.optimizers.note_scheduler(scheduler)
        if not self.optimizers and not self.schedulers:
            parameters = {id(p) for model in self.models for p in nn.Module.parameters(model)} if self.models else None
            found.optimizers.find_all(parameters)


def sorted_out(things: Sequence[Any]) -> Given:
    """Raises BadInput for what is none of them. Lists of them are taken apart; a wrapper counts as what is in it."""
    given = Given()
    for thing in _flat(things):
        inner = _unwrapped(thing)
        if isinstance(inner, nn.Module):
            given.models.append(inner)
        elif isinstance(inner, Optimizer):
            given.optimizers.append(inner)
        elif isinstance(inner, LRScheduler):
            given.schedulers.append(inner)
        else:
            raise BadInput(
                f"gradscope.watch() was given an object of class {class_name(type(thing))}; expected models "
                "(torch.nn.Module), optimizers and schedulers"
            )
    return given


def _flat(things: Sequence[Any]) -> Iterator[Any]:
    for thing in things:
        if isinstance(thing, (list, tuple)):
            yield from _flat(thing)
        else:
            yield thing


def _unwrapped(thing: Any) -> Any:
    """What is in a library's wrapper (Lightning's, Accelerate's)."""
    if isinstance(thing, (nn.Module, LRScheduler)):
        return thing
    kind = type(thing).__name__
    if isinstance(thing, Optimizer) or "Optimizer" in kind:
        return innermost(thing)
    scheduler = getattr(thing, "__dict__", {}).get("scheduler")
    return scheduler if "Scheduler" in kind and isinstance(scheduler, LRScheduler) else thing
