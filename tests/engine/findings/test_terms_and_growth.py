"""Terms of a loss that teach nothing, norms over two values, values that grow by layers, warm-ups without an end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.engine.findings.sessions import recipe, said

N = 320


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Speech(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv1d(4, 8, 3, stride, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.out(F.relu(self.conv(x)).transpose(1, 2)), -1)


def transcribed(model: Any, batch: Any) -> Any:
    x, y, length = batch
    out = model(x).transpose(0, 1)
    return F.ctc_loss(out, y, torch.full((len(x),), len(out)), length, zero_infinity=True)


@pytest.mark.parametrize(("stride", "labels", "places"), [(4, 6, [""]), (2, 6, []), (1, 6, []), (2, 10, [""])])
def test_labels_that_take_more_frames_than_there_are(stride: int, labels: int, places: list[str]) -> None:
    data = torch.randn(N, 4, 20), torch.randint(1, 5, (N, labels)), torch.randint(labels - 1, labels + 1, (N,))
    assert said(recipe(Speech(stride), data, step=transcribed), "ctc-too-short") == places


def test_labels_that_repeat_take_a_blank_between_them() -> None:
    length = torch.full((N,), 6)
    same, other = torch.ones(N, 6).long(), torch.tensor([1, 2, 3, 4, 1, 2]).expand(N, 6).contiguous()
    x = torch.randn(N, 4, 20)
    assert said(recipe(Speech(2), (x, same, length), step=transcribed), "ctc-too-short") == [""]
    assert said(recipe(Speech(2), (x, other, length), step=transcribed), "ctc-too-short") == []


def residual(has_graph: bool, weight: Any = None) -> Any:
    """u' = cos x by a net; `weight(du)` weighs the other term."""

    def step(model: Any, batch: Any) -> Any:
        x = batch[0].detach().clone().requires_grad_(True)
        u = model(x)
        (du,) = torch.autograd.grad(u.sum(), x, create_graph=has_graph, retain_graph=True)
        start = (model(torch.zeros(1, 1)) ** 2).mean()
        return weight(du) * start if weight else ((du - torch.cos(x)) ** 2).mean() + start

    return step


def penalised(has_graph: bool) -> Any:
    """A critic with a penalty of its gradient."""

    def step(model: Any, batch: Any) -> Any:
        x = batch[0].detach().clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=has_graph)
        penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
        return model(batch[0]).mean() - model(torch.randn_like(x)).mean() + 10 * penalty

    return step


def adversarial(model: Any, batch: Any) -> Any:
    x = batch[0].detach().clone().requires_grad_(True)
    (slope,) = torch.autograd.grad((model(x) ** 2).mean(), x)
    return (model(x + 0.1 * slope.sign()) ** 2).mean() + (model(batch[0]) ** 2).mean()


def only_shown(model: Any, batch: Any) -> Any:
    x = batch[0].detach().clone().requires_grad_(True)
    (slope,) = torch.autograd.grad((model(x) ** 2).mean(), x)
    loss = (model(batch[0]) ** 2).mean()
    model.shown = loss + slope.norm()
    return loss


def in_parts(model: Any, batch: Any) -> Any:
    return residual(has_graph=False)(model, batch) / 2 + 0.1 * model[0].weight.norm()


@pytest.mark.parametrize(
    ("step", "places"),
    [
        (residual(has_graph=False), [""]),
        (in_parts, [""]),
        (only_shown, []),
        (residual(has_graph=True), []),
        (penalised(has_graph=False), [""]),
        (penalised(has_graph=True), []),
        (residual(has_graph=False, weight=lambda du: du.norm()), []),
        (adversarial, []),
    ],
)
def test_a_term_that_is_made_of_a_derivative_without_a_graph(step: Any, places: list[str]) -> None:
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    assert said(recipe(model, (torch.randn(N, 1),), step=step), "term-without-gradient", steps=6) == places


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(0.1)), nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x + self.b


