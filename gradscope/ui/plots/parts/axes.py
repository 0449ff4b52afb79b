"""The axes that the charts share: names beside rows, powers of ten, whole steps, signed powers of two."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QFontMetricsF

from gradscope.ui.plots.parts.reach import within_reach
from gradscope.ui.plots.words.formats import from_log10, power_of_ten, scaled
from gradscope.ui.plots.words.names import block_of, row_labels, shared_parts, squeezed

_BETWEEN = (math.log10(2), math.log10(5))
_MOST_DIGITS = 1e16
_LONG_BLOCK = 4
"""Blocks of more labels than that have rows named inside of them."""
Ticks = list[tuple[float, list[float]]]


class ChartAxis(pg.AxisItem):
    """An axis of fixed width, so that no plot shifts when its numbers grow longer."""

    def __init__(self, orientation: str, *, widest: str = "-8.888e-88") -> None:
        super().__init__(orientation)
        self.enableAutoSIPrefix(False)
        # Labels may stand out by that much where the axis ends.
        self.setStyle(tickLength=-3, maxTickLevel=0, hideOverlappingLabels=24)
        self._widest = widest
        self._font = QFont()
        self._least_width = 0.0
        self._has_values = True
        self._exponent = 0

    def show_values(self, has_values: bool) -> None:
        """Without values and label there is only the line with its ticks: another axis has them."""
        if has_values != self._has_values:
            self._has_values = has_values
            self.setStyle(showValues=has_values)
            self.showLabel(has_values and bool(self.labelText))
            self.set_font(self._font)

    def show_exponent(self, exponent: int) -> None:
        """What is drawn stands for so many times this power of ten."""
        if exponent != self._exponent:
            self._exponent = exponent
            self.picture = None
            self.update()

    def set_least_width(self, width: float) -> None:
        """Be as wide as the axis of another plot, so that both begin at the same place."""
        if width != self._least_width:
            self._least_width = width
            self.set_font(self._font)

    def set_font(self, font: QFont) -> None:
        self._font = font
        self.setTickFont(font)
        metrics = QFontMetricsF(font)
        has_label = bool(self.labelText)
        if self.orientation == "left":
            needed = metrics.horizontalAdvance(self._widest) + 8 + (metrics.height() + 4) * has_label
            self.setWidth(round(max(needed, self._least_width)))
        else:
            if not self._has_values:
                # A label that is set anew would come back.
                self.showLabel(False)
            lines = 1 + has_label if self._has_values else 0
            self.setHeight(round((metrics.height() + 4) * lines) or 4)

    def tickValues(self, minVal: float, maxVal: float, size: float) -> Ticks:  # noqa: N803
        low, high = within_reach((minVal, maxVal))
        levels = super().tickValues(low, high, size)
        # Numbers that lie as close as floats do are the same tick.
        return [(spacing, sorted({tick for tick in ticks if low <= tick <= high})) for spacing, ticks in levels]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        return [scaled(0.0 if abs(value) < spacing * 1e-6 else value, self._exponent) for value in values]


class StepAxis(ChartAxis):
    """Whole numbers only."""

    def tickSpacing(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, float]]:  # noqa: N803
        levels = super().tickSpacing(minVal, maxVal, size)
        return [(max(1.0, float(round(spacing))), 0) for spacing, _ in levels]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        return [f"{value:.0f}" if abs(value) < _MOST_DIGITS else scaled(value, 0) for value in values]


class LogAxis(ChartAxis):
    """The numbers drawn are powers of ten; `is_log` False makes it a plain one."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation)
        self.is_log = True

    def tickValues(self, minVal: float, maxVal: float, size: float) -> Ticks:  # noqa: N803
        if not self.is_log:
            return super().tickValues(minVal, maxVal, size)
        minVal, maxVal = within_reach((minVal, maxVal))  # noqa: N806
        low, high = math.ceil(minVal - 1e-6), math.floor(maxVal + 1e-6)
        room = self._room_of_label(low, high)
        stride = max(1, math.ceil((high - low + 1) * room / max(1.0, size)))
        # From 2**53 on, neighbours are the same number.
        decades = list(dict.fromkeys(float(e) for e in range(-(-low // stride) * stride, high + 1, stride)))
        if (maxVal - minVal) * 5 * room > size:
            return [(float(stride), decades)]
        # There is room for 1, 2, 5, 10 ...
        between = [e + part for e in range(low - 1, high + 1) for part in _BETWEEN]
        ticks = decades + [value for value in between if minVal <= value <= maxVal]
        return [(float(stride), list(dict.fromkeys(ticks)))]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        if not self.is_log:
            return super().tickStrings(values, scale, spacing)
        return [power_of_ten(round(value)) if float(value).is_integer() else from_log10(value) for value in values]

    def _room_of_label(self, low: int, high: int) -> float:
        metrics = QFontMetricsF(self._font)
        if self.orientation == "left":
            return metrics.height() * 1.5
        return max(metrics.horizontalAdvance(text) for text in ("1e-88", power_of_ten(low), power_of_ten(high))) + 12


class NameAxis(ChartAxis):
    """The names of rows 0, 1, 2 ..., or of the blocks that they belong to where there is no room for each."""

    def __init__(self, orientation: str = "left") -> None:
        super().__init__(orientation)
        self._names: list[str] = []
        self._labels: list[str] = []
        self._known_blocks: dict[int, str] | None = None
        self._shown: dict[str, str] = {}
        self._room = 100.0
        self._width_for_text = 100.0
        self._shared = 0
        """So many first parts are left out of the names of blocks: all rows have them."""

    def set_names(self, names: list[str]) -> None:
        if names != self._names:
            self._names, self._known_blocks = names, None
            self._fit()

    def set_font(self, font: QFont) -> None:
        self._font = font
        self.setTickFont(font)
        self._fit()

    def set_room(self, width: float) -> None:
        """The most that the names may take."""
        if width != self._room:
            self._room = width
            self._fit()

    def tickValues(self, minVal: float, maxVal: float, size: float) -> Ticks:  # noqa: N803
        minVal, maxVal = within_reach((minVal, maxVal))  # noqa: N806
        low, high = max(0, math.ceil(minVal)), min(len(self._names) - 1, math.floor(maxVal))
        if high < low:
            return []
        stride = self._stride(minVal, maxVal, size)
        return [(float(stride), [float(row) for row in self._labelled(stride) if low <= row <= high])]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        names_blocks = spacing > 1 and self._tells_blocks(round(spacing))
        return [self._block_label(int(v)) if names_blocks else self._fitted(self._labels[int(v)]) for v in values]

    @property
    def _blocks(self) -> dict[int, str]:
        """The name of each block by its first row. Found when it is painted: with very many names that takes 0.1 s."""
        if self._known_blocks is None:
            blocks = [block_of(name) for name in self._names]
            self._known_blocks = {
                row: block for row, block in enumerate(blocks) if row == 0 or block != blocks[row - 1]
            }
        return self._known_blocks

    def _block_label(self, row: int) -> str:
        """ "layers.24.*" stands for several rows; "24" alone would be taken for the number of one."""
        block = self._blocks[row]
        ending = "" if block == self._names[row] else ".*"
        return self._fitted(".".join(block.split(".")[self._shared :]), ending)

    def _stride(self, low: float, high: float, size: float) -> int:
        """How many rows a label takes."""
        row_height = QFontMetricsF(self._font).height() + 1
        return max(1, math.ceil((high - low) * row_height / max(1.0, size)))

    def _tells_blocks(self, stride: int) -> bool:
        """Whether labels that far apart are those of blocks: not where most blocks are much longer than that."""
        return 1 < len(self._blocks) < len(self._names) and len(self._names) / len(self._blocks) < _LONG_BLOCK * stride

    def _labelled(self, stride: int) -> list[int]:
        """The rows that have a label, no two of them nearer than the stride."""
        if stride == 1 or not self._tells_blocks(stride):
            return list(range(0, len(self._names), stride))
        chosen: list[int] = []
        for row in self._blocks:
            if not chosen or row - chosen[-1] >= stride:
                chosen.append(row)
        return chosen

    def _fitted(self, label: str, ending: str = "") -> str:
        if label + ending not in self._shown:
            metrics = QFontMetricsF(self._font)
            room = self._width_for_text - metrics.horizontalAdvance(ending)
            short = squeezed(label, lambda text: metrics.horizontalAdvance(text) <= room)
            self._shown[label + ending] = metrics.elidedText(short, Qt.TextElideMode.ElideMiddle, room) + ending
        return self._shown[label + ending]

    def _fit(self) -> None:
        metrics = QFontMetricsF(self._font)
        room = max(40.0, self._room)
        self._labels, longest = self._names, self._longest(metrics, self._names)
        self._shared = 0
        if longest + 14 > room:
            self._labels, self._shared = row_labels(self._names), shared_parts(self._names)
            longest = self._longest(metrics, self._labels)
        # Never narrower than the numbers of another plot below, so that their steps lie below each other.
        least = metrics.horizontalAdvance(self._widest) + metrics.height() + 12
        width = round(max(least, min(longest + 14, room)))
        self._width_for_text = width - 12
        self._shown = {}
        self.setWidth(width)
        self.picture = None
        self.update()

    @staticmethod
    def _longest(metrics: QFontMetricsF, names: list[str]) -> float:
        # The longest by letters is the longest on screen, as near as matters for 5,000 names.
        candidates = sorted(names, key=len)[-8:]
        return max((metrics.horizontalAdvance(name) for name in candidates), default=0.0)
