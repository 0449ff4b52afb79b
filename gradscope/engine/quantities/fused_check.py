"""Whether the fused kernel gives the same numbers as `on_device` does on the CPU, for tensors that are hard to summarise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.quantities.exponents import SAMPLE_ABOVE
from gradscope.engine.quantities.on_device import packed_summary
from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.subjects import COLUMNS, COUNT, L2, MAX, MEAN, MIN, STD

Summarise = Callable[[Tensor, Tensor | None, int | None], Tensor]
"""(numbers, what is taken off them or None, the most programs) -> packed row, on the device."""

RELATIVE = 1e-5
"""Of l2 and std; of the root mean square for the mean."""


def disagreement(summarise: Summarise, device: torch.device, dtype: torch.dtype, *, tile: int) -> str:
    """In what the rows differ from what they should be, in a sentence; "" where they are right, twice the same."""
    names, found, expected, sizes = [], [], [], []
    for name, values in _nasty(dtype, tile):
        # Behind an offset, and from the start; by many programs, and by one.
        for start, programs in ((0, None), (3, 1)):
            there = values.to(device)[start:]
            for before in (None, values.flip(0)[start:]):
                # Both at the same offset, as the kernel wants them.
                then = None if before is None else torch.cat([values[:start], before]).to(device)[start:]
                found += [summarise(there, then, programs) for _ in range(2)]
                here = values[start:]
                expected.append(packed_summary(here if before is None else here - before).numpy())
                sizes.append(here.numel())
                names.append(f"{here.numel()} numbers, {name}" + ("" if before is None else ", differences"))
    rows = torch.stack(found).cpu().numpy()
    for name, once, again, right, size in zip(names, rows[::2], rows[1::2], expected, sizes, strict=True):
        if not np.array_equal(once, again, equal_nan=True):
            return f"the kernel is not deterministic ({name})"
        columns = _wrong_columns(once, right, size)
        if columns:
            return f"the kernel's {columns} is wrong ({name})"
    return ""


def _nasty(dtype: torch.dtype, tile: int) -> Iterator[tuple[str, Tensor]]:
    random = np.random.default_rng(0)
    for size in (4, tile + 3, SAMPLE_ABOVE + 3):
        noise = random.standard_normal(size)
        yield "a large mean", _of(noise * 1e-3 + 100, dtype)
        yield "of all magnitudes", _of(noise * 10.0 ** random.integers(-44, 38, size), dtype)
        yield "subnormal", _of(noise * 1e-39, dtype)
        yield "not finite", _of(np.where(noise > 1, math.nan, np.where(noise < -1, -math.inf, noise)), dtype)
        yield "nothing finite", _of(np.where(noise > 0, math.nan, math.inf), dtype)
        yield "zeros", _of(np.where(noise > 0, 0.0, -0.0), dtype)
    # Of several segments where few programs take it.
    noise = random.standard_normal(70 * tile)
    noise[: 2 * tile] = math.nan
    yield "a large mean behind NaN", _of(noise * 1e-3 + 100, dtype)


def _of(array: FloatArray, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(array).to(dtype)


def _wrong_columns(found: FloatArray, right: FloatArray, size: int) -> str:
    """The name of the first column, or the histogram; "" if there is none."""
    columns = len(COLUMNS) - 1
    if not np.array_equal(found[columns:], right[columns:]):
        return "histogram"
    # Packed rows leave out the count.
    numbers = {column: (found[column - 1], right[column - 1]) for column in range(COUNT + 1, L2 + 1)}
    finite = max(size - right[:2].sum(), 1)
    largest = max(abs(numbers[MIN][1]), abs(numbers[MAX][1]))
    tolerances = {
        MEAN: RELATIVE * numbers[L2][1] / math.sqrt(finite),
        STD: RELATIVE * numbers[STD][1] + 1e-12 * largest,
        L2: RELATIVE * numbers[L2][1],
    }
    for column, (is_now, should_be) in numbers.items():
        if math.isnan(is_now) and math.isnan(should_be):
            continue
        if not abs(is_now - should_be) <= tolerances.get(column, 0.0):
            return COLUMNS[column]
    return ""
