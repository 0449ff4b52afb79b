"""Slices, pictures and histograms by numpy, against torch and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.snapshots import pieces, slices
from gradscope.snapshots.pieces import of_plane


@pytest.mark.parametrize("shape", [(7, 5), (64, 64), (65, 130), (1, 300), (300, 1)])
@pytest.mark.parametrize("side", [1, 3, 64])
def test_a_pixel_is_the_largest_magnitude_that_torch_finds(shape: tuple[int, int], side: int) -> None:
    import torch
    from torch.nn import functional

    plane = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    block = slices.block_of(shape, side)
    pooled = functional.max_pool2d(plane.abs()[None, None], block, ceil_mode=True)[0, 0]
    strongest = slices.strongest(plane.numpy(), block)
    assert strongest.dtype == np.float32 and max(strongest.shape) <= side
    np.testing.assert_array_equal(np.abs(strongest), pooled.numpy())
    assert np.isin(strongest, plane.numpy()).all()


def test_strongest_finds_a_single_number() -> None:
    plane = np.zeros((300, 200), dtype=np.float32)
    plane[17, 199], plane[299, 0], plane[40, 40] = -3, 2, np.nan
    plane[17, 197] = 2.5
    block = slices.block_of(plane.shape, 64)
    found = pieces.strongest(plane.shape, block, of_plane(plane))
    assert found[17 // block[0], 199 // block[1]] == -3
    assert found[299 // block[0], 0] == 2
    assert np.isnan(found[40 // block[0], 40 // block[1]])
    assert np.count_nonzero(found) == 3


def test_a_block_keeps_what_is_not_finite() -> None:
    plane = np.ones((4, 4), dtype=np.float32)
    plane[0, 0], plane[3, 3] = np.nan, np.inf
    found = slices.strongest(plane, (2, 2))
    assert np.isnan(found[0, 0]) and np.isposinf(found[1, 1])
    assert (found[0, 1], found[1, 0]) == (1, 1)


@pytest.mark.parametrize(
    ("shape", "index", "used"),
    [
        ((3, 4), (1,), ()),
        ((2, 3, 4), (), (0,)),
        ((2, 5, 3, 4), (1, 9), (1, 4)),
        ((2, 5, 3, 4), (-1, 2, 7), (0, 2)),
        ((0, 3, 4), (1,), ()),
    ],
)
def test_an_index_is_brought_into_range(shape: tuple[int, ...], index: tuple[int, ...], used: tuple[int, ...]) -> None:
    assert slices.used_index(shape, index) == used


def test_histograms() -> None:
    values = np.array([1.0, 2.0, 2.5, np.nan, -np.inf, 4.0], dtype=np.float32)
    edges, counts, nan, inf = slices.histogram(values, 3)
    assert edges.tolist() == [1, 2, 3, 4] and counts.tolist() == [1, 2, 1] and (nan, inf) == (1, 1)
    edges, counts, _, _ = slices.histogram(np.array([3, 3, 5]), 80)
    assert edges.tolist() == [2.5, 3.5, 4.5, 5.5] and counts.tolist() == [2, 0, 1]
    assert slices.histogram(np.array([True, False, True]), 80)[1].tolist() == [1, 2]
    assert slices.histogram(np.full(4, 7.0), 80)[1].tolist() == [4]
    assert slices.histogram(np.array([np.nan]), 80)[1].size == 0


@pytest.mark.parametrize("shape", [(7, 5), (65, 130), (1, 300), (300, 1), (0, 4), (4, 0)])
@pytest.mark.parametrize("side", [1, 3, 64])
@pytest.mark.parametrize("piece", [1, 7, 64, 1000])
def test_pieces_make_the_picture_of_the_whole(
    shape: tuple[int, int], side: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    block = slices.block_of(shape, side)
    expected = slices.strongest(plane, block)
    monkeypatch.setattr(pieces, "PIECE", piece)
    looked_at = []

    def part(rows: slice, columns: slice) -> np.ndarray:
        looked_at.append(plane[rows, columns].size)
        return plane[rows, columns]

    np.testing.assert_array_equal(pieces.strongest(shape, block, part), expected)
    assert sum(looked_at) == plane.size and max(looked_at, default=0) <= piece


@pytest.mark.parametrize("values", [np.arange(100), np.linspace(-1, 1, 100), np.array([True, False]), np.zeros(0)])
def test_pieces_make_the_histogram_of_the_whole(values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = slices.histogram(values, 10)
    monkeypatch.setattr(pieces, "PIECE", 7)
    for found, wanted in zip(slices.histogram(values, 10), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_number_of_a_slice_is_its_place_in_memory() -> None:
    tensor = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    number = slices.plane_number(tensor.shape, (1, 2))
    np.testing.assert_array_equal(tensor.reshape(-1, 4, 5)[number], tensor[1, 2])
    assert slices.plane_number((4, 5), ()) == 0 and slices.plane_shape((7,)) == (7, 1)
    assert slices.plane_shape((2, 0, 4, 5)) == (0, 0) and slices.plane_shape(()) == (1, 1)
