"""Recipes to try steps of, and what has to be as before afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import plain
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.utils.data import TensorDataset
from zoo_parts import classifier

from gradscope import Recipe, Session

Use = Callable[[Session], object]
STEPS = 4
PHASES = ("forward", "backward", "step")


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(64, 3),
    )


def of_conv(optimizer: Callable[[Any], Any], scheduler: Callable[[Any], Any] | None = None, **changes: Any) -> Recipe:
    model = conv()
    own = optimizer(model.parameters())
    if scheduler is not None:
        changes["scheduler"] = scheduler(own)
    data = TensorDataset(torch.randn(50, 1, 4, 4), torch.randint(0, 3, (50,)))
    return classifier(model, optimizer=own, dataset=data, **changes)


def sgd(parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True)


KINDS: dict[str, Callable[[], Recipe]] = {
    "adam": lambda: of_conv(lambda p: torch.optim.Adam(p, 1e-2)),
    "accumulated and clipped": lambda: of_conv(sgd, accumulate=3, clip_norm=0.5, clip_value=0.1),
    "lbfgs": lambda: of_conv(lambda p: torch.optim.LBFGS(p, 0.1, max_iter=4), accumulate=2, clip_norm=1.0),
    "rate by epochs": lambda: of_conv(sgd, lambda o: StepLR(o, 1, 0.5), scheduler_unit="epoch"),
    "one cycle": lambda: of_conv(sgd, lambda o: OneCycleLR(o, 0.1, total_steps=100)),
    "half precision": lambda: of_conv(sgd, lambda o: StepLR(o, 5, 0.5), precision="fp16", clip_norm=1.0),
    "bfloat16": lambda: of_conv(sgd, precision="bf16"),
    "gradients add up": lambda: of_conv(lambda p: torch.optim.SGD(p, 0.01), zero_grad="manual"),
}


def trained(make: Callable[[], Recipe], use: Use | None = None, *, capture: str = "full") -> dict[str, Any]:
    """Everything that a training has come to, with `use` of its session before each of its phases but the first."""
    recipe = plain.seeded(make)
    session = Session(recipe, seed=0, capture=capture)
    losses: list[float | None] = []
    for _ in range(STEPS):
        while True:
            if session.loop.batch is not None and use is not None:
                state, gradients, place = plain.state_of(recipe), identities(recipe), session.position
                use(session)
                plain.assert_same(plain.state_of(recipe), state)
                assert identities(recipe) == gradients and session.position == place
            session.advance()
            if session.is_between_batches and not session.loop.window.micro:
                break
        losses.append(session.history[-1].loss)
    session.close()
    return {"losses": losses, **plain.state_of(recipe)}


def identities(recipe: Recipe) -> list[int | None]:
    """Which tensors the gradients are."""
    model: Any = recipe.model
    tensors = model.parameters() if isinstance(model, nn.Module) else model.values()
    return [None if tensor.grad is None else id(tensor.grad) for tensor in tensors]
