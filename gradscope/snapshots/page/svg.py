"""Small pictures for a page, as inline SVG: curves over the steps, and the histogram of one subject."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.subjects import EXPONENT_BINS, EXPONENT_LOW
from gradscope.snapshots.page.markup import Markup, element, joined
from gradscope.snapshots.page.numbers import number

_WIDTH, _HEIGHT = 640, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 16, 38
_PIECES = 500
"""A longer curve is drawn by the least and the greatest value of so many pieces."""
_LOG_FROM = 1000.0
"""Positive values that span this ratio are drawn on a logarithmic scale."""
_MAX_MARKS = 60
_LARGEST, _SMALLEST = 1e300, 1e-300
"""What lies beyond is drawn at these; so no difference of two values overflows."""
SERIES_COLOURS = 8
"""Classes "s0" to "s7" of the style sheet."""


@dataclass(frozen=True)
class Scale:
    """Values onto the unit interval, and the values that the axis names."""

    place: Callable[[FloatArray], FloatArray]
    ticks: tuple[float, ...]
    is_log: bool = False


def scale_of(values: FloatArray, *, whole: bool = False) -> Scale:
    """A scale that takes in all finite values; logarithmic where they are positive and span three decades or more."""
    finite = np.clip(values[np.isfinite(values)], -_LARGEST, _LARGEST)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low > 0 and high / max(low, _SMALLEST) >= _LOG_FROM and not whole:
        return _log_scale(max(low, _SMALLEST), high)
    centre, half = (low + high) / 2, (high - low) / 2
    if whole:
        # From 2**53 on the centre is rounded.
        half = max(half, high - centre, centre - low)
        half = half if half > _SMALLEST else 0.5
    elif half > max(1e-9 * abs(centre), _SMALLEST):
        half *= 1.08
    else:
        half = max(abs(centre) / 10, half)
        half = half if half > _SMALLEST else 1.0

    def place(at: FloatArray) -> FloatArray:
        return (np.clip(at, -_LARGEST, _LARGEST) - centre) / (2 * half) + 0.5

    return Scale(place, _ticks(centre, half, whole=whole))


def _log_scale(low: float, high: float) -> Scale:
    first, last = math.log10(low), math.log10(high)
    margin = 0.04 * (last - first)
    stride = math.ceil((last - first) / 6)
    decades = range(stride * math.ceil(first / stride), math.floor(last) + 1, stride)

    def place(at: FloatArray) -> FloatArray:
        return (np.log10(np.clip(at, _SMALLEST, _LARGEST)) - first + margin) / (last - first + 2 * margin)

    return Scale(place, tuple(10.0**decade for decade in decades), is_log=True)


def _ticks(centre: float, half: float, *, whole: bool) -> tuple[float, ...]:
    """Round numbers from centre - half to centre + half, at most seven."""
    rough = half / 2.5
    decade = 10.0 ** math.floor(math.log10(rough))
    step = decade * next(n for n in (1, 2, 5, 10) if n * decade >= rough)
    if whole:
        step = max(1.0, step)
    first = math.ceil((centre - half) / step)
    ticks = ((first + k) * step for k in range(8))
    # Numbers that lie as close as floats do are the same tick.
    return tuple(dict.fromkeys(tick for tick in ticks if tick <= centre + half * (1 + 1e-9)))


Line = tuple[IntArray, FloatArray]
"""Steps, and the value at each."""


def curves(lines: Sequence[Line], *, title: str, boundaries: IntArray) -> Markup:
    """Lines over the steps, at most SERIES_COLOURS of them; NaN and Inf are marked.

    `boundaries` are steps where a thin upright line is drawn (the first of each epoch).
    """
    across = scale_of(np.concatenate([steps.astype(np.float64) for steps, _ in lines]), whole=True)
    up = scale_of(np.concatenate([values for _, values in lines]))
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at_x(values: npt.NDArray[np.generic]) -> FloatArray:
        return _LEFT + inner_width * across.place(values.astype(np.float64))

    def at_y(values: FloatArray) -> FloatArray:
        return _TOP + inner_height * (1 - up.place(values))

    parts: list[Markup] = []
    for tick, y in zip(up.ticks, at_y(np.array(up.ticks)), strict=True):
        parts.append(element("path", d=f"M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}", class_="grid"))
        parts.append(element("text", number(tick), x=_LEFT - 7, y=f"{y + 4:.1f}", text_anchor="end"))
    for tick, at in zip(across.ticks, at_x(np.array(across.ticks)), strict=True):
        parts.append(element("text", f"{tick:.0f}", x=f"{at:.1f}", y=_HEIGHT - _BOTTOM + 17, text_anchor="middle"))
    if 0 < len(boundaries) <= _MAX_MARKS:
        path = "".join(f"M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" for at in at_x(boundaries))
        parts.append(element("path", d=path, class_="epoch"))
    for i, (steps, values) in enumerate(lines):
        parts.append(_line(at_x(steps), values, at_y, class_=f"line s{i % SERIES_COLOURS}"))
        bad = np.flatnonzero(~np.isfinite(values))
        marked = bad[np.linspace(0, len(bad) - 1, min(len(bad), _MAX_MARKS)).astype(np.int64)] if len(bad) else bad
        parts += [
            element("text", "×", x=f"{at:.1f}", y=_TOP + 8, text_anchor="middle", class_="bad")
            for at in at_x(steps[marked])
        ]
    parts.append(element("path", d=f"M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}", class_="axis"))
    label = element("text", "step", x=_LEFT + inner_width / 2, y=_HEIGHT - 4, text_anchor="middle")
    content = joined(element("title", title), parts, label)
    return element("svg", content, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="chart", role="img")


def _line(x: FloatArray, line: FloatArray, at_y: Callable[[FloatArray], FloatArray], *, class_: str) -> Markup:
    drawn = thinned(line)
    is_finite = np.isfinite(line[drawn])
    heights = at_y(line[drawn[is_finite]])
    path, is_down, k = "", False, 0
    for index, good in zip(drawn.tolist(), is_finite.tolist(), strict=True):
        if good:
            path += f"{'L' if is_down else 'M'}{x[index]:.1f} {heights[k]:.1f}"
            k += 1
        is_down = good
    # A dot where there is one point only, which as a line would not be seen.
    dot = element("circle", cx=f"{x[drawn[is_finite]][0]:.1f}", cy=f"{heights[0]:.1f}", r=3) if k == 1 else ""
    return element("g", element("path", d=path), dot, class_=class_)


def thinned(line: FloatArray) -> IntArray:
    """The indices to draw: all of a short line; of a long one the least, the greatest and a non-finite one of each piece."""
    if len(line) <= 2 * _PIECES:
        return np.arange(len(line))
    chosen: list[int] = []
    for piece in np.array_split(np.arange(len(line)), _PIECES):
        values = line[piece]
        bad = np.flatnonzero(~np.isfinite(values))
        keep = {int(bad[0])} if bad.size else set()
        if bad.size < values.size:
            keep |= {int(np.nanargmin(_finite_or_nan(values))), int(np.nanargmax(_finite_or_nan(values)))}
        chosen += piece[sorted(keep)].tolist()
    return np.array(chosen, dtype=np.int64)


def _finite_or_nan(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)


# ------------------------------------------------------------------------------------------------------ histograms

_BAR, _TALL = 3, 22
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Magnitudes:
    """The powers of two that the histograms of one table share: bins `first` to `last` of EXPONENT_BINS."""

    first: int
    last: int

    @classmethod
    def of(cls, histograms: npt.NDArray[np.int32]) -> Magnitudes:
        """Those that are used anywhere in histograms of shape (n, HISTOGRAM_BINS); at least eight."""
        used = np.flatnonzero(_folded(histograms.sum(axis=0, dtype=np.int64)))
        first, last = (int(used[0]), int(used[-1])) if used.size else (EXPONENT_BINS // 2, EXPONENT_BINS // 2)
        last = min(EXPONENT_BINS - 1, max(last, first + 7))
        return cls(max(0, min(first, last - 7)), last)

    @property
    def width(self) -> int:
        """Of a picture, in pixels: the bins of both signs, and zero between them with a gap on each side."""
        return _BAR * (2 * (self.last - self.first + 1) + 3)

    def sentence(self) -> str:
        low, high = (f"2{str(k + EXPONENT_LOW).translate(_SUPERSCRIPT)}" for k in (self.first, self.last + 1))
        beyond = " (the outermost bars take in all that is beyond)" if self.last == EXPONENT_BINS - 1 else ""
        return f"bars by powers of two, from −{high} on the left to −{low}, zero, {low} and on the right {high}{beyond}"


def _folded(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Both signs together, by magnitude."""
    return counts[:EXPONENT_BINS][::-1] + counts[EXPONENT_BINS:]


