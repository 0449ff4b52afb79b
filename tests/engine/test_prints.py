"""What is printed of a value is the same for the same, and another one for anything that it goes by."""

from __future__ import annotations

import textwrap
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradscope.engine.recipe.loading import _import
from gradscope.engine.recipe.prints import is_shown, print_of

CODE = """
import enum
import torch
from torch import nn
LIMIT = 3
TABLE = {"a": [1, 2]}
class Kind(enum.Enum):
    ONE = 1
def helper(x):
    return x * 2
def made(count):
    def inner(x, *, scale=1.0):
        return helper(x) + count * scale + LIMIT + len(TABLE["a"])
    return inner
class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.width = 3
    @property
    def size(self):
        return self.width + 1
    def forward(self, x):
        return helper(x)
thing = made(1)
layer = Layer
"""


def loaded(tmp_path: Path, text: str, number: int) -> Any:
    folder = tmp_path / str(number)
    folder.mkdir()
    file = folder / "printed.py"
    file.write_text(textwrap.dedent(text))
    return _import(file)


@pytest.mark.parametrize(
    ("name", "before", "after", "is_same"),
    [
        ("thing", "", "", True),
        ("thing", "import enum\n", "import enum\n# moved down\n\n", True),
        ("thing", "x * 2", "x * 3", False),
        ("thing", "LIMIT = 3", "LIMIT = 4", False),
        ("thing", "[1, 2]", "[1, 2, 3]", False),
        ("thing", "made(1)", "made(2)", False),
        ("thing", "scale=1.0", "scale=1.5", False),
        ("thing", "count * scale", "count / scale", False),
        ("layer", "", "", True),
        ("layer", "self.width = 3", "self.width = 4", True),
        ("layer", "self.width + 1", "self.width + 2", False),
        ("layer", "x * 2", "x - 2", False),
        ("layer", "class Layer(nn.Module)", "class Layer(nn.Identity)", False),
    ],
)
def test_code(tmp_path: Path, name: str, before: str, after: str, is_same: bool) -> None:
    one, other = loaded(tmp_path, CODE, 1), loaded(tmp_path, CODE.replace(before, after) if before else CODE, 2)
    assert (print_of(getattr(one, name)) == print_of(getattr(other, name))) is is_same


VALUES: list[tuple[Any, Any, Any]] = [
    (torch.tensor(5.0), torch.tensor(5.0), torch.tensor(6.0)),
    (torch.zeros(100_000), torch.zeros(100_000), torch.zeros(100_000).index_fill_(0, torch.tensor([77]), 1.0)),
    (np.arange(9), np.arange(9), np.arange(9)[::-1]),
    (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss()),
    (nn.NLLLoss(weight=torch.ones(3)), nn.NLLLoss(weight=torch.ones(3)), nn.NLLLoss(weight=torch.zeros(3))),
    (partial(torch.clamp, min=0), partial(torch.clamp, min=0), partial(torch.clamp, min=1)),
    (Counter("aab"), Counter("aab"), Counter("abb")),
    ({"b", "a"}, {"a", "b"}, {"a", "c"}),
    ([0.0], [0.0], [-0.0]),
    (list(range(3000)), list(range(3000)), [*range(2999), 0]),
    (torch.relu, torch.relu, torch.tanh),
]


@pytest.mark.parametrize(("one", "same", "other"), VALUES, ids=range(len(VALUES)))
def test_data(one: Any, same: Any, other: Any) -> None:
    assert print_of(one) == print_of(same) != print_of(other)


def test_short_plain_values_are_shown() -> None:
    assert [print_of(value) for value in (0.1, None, (0.9, 0.99), "mean")] == ["0.1", "None", "(0.9, 0.99)", "'mean'"]
    assert is_shown(print_of([1, 2])) and not is_shown(print_of("x" * 100)) and not is_shown(print_of({}))


def test_what_holds_itself_comes_to_an_end() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    deep: Any = None
    for _ in range(10_000):
        deep = [deep]
    assert print_of(loop).startswith("#") and print_of(deep).startswith("#")
