"""An example of a page, trained for some steps in a session: what the pictures are measured in."""

from __future__ import annotations

import contextlib
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine.reports.report import PhaseReport

SEED = 0
Watch = Callable[[Recipe], Callable[[], float]]
"""Takes the recipe before the first step; what it returns is asked after each."""


@dataclass(frozen=True)
class Run:
    """One example after its steps; the session is closed, so that the model is as a plain loop would have left it."""

    recipe: Recipe
    steps: list[list[PhaseReport]] = field(default_factory=list)
    """The reports of forward, backward and step, for each step."""
    watched: list[float] = field(default_factory=list)
    """What the measure's `watch` has said after each step."""

    @property
    def model(self) -> nn.Module:
        assert isinstance(self.recipe.model, nn.Module)
        return self.recipe.model

    @property
    def losses(self) -> tuple[float, ...]:
        return tuple(float("nan") if forward.loss is None else forward.loss for forward, *_ in self.steps)

    def data(self, count: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the first samples, each (count, ...)."""
        pairs: list[Any] = [self.recipe.dataset[i] for i in range(count)]  # type: ignore[index]
        return torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])


@contextlib.contextmanager
def the_same_each_time() -> Iterator[None]:
    """On one thread and from one seed; the caller's random numbers and number of threads are as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # torch's own, of a broadcast or a mask: the example is about that.
            warnings.simplefilter("ignore")
            torch.manual_seed(SEED)
            yield
    finally:
        torch.set_num_threads(threads)


def trained(source: str, *, steps: int, watch: Watch | None = None) -> Run:
    """The recipe that `source` has, after so many steps."""
    module = types.ModuleType("example")
    exec(compile(source, "example.py", "exec"), module.__dict__)
    run = Run(module.recipe())
    ask = None if watch is None else watch(run.recipe)
    with Session(run.recipe, seed=SEED) as session:
        for _ in range(steps):
            run.steps.append(session.next_batch())
            if ask is not None:
                run.watched.append(ask())
    return run
