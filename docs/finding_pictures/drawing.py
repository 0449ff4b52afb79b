"""Draws two measured examples as a small SVG: by hand, in colours that can be read on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from docs.finding_pictures.values import Form, Measure, Values
from gradscope.snapshots.page.markup import Markup, element

WIDTH, HEIGHT = 640, 210
_LEFT, _TOP, _BOTTOM = 52, 46, 40
_PLAIN_TOP = 32
"""Of curves, which need no names above them."""
_GAP = 28
"""Between two panels."""
_LINE = 16
"""Between two labels, at least."""
_LETTER = 6.6
"""The width of a letter at most, at `_SMALL`."""
_SIZE, _SMALL = 13, 12
_EXAMPLE, _HEALTHY, _MUTED = "#d4652c", "#2f86c9", "#808893"
"""Each has a contrast of 3.5 and more to white and to the darkest page."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUS = str.maketrans("-", "−")

Place = Callable[[float], float]


class _Axis:
    """Values onto 0 to 1, and those that are named."""

    def __init__(self, values: Sequence[float], *, is_log: bool, from_zero: bool) -> None:
        finite = [value for value in values if math.isfinite(value) and (value > 0 or not is_log)] or [1.0]
        self.is_log, low, high = is_log, min(finite), max(finite)
        if is_log:
            low, high = math.floor(math.log10(low)), math.ceil(math.log10(high))
            high = max(high, low + 1)
            stride = math.ceil((high - low) / 4)
            self.ticks = [10.0**decade for decade in range(int(low), int(high) + 1, stride)]
        else:
            if from_zero:
                low, high = min(low, 0.0), max(high, 0.0)
            high = high if high > low else low + 1.0
            rough = (high - low) / 3.5
            decade = 10.0 ** math.floor(math.log10(rough))
            step = decade * next(n for n in (1, 2, 5, 10) if n * decade >= rough)
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            self.ticks = [step * k for k in range(first, last + 1)]
            low, high = self.ticks[0], self.ticks[-1]
        self._low, self._high = low, high

    def place(self, value: float) -> float:
        """What lies outside is at the edge."""
        if self.is_log:
            value = math.log10(value) if value > 0 else self._low
        return min(1.0, max(0.0, (value - self._low) / (self._high - self._low)))

    def named(self, tick: float) -> str:
        if self.is_log:
            decade = round(math.log10(tick))
            return "1" if decade == 0 else "10" + str(decade).translate(_SUPERSCRIPT)
        return f"{round(tick, 10):g}".translate(_MINUS)


def drawn(measure: Measure, example: Values, healthy: Values, *, title: str, caption: str) -> str:
    """The picture as a file, with its name and its description for who cannot see it."""
    axis = _Axis(
        [*example.heights, *healthy.heights], is_log=measure.is_log, from_zero=not _is_profile(measure, example)
    )
    parts = _curves if measure.form is Form.CURVES else _bars
    is_broken = not all(map(math.isfinite, example.heights))
    up = measure.up + (" (×: NaN or Inf)" if is_broken and measure.form is Form.CURVES else "")
    picture = element(
        "svg",
        element("title", title, id="title"),
        element("desc", caption, id="desc"),
        element(
            "g",
            element("text", up, x=_LEFT, y=16, fill=_MUTED, font_size=_SIZE),
            parts(measure, example, healthy, axis),
            font_family="sans-serif",
            font_size=_SMALL,
        ),
        xmlns="http://www.w3.org/2000/svg",
        width=WIDTH,
        height=HEIGHT,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby="title desc",
    )
    return picture.replace("></path>", "/>").replace("><", ">\n<") + "\n"


def _is_profile(measure: Measure, values: Values) -> bool:
    """A curve over something else than the steps."""
    return measure.form is Form.CURVES and values.last is not None


# ------------------------------------------------------------------------------------------------ curves


def _curves(measure: Measure, example: Values, healthy: Values, axis: _Axis) -> list[Markup]:
    left, right = _LEFT, WIDTH - 78
    count = len(example.heights)
    first, last = _ends(example)

    def at_y(value: float) -> float:
        return _PLAIN_TOP + (HEIGHT - _PLAIN_TOP - _BOTTOM) * (1 - axis.place(value))

    def at_x(place: int) -> float:
        return left + (right - left) * place / max(1, count - 1)

    parts = [*_grid(axis, at_y, left, right), *_below(left, right, first, last, measure.along)]
    ends = []
    for values, colour, dashes, _ in _pair(example, healthy):
        parts.append(_line(values.heights, at_x, at_y, colour, dashes))
        tail = [value for value in values.heights[-5:] if math.isfinite(value)]
        ends.append(at_y(sum(tail) / len(tail)) if tail else _PLAIN_TOP)
    for y, (_, colour, _, name) in zip(_apart(*ends), _pair(example, healthy), strict=True):
        parts.append(element("text", name, x=right + 7, y=_round(y + 4), fill=colour, font_size=_SIZE))
    return parts


def _line(
    heights: Sequence[float], at_x: Callable[[int], float], at_y: Place, colour: str, dashes: str | None
) -> Markup:
    path, crosses, is_down, bad = "", "", False, 0
    for place, value in enumerate(heights):
        x = at_x(place)
        bad = 0 if math.isfinite(value) else bad + 1
        if math.isfinite(value):
            path += f"{'L' if is_down else 'M'}{_round(x)} {_round(at_y(value))}"
        elif bad % 3 == 1:
            # The first of several, and every third.
            crosses += f"M{_round(x - 3)} {_PLAIN_TOP - 3}l6 6m0-6l-6 6"
        is_down = math.isfinite(value)
    return element(
        "g",
        element("path", d=path, stroke_dasharray=dashes, stroke_linejoin="round") if path else "",
        element("path", d=crosses) if crosses else "",
        fill="none",
        stroke=colour,
        stroke_width=2 if dashes is None else 1.8,
    )


