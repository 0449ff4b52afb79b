"""Small recipes, each with one peculiarity of real models. A factory a recipe; seed first (`plain.seeded`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset
from zoo_more import MORE
from zoo_parts import BATCH, CLASSES, FEATURES, SAMPLES, adam, classifier, mlp, sequences, vectors

from gradscope import Recipe


def plain_mlp() -> Recipe:
    return classifier(mlp())


def batchnorm_dropout_conv() -> Recipe:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(16, CLASSES),
    )
    data = TensorDataset(torch.randn(SAMPLES, 1, 4, 4), torch.randint(0, CLASSES, (SAMPLES,)))
    return classifier(model, dataset=data, optimizer=adam(model))


class LastOfLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, 5, num_layers=2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        output, (_, _) = self.lstm(x)
        return self.head(output[:, -1])


def lstm() -> Recipe:
    return classifier(LastOfLSTM(), dataset=sequences())


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(FEATURES, 2, dropout=0.1, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        mixed, _ = self.attention(x, x, x)
        return self.head(mixed.mean(1))


def multihead_attention() -> Recipe:
    model = Attention()
    return classifier(model, dataset=sequences(), optimizer=adam(model))


class EncoderClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(FEATURES, 2, 8, dropout=0.1, batch_first=True)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


def transformer_encoder() -> Recipe:
    model = EncoderClassifier()
    return classifier(model, dataset=sequences(), optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3))


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, CLASSES, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.words(x).sum(1)


def sparse_embedding() -> Recipe:
    model = Bag()
    data = TensorDataset(torch.randint(0, 10, (SAMPLES, 4)), torch.randint(0, CLASSES, (SAMPLES,)))
    return classifier(model, dataset=data, optimizer=torch.optim.SparseAdam(model.parameters(), lr=0.1))


def weight_norm() -> Recipe:
    model = mlp()
    nn.utils.parametrizations.weight_norm(model[0])
    return classifier(model)


def spectral_norm() -> Recipe:
    model = mlp()
    nn.utils.parametrizations.spectral_norm(model[0])
    return classifier(model)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(FEATURES, FEATURES)
        self.decode = nn.Linear(FEATURES, FEATURES, bias=False)
        self.decode.weight = self.encode.weight
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.decode(self.encode(x).tanh()))


def tied() -> Recipe:
    return classifier(Tied())


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * 3 * x**2


class Cubed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(x)


def custom_function() -> Recipe:
    return classifier(nn.Sequential(nn.Linear(FEATURES, 4), Cubed(), nn.Linear(4, CLASSES)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, FEATURES)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.first(x))
        z = self.second(y)
        z += y
        return self.head(z)


def in_place() -> Recipe:
    return classifier(Residual())


class Checkpointed(nn.Module):
    """use_reentrant None: the same without checkpointing."""

    def __init__(self, *, use_reentrant: bool | None) -> None:
        super().__init__()
        self.use_reentrant = use_reentrant
        self.stem = nn.Linear(FEATURES, FEATURES)
        self.block = nn.Sequential(nn.Linear(FEATURES, 8), nn.Dropout(0.3), nn.GELU(), nn.Linear(8, FEATURES))
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(self.block, self.stem(x)))

    def run(self, body: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return body(x) if self.use_reentrant is None else checkpoint(body, x, use_reentrant=self.use_reentrant)


class TwiceInCheckpoint(Checkpointed):
    """The block is called twice in a row inside one checkpoint."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(lambda x: self.block(self.block(x).tanh()), self.stem(x)))


def checkpoint_reentrant() -> Recipe:
    return classifier(Checkpointed(use_reentrant=True))


def checkpoint_plain() -> Recipe:
    return classifier(Checkpointed(use_reentrant=False))


class FrozenAndUnused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(FEATURES, FEATURES).requires_grad_(False)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.frozen(x))


def frozen_and_unused() -> Recipe:
    model = FrozenAndUnused()
    return classifier(model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.01))


def bare_tensors() -> Recipe:
    model = {"w": torch.randn(FEATURES, CLASSES, requires_grad=True), "b": torch.zeros(CLASSES, requires_grad=True)}

    def step(model: dict[str, Tensor], batch: list[Tensor]) -> tuple[Tensor, Tensor]:
        x, y = batch
        output = F.dropout(x, 0.2) @ model["w"] + model["b"]
        return F.cross_entropy(output, y), output

    return Recipe(
        model=model,
        dataset=vectors(),
        optimizer=torch.optim.RMSprop(model.values(), lr=0.01),
        training_step=step,
        batch_size=BATCH,
    )


def gradient_penalty() -> Recipe:
    model = mlp()

    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        x, y = batch
        x = x.clone().requires_grad_()
        output = model(x)
        (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        return F.cross_entropy(output, y) + slope.square().mean()

    return classifier(nn.Sequential(model[0], nn.Tanh(), model[2]), training_step=step)


ZOO: dict[str, Callable[[], Recipe]] = {
    factory.__name__: factory
    for factory in (
        plain_mlp,
        batchnorm_dropout_conv,
        lstm,
        multihead_attention,
        transformer_encoder,
        sparse_embedding,
        weight_norm,
        spectral_norm,
        tied,
        custom_function,
        in_place,
        checkpoint_reentrant,
        checkpoint_plain,
        frozen_and_unused,
        bare_tensors,
        gradient_penalty,
        *MORE,
    )
}


def sample(first: int, *, but: Collection[str] = ()) -> list[str]:
    """Names of a third of ZOO, from this one on; with GRADSCOPE_WHOLE_ZOO of all. For proofs that take long: each begins at
    another one, so that every model is in some of them."""
    names = [name for name in ZOO if "compiled" not in name and name not in but]
    return names if os.environ.get("GRADSCOPE_WHOLE_ZOO") else names[first::3]
