"""The converter from our histograms to TensorBoard's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradscope.engine.quantities.exponents import SAMPLE_ABOVE, exponents, sampled_places
from gradscope.engine.quantities.moments import moments
from gradscope.engine.quantities.values import readable
from gradscope.protocol.subjects import COUNT
from gradscope.snapshots.tensorboard import histogram
from tests.snapshots.events import as_drawn

torch.manual_seed(0)
TENSORS = {
    "normal": torch.randn(5000),
    "relu": torch.randn(5000).relu(),
    "negative": -torch.rand(300) - 1e-3,
    "tiny": torch.randn(1000) * 1e-20,
    "tiny positive": torch.rand(1000) * 1e-30 + 1e-31,
    "huge": torch.randn(1000) * 1e30,
    "both ends": torch.cat([torch.randn(500) * 1e-25, torch.randn(500) * 1e25, torch.zeros(7)]),
    "zeros": torch.zeros(50),
    "one": torch.tensor([3.5]),
    "all equal": torch.full((40,), -0.125),
    "powers of two": torch.tensor([2.0**k for k in range(-40, 25)]),
    "with nan": torch.tensor([1.0, float("nan"), -2.0, float("inf"), 0.0, -float("inf")]),
    "half": torch.randn(2000).half(),
    "float64": torch.randn(2000, dtype=torch.float64) * 1e-3,
    "two clusters": torch.cat([torch.randn(50) * 1e-6, torch.randn(50) * 100]),
    "subnormal": torch.tensor([1e-40, -1e-42, 0.0]),
}


def converted(tensor: torch.Tensor) -> tuple[np.ndarray, object]:
    values = readable(tensor).values
    counts, sampled = exponents(values)
    summary = np.array(moments(values))
    return summary, histogram("x", counts, summary, sampled)


@pytest.mark.parametrize("name", TENSORS)
def test_the_buckets_hold_the_values(name: str) -> None:
    tensor = TENSORS[name]
    _, value = converted(tensor)
    proto = value.histo
    finite = tensor.double()[tensor.double().isfinite()].numpy()
    limits, buckets = np.array(proto.bucket_limit), np.array(proto.bucket)
    assert proto.num == finite.size == buckets.sum()
    assert (proto.min, proto.max) == (finite.min(), finite.max())
    assert proto.sum == pytest.approx(finite.sum(), rel=1e-5, abs=1e-5 * np.abs(finite).sum())
    assert proto.sum_squares == pytest.approx(np.square(finite).sum(), rel=1e-5)
    assert (np.diff(limits) > 0).all()
    assert limits[-1] >= finite.max()
    # Counted anew between TensorBoard's limits; a power of two belongs to the bin of the greater magnitude.
    inside = np.minimum(np.where(finite > 0, np.nextafter(finite, np.inf), finite), limits[-1])
    np.testing.assert_array_equal(buckets, np.bincount(np.searchsorted(limits, inside), minlength=len(limits)))


@pytest.mark.parametrize("name", TENSORS)
def test_what_tensorboard_draws(name: str) -> None:
    tensor = TENSORS[name]
    _, value = converted(tensor)
    drawn = as_drawn(value)
    finite = tensor.double()[tensor.double().isfinite()].float().numpy()
    assert (drawn[:, 0] <= drawn[:, 1]).all(), "no bucket is backwards"
    assert (drawn[1:, 0] == drawn[:-1, 1]).all()
    assert drawn[0, 0] == finite.min() and drawn[-1, 1] == finite.max()
    assert drawn[:, 2].sum() == finite.size


def test_an_empty_stretch_is_a_bucket_of_its_own() -> None:
    tensor = torch.cat(
        [torch.full((5,), -30.0), torch.full((6,), 0.01), torch.full((7,), 1.5), torch.full((8,), 100.0)]
    )
    _, value = converted(tensor)
    np.testing.assert_allclose(
        as_drawn(value),
        [
            [-30, -16, 5],
            [-16, 2**-7, 0],
            [2**-7, 2**-6, 6],
            [2**-6, 1, 0],
            [1, 2, 7],
            [2, 64, 0],
            [64, 100, 8],
        ],
    )


def test_zeros_have_a_bucket_of_their_own() -> None:
    _, value = converted(TENSORS["relu"])
    (zeros,) = (row for row in as_drawn(value) if row[0] <= 0 <= row[1] and row[2])
    assert zeros[2] == (TENSORS["relu"] == 0).sum()
    assert zeros[1] - zeros[0] < 1e-40


def test_a_sample_stands_for_the_whole() -> None:
    tensor = torch.randn(4 * SAMPLE_ABOVE)
    tensor[::3] = 0
    _, value = converted(tensor)
    buckets = np.array(value.histo.bucket)
    assert buckets.sum() == pytest.approx(tensor.numel())
    assert buckets.max() == (tensor == 0).sum(), "zeros are counted, not sampled"
    drawn = as_drawn(value)
    exact = [((tensor > low) & (tensor <= high)).sum().item() for low, high, _ in drawn]
    np.testing.assert_allclose(drawn[:, 2], exact, atol=0.02 * tensor.numel())


def test_a_sample_that_saw_zeros_only() -> None:
    tensor = torch.zeros(SAMPLE_ABOVE * 100)
    unseen = min(set(range(1000)) - set(sampled_places(tensor.numel()).tolist()))
    tensor[unseen] = 5.0
    counts, sampled = exponents(tensor)
    assert counts.sum() == 0
    value = histogram("x", counts, np.array(moments(tensor)), sampled)
    assert value is not None
    assert list(value.histo.bucket)[-1] == tensor.numel() - 1 and value.histo.max == 5.0


@pytest.mark.parametrize(
    "tensor", [torch.tensor([1, 2, 3]), torch.tensor([float("nan")]), torch.zeros(0)], ids=["whole", "nan", "empty"]
)
def test_nothing_to_draw(tensor: torch.Tensor) -> None:
    summary, value = converted(tensor)
    assert value is None, summary[COUNT]