def histogram(counts: npt.NDArray[np.int32], zeros: float, magnitudes: Magnitudes) -> Markup:
    """The bars of one subject, (HISTOGRAM_BINS,) counts; `zeros` as many as were found where the counts were taken."""
    first, last = magnitudes.first, magnitudes.last
    wanted = slice(EXPONENT_BINS - 1 - last, EXPONENT_BINS - first)
    negative, positive = counts[wanted], counts[EXPONENT_BINS + first : EXPONENT_BINS + last + 1]
    bars = [*enumerate(negative.tolist()), *enumerate(positive.tolist(), start=len(negative) + 3)]
    most = max(int(negative.max()), int(positive.max()), 1)
    path = "".join(_bar(place, count / most) for place, count in bars if count)
    middle = _bar(len(negative) + 1, min(1.0, zeros / most)) if zeros > 0 else ""
    return element(
        "svg",
        element("path", d=path) if path else "",
        element("path", d=middle, class_="zero") if middle else "",
        viewBox=f"0 0 {magnitudes.width} {_TALL}",
        width=magnitudes.width,
        height=_TALL,
        class_="hist",
        aria_hidden="true",
    )


def _bar(place: int, share: float) -> str:
    tall = max(1.0, _TALL * share)
    return f"M{_BAR * place} {_TALL}v-{tall:.3g}h{_BAR - 0.5}V{_TALL}z"
