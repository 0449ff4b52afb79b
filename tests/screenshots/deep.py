"""A recipe for the screenshots: 300 layers in 50 blocks, among them one of huge numbers, one of zeros, and one of NaN."""

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gradscope import Recipe

WIDTH, BLOCKS = 16, 50


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(torch.tanh(self.qkv(x)))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln, self.attn, self.mlp = nn.LayerNorm(WIDTH), Mixing(), Mlp()

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln(x)
        return x + self.attn(x) + self.mlp(x)


class Watched(nn.Module):
    """Looks at the stream beside it and adds nothing: what is odd here stays here."""

    def __init__(self, factor: float, nan_from: int | None = None) -> None:
        super().__init__()
        self.factor, self.nan_from, self.calls = factor, nan_from, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.nan_from is not None and self.calls > self.nan_from:
            return x.detach() * torch.nan
        return x.detach() * self.factor


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.probes = nn.ModuleDict({"12": Watched(1e4), "30": Watched(0.0), "41": Watched(1.0, nan_from=15)})
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.probes:
                self.probes[str(i)](x)
        return self.head(x)


def recipe() -> Recipe:
    torch.manual_seed(0)
    model = Deep()
    x = torch.randn(256, WIDTH)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    return Recipe(
        name="300 layers",
        model=model,
        dataset=TensorDataset(x, (x[:, 0] > 0).long()),
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3000),
        scheduler_unit="step",
        batch_size=16,
    )
