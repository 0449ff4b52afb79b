"""Inputs that do not get as far as a layer, layers that are computed and thrown away, and parameters that never move."""

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


class Rated(nn.Module):
    """`rows` makes of ids, or of shares in [0, 1), the row of a table."""

    def __init__(self, rows: Any) -> None:
        super().__init__()
        self.items, self.out, self.offset = nn.Embedding(64, 4), nn.Linear(6, 3), nn.Parameter(torch.zeros(3))
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([self.items(self.rows(x[:, 0])), x[:, 1:]], 1)) + self.offset


def table(first: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([first[:, None], torch.randn(N, 2)], 1), torch.randint(0, 3, (N,))


IDS = torch.arange(N).remainder(60).float() + 1000


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        (lambda x: (x // 1000).long(), IDS),
        (lambda x: x.long(), torch.rand(N)),
        (lambda x: x.clamp(max=9).long(), IDS),
        (lambda x: torch.softmax(x[:, None], 1)[:, 0].long(), torch.randn(N)),
    ],
)
def test_what_is_made_of_an_input_is_the_same_for_all_before_a_layer_sees_it(rows: Any, first: Tensor) -> None:
    assert said(recipe(Rated(rows), table(first)), "constant-input") == ["items"]


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        (lambda x: (x - 1000).long(), IDS),
        # No token of that kind is in the data.
        (lambda x: (x == 3).long(), IDS),
        # A column that is constant in the data.
        (lambda x: x.long(), torch.full((N,), 7.0)),
        # Only a shape is taken.
        (lambda x: torch.zeros_like(x).long(), IDS),
    ],
)
def test_constants_of_the_data_and_of_the_code_are_silent(rows: Any, first: Tensor) -> None:
    assert said(recipe(Rated(rows), table(first)), "constant-input") == []


