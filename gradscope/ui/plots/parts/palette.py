"""Colour maps as tables of 256 RGBA colours, and the colours of what has no number. App process."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtGui import QColor

from gradscope.ui.look.colours import Theme
from gradscope.ui.words.quantities import Scale

Table = npt.NDArray[np.uint8]

BEYOND = 255
"""The row of a table for what is off its map: the last colour."""
ZERO, NON_FINITE, UNMEASURED = 256, 257, 258
"""Rows of a table behind the 256 colours of its map."""
_LEAST_SIZE, _MOST_SIZE = 1e-30, 1e30
"""Between these, differences and quotients of float32 are float32."""

_ZERO_GREY = QColor("#8a8f98")
_BLUE, _ORANGE = QColor("#2166ac"), QColor("#c4560a")
_BLUE_ON_DARK, _ORANGE_ON_DARK = QColor("#5aa9e6"), QColor("#f0894a")


@cache
def table(scale: Scale, theme: Theme) -> Table:
    """259 RGBA colours: the map, then ZERO, NON_FINITE and UNMEASURED."""
    colours = diverging(theme) if scale is Scale.SIGNED else sequential()
    special = [_ZERO_GREY, QColor(theme.bad), QColor(0, 0, 0, 0)]
    return np.concatenate([colours, np.array([colour.getRgb() for colour in special], dtype=np.uint8)])


@cache
def sequential() -> Table:
    """viridis: even to the eye, in grey, and to the colour-blind."""
    return pg.colormap.get("viridis").getLookupTable(nPts=256, alpha=True).astype(np.uint8)


@cache
def diverging(theme: Theme) -> Table:
    """Blue, the background at zero, orange: apart for the colour-blind, and apart from the red of NaN."""
    ends = (_BLUE_ON_DARK, _ORANGE_ON_DARK) if theme.is_dark else (_BLUE, _ORANGE)
    middle = QColor(theme.surface)
    stops = np.array([ends[0].getRgb(), middle.getRgb(), ends[1].getRgb()], dtype=np.float64)
    at = np.linspace(0, 2, 256)
    return np.stack([np.interp(at, [0, 1, 2], stops[:, i]) for i in range(4)], axis=1).round().astype(np.uint8)


def index_of(drawn: npt.NDArray[np.floating], low: float, high: float) -> npt.NDArray[np.int16]:
    """Which row of a table shows each of some numbers between low and high, or the nearer end; NaN is UNMEASURED."""
    size = max(abs(low), abs(high)) or 1.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if not _LEAST_SIZE < size < _MOST_SIZE:
            drawn, low, high = drawn.astype(np.float64) / size, low / size, high / size
        scaled = (drawn - np.float32(low)) * np.float32(255 / (high - low or 1))
        # Comparisons with NaN are false, so it is left over.
        index = np.full(drawn.shape, UNMEASURED, dtype=np.int16)
        np.copyto(index, np.clip(scaled, 0, 255), casting="unsafe", where=scaled == scaled)
    return index


def coloured(index: npt.NDArray[np.int16], colours: Table) -> Table:
    """An RGBA image (rows, columns, 4); whole colours are taken as one number each, which is four times as fast."""
    packed = colours.view(np.uint32)[:, 0]
    return packed[index].view(np.uint8).reshape(*index.shape, 4)
