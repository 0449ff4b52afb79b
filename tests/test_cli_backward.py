"""`gradscope run` where a backward fails: nobody is there to press "Run again to find the line", so it is found at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradscope import cli
from tests.faulty_recipes import INPLACE_BEFORE_BACKWARD

FAILS_ONCE = """
import torch
from torch import nn
from gradscope import Recipe

class Once(torch.autograd.Function):
    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        Once.calls += 1
        if Once.calls == 1:
            raise ValueError("only this time")
        return 2 * gradient

class Net(nn.Linear):
    def forward(self, x):
        return Once.apply(super().forward(x))

def recipe():
    model, x = Net(2, 1), torch.randn(8, 2)
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), 0.1))
"""


def run(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """(standard error, JSON lines) of a run whose backward fails."""
    path = tmp_path / "recipe.py"
    path.write_text(recipe, encoding="utf-8")
    assert cli.main(["run", str(path), "--steps", "3", "--jsonl", str(tmp_path / "out.jsonl")]) == 1
    return capsys.readouterr().err, (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()


def test_the_line_of_the_forward_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, lines = run(INPLACE_BEFORE_BACKWARD, tmp_path, capsys)
    assert told.count("The backward of step 0 failed") == 1
    assert "failed at SigmoidBackward0, the backward of recipe.py, line 13 (y = self.inside(x).sigmoid()): Run" in told
    assert "In the forward:\n" in told and "y = self.inside(x).sigmoid()\n" in told
    assert "Warning" not in told
    assert len(lines) == 2, "the second try is in no output"


def test_a_failure_that_does_not_come_again_is_told_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, _ = run(FAILS_ONCE, tmp_path, capsys)
    assert told.count("The backward of step 0 failed: ValueError: only this time") == 1