def test_a_number_that_reaches_the_model_on_another_way_is_silent() -> None:
    class Both(Rated):
        def forward(self, x: Tensor) -> Tensor:
            ids = x[:, 0]
            near = self.items((ids // 1000).long()) + self.items((ids - 1000).long())
            return self.out(torch.cat([near, x[:, 1:]], 1)) + self.offset

    assert said(recipe(Both(None), table(IDS)), "constant-input") == []


@pytest.mark.parametrize(
    "rest",
    [
        lambda x: x,
        lambda x: x[:, :2],
        lambda x: x[:, [0, 1]],
        lambda x: x.clone()[:, :1],
        lambda x: x.flatten().view(-1, 3),
    ],
    ids=["all", "a slice", "columns", "a copy", "a view"],
)
def test_a_column_that_reaches_the_model_with_others_is_silent(rest: Any) -> None:
    """The day is the same for all so far; the hours are in the rest."""

    class Hours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.day, self.rest, self.out = nn.Embedding(31, 4), nn.LazyLinear(8), nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.cat([self.rest(rest(x)), self.day((x[:, 0] // 24).long())], 1))

    model = Hours()
    model(torch.zeros(2, 3))
    assert said(recipe(model, table(24 * torch.rand(N))), "constant-input") == []


class Branches(nn.Module):
    """`join` makes the answer of both branches."""

    def __init__(self, join: Any) -> None:
        super().__init__()
        self.near, self.far = nn.Linear(4, 8), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        self.out, self.join = nn.Linear(8, 3), join
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        return self.join(self, self.near(x), self.far(x))


def rows() -> tuple[Tensor, Tensor]:
    return torch.randn(N, 4), torch.randint(0, 3, (N,))


def of_first(model: Any, batch: Any) -> Any:
    output = model(batch[0])
    output = output[0] if isinstance(output, tuple) else output
    return F.cross_entropy(output, batch[1]), output


def chosen(model: Any, near: Tensor, far: Tensor) -> Tensor:
    return model.out(near if bool(far.sum() > 0) else 2 * near)


def kept(model: Any, near: Tensor, far: Tensor) -> Tensor:
    model.kept = far
    return model.out(near)


def test_a_branch_that_is_computed_and_thrown_away() -> None:
    lost = Branches(lambda model, near, far: model.out(torch.relu(near + 0 * far.shape[0])))
    assert set(said(recipe(lost, rows()), "never-used")) == {"far.0", "far.2"}


@pytest.mark.parametrize(
    "join",
    [
        lambda model, near, far: model.out(near + far),
        lambda model, near, far: (model.out(near), far),
        lambda model, near, far: model.out(torch.where(far > 0, near, -near)),
        chosen,
        kept,
    ],
    ids=["used", "returned", "a mask", "a branch of Python", "an attribute"],
)
def test_what_is_used_in_any_way_is_not_thrown_away(join: Any) -> None:
    assert said(recipe(Branches(join), rows(), step=of_first), "never-used") == []


def test_a_head_that_its_own_module_returns_is_the_business_of_who_calls_it() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Branches(lambda model, near, far: (model.out(near), far))

        def forward(self, x: Tensor) -> Tensor:
            return self.backbone(x)[0]

    assert said(recipe(Wrapped(), rows()), "never-used") == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_the_capture_reads_is_no_reading_of_the_trainings(dtype: torch.dtype) -> None:
    """Numbers that the compiled kernel does not take are taken by numpy, in the middle of the forward."""
    model = Branches(lambda model, near, far: (model.out(near), far)).to(dtype)
    x, y = rows()
    for id in ("not-reached", "never-used"):
        assert said(recipe(model, (x.to(dtype), y), step=of_first), id) == []


class Adapted(nn.Module):
    """A frozen layer with a low-rank adapter."""

    def __init__(self, down: float) -> None:
        super().__init__()
        self.base, self.down, self.up = nn.Linear(4, 3), nn.Linear(4, 2, bias=False), nn.Linear(2, 3, bias=False)
        self.base.requires_grad_(False)
        nn.init.normal_(self.down.weight, std=down)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def test_two_factors_that_start_at_0_never_move() -> None:
    def found(down: float, id: str) -> list[str]:
        return said(recipe(Adapted(down), rows()), id, steps=30)

    assert found(0.0, "not-reached") == ["down"]
    assert found(0.0, "no-nonlinearity") == []
    assert found(0.3, "not-reached") == []


def written_back(model: Any, batch: Any) -> Any:
    with torch.no_grad():
        for p, average in zip(model.parameters(), model.buffers(), strict=True):
            average.lerp_(p, 0.001)
            p.copy_(average)
    return F.cross_entropy(model(batch[0]), batch[1])


def clamped(model: Any, batch: Any) -> Any:
    with torch.no_grad():
        for p in model.parameters():
            p.clamp_(-0.05, 0.05)
    return F.cross_entropy(model(batch[0]), batch[1])


def averaged(model: Any, batch: Any) -> Any:
    with torch.no_grad():
        for p, average in zip(model.parameters(), model.buffers(), strict=True):
            average.lerp_(p, 0.001)
    return F.cross_entropy(model(batch[0]), batch[1])


def least_squares(constrain: Any) -> Any:
    """Down to the edge of what is allowed, and along it no further."""

    def step(model: Any, batch: Any) -> Any:
        with torch.no_grad():
            constrain(model.weight)
        x, y = batch
        return F.mse_loss(model(x), y)

    return step


@pytest.mark.parametrize(
    "constrain", [lambda w: w.clamp_(min=0), lambda w: w.div_(w.norm())], ids=["positive", "a sphere"]
)
def test_a_projection_at_the_edge_is_silent(constrain: Any) -> None:
    x = torch.linalg.qr(torch.randn(256, 16))[0] * 16
    model = nn.Linear(16, 1, bias=False)
    made = recipe(model, (x, x @ torch.randn(16, 1) * 2), step=least_squares(constrain), batch_size=256)
    made = replace(made, optimizer=torch.optim.SGD(model.parameters(), 0.2))
    assert said(made, "steps-undone", steps=30) == []


@pytest.mark.parametrize(("step", "places"), [(written_back, [""]), (clamped, []), (averaged, [])])
def test_steps_that_are_taken_back(step: Any, places: list[str]) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    for number, p in enumerate(list(model.parameters())):
        model.register_buffer(f"average{number}", p.detach().clone())
    assert said(recipe(model, rows(), step=step), "steps-undone", steps=8) == places
