"""What gets gradients and is trained by nobody, and what only looks like it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.findings.experiments.graph import find_unregistered
from tests.engine.findings.plain_bench import PlainBench


def batch() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(8, 6), torch.randint(0, 3, (8,))]


def found(bench: PlainBench) -> list[Any]:
    return [*find_unregistered(bench, bench.record)]


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x))


class Listed(Base):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(6, 6), nn.Linear(6, 6)]

    def inner(self, x: Tensor) -> Tensor:
        return self.layers[1](self.layers[0](x).relu())


class Scaled(Base):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(6, requires_grad=True)

    def inner(self, x: Tensor) -> Tensor:
        return x * self.scale


class Constant(Base):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(6)
        self.blocks = nn.ModuleList([nn.Linear(6, 6)])

    def inner(self, x: Tensor) -> Tensor:
        return self.blocks[0](x * self.scale)


def test_layers_in_a_list_are_named_by_the_list() -> None:
    bench = PlainBench(Listed(), [batch()])
    [draft] = found(bench)
    assert (draft.id, draft.where) == ("unregistered", "layers")
    assert "layers[0].weight" in draft.near
    assert len(bench.foreign) == 4
    assert "ModuleList" in draft.do


def test_a_tensor_that_requires_a_gradient_is_no_parameter() -> None:
    [draft] = found(PlainBench(nn.Sequential(Scaled()), [batch()]))
    assert draft.where == "0.scale"
    assert "nn.Parameter" in draft.do


def test_registered_layers_and_constants_are_silent() -> None:
    assert not found(PlainBench(Constant(), [batch()]))


def test_an_input_that_is_made_anew_is_silent() -> None:
    def step(model: Any, batch: Any) -> Any:
        x = batch[0].clone().requires_grad_()
        return nn.functional.cross_entropy(model(x), batch[1])

    assert not found(PlainBench(nn.Linear(6, 3), [batch()], step=lambda m, b: (step(m, b), None)))


def test_coordinates_that_are_differentiated_for_are_silent() -> None:
    grid = torch.linspace(0, 1, 6)[None].requires_grad_()

    def step(model: Any, batch: Any) -> Any:
        u = model(grid)
        (slope,) = torch.autograd.grad(u.sum(), grid, create_graph=True)
        return (slope**2).sum() + (u**2).sum(), u

    assert not found(PlainBench(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1)), [batch()], step=step))


def test_a_teacher_in_eval_mode_is_silent_and_a_forgotten_head_is_not() -> None:
    def bench(other: nn.Module) -> PlainBench:
        def step(model: Any, batch: Any) -> Any:
            return ((model(batch[0]) - other(batch[0])) ** 2).mean(), None

        return PlainBench(nn.Linear(6, 3), [batch()], step=step)

    assert not found(bench(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()))
    [draft] = found(bench(nn.Linear(6, 3)))
    assert "optimizer" in draft.do


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, y) * torch.exp(-self.log_scale) + self.log_scale


class Perceptual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, 8), nn.ReLU())

    def forward(self, output: Tensor, y: Tensor) -> Tensor:
        return self.features(output).sum() + nn.functional.cross_entropy(output, y)


def test_a_losss_own_parameter_counts_unless_it_is_optimised() -> None:
    bench = PlainBench(nn.Linear(6, 3), [batch()], Weighted())
    [draft] = found(bench)
    assert draft.where == "loss.log_scale"
    bench.record.optimizers[""].add_param_group({"params": bench.loss_function.parameters()})  # type: ignore[attr-defined]
    assert not found(bench)


def test_the_network_of_a_perceptual_loss_is_silent() -> None:
    assert not found(PlainBench(nn.Linear(6, 3), [batch()], Perceptual()))
