"""Time loops that cut the gradient, and those that do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.engine.findings.experiments.cut import find_cut
from tests.engine.findings.plain_bench import PlainBench

B, T = 6, 12


class Loop(nn.Module):
    """A cell over time; `every`: how often its state is detached."""

    def __init__(self, *, every: int = 0, tokens: bool = False, per_step: bool = False, frozen: bool = False) -> None:
        super().__init__()
        self.emb = nn.Embedding(9, 3) if tokens else nn.Identity()
        self.cell = nn.GRUCell(3, 16).requires_grad_(not frozen)
        self.head = nn.Linear(19, 2)
        self.every, self.per_step = every, per_step

    def forward(self, x: Tensor) -> Tensor:
        x = self.emb(x)
        h = torch.zeros(len(x), 16)
        steps = []
        for t in range(x.shape[1]):
            if self.every and t % self.every == 0:
                h = h.detach()
            h = self.cell(x[:, t], h)
            steps.append(self.head(torch.cat([h, x[:, t]], 1)))
        return torch.stack(steps, 1) if self.per_step else steps[-1]


class Layer(nn.Module):
    """A layer of torch's, and the greatest over time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0].amax(1))


def places(model: nn.Module, length: int = T, *, tokens: bool = False, per_step: bool = False) -> list[str]:
    torch.manual_seed(0)
    x = torch.randint(0, 9, (B, length)) if tokens else torch.randn(B, length, 3)
    y = torch.randint(0, 2, (B, length) if per_step else (B,))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out.flatten(0, -2), y.flatten())

    bench = PlainBench(model, [[x, y]], loss)
    return [draft.where for draft in find_cut(bench, bench.record)]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
def test_a_state_that_is_detached_at_every_step(tokens: bool, per_step: bool) -> None:
    assert places(Loop(every=1, tokens=tokens, per_step=per_step), tokens=tokens, per_step=per_step) == ["cell"]


@pytest.mark.parametrize(
    ("options", "length"),
    [({}, T), ({"tokens": True}, T), ({"every": 20}, 50), ({"every": 1, "frozen": True}, T), ({"per_step": True}, T)],
)
def test_whole_and_truncated_gradients_and_reservoirs_are_silent(options: dict[str, Any], length: int) -> None:
    tokens, per_step = options.get("tokens", False), options.get("per_step", False)
    assert places(Loop(**options), length, tokens=tokens, per_step=per_step) == []


def test_the_greatest_over_time_is_silent() -> None:
    assert places(Layer()) == []
