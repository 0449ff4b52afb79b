"""Recipes for going back: every optimizer and scheduler of torch, and every way in which data can come."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler as lrs
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from zoo_parts import BATCH, CLASSES, FEATURES, classifier, mlp, vectors

from gradscope import Recipe


def _made(name: str, model: nn.Module) -> torch.optim.Optimizer:
    made: torch.optim.Optimizer = getattr(torch.optim, name)(model.parameters())
    return made


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    name: partial(_made, name)
    for name in (
        "ASGD",
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
    )
} | {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "LBFGS": lambda model: torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3, history_size=4),
    "Adam, amsgrad": lambda model: torch.optim.Adam(model.parameters(), amsgrad=True, foreach=True),
    "AdamW, fused": lambda model: torch.optim.AdamW(model.parameters(), fused=True),
    "RMSprop, centered": lambda model: torch.optim.RMSprop(model.parameters(), centered=True, momentum=0.5),
}
SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], lrs.LRScheduler]] = {
    "LambdaLR": lambda o: lrs.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: lrs.MultiplicativeLR(o, lambda step: 0.95),
    "StepLR": lambda o: lrs.StepLR(o, 2),
    "MultiStepLR": lambda o: lrs.MultiStepLR(o, [2, 4]),
    "ConstantLR": lambda o: lrs.ConstantLR(o, total_iters=3),
    "LinearLR": lambda o: lrs.LinearLR(o, total_iters=4),
    "ExponentialLR": lambda o: lrs.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lrs.PolynomialLR(o, 6),
    "CosineAnnealingLR": lambda o: lrs.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: lrs.CyclicLR(o, 0.01, 0.1, step_size_up=2),
    "OneCycleLR": lambda o: lrs.OneCycleLR(o, 0.1, total_steps=40),
    "SequentialLR": lambda o: lrs.SequentialLR(o, [lrs.LinearLR(o), lrs.ExponentialLR(o, 0.9)], [3]),
    "ChainedScheduler": lambda o: lrs.ChainedScheduler([lrs.ConstantLR(o, total_iters=2), lrs.ExponentialLR(o, 0.9)]),
}


def noisy() -> nn.Sequential:
    """With buffers and random numbers."""
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, CLASSES))


def large(fused: bool) -> Recipe:
    """Above what is copied together with others, and compared where a version says nothing."""
    model = nn.Sequential(nn.Linear(FEATURES, 600), nn.ReLU(), nn.Linear(600, 600), nn.ReLU(), nn.Linear(600, CLASSES))
    return classifier(model, optimizer=torch.optim.AdamW(model.parameters(), fused=fused))


def with_optimizer(name: str) -> Recipe:
    model = noisy()
    return classifier(model, optimizer=OPTIMIZERS[name](model))


def muon() -> Recipe:
    model = nn.Sequential(nn.Linear(FEATURES, 8, bias=False), nn.ReLU(), nn.Linear(8, CLASSES, bias=False))
    return classifier(model, optimizer=torch.optim.Muon(model.parameters()))


class Bag(nn.Module):
    """A part of its rows gets a gradient, a sparse one."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.EmbeddingBag(50, CLASSES, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x)


def sparse_adam() -> Recipe:
    model = Bag()
    data = TensorDataset(torch.randint(0, 50, (20, 3)), torch.randint(0, CLASSES, (20,)))
    return classifier(model, dataset=data, optimizer=torch.optim.SparseAdam(model.parameters()))


def with_scheduler(name: str, unit: str = "step") -> Recipe:
    model = noisy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return classifier(model, optimizer=optimizer, scheduler=SCHEDULERS[name](optimizer), scheduler_unit=unit)


def plateau() -> Recipe:
    model = noisy()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = lrs.ReduceLROnPlateau(optimizer, patience=0)
    return classifier(
        model,
        optimizer=optimizer,
        scheduler=scheduler,
        scheduler_unit="epoch",
        scheduler_metric="loss",
        validation=vectors(),
    )


