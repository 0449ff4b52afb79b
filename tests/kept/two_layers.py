"""A recipe of two layers that draws nothing at random after its start."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import TensorDataset

from gradscope import Recipe


def recipe() -> Recipe:
    x = torch.linspace(-1, 1, 48).reshape(16, 3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    return Recipe(
        model=model,
        dataset=TensorDataset(x, x.sum(1, keepdim=True)),
        batch_size=4,
        loss=nn.MSELoss(),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5),
        validation=TensorDataset(x, x.mean(1, keepdim=True)),
        clip_norm=1.0,
        name="Two layers",
    )
