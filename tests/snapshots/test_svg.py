"""The small pictures: curves of any values at all, and histograms."""

import math
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gradscope.protocol.subjects import EXPONENT_BINS, EXPONENT_LOW, HISTOGRAM_BINS
from gradscope.snapshots.page.svg import Magnitudes, curves, histogram, scale_of, thinned

NONE = np.zeros(0, dtype=np.int64)


def draw(*lines: list[float]) -> str:
    drawn = [(np.arange(len(line)), np.array(line, dtype=np.float64)) for line in lines]
    return str(curves(drawn, title="Loss", boundaries=NONE))


def points(picture: str) -> list[list[tuple[float, float]]]:
    """The points of each line."""
    paths = re.findall(r'<g class="line s\d"><path d(?:="([^"]*)")?>', picture)
    return [[(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)] for path in paths]


@given(st.lists(st.floats(), min_size=1, max_size=50))
@example([0.0, 6.2e-307])
@example([1e-300, 2.9e-300])
def test_every_finite_value_is_inside_and_every_other_is_marked(values: list[float]) -> None:
    picture = draw(values)
    (line,) = points(picture)
    finite = [value for value in values if math.isfinite(value)]
    assert len(line) == len(finite)
    assert all(62 <= x <= 628 and 16 <= y <= 192 for x, y in line)
    assert picture.count("×") == len(values) - len(finite)
    assert "nan" not in picture and "inf" not in picture
    # Greater is higher, as far as a tenth of a pixel tells.
    for (value, (_, y)), (other, (_, z)) in zip(
        zip(finite, line, strict=True), zip(finite[1:], line[1:], strict=True), strict=False
    ):
        assert value == other or (y >= z if value < other else y <= z)


def test_a_gap_where_a_value_is_missing() -> None:
    (path,) = re.findall(r'<g class="line s0"><path d="([^"]*)"', draw([1, 2, math.nan, 3, 4]))
    assert re.sub(r"[-\d. ]+", "", path) == "MLML"


def test_a_long_line_keeps_its_peaks() -> None:
    values = np.zeros(100_000)
    values[[777, 50_001, 99_998]] = [5, -3, math.nan]
    kept = thinned(values)
    assert len(kept) <= 1500 and {777, 50_001, 99_998} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


@pytest.mark.parametrize(
    ("values", "is_log", "ticks"),
    [
        ([0.0, 1.0], False, (0.0, 0.5, 1.0)),
        ([2.3, 2.5], False, (2.3, 2.35, 2.4, 2.45, 2.5)),
        ([1e-6, 10.0], True, (1e-6, 1e-4, 1e-2, 1.0)),
        ([0.0, 10.0], False, (0.0, 5.0, 10.0)),
        ([3.0, 3.0], False, (2.8, 3.0, 3.2)),
    ],
)
def test_scales(values: list[float], is_log: bool, ticks: tuple[float, ...]) -> None:
    scale = scale_of(np.array(values))
    assert scale.is_log is is_log
    assert scale.ticks == pytest.approx(ticks)


def test_steps_are_whole_numbers() -> None:
    assert scale_of(np.array([0.0, 3.0]), whole=True).ticks == (0, 1, 2, 3)


def bars(path: str) -> dict[int, float]:
    """Place -> height of the bars of a histogram."""
    return {int(x) // 3: float(tall) for x, tall in re.findall(r"M(\d+) 22v-([\d.]+)h", path)}


def test_histogram_bars() -> None:
    counts = np.zeros(HISTOGRAM_BINS, dtype=np.int32)
    # -4 .. -8, and 0.5 .. 1 twice as often.
    counts[EXPONENT_BINS - 1 - (2 - EXPONENT_LOW)] = 50
    counts[EXPONENT_BINS + (-1 - EXPONENT_LOW)] = 100
    magnitudes = Magnitudes.of(counts[None])
    assert (magnitudes.last - magnitudes.first + 1, magnitudes.first) == (8, -1 - EXPONENT_LOW)
    assert "from −2⁷ on the left to −2⁻¹, zero, 2⁻¹ and on the right 2⁷" in magnitudes.sentence()
    assert "beyond" not in magnitudes.sentence()
    # A gradient of 1e23 is in the outermost bar.
    assert Magnitudes(40, 47).sentence().endswith("on the right 2¹⁶ (the outermost bars take in all that is beyond)")
    picture = str(histogram(counts, 25, magnitudes))
    plain, zero = re.findall(r'<path d="([^"]*)"', picture)
    # Eight bins of negative numbers, the greatest magnitude (2^6) first; three places around zero; then the positive ones.
    assert bars(plain) == {4: 11.0, 11: 22.0}
    assert bars(zero) == {9: 5.5}


def test_an_empty_histogram() -> None:
    counts = np.zeros(HISTOGRAM_BINS, dtype=np.int32)
    assert "<path" not in histogram(counts, 0, Magnitudes.of(counts[None]))
    assert 'class="zero"' in histogram(counts, 3, Magnitudes.of(counts[None]))


@given(st.sets(st.integers(0, HISTOGRAM_BINS - 1), min_size=1))
def test_every_bar_is_inside(used: set[int]) -> None:
    counts = np.zeros(HISTOGRAM_BINS, dtype=np.int32)
    counts[list(used)] = 7
    magnitudes = Magnitudes.of(counts[None])
    picture = str(histogram(counts, 0, magnitudes))
    assert len(bars(picture)) == len(used)
    assert all(3 * place + 3 <= magnitudes.width for place in bars(picture))
