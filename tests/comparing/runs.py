"""Small runs, written by the engine itself: JSON lines and snapshots of a recipe with a layer that may be another one."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from gradscope.cli import main

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.act = nn.Tanh()
        {extra}
        self.second = nn.Linear(6, 3)

    def forward(self, x):
        h = self.act(self.first(x))
        {through}
        return self.second(h)

def recipe():
    torch.manual_seed(1)
    model = Model()
    data = torch.utils.data.TensorDataset(torch.randn(12, 4), torch.arange(12) % 3)
    return Recipe(name="Small", model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=4,
                  accumulate={accumulate}, clip_norm={clip},
                  optimizer=torch.optim.SGD(model.parameters(), lr={lr}, momentum=0.9))
"""


def write_recipe(
    folder: Path,
    name: str,
    *,
    lr: float = 0.1,
    clip: float | None = None,
    accumulate: int = 1,
    extra: str = "",
    through: str = "",
) -> Path:
    file = folder / f"{name}.py"
    text = RECIPE.format(lr=lr, clip=clip, accumulate=accumulate, extra=extra, through=through)
    file.write_text(text, encoding="utf-8")
    return file


def run(recipe: Path, *, steps: int, export: str = "", options: tuple[str, ...] = ()) -> Path:
    """The file of JSON lines beside the recipe; a snapshot with it where `export` names one."""
    lines = recipe.with_suffix(".jsonl")
    given = ["run", str(recipe), "--steps", str(steps), "--jsonl", str(lines), "--quiet", *options]
    if export:
        given += ["--export", str(recipe.with_name(export))]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(given)
    assert code == 0, err.getvalue()
    return lines
