"""Summaries of generated tensors: every dtype, layout, size and nastiness together, against numpy in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_summaries import BOTH, FLOATS, NORM_WAYS, WHOLE, check, check_norm
from torch import Tensor

NASTY: dict[str, Callable[[np.random.Generator, int], np.ndarray[Any, Any]]] = {
    "normal": lambda random, n: random.standard_normal(n),
    "a million plus noise": lambda random, n: 1e6 + random.standard_normal(n),
    "all equal": lambda random, n: np.full(n, random.standard_normal()),
    "all zero": lambda random, n: np.zeros(n) * random.choice([-1, 1], n),
    "mostly zero": lambda random, n: random.standard_normal(n) * (random.random(n) < 0.05),
    "subnormal": lambda random, n: random.standard_normal(n) * 1e-40,
    "squares vanish": lambda random, n: random.standard_normal(n) * 1e-25,
    "1e30": lambda random, n: random.standard_normal(n) * 1e30,
    "of all magnitudes": lambda random, n: random.standard_normal(n) * 10.0 ** random.integers(-37, 37, n),
    "with NaN": lambda random, n: np.where(random.random(n) < 0.1, math.nan, random.standard_normal(n)),
    "with Inf": lambda random, n: np.where(random.random(n) < 0.1, -math.inf, random.standard_normal(n)),
    "nothing finite": lambda random, n: random.choice([math.nan, math.inf, -math.inf], n),
    "one outlier": lambda random, n: np.where(np.arange(n) == n // 2, 1e20, random.standard_normal(n)),
}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.transpose(0, -1),
    "flipped": lambda t: t.flip(0),
    "every second": lambda t: t[::2],
    "a column": lambda t: t[..., :1],
    "expanded": lambda t: t.unsqueeze(0).expand(3, *t.shape),
    "channels last": lambda t: t.reshape(1, *t.shape).contiguous(memory_format=torch.channels_last),
    "behind an offset": lambda t: t.reshape(-1)[t.numel() // 3 :],
    "0-d": lambda t: t.reshape(-1)[0] if t.numel() else t,
}


@st.composite
def tensors(draw: st.DrawFn, dtypes: list[torch.dtype]) -> Tensor:
    shape = draw(st.lists(st.integers(0, 40), min_size=3, max_size=3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = NASTY[draw(st.sampled_from(sorted(NASTY)))](random, math.prod(shape))
    dtype = draw(st.sampled_from(dtypes))
    if dtype in WHOLE:
        values = np.clip(np.nan_to_num(values), 0, 1 if dtype is torch.bool else 100)
    tensor = torch.from_numpy(values.reshape(shape)).to(dtype)
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](tensor)


@BOTH
@settings(max_examples=250, deadline=None)
@given(tensor=tensors([*FLOATS, *WHOLE]))
def test_every_number_of_anything(summarise: Any, tensor: Tensor) -> None:
    before = tensor.clone()
    # l2 can lie beyond float64, in the oracle as well.
    with np.errstate(over="ignore"):
        check(tensor, summarise)
    assert torch.equal(tensor.nan_to_num(7.0), before.nan_to_num(7.0)), "looking has changed it"


@NORM_WAYS
@settings(max_examples=150, deadline=None)
@given(tensor=tensors(FLOATS))
def test_norms_of_anything(way: str, tensor: Tensor) -> None:
    with np.errstate(over="ignore"):
        check_norm(tensor, way)


@pytest.mark.parametrize("nasty", sorted(NASTY))
@pytest.mark.parametrize("size", [16_384, 16_385, 300_001])
@BOTH
def test_large_and_nasty(summarise: Any, size: int, nasty: str) -> None:
    check(torch.from_numpy(NASTY[nasty](np.random.default_rng(size), size)).float(), summarise)
