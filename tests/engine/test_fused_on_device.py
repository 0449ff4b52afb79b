"""The Triton kernel, run by Triton's interpreter on the CPU: its numbers against numpy in float64, as the other ways'.

What only a GPU can show (that it compiles there, is deterministic, is launched once a tensor) is in test_cuda.py.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_summaries import Numbers, as_array, check, expected_row
from test_summaries_of_anything import NASTY
from torch import Tensor

from gradscope.engine.quantities import fused_check
from gradscope.engine.quantities.exponents import LINE, SAMPLE_ABOVE, exponents, sampled_lines
from gradscope.engine.quantities.fused_on_device import FusedSummary
from gradscope.engine.quantities.on_device import PACKED, unpacked


def interpreted() -> ModuleType:
    """The kernel as functions that the interpreter runs; Triton decides on that while it is imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs triton, which comes with a torch for GPUs", allow_module_level=True)
    if torch.cuda.is_available() or "triton" in sys.modules:
        pytest.skip("triton is here for a GPU: test_cuda.py tries the kernel there", allow_module_level=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(INTERPRET, "1")
        from gradscope.engine.quantities import fused_kernel
    return fused_kernel


INTERPRET = "TRITON_INTERPRET"
kernel = interpreted()
pytestmark = [
    # Numpy warns of what a GPU does silently.
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
]
DTYPES = list(kernel.DTYPES)


@pytest.fixture(autouse=True, scope="module")
def _interpreting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(INTERPRET, "1")
        yield


def row_of(values: Tensor, before: Tensor | None = None, programs: int | None = None) -> Tensor:
    """One launch, as `FusedSummary.row` does it; nothing is written behind the scratch or the row."""
    offset = values.data_ptr() % 16
    assert before is None or before.data_ptr() % 16 == offset
    first = offset // values.element_size()
    tiles = -(-(first + values.numel()) // kernel.TILE)
    scratch = torch.full((kernel.SCRATCH_BYTES + 8,), 0x55, dtype=torch.uint8)
    scratch[kernel.SCRATCH_BYTES - 4 : kernel.SCRATCH_BYTES] = 0
    row = torch.full((PACKED + 1,), -7.0, dtype=torch.float64)
    kernel.summarise[(programs or tiles,)](
        values.data_ptr() - offset,
        0 if before is None else before.data_ptr() - offset,
        first,
        values.numel(),
        scratch.data_ptr(),
        row.data_ptr(),
        kernel.DTYPES[values.dtype],
        before is not None,
    )
    assert scratch[kernel.SCRATCH_BYTES - 4 :].tolist() == [0] * 4 + [0x55] * 8 and row[-1] == -7
    return row[:-1]


def numbers_of(row: Tensor, size: int, *, norms_only: bool = False) -> Numbers:
    rows, histograms, sampled = unpacked(row.numpy()[None], np.array([float(size)]), norms_only=norms_only)
    return rows[0].tolist(), histograms[0], int(sampled[0])


def fused(programs: int | None = None) -> Callable[[Tensor], Numbers]:
    return lambda tensor: numbers_of(row_of(tensor, programs=programs), tensor.numel())


def aligned(values: Tensor, offset: int) -> Tensor:
    """The same numbers, `offset` of them behind an address that all threads could read from at once."""
    padded = torch.zeros(offset + values.numel(), dtype=values.dtype)
    assert padded.data_ptr() % 16 == 0
    padded[offset:] = values
    return padded[offset:]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    size = draw(st.one_of(st.integers(1, 3 * kernel.TILE), st.integers(SAMPLE_ABOVE - 2, SAMPLE_ABOVE + 2000)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = torch.from_numpy(NASTY[draw(st.sampled_from(sorted(NASTY)))](random, size))
    return aligned(values.to(draw(st.sampled_from(DTYPES))), draw(st.integers(0, 9)))


@settings(max_examples=150, deadline=None)
@given(tensor=tensors(), programs=st.sampled_from([None, 1, 2]))
def test_every_number_of_anything(tensor: Tensor, programs: int | None) -> None:
    kept = tensor.clone()
    check(tensor, fused(programs))
    assert torch.equal(tensor.nan_to_num(7.0), kept.nan_to_num(7.0))


@settings(max_examples=60, deadline=None)
@given(tensor=tensors(), nasty=st.sampled_from(sorted(NASTY)), seed=st.integers(0, 1000))
def test_differences_are_those_that_torch_computes(tensor: Tensor, nasty: str, seed: int) -> None:
    other = torch.from_numpy(NASTY[nasty](np.random.default_rng(seed), tensor.numel())).to(tensor.dtype)
    before = aligned(other, tensor.data_ptr() % 16 // tensor.element_size())
    difference = tensor - before
    check(difference, lambda _: numbers_of(row_of(tensor, before), tensor.numel()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_difference_of_halves_is_rounded_as_they_are(dtype: torch.dtype) -> None:
    every = (
        torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.float16 if dtype is torch.float16 else torch.bfloat16)
    )
    now = aligned(every.to(dtype), 0)
    before = aligned(every.flip(0).roll(77).to(dtype), 0)
    check(now - before, lambda _: numbers_of(row_of(now, before), now.numel()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0, 3])
def test_the_host_launches_as_these_tests_do(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, offset: int) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(multi_processor_count=1))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda _: 5, raising=False)
    summary = FusedSummary(torch.device("cpu"), dtype)
    for size in (1, kernel.TILE, 9 * kernel.TILE):
        values, before = (
            aligned(torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(dtype), offset)
            for seed in (0, 1)
        )
        programs = min(5, -(-(size + offset) // kernel.TILE))
        assert torch.equal(summary.row(values, None), row_of(values, programs=programs))
        assert torch.equal(summary.row(values, before), row_of(values, before, programs))
        assert torch.equal(summary.row(values, before, 2), row_of(values, before, min(programs, 2)))
    assert list(summary._scratch) == [5]


def test_the_interpreter_never_gets_a_gpu_s_addresses() -> None:
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET"):
        FusedSummary(torch.device("cuda:0"), torch.float32)


@pytest.mark.parametrize("nasty", sorted(NASTY))
def test_several_segments_of_one_program(nasty: str) -> None:
    size = 70 * kernel.TILE + 5
    check(torch.from_numpy(NASTY[nasty](np.random.default_rng(1), size)).float(), fused(1))


def noise_with(**first: float) -> dict[str, np.ndarray[Any, Any]]:
    """1e6 + noise (or what `rest` says), of which the first tiles are otherwise."""
    noise = np.random.default_rng(3).standard_normal(70 * kernel.TILE)
    found = {}
    for name, value in first.items():
        rest = noise * 1e-3 if value > 1e30 else noise * 1e30 if value == 1e-3 else 1e6 + noise
        rest[: 2 * kernel.TILE] = value
        found[name] = rest
    return found


BEGINNINGS = noise_with(nan=math.nan, inf=-math.inf, zero=0.0, huge=3e38, tiny=1e-3, thousand=1e3)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_what_a_tensor_begins_with_costs_no_digits(beginning: str) -> None:
    tensor = torch.from_numpy(BEGINNINGS[beginning]).float()
    check(tensor, fused(1))
    check(tensor, fused(2))


def test_a_million_plus_noise_keeps_its_digits() -> None:
    values = 1e6 + torch.randn(50 * kernel.TILE, generator=torch.Generator().manual_seed(0))
    row, _, _ = fused(3)(values)
    assert row[6] == pytest.approx(values.double().mean().item(), rel=1e-12)
    assert row[7] == pytest.approx(values.double().std(correction=0).item(), rel=1e-6)


def test_all_equal_has_exactly_no_std() -> None:
    row, _, _ = fused(3)(torch.full((50 * kernel.TILE + 1,), 0.1))
    assert row[4] == row[5] == row[6] == torch.tensor(0.1).item() and row[7] == 0


def test_all_equal_has_no_std_where_a_sum_cannot_be_exact() -> None:
    """Of what three programs found in more numbers than fit in a test."""
    tl, triton = kernel.tl, kernel.triton
    counts, value = [973_492_047, 885_523_337, 1_026_902_831], torch.tensor(0.1).item()
    partials = torch.zeros(7, kernel.MAX_PROGRAMS, dtype=torch.float64)
    partials[0, :3] = torch.tensor(counts, dtype=torch.float64)
    partials[[1, 3, 4], :3] = value
    histograms, row = torch.zeros(8 * 128, dtype=torch.int32), torch.zeros(PACKED, dtype=torch.float64)

    @triton.jit
    def finish(partials_at: tl.int64, histograms_at: tl.int64, row_at: tl.int64, count: tl.int64) -> None:
        histograms_of = histograms_at.to(tl.pointer_type(tl.int32))
        doubles = tl.pointer_type(tl.float64)
        kernel._finish(partials_at.to(doubles), histograms_of, row_at.to(doubles), count, 3)

    finish[(1,)](partials.data_ptr(), histograms.data_ptr(), row.data_ptr(), sum(counts))
    assert row[:3].tolist() == [0, 0, 0] and row[3:7].tolist() == [value, value, value, 0]


@pytest.mark.parametrize("nasty", sorted(NASTY))
def test_norms_are_the_counts_and_l2(nasty: str) -> None:
    tensor = torch.from_numpy(NASTY[nasty](np.random.default_rng(2), 3000)).float()
    found, histogram, sampled = numbers_of(row_of(tensor), tensor.numel(), norms_only=True)
    expected = expected_row(as_array(tensor), is_float=True)
    assert found[:3] == expected[:3] and all(math.isnan(value) for value in found[3:8])
    np.testing.assert_allclose(found[8], expected[8], rtol=1e-6)
    assert not histogram.any() and sampled == 0


WIDE = 2**31 + 40 * 1024 + 3


def test_numbers_behind_the_reach_of_32_bits() -> None:
    """Of memory that is never written, all zero, only the pages that are looked at take any room."""
    tl, triton = kernel.tl, kernel.triton
    memory = torch.from_numpy(np.zeros(WIDE, dtype=np.int16)).view(torch.bfloat16)
    lines = torch.from_numpy(sampled_lines(WIDE // LINE).copy())
    chosen = (lines[:, None] * LINE + torch.arange(LINE)).reshape(-1)
    memory[chosen] = torch.randn(len(chosen), generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    tail = 2**31 // kernel.TILE
    memory[2**31 + 1], memory[-1] = -3, 2.5
    counts, found = torch.zeros(128, dtype=torch.int32), torch.zeros(7, dtype=torch.float64)

    @triton.jit
    def look(x_address: tl.int64, count: tl.int64, tile: tl.int64, counts_to: tl.int64, found_to: tl.int64) -> None:
        x = x_address.to(tl.pointer_type(tl.int16))
        bins = kernel._histogram(x, x, count * 0, count, 0, 1, tl.bfloat16, False)
        tl.store(counts_to.to(tl.pointer_type(tl.int32)) + tl.arange(0, 128), bins)
        last = (count + kernel.TILE - 1) // kernel.TILE
        _, _, finite, low, high, _, _ = kernel._partial(x, x, tile, last, count * 0, count, tl.bfloat16, False)
        to = found_to.to(tl.pointer_type(tl.float64))
        tl.store(to, finite.to(tl.float64))
        tl.store(to + 1, low.to(tl.float64))
        tl.store(to + 2, high.to(tl.float64))

    look[(1,)](memory.data_ptr(), WIDE, tail, counts.data_ptr(), found.data_ptr())
    expected, _ = exponents(memory[chosen].float())
    np.testing.assert_array_equal(counts[: len(expected)], expected)
    rest = memory[tail * kernel.TILE :].float()
    assert found[:3].tolist() == [rest.numel(), rest.min().item(), rest.max().item()]
    assert found[1:3].tolist() == [-3, 2.5]


@pytest.mark.slow
def test_the_trial_lets_the_kernel_pass() -> None:
    assert fused_check.disagreement(row_of, torch.device("cpu"), torch.float32, tile=kernel.TILE) == ""
