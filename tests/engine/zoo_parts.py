"""What the recipes of the zoo are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from gradscope import Recipe

FEATURES, CLASSES, SAMPLES, BATCH = 6, 3, 20, 8


def vectors(samples: int = SAMPLES) -> TensorDataset:
    return TensorDataset(torch.randn(samples, FEATURES), torch.randint(0, CLASSES, (samples,)))


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def classifier(model: nn.Module, **changes: Any) -> Recipe:
    """A recipe on random vectors; every field can be changed."""
    fields: dict[str, Any] = {
        "model": model,
        "dataset": changes.pop("dataset", None) or vectors(),
        "loss": nn.CrossEntropyLoss(),
        "optimizer": changes.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "batch_size": BATCH,
    }
    return Recipe(**{**fields, **changes})


def adam(model: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=0.01)


def sequences() -> TensorDataset:
    return TensorDataset(torch.randn(SAMPLES, 4, FEATURES), torch.randint(0, CLASSES, (SAMPLES,)))
