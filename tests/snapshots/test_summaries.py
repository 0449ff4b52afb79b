"""The summary by numpy against the engine's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import readable
from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.snapshots import pieces
from gradscope.snapshots.pieces import of_array
from gradscope.snapshots.summaries import summarise


def summarised(array: np.ndarray) -> tuple[FloatArray, IntArray, int]:
    return summarise(of_array(array), array.size)


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
    row, histogram, looked_at = summarised(values.numpy())
    np.testing.assert_allclose(row, summaries[0], rtol=1e-5, atol=1e-6 * scale)
    np.testing.assert_array_equal(row[:4], summaries[0][:4])
    np.testing.assert_array_equal(histogram, histograms[0])
    assert looked_at == sampled[0]


def test_complex_numbers_are_their_magnitudes() -> None:
    row, _, _ = summarised(np.array([3 + 4j, 0], np.complex64))
    assert row[:6].tolist() == [2, 0, 0, 1, 0, 5]


def test_nothing_finite() -> None:
    row, histogram, _ = summarised(np.array([np.nan, np.inf]))
    assert row[:4].tolist() == [2, 1, 1, 0] and np.isnan(row[4:]).all() and not histogram.any()


def test_pieces_make_the_summary_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(3, 2, 1000)
    values[[5, 700, 990]] = math.nan, math.inf, 0
    whole, histogram, _ = summarised(values)
    monkeypatch.setattr(pieces, "PIECE", 64)
    row, found, looked_at = summarised(values)
    np.testing.assert_allclose(row, whole, rtol=1e-12)
    np.testing.assert_array_equal(found, histogram)
    assert looked_at == 1000
