"""The numbers of a tensor against numpy in float64: counts exact, floats to 1e-5 (see `assert_row`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradscope.engine.quantities import summary
from gradscope.engine.quantities.exponents import SAMPLE_ABOVE, exponents, sampled_places
from gradscope.engine.quantities.moments import moments, norm
from gradscope.engine.quantities.on_device import packed_norm, packed_summary, unpacked
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import Unreadable, readable, shape_of
from gradscope.protocol.subjects import (
    COLUMNS,
    EXPONENT_BINS,
    EXPONENT_HIGH,
    EXPONENT_LOW,
    HISTOGRAM_BINS,
    histogram_edges,
)

RELATIVE = 1e-5
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
EIGHT_BIT = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]
WIDE_UNSIGNED = [torch.uint16, torch.uint32]

Numbers = tuple[list[float], np.ndarray[Any, Any], int]
"""(row, histogram, sampled)"""


def on_cpu(tensor: Tensor) -> Numbers:
    values = readable(tensor).flat()
    histogram, sampled = exponents(values)
    return list(moments(values)), histogram, sampled


def on_device(tensor: Tensor) -> Numbers:
    flat = readable(tensor).flat()
    rows, histograms, sampled = unpacked(
        packed_summary(flat).numpy()[None], np.array([flat.numel()], dtype=float), norms_only=False
    )
    return rows[0].tolist(), histograms[0], int(sampled[0])


def fused(tensor: Tensor) -> Numbers:
    """As the C library has it; other dtypes than float32 go the way of `on_cpu`."""
    if summary.KERNEL is None:
        pytest.skip("the C library was not built here")
    batch = SummaryBatch()
    batch.set(0, readable(tensor))
    rows, histograms, sampled = batch.finish(1)
    return rows[0].tolist(), histograms[0], int(sampled[0])


BOTH = pytest.mark.parametrize("summarise", [on_cpu, on_device, fused])


def expected_row(array: np.ndarray[Any, Any], *, is_float: bool) -> list[float]:
    nan, inf = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    finite = array[np.isfinite(array)]
    counts = [array.size, nan, inf, int((array == 0).sum())]
    if finite.size == 0:
        return [*counts, *[math.nan] * 5]
    if not is_float:
        return [*counts, float(finite.min()), float(finite.max()), *[math.nan] * 3]
    scale = np.abs(finite).max() or 1.0
    scaled = finite / scale
    numbers = [scaled.min(), scaled.max(), scaled.mean(), scaled.std(), np.sqrt((scaled**2).sum())]
    # Scaling by the largest rounds; the range is exact.
    return [*counts, float(finite.min()), float(finite.max()), *(float(number * scale) for number in numbers[2:])]


def expected_histogram(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """By comparing with the published edges."""
    finite = array[np.isfinite(array) & (array != 0)]
    limits = 2.0**EXPONENT_LOW, np.nextafter(2.0**EXPONENT_HIGH, 0)
    clipped = np.sign(finite) * np.clip(np.abs(finite), *limits)
    positive = np.exp2(np.arange(EXPONENT_LOW, EXPONENT_HIGH + 1, dtype=np.float64))
    up, _ = np.histogram(clipped[clipped > 0], positive)
    down, _ = np.histogram(-clipped[clipped < 0], positive)
    return np.concatenate([down[::-1], up])


def assert_row(found: list[float], expected: list[float]) -> None:
    """Counts and range exact; l2 to 1e-5 of itself; the mean to 1e-5 of the root mean square (which cancellation leaves);
    std to 1e-5 of itself and 1e-12 of the largest magnitude (two neighbouring float64 differ by 1e-16 of themselves)."""
    assert found[:4] == expected[:4]
    np.testing.assert_array_equal(found[4:6], expected[4:6])
    count = expected[0] - expected[1] - expected[2]
    largest = max(abs(expected[4]), abs(expected[5])) if count else 0.0
    rms = min(expected[8] / math.sqrt(count), largest) if count else 0.0
    np.testing.assert_allclose(found[6], expected[6], rtol=0, atol=RELATIVE * rms if rms > 0 else 0)
    # Below float64's normal numbers a relative error has no meaning.
    np.testing.assert_allclose(found[7], expected[7], rtol=RELATIVE, atol=max(1e-12 * largest, 1e-300))
    np.testing.assert_allclose(found[8], expected[8], rtol=RELATIVE, atol=1e-300)


def as_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    dense = tensor.detach()
    if dense.dtype in WHOLE or dense.dtype in WIDE_UNSIGNED:
        return dense.contiguous().numpy().astype(np.float64).reshape(-1)
    return dense.to(torch.float64).contiguous().numpy().reshape(-1)


def check(tensor: Tensor, summarise: Any) -> None:
    array = as_array(tensor)
    is_float = tensor.is_floating_point()
    row, histogram, sampled = summarise(tensor)
    assert_row(row, expected_row(array, is_float=is_float))
    if is_float:
        if array.size > SAMPLE_ABOVE:
            # Every way looks at the same elements; they are counted off as they lie in memory.
            array = as_array(readable(tensor).flat())[sampled_places(array.size)]
        if tensor.dtype is torch.float64 and summarise is not on_device:
            with np.errstate(over="ignore", under="ignore"):
                rounded = array.astype(np.float32).astype(np.float64)
            # float64 is binned after rounding to float32; beyond its range, in the outermost bins.
            array = np.where((rounded == 0) | np.isinf(rounded), array, rounded)
        np.testing.assert_array_equal(histogram, expected_histogram(array))
        assert sampled == array.size


numbers = st.one_of(
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e30, 1e-30, 1e-44, -1e-44, 3e38, 65504.0, 1.0, -1.0]),
    st.floats(min_value=-10, max_value=10, width=32),
)


@BOTH
@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=60, deadline=None)
@given(values=st.lists(numbers, max_size=40))
def test_any_floats(summarise: Any, dtype: torch.dtype, values: list[float]) -> None:
    check(torch.tensor(values, dtype=torch.float64).to(dtype), summarise)


@BOTH
@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(), max_size=20))
def test_any_float64(summarise: Any, values: list[float]) -> None:
    # l2 can lie beyond float64: then it is infinite, in the oracle as well.
    with np.errstate(over="ignore"):
        check(torch.tensor(values, dtype=torch.float64), summarise)


@BOTH
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(4000, 9000),
    scale=st.sampled_from([1e-38, 1e-20, 1e-15, 1e-3, 1.0, 1e6, 1e17, 1e30]),
    offset=st.sampled_from([0.0, 1.0, 1e3, -1e6]),
)
def test_many_blocks(summarise: Any, seed: int, size: int, scale: float, offset: float) -> None:
    noise = np.random.default_rng(seed).standard_normal(size) + offset
    check(torch.from_numpy((noise * scale).clip(-3e38, 3e38)).float(), summarise)


@BOTH
@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0],
        [2.5],
        [-0.0, 0.0],
        [math.nan],
        [math.inf, -math.inf],
        [math.nan, 1.0, math.inf, -3.0],
        [0.1] * 5000,
        [1e-45, -1e-45, 1e-40],
        [1e30, -1e30, 1.0],
        [1e-30, 3e-30],
        [3.4e38] * 4 + [-3.4e38],
        [1e38, 1e-38],
    ],
    ids=lambda values: f"{values[:3]}x{len(values)}",
)
def test_special_values(summarise: Any, values: list[float]) -> None:
    check(torch.tensor(values), summarise)


@BOTH
def test_a_million_plus_noise_keeps_its_std(summarise: Any) -> None:
    noise = torch.randn(70_000, generator=torch.Generator().manual_seed(0))
    values = 1e6 + noise
    (_, _, _, _, _, _, mean, std, _), _, _ = summarise(values)
    assert mean == pytest.approx(values.double().mean().item(), rel=1e-9)
    assert std == pytest.approx(values.double().std(correction=0).item(), rel=RELATIVE)


@BOTH
def test_all_equal_has_exactly_no_std(summarise: Any) -> None:
    row, _, _ = summarise(torch.full((12345,), 0.1))
    assert row[4] == row[5] == row[6] == torch.tensor(0.1).item()
    assert row[7] == 0


@BOTH
@pytest.mark.parametrize("dtype", EIGHT_BIT, ids=str)
def test_eight_bit_floats(summarise: Any, dtype: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(dtype)
    row, _, _ = summarise(every)
    assert_row(row, expected_row(every.to(torch.float32).double().numpy(), is_float=True))


@BOTH
@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whole_numbers(summarise: Any, dtype: torch.dtype, data: st.DataObject) -> None:
    low, high = (0, 1) if dtype is torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    # float64 is exact up to 2**53.
    bounds = max(low, -(2**53)), min(high, 2**53)
    values = data.draw(st.lists(st.integers(*bounds), max_size=30))
    check(torch.tensor(values, dtype=dtype), summarise)
    _, histogram, sampled = summarise(torch.tensor(values, dtype=dtype))
    assert sampled == 0 and not histogram.any()


@BOTH
@pytest.mark.parametrize("dtype", WIDE_UNSIGNED, ids=str)
def test_wide_unsigned(summarise: Any, dtype: torch.dtype) -> None:
    check(torch.tensor([0, 3, 65000], dtype=torch.int64).to(dtype), summarise)


def layouts() -> dict[str, Tensor]:
    base = torch.randn(4, 6, 5, 3, generator=torch.Generator().manual_seed(0))
    return {
        "contiguous": base,
        "channels last": base.to(memory_format=torch.channels_last),
        "transposed": base[0, 0].T,
        "permuted": base.permute(3, 1, 0, 2),
        "strided": base[::2, 1:5:3, :, 1],
        "flipped": base.flip(1),
        "expanded": base[:1].expand(7, 6, 5, 3),
        "expanded scalar": torch.tensor(2.0).expand(3, 4),
        "offset into a storage": base[2],
        "dense with an offset": base[2:].permute(3, 1, 0, 2),
        "overlapping": base.reshape(-1).as_strided((5, 4), (1, 1)),
        "0-d": base[0, 0, 0, 0],
        "empty": base[:0],
        "empty in the middle": base[:, :0],
        "one element": base[:1, :1, :1, :1],
        "requires a gradient": base.clone().requires_grad_(),
        "imaginary part of a conjugate": torch.complex(base, base + 1).conj().imag,
    }


@BOTH
@pytest.mark.parametrize("name", layouts())
def test_layouts(summarise: Any, name: str) -> None:
    tensor = layouts()[name]
    version = tensor._version
    check(tensor, summarise)
    assert tensor._version == version


@BOTH
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_are_read_as_their_magnitude(summarise: Any, dtype: torch.dtype) -> None:
    values = torch.tensor([3 + 4j, 0, complex(math.nan, 1), complex(math.inf, 0)], dtype=dtype)
    for tensor in (values, values.conj()):
        row, _, _ = summarise(tensor)
        assert row[:6] == [4, 1, 1, 1, 0, 5]
        assert readable(tensor).note == "of abs()"


@BOTH
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_sparse_coo_is_read_as_its_coalesced_values(summarise: Any) -> None:
    tensor = torch.sparse_coo_tensor(torch.tensor([[0, 0, 2]]), torch.tensor([1.0, 2.0, -5.0]), (1000,))
    row, _, _ = summarise(tensor)
    assert_row(row, expected_row(np.array([3.0, -5.0]), is_float=True))
    assert "2 stored values" in readable(tensor).note and "0.2% dense" in readable(tensor).note
    row, _, _ = summarise(torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.long), torch.zeros(0), (4,)))
    assert row[0] == 0


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta")
@BOTH
@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_csc])
def test_sparse_compressed(summarise: Any, layout: torch.layout) -> None:
    dense = torch.tensor([[0.0, 2.0], [-3.0, 0.0]])
    row, _, _ = summarise(dense.to_sparse(layout=layout))
    assert_row(row, expected_row(np.array([2.0, -3.0]), is_float=True))


@BOTH
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested(summarise: Any, layout: torch.layout) -> None:
    parts = [torch.ones(2, 3), torch.full((4, 3), 2.0)]
    nested = torch.nested.nested_tensor(parts, layout=layout)
    row, _, _ = summarise(nested)
    assert_row(row, expected_row(np.concatenate([p.numpy().reshape(-1) for p in parts]).astype(float), is_float=True))
    assert shape_of(nested) == (2, -1, -1)


def test_what_has_no_values_says_so() -> None:
    with pytest.raises(Unreadable, match="meta"):
        readable(torch.empty(3, device="meta"))
    with pytest.raises(Unreadable, match="uint64"):
        readable(torch.zeros(3, dtype=torch.uint64))
    said = []

    def inside(x: Tensor) -> Tensor:
        with pytest.raises(Unreadable, match="functorch") as error:
            readable(x)
        said.append(error)
        return x * 2

    torch.func.vmap(inside)(torch.randn(3, 2))
    assert said


@BOTH
@pytest.mark.parametrize("size", [SAMPLE_ABOVE, SAMPLE_ABOVE + 1, 5 * SAMPLE_ABOVE + 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_a_large_tensor_is_sampled_for_its_histogram_only(summarise: Any, size: int, dtype: torch.dtype) -> None:
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(1)).to(dtype)
    check(tensor, summarise)
    _, histogram, sampled = summarise(tensor)
    assert sampled == SAMPLE_ABOVE
    zeros = sampled - histogram.sum()
    assert 0 <= zeros <= sampled * 0.01
    shares = histogram / histogram.sum()
    truth = expected_histogram(as_array(tensor)) / size
    assert np.abs(shares - truth).max() < 0.02


@BOTH
@pytest.mark.parametrize("shape", [(1024, 1024), (64, 4096), (4096, 64), (300, 784)])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_sample_of_a_matrix_prefers_no_row_and_no_column(summarise: Any, shape: tuple[int, int], axis: int) -> None:
    # Each row (or column) has a magnitude of its own, one of eight.
    magnitudes = 2.0 ** (torch.arange(shape[axis]) * 8 // shape[axis]).float()
    tensor = magnitudes.unsqueeze(1 - axis).expand(shape).contiguous()
    _, histogram, sampled = summarise(tensor)
    shares = histogram[histogram > 0] / sampled
    assert len(shares) == 8 and np.abs(shares - 1 / 8).max() < 0.02


@pytest.mark.parametrize("count", [SAMPLE_ABOVE + 1, SAMPLE_ABOVE + 33, 10**6, 10**8])
def test_a_sample_has_no_element_twice(count: int) -> None:
    places = sampled_places(count)
    assert len(set(places.tolist())) == SAMPLE_ABOVE and places.min() >= 0 and places.max() < count
    assert places.max() > count * 0.99 and places.min() < count * 0.01


def norms(tensor: Tensor, way: str) -> list[float]:
    values = readable(tensor)
    if way == "on device":
        flat = values.flat()
        rows, _, sampled = unpacked(
            packed_norm(flat).numpy()[None], np.array([flat.numel()], dtype=float), norms_only=True
        )
        assert sampled[0] == 0
        return rows[0].tolist()
    if way == "fused" and summary.KERNEL is None:
        pytest.skip("the C library was not built here")
    if way == "on cpu":
        return list(norm(values.flat()))
    batch = SummaryBatch()
    batch.clear(norms_only=True)
    batch.set(0, values)
    rows, histograms, sampled = batch.finish(1)
    assert not histograms.any() and sampled.tolist() == [0]
    return rows[0].tolist()


def check_norm(tensor: Tensor, way: str) -> None:
    expected = expected_row(as_array(tensor), is_float=tensor.is_floating_point())
    found = norms(tensor, way)
    assert found[:3] == expected[:3]
    assert all(math.isnan(value) for value in found[3:8])
    np.testing.assert_allclose(found[8], expected[8], rtol=RELATIVE, atol=1e-300)


NORM_WAYS = pytest.mark.parametrize("way", ["on cpu", "on device", "fused"])


@NORM_WAYS
@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=60, deadline=None)
@given(values=st.lists(numbers, max_size=40))
def test_norms_of_any_floats(way: str, dtype: torch.dtype, values: list[float]) -> None:
    check_norm(torch.tensor(values, dtype=torch.float64).to(dtype), way)


@NORM_WAYS
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    size=st.integers(4000, 9000),
    scale=st.sampled_from([1e-44, 1e-38, 1e-20, 1e-15, 1e-3, 1.0, 1e6, 1e17, 1e30]),
    hole=st.sampled_from([None, math.nan, math.inf]),
)
def test_norms_of_many_blocks(way: str, seed: int, size: int, scale: float, hole: float | None) -> None:
    values = np.random.default_rng(seed).standard_normal(size) * scale
    if hole is not None:
        values[seed % size] = hole
    check_norm(torch.from_numpy(values.clip(-3e38, 3e38)).float(), way)


@NORM_WAYS
@pytest.mark.parametrize(
    "values",
    [[1e200, 1e200], [1e-200, -2e-200], [5e-324, 0.0], [1.7e308, 1.0], [1e200, math.nan, 1e200], [1e200, math.inf]],
    ids=str,
)
def test_norms_of_float64_whose_squares_are_none(way: str, values: list[float]) -> None:
    found = norms(torch.tensor(values, dtype=torch.float64), way)
    assert found[-1] == pytest.approx(math.hypot(*filter(math.isfinite, values)), rel=1e-12)


@NORM_WAYS
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool], ids=str)
def test_whole_numbers_have_no_norm(way: str, dtype: torch.dtype) -> None:
    found = norms(torch.tensor([0, 1, 1]).to(dtype), way)
    assert found[:3] == [3, 0, 0] and all(math.isnan(value) for value in found[3:])


def test_both_ways_to_summarise_agree_in_a_batch() -> None:
    batch = SummaryBatch()
    tensors = [torch.randn(50, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    for i, tensor in enumerate(tensors):
        batch.set(i, readable(tensor))
    batch.copy(3, 0)
    batch._on_device[4] = packed_summary(tensors[1]), 50
    batch.copy(5, 4)
    batch.set(2, readable(torch.zeros(4)))
    batch.set(6, readable(torch.ones(4)))
    summaries, histograms, sampled = batch.finish(6)
    assert summaries.shape == (6, len(COLUMNS)) and histograms.shape == (6, HISTOGRAM_BINS)
    np.testing.assert_array_equal(summaries[0], summaries[3])
    np.testing.assert_allclose(summaries[1], summaries[4], rtol=RELATIVE)
    np.testing.assert_array_equal(histograms[1], histograms[4])
    assert summaries[2].tolist() == [4, 0, 0, 4, 0, 0, 0, 0, 0]
    assert sampled.tolist() == [50, 50, 4, 50, 50, 50]


def test_edges_and_bins_belong_together() -> None:
    edges = histogram_edges()
    assert len(edges) == HISTOGRAM_BINS + 2 == 2 * EXPONENT_BINS + 2
    assert (np.diff(edges) > 0).all()
    counts, _ = exponents(torch.tensor([-1.5, 1.5, 2.0**-32, -(2.0**15), 1e30, 1e-30, 0.0]))
    middle = EXPONENT_BINS
    places = {int(i): int(counts[i]) for i in np.flatnonzero(counts)}
    assert places == {0: 1, middle - 1 - 32: 1, middle: 2, middle + 32: 1, HISTOGRAM_BINS - 1: 1}
