"""Models that the benchmarks train: small enough for a laptop's processor, of the kinds that people train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradscope import Recipe


def _recipe(model: nn.Module, batch: tuple[Tensor, Tensor], loss: Any = None) -> Recipe:
    return Recipe(
        model=model,
        dataset=torch.utils.data.DataLoader(_Stream(batch), batch_size=None),
        loss=loss or nn.CrossEntropyLoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=1e-3),
    )


class _Stream(torch.utils.data.IterableDataset[tuple[Tensor, Tensor]]):
    """The same batch for ever: loading data is not what is measured."""

    def __init__(self, batch: tuple[Tensor, Tensor]) -> None:
        self._batch = batch

    def __iter__(self) -> Any:
        while True:
            yield self._batch


def mlp(batch: int = 128) -> Recipe:
    """784-256-256-10."""
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    return _recipe(model, (torch.randn(batch, 784), torch.randint(0, 10, (batch,))))


def mlp512() -> Recipe:
    """The same with a batch of 512."""
    return mlp(512)


class _Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 128)
        self.lstm = nn.LSTM(128, 256, num_layers=2, batch_first=True)
        self.head = nn.Linear(256, 1000)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0]).flatten(0, 1)


def lstm() -> Recipe:
    """2 layers of 256, sequences of 64, batch 32."""
    return _recipe(_Lstm(), (torch.randint(0, 1000, (32, 64)), torch.randint(0, 1000, (32 * 64,))))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Gpt(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, length: int, tokens: int, *, is_tied: bool = False) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)
        if is_tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        return self.head(self.norm(self.blocks(x))).flatten(0, 1)


def gpt() -> Recipe:
    """6 layers of 256, sequences of 128, batch 8, vocabulary 512."""
    return _recipe(_Gpt(6, 256, 8, 128, 512), (torch.randint(0, 512, (8, 128)), torch.randint(0, 512, (8 * 128,))))


def gpt2() -> Recipe:
    """GPT-2 with 124 million parameters: 12 layers of 768, sequences of 1,024, batch 4, vocabulary 50,257, tied weights."""
    model = _Gpt(12, 768, 12, 1024, 50257, is_tied=True)
    return _recipe(model, (torch.randint(0, 50257, (4, 1024)), torch.randint(0, 50257, (4 * 1024,))))


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.inner, self.shortcut, self.relu = inner, shortcut, nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.inner(x) + self.shortcut(x))


def _convolution(before: int, after: int, size: int, stride: int = 1, *, is_last: bool = False) -> list[nn.Module]:
    layers = [nn.Conv2d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm2d(after)]
    return layers if is_last else [*layers, nn.ReLU(inplace=True)]


def _stage(before: int, after: int, blocks: int, stride: int, *, bottleneck: bool) -> tuple[list[nn.Module], int]:
    found: list[nn.Module] = []
    for i in range(blocks):
        step, out = stride if i == 0 else 1, after * 4 if bottleneck else after
        if bottleneck:
            layers = _convolution(before, after, 1) + _convolution(after, after, 3, step)
            layers += _convolution(after, out, 1, is_last=True)
        else:
            layers = _convolution(before, after, 3, step) + _convolution(after, out, 3, is_last=True)
        is_same = step == 1 and before == out
        shortcut = nn.Identity() if is_same else nn.Sequential(*_convolution(before, out, 1, step, is_last=True))
        found.append(_Residual(nn.Sequential(*layers), shortcut))
        before = out
    return found, before


def _resnet(blocks: tuple[int, ...], *, bottleneck: bool, width: int = 64) -> nn.Sequential:
    layers, channels = _convolution(3, width, 3), width
    for i, count in enumerate(blocks):
        stage, channels = _stage(channels, width * 2**i, count, 1 if i == 0 else 2, bottleneck=bottleneck)
        layers += stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def resnet18() -> Recipe:
    """For 32 x 32 pictures, batch 16."""
    return _recipe(_resnet((2, 2, 2, 2), bottleneck=False), (torch.randn(16, 3, 32, 32), torch.randint(0, 10, (16,))))


def resnet50() -> Recipe:
    """Bottleneck blocks (3, 4, 6, 3), for 32 x 32 pictures, batch 8."""
    return _recipe(_resnet((3, 4, 6, 3), bottleneck=True), (torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))))


def resnet50_224() -> Recipe:
    """The same for 224 x 224 pictures, batch 32, with the stem that belongs to it."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    model = nn.Sequential(*stem, *_resnet((3, 4, 6, 3), bottleneck=True)[3:])
    return _recipe(model, (torch.randn(32, 3, 224, 224), torch.randint(0, 10, (32,))))


def deep() -> Recipe:
    """600 layers: 300 times Linear(32, 32) and Tanh, batch 32."""
    layers = [layer for _ in range(300) for layer in (nn.Linear(32, 32), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    return _recipe(model, (torch.randn(32, 32), torch.randint(0, 10, (32,))))


WORKLOADS: dict[str, Callable[[], Recipe]] = {
    "mlp": mlp,
    "mlp512": mlp512,
    "lstm": lstm,
    "gpt": gpt,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "deep600": deep,
}
GPU_WORKLOADS: dict[str, Callable[[], Recipe]] = {"gpt2": gpt2, "resnet50_224": resnet50_224}
"""Those that keep a GPU busy; a processor takes minutes for a step."""
