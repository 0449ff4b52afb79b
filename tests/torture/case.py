"""A recipe that misbehaves, what it does, and how that has to end."""

import textwrap
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

_TEMPLATE = """
import builtins, ctypes, gc, json, locale, os, random, resource, signal, socket, subprocess, sys, threading, time
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR
from gradscope import Recipe

{top}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.calls = 0
        {init}

    def forward(self, x):
        self.calls += 1
        {forward}
        return self.linear(x)

    {methods}

def loss(output, target):
    {loss}
    return nn.functional.mse_loss(output, target)

def recipe():
    model = Net()
    data = TensorDataset(torch.randn(24, 3), torch.randn(24, 2))
    fields = dict(model=model, dataset=data, loss=loss, batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.01))
    {recipe}
    return Recipe(**fields)
"""


class Ending(StrEnum):
    """What a person sees of it."""

    FINE = "goes on"
    TOLD = "told as the user's error"
    DIED = "the engine's death is told"
    STOPPED = "stopped by hand"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`top`, `init`, `forward`, `methods`, `loss`, `recipe`: code that goes into those places of a recipe that is fine."""

    name: str
    does: str
    endings: tuple[Ending, ...]
    """Any of them is right."""
    says: str = ""
    """Is in what is told."""
    poisons: bool = False
    """The process is of no use afterwards, and a new engine has to be started for the next recipe."""
    leaves_processes: bool = False
    """They live on as long as the engine."""
    top: str = ""
    init: str = ""
    forward: str = ""
    methods: str = ""
    loss: str = ""
    recipe: str = ""
    source: str = field(default="", repr=False)
    """The whole file instead, as it is."""

    def write(self, folder: Path) -> Path:
        """The recipe file."""
        path = folder / f"{self.name}.py"
        places = {
            "top": (self.top, 0),
            "init": (self.init, 8),
            "forward": (self.forward, 8),
            "methods": (self.methods, 4),
            "loss": (self.loss, 4),
            "recipe": (self.recipe, 4),
        }
        filled = {
            place: textwrap.indent(textwrap.dedent(code).strip(), " " * indent).strip() or "pass"
            for place, (code, indent) in places.items()
        }
        path.write_text(self.source or _TEMPLATE.format(**filled), encoding="utf-8")
        return path


GOOD = Case(name="good", does="nothing wrong", endings=(Ending.FINE,))