def half() -> Recipe:
    """A gradient scaler, and a loss that is too large for it now and then."""
    model = noisy()
    return classifier(model, precision="fp16", clip_norm=1.0, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


def accumulating() -> Recipe:
    model = noisy()
    return classifier(
        model, dataset=vectors(60), accumulate=3, clip_value=0.5, optimizer=torch.optim.Adam(model.parameters())
    )


def by_hand() -> Recipe:
    """Gradients add up."""
    return classifier(noisy(), zero_grad="manual")


def gan() -> Recipe:
    model = nn.ModuleDict(
        {"g": nn.Linear(2, FEATURES), "d": nn.Sequential(nn.Linear(FEATURES, 4), nn.Dropout(0.2), nn.Linear(4, 1))}
    )
    parts: Any = model

    def of_d(model: Any, batch: list[Tensor]) -> Tensor:
        real, _ = batch
        fake = parts["g"](torch.randn(len(real), 2)).detach()
        return nn.functional.softplus(-parts["d"](real)).mean() + nn.functional.softplus(parts["d"](fake)).mean()

    def of_g(model: Any, batch: list[Tensor]) -> Tensor:
        return nn.functional.softplus(-parts["d"](parts["g"](torch.randn(len(batch[0]), 2)))).mean()

    return Recipe(
        model=model,
        dataset=vectors(),
        batch_size=BATCH,
        optimizer={
            "d": torch.optim.Adam(model["d"].parameters(), lr=0.01),
            "g": torch.optim.SGD(model["g"].parameters(), lr=0.1, momentum=0.5),
        },
        training_step={"d": of_d, "g": of_g},
    )


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Draws from all global generators, and perhaps from one of its own."""

    def __init__(self, *, has_own: bool = True) -> None:
        self.x, self.y = torch.randn(20, FEATURES), torch.randint(0, CLASSES, (20,))
        self.own: Any = np.random.default_rng(3) if has_own else np.random

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = random.random() + np.random.rand() + self.own.random()
        return self.x[index] + torch.randn(FEATURES) * noise, self.y[index]


def augmented() -> Recipe:
    return classifier(noisy(), dataset=Augmented())


def own_loader() -> Recipe:
    """Its order comes from the global generator."""
    return classifier(noisy(), dataset=DataLoader(Augmented(has_own=False), BATCH, shuffle=True, drop_last=True))


def validated() -> Recipe:
    model = noisy()
    return classifier(model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.02), validation=vectors())


def with_workers(count: int = 1, *, persistent: bool = False) -> Recipe:
    loader = DataLoader(Augmented(), BATCH, shuffle=True, num_workers=count, persistent_workers=persistent)
    return classifier(noisy(), dataset=loader)


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(20):
            yield torch.randn(FEATURES), torch.randint(0, CLASSES, ())


def streamed() -> Recipe:
    return classifier(noisy(), dataset=Stream())


def gone_through_once() -> Recipe:
    """A generator: what was taken from it does not come again."""

    def samples() -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(5)
        for _ in range(400):
            yield torch.randn(FEATURES, generator=generator), torch.randint(0, CLASSES, (), generator=generator)

    return classifier(noisy(), dataset=samples())


class Counting(nn.Module):
    """Keeps a count, a list, a generator and a moving average of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)
        self.calls, self.seen = 0, list[float]()
        self.own = torch.Generator().manual_seed(1)
        self.average = torch.zeros(CLASSES)
        self.table = np.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        output = self.linear(x) + torch.randn(CLASSES, generator=self.own) * 0.1 + self.average
        self.average = 0.9 * self.average + 0.1 * output.detach().mean(0)
        self.seen.append(float(output.detach().sum()))
        self.table[self.calls % 3] += self.seen[-1]
        return output * (1 + 0.01 * (self.calls % 3)) + float(self.table.sum()) * 1e-3


def counting() -> Recipe:
    return classifier(Counting())


class Teacher(nn.Module):
    """A frozen part is moved through `.data`, which leaves no mark in a tensor's version."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = mlp(), mlp()
        self.teacher.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        for own, other in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            own.data.mul_(0.9).add_(other.data, alpha=0.1)
        return self.student(x) + self.teacher(x)


def teacher() -> Recipe:
    model = Teacher()
    return classifier(model, optimizer=torch.optim.Adam(model.student.parameters(), lr=0.01))


DATA: dict[str, Callable[[], Recipe]] = {
    made.__name__: made for made in (augmented, own_loader, streamed, gone_through_once, with_workers)
}
OTHERS: dict[str, Callable[[], Recipe]] = {
    made.__name__: made for made in (muon, sparse_adam, plateau, half, accumulating, by_hand, gan, counting, teacher)
}


class EmptyAtFirst(nn.Module):
    """What it keeps, and what it is made of, comes while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(FEATURES, CLASSES)
        self.layers, self.calls = nn.ModuleList(), 0
        self.seen, self.hooks_seen = dict[int, float](), dict[str, int]()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen[self.calls] = float(x.sum())
        self.hooks_seen[f"call {self.calls}"] = self.calls
        if self.calls == 3:
            self.layers.append(nn.Linear(FEATURES, FEATURES))
            self.layers.register_buffer("scale", torch.ones(1))
        for layer in self.layers:
            x = layer(x) * self.layers.scale.clone()
            self.layers.scale.mul_(0.9)
        return self.last(x) * (1 + 0.01 * len(self.seen) + 0.01 * len(self.hooks_seen))


def empty_at_first() -> Recipe:
    return classifier(EmptyAtFirst())