def first_order(steps: int) -> Any:
    """MAML without second derivatives, of a line."""

    def step(model: Any, batch: Any) -> Any:
        x, y = batch
        a, b = model.a, model.b
        for _ in range(steps):
            slopes = torch.autograd.grad(F.mse_loss(a * x + b, y), (a, b))
            a, b = a - 0.1 * slopes[0], b - 0.1 * slopes[1]
        return F.mse_loss(a * x + b, y)

    return step


@pytest.mark.parametrize("steps", [1, 2])
def test_a_step_by_a_derivative_is_no_term_of_the_loss(steps: int) -> None:
    x = torch.randn(N, 1)
    made = recipe(Line(), (x, 2 * x + 1), step=first_order(steps))
    assert said(made, "term-without-gradient", steps=6) == []


@pytest.mark.parametrize(
    ("norm", "size", "places"),
    [
        (nn.BatchNorm1d(16), 2, ["1"]),
        (nn.GroupNorm(8, 16), 8, ["1"]),
        (nn.BatchNorm1d(16), 3, []),
        (nn.BatchNorm1d(16), 45, []),
        (nn.LayerNorm(16), 2, []),
    ],
    ids=["a batch of 2", "groups of 2", "a batch of 3", "a last batch of 5", "rows of 16"],
)
def test_a_norm_over_two_values(norm: nn.Module, size: int, places: list[str]) -> None:
    x = torch.randn(N, 6)
    model = nn.Sequential(nn.Linear(6, 16), norm, nn.ReLU(), nn.Linear(16, 3))
    assert said(recipe(model, (x, x[:, :3].argmax(1)), batch_size=size), "norm-wipes-input") == places


class Tower(nn.Module):
    def __init__(self, blocks: int, last: float) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(4, 16), nn.Linear(16, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(blocks)
        )
        for block in self.blocks:
            nn.init.kaiming_normal_(block[0].weight)
            nn.init.normal_(block[2].weight, std=last)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x)
        for block in self.blocks:
            h = h + block(h)
        return self.out(h)[:, 0]


def own_step(model: Any, batch: Any) -> Any:
    return F.mse_loss(model(batch[0]), batch[1])


@pytest.mark.parametrize("step", [None, own_step], ids=["a loss", "a step of its own"])
def test_values_that_grow_from_layer_to_layer(step: Any) -> None:
    x = torch.randn(N, 4)
    data = x, x[:, 0].sin() + x[:, 1]

    def found(blocks: int, last: float) -> list[str]:
        made = recipe(Tower(blocks, last), data, F.mse_loss, step=step, rate=1e-3)
        return said(made, "initial-loss-too-high", steps=24)

    assert found(8, 0.7) == ["blocks"]
    assert found(8, 0.01) == []
    assert found(2, 0.35) == []


@pytest.mark.parametrize(
    ("rise", "rate", "places"),
    [
        (lambda step: min(1.0, (step + 1) / 200_000), 1e-2, [""]),
        (lambda step: min(1.0, (step + 1) / 4_000), 1e-2, []),
        # Of a curve nobody knows how it goes on: a search for a rate, too.
        (lambda step: min(1.0, (step + 1) / 200_000) ** 2, 1e-2, []),
        (lambda step: 1.05**step, 1e-6, []),
        (lambda step: 1.002**step, 1e-6, []),
        # On the way to no rate that anybody would ask for.
        (lambda step: (step + 1) / 200_000, 100.0, []),
    ],
)
def test_a_warm_up_that_never_ends(rise: Any, rate: float, places: list[str]) -> None:
    x = torch.randn(640, 4)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    made = recipe(model, (x, (x[:, 0] > 0).long()), batch_size=32)
    optimizer = next(iter(made.optimizers.values()))
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["initial_lr"] = rate
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rise)
    assert said(replace(made, scheduler=schedule), "lr-too-low", steps=60) == places
