"""The summary by numpy against the engine's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import readable
from gradscope.snapshots.summaries import summarise


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e20])
@pytest.mark.parametrize("shape", [(), (1,), (7, 5), (0, 3), (2, 3, 50)])
def test_it_is_the_engine_s(shape: tuple[int, ...], scale: float) -> None:
    values = scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    flat = values.view(-1)
    if flat.numel() > 20:
        flat[:4] = torch.tensor([math.nan, math.inf, -math.inf, 0.0])
    batch = SummaryBatch()
    batch.set(0, readable(values))
    summaries, histograms, sampled = batch.finish(1)
    row, histogram, looked_at = summarise(values.numpy())
    np.testing.assert_allclose(row, summaries[0], rtol=1e-5, atol=1e-6 * scale)
    np.testing.assert_array_equal(row[:4], summaries[0][:4])
    np.testing.assert_array_equal(histogram, histograms[0])
    assert looked_at == sampled[0]


def test_complex_numbers_are_their_magnitudes() -> None:
    row, _, _ = summarise(np.array([3 + 4j, 0], np.complex64))
    assert row[:6].tolist() == [2, 0, 0, 1, 0, 5]


def test_nothing_finite() -> None:
    row, histogram, _ = summarise(np.array([np.nan, np.inf]))
    assert row[:4].tolist() == [2, 1, 1, 0] and np.isnan(row[4:]).all() and not histogram.any()