def _apart(one: float, other: float) -> tuple[float, float]:
    """The heights of two labels, moved where they would lie over each other; neither gets below the axis by that."""
    lack = _LINE - abs(other - one)
    if lack <= 0:
        return one, other
    upper = min((one + other - _LINE) / 2, HEIGHT - _BOTTOM - _LINE)
    return (upper, upper + _LINE) if one <= other else (upper + _LINE, upper)


# ------------------------------------------------------------------------------------------------ bars


def _bars(measure: Measure, example: Values, healthy: Values, axis: _Axis) -> list[Markup]:
    def at_y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - axis.place(value))

    width = (WIDTH - _LEFT - 12 - _GAP) / 2
    parts: list[Markup] = []
    for k, (values, colour, _, name) in enumerate(_pair(example, healthy)):
        left = _LEFT + k * (width + _GAP)
        parts += _grid(axis, at_y, left, left + width, names=k == 0)
        parts.append(element("text", name, x=_round(left), y=_TOP - 10, fill=colour, font_size=_SIZE))
        parts += _panel(values, axis, at_y, left, width, colour)
        parts += _names(values, measure.along, left, width)
    return parts


def _panel(values: Values, axis: _Axis, at_y: Place, left: float, width: float, colour: str) -> list[Markup]:
    count = len(values.heights)
    slot = width / count
    thick = min(0.72 * slot, 46)
    ground = at_y(0 if not axis.is_log else axis.ticks[0])
    path, zeros = "", []
    for k, value in enumerate(values.heights):
        middle = left + slot * (k + 0.5)
        top, tall = min(at_y(value), ground), abs(ground - at_y(value))
        if tall >= 0.5:
            path += f"M{_round(middle - thick / 2)} {_round(top)}h{_round(thick)}v{_round(tall)}h{_round(-thick)}z"
        elif slot >= (18 if value == 0 else 34):
            zeros.append(_middle("0" if value == 0 else "≈ 0", middle, ground - 5, colour))
    if not path and not zeros:
        zeros = [
            _middle("≈ 0 everywhere" if any(values.heights) else "0 everywhere", left + width / 2, ground - 8, colour)
        ]
    return [element("path", d=path, fill=colour) if path else Markup(), *zeros]


def _names(values: Values, along: str, left: float, width: float) -> list[Markup]:
    if not values.names:
        first, last = _ends(values)
        inset = 0 if values.last is not None else width / len(values.heights) / 2
        return _below(left, left + width, first, last, along, inset=inset)
    slot = width / len(values.names)
    longest = max(len(name) for name in values.names)
    every = math.ceil((longest * _LETTER + 6) / slot)
    shown = [
        _middle(name, left + slot * (k + 0.5), HEIGHT - _BOTTOM + 16)
        for k, name in enumerate(values.names)
        if k % every == 0
    ]
    return [*shown, _middle(along, left + width / 2, HEIGHT - 6)]


# ------------------------------------------------------------------------------------------------ both


def _pair(example: Values, healthy: Values) -> tuple[tuple[Values, str, str | None, str], ...]:
    """With their colours, their dashes and their names."""
    return (example, _EXAMPLE, None, "example"), (healthy, _HEALTHY, "5 3", "healthy")


def _ends(values: Values) -> tuple[float, float]:
    return values.first, values.first + len(values.heights) - 1 if values.last is None else values.last


def _grid(axis: _Axis, at_y: Place, left: float, right: float, *, names: bool = True) -> list[Markup]:
    path = "".join(f"M{_round(left)} {_round(at_y(tick))}H{_round(right)}" for tick in axis.ticks)
    lines = element("path", d=path, stroke=_MUTED, stroke_opacity=0.3)
    texts = [
        element("text", axis.named(tick), x=_round(left - 8), y=_round(at_y(tick) + 4), text_anchor="end", fill=_MUTED)
        for tick in axis.ticks
    ]
    return [lines, *(texts if names else [])]


def _below(left: float, right: float, first: float, last: float, along: str, *, inset: float = 0.0) -> list[Markup]:
    """The numbers at both ends of an axis and between, and what they count; `inset`: how far the ends lie inside."""
    left, right = left + inset, right - inset
    ticks = _ticks(first, last)
    at_x = [left + (right - left) * (tick - first) / (last - first) for tick in ticks]
    texts = [
        _middle(f"{tick:g}".translate(_MINUS), x, HEIGHT - _BOTTOM + 16) for tick, x in zip(ticks, at_x, strict=True)
    ]
    return [*texts, _middle(along, (left + right) / 2, HEIGHT - 6)]


def _ticks(first: float, last: float) -> list[float]:
    """Round whole numbers, and the first one where it is 1; of a short axis its ends and its middle."""
    if last - first < 4:
        return [first, (first + last) / 2, last]
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if (last - first) / step <= 6)
    ticks = [float(step * k) for k in range(math.ceil(first / step), math.floor(last / step) + 1)]
    return ticks if first != 1 else [1.0, *(tick for tick in ticks if tick - 1 > 0.7 * step)]


def _middle(text: str, x: float, y: float, fill: str = _MUTED) -> Markup:
    return element("text", text, x=_round(x), y=_round(y), text_anchor="middle", fill=fill)


def _round(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
