"""Recipes for screenshots: what is hard on a window."""

from __future__ import annotations

from pathlib import Path

_DEEP = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    blocks = [layer for _ in range(150) for layer in (nn.Linear(16, 16), nn.Tanh())]
    model = nn.Sequential(*blocks, nn.Linear(16, 4))
    inputs = torch.randn(256, 16)
    data = torch.utils.data.TensorDataset(inputs, inputs[:, :4].clone())
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=optimizer, batch_size=32)
"""
_GROUPS = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(43)))
    inputs = torch.randn(256, 8)
    groups = [{"params": [p], "lr": 0.1 / (i + 1)} for i, p in enumerate(model.parameters())]
    optimizer = torch.optim.AdamW(groups)
    return Recipe(
        model=model,
        dataset=torch.utils.data.TensorDataset(inputs, inputs.clone()),
        loss=nn.MSELoss(),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100),
        batch_size=32,
    )
"""
_FAILING = """
import torch
from torch import nn
from gradscope import Recipe

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(8, 8), nn.Linear(8, 8)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        width = 8 if self.calls < 20 else 7
        return self.scores(self.query(x), self.key(x), width)

    def scores(self, query, key, width):
        return query.view(-1, 4, width) @ key.view(-1, 4, width).transpose(1, 2)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Attention())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.encoder(x)).flatten(0, 1)

def recipe():
    model = Model()
    data = torch.utils.data.TensorDataset(torch.randn(256, 8), torch.randint(0, 2, (256,)))
    optimizer = torch.optim.Adam(model.parameters())
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), optimizer=optimizer, batch_size=32)
"""
_TINY = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Linear(2, 1)
    inputs = torch.randn(64, 2)
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), 0.05))
"""
_DIVERGING = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    inputs = torch.randn(256, 8)
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    optimizer = torch.optim.SGD(model.parameters(), 30.0)
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=optimizer, batch_size=32)
"""


def write(folder: Path) -> dict[str, Path]:
    """One layer, 300 layers, 86 parameter groups, a forward that fails at step 19, and a run to NaN; by their names."""
    paths = {}
    texts = {"tiny": _TINY, "deep": _DEEP, "groups": _GROUPS, "failing": _FAILING, "diverging": _DIVERGING}
    for name, text in texts.items():
        paths[name] = folder / f"{name}.py"
        paths[name].write_text(text.lstrip(), encoding="utf-8")
    return paths
