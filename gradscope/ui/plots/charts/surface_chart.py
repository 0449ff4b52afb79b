"""A slice of the loss surface as a map in bands of colour, with the way of the last steps on it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.numbers import number
from gradscope.protocol.what_if.tried import Directions, Surface
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.axes import ChartAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.color_strip import ColorStrip
from gradscope.ui.plots.parts.legend import Legend, LegendEntry
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.scales import LinearScale
from gradscope.ui.plots.words.formats import exact
from gradscope.ui.plots.words.wording import nothing_tried
from gradscope.ui.widgets.steady_label import SteadyLabel
from gradscope.ui.words.quantities import Scale

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_BANDS = 16
"""The border between two of them is a line of the same loss."""
_WIDE = 100.0
"""From this ratio of the largest to the smallest loss on, the colours are powers of ten."""
_PATH, _HERE, _STEP = "—", "○", "◆"


class SurfaceChart(Chart):
    topics = frozenset({Topic.SESSION, Topic.WHAT_IF})

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        axes = {"left": ChartAxis("left"), "bottom": ChartAxis("bottom")}
        plot = PlotView(axes=axes, zoom_x=True, zoom_y=True, is_over_steps=False)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Slice of the loss surface"),
            explanation=self.tr(
                "The loss of the same batch on a plane through the parameters; each border between two colours is a line of "
                "one loss. The circle is where the parameters are, the line the way of the last steps as far as it lies in "
                "this plane. Random directions have, filter by filter, the length of the weights (Li et al. 2018), so "
                "that slices of different networks can be compared."
            ),
            readout_below=True,
            parent=parent,
        )
        self._surface: Surface | None = None
        self._image = pg.ImageItem(axisOrder="row-major")
        self._path = pg.PlotCurveItem()
        self._stations = pg.ScatterPlotItem(size=6, pxMode=True)
        self._here = pg.ScatterPlotItem(symbol="o", size=11, pxMode=True)
        self._step = pg.ScatterPlotItem(symbol="d", size=12, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=8, pxMode=True)
        for item in (self._image, self._path, self._stations, self._here, self._step, self._crosses):
            plot.addItem(item, ignoreBounds=True)
        self._legend, self._strip = Legend(), ColorStrip()
        self._meaning = SteadyLabel()
        self._meaning.setProperty("role", "muted")
        for widget in (self._strip, self._legend, self._meaning):
            self.body_layout.addWidget(widget)
        plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        # Legible on every colour of the map.
        for item in (self._stations, self._here, self._step, self._crosses):
            item.setPen(pg.mkPen("k", width=1))
            item.setBrush(pg.mkBrush("w"))
        self._path.setPen(pg.mkPen("w", width=2))
        self._path.setShadowPen(pg.mkPen("k", width=4))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        surface = state.what_if.surface
        if surface is None:
            return nothing_tried(state, self.tr('Press "Slice" to see the loss on a plane through the parameters'))
        if surface is not self._surface:
            self.plot.fit()
        self._surface = surface
        index, table, is_bad = self._colours(surface)
        self._image.setImage(palette.coloured(index, table), autoLevels=False, levels=None)
        x, y = _ends(surface.x), _ends(surface.y)
        self._image.setRect(QRectF(x[0], y[0], x[1] - x[0], y[1] - y[0]))
        self.plot.box.setAspectLocked(False)
        rows, columns = np.nonzero(is_bad)
        self._crosses.setData(surface.x[columns], surface.y[rows])
        self._path.setData(surface.path[:, 0], surface.path[:, 1])
        self._stations.setData(surface.path[:-1, 0], surface.path[:-1, 1])
        self._here.setData([0.0], [0.0])
        has_step = surface.directions is Directions.UPDATE_AND_GRADIENT
        self._step.setData([1.0] if has_step else [], [0.0] if has_step else [])
        # What each axis is in full has no room beside it.
        self.plot.set_axis_label("bottom", surface.first.partition(",")[0].partition(" (")[0])
        self.plot.set_axis_label("left", surface.second.partition(",")[0].partition(" (")[0])
        meaning = self.tr("Across: {first}. Up: {second}").format(first=surface.first, second=surface.second)
        self._meaning.show_steadily(meaning)
        self.plot.show_range(x, y)
        self._legend.show_entries(self._entries(surface, has_step=has_step))
        self.readout.show_text(self._told(surface))
        return ""

    def _colours(self, surface: Surface) -> tuple[np.ndarray, palette.Table, np.ndarray]:
        """(row of the table for each cell, the table in bands, which cells are NaN or Inf), and the strip."""
        is_bad = ~np.isfinite(surface.losses)
        table = _banded(self.theme)
        finite = surface.losses[~is_bad]
        special = {palette.NON_FINITE} if is_bad.any() else set()
        is_log = bool(finite.size and finite.min() > 0 and finite.max() / finite.min() > _WIDE)
        if is_log:
            with np.errstate(all="ignore"):
                drawn = np.log10(np.where(is_bad, np.nan, surface.losses))
            low, high = float(np.floor(np.nanmin(drawn))), float(np.ceil(np.nanmax(drawn)))
            self._strip.show_scale(table, Scale.LOG, low, high, special)
        else:
            scale = LinearScale.around(surface.losses)
            drawn = scale.place(np.where(is_bad, np.nan, surface.losses))
            low, high = scale.low, scale.high
            self._strip.show_scale(table, Scale.SIGNED, low, high, special, exponent=scale.exponent)
        index = palette.index_of(drawn, low, high)
        index[is_bad] = palette.NON_FINITE
        return index, table, is_bad

    def _entries(self, surface: Surface, *, has_step: bool) -> list[LegendEntry]:
        text = self.theme.text
        entries = [LegendEntry(_HERE, text, self.tr("now"))]
        if has_step:
            entries.append(LegendEntry(_STEP, text, self.tr("after the step")))
        if len(surface.path) > 1:
            share = float(surface.path_shares[:-1].min())
            told = self.tr("since step {step} ({share} of the way in this plane)")
            step = int(surface.path_steps[0])
            entries.append(LegendEntry(_PATH, text, told.format(step=step, share=f"{100 * share:.0f} %")))
        return entries

    def _told(self, surface: Surface) -> str:
        is_known = np.isfinite(surface.losses)
        if not is_known.any():
            return self.tr("No loss in this plane is finite")
        flat = int(np.argmin(np.where(is_known, surface.losses, np.inf)))
        row, column = divmod(flat, len(surface.x))
        text = self.tr("Lowest loss here {loss}, at ({x}, {y}); {mode} mode")
        return text.format(
            loss=number(float(surface.losses[row, column])),
            x=number(float(surface.x[column])),
            y=number(float(surface.y[row])),
            mode=surface.mode.value,
        )

    def table(self, state: AppState) -> TableData:
        surface = self._surface
        assert surface is not None
        return TableData(
            headers=(self.tr("y \\ x"), *(number(float(x)) for x in surface.x)),
            rows=len(surface.y),
            cell=lambda row, column: float(surface.losses[row, column - 1] if column else surface.y[row]),
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot(float, float)
    def _on_pointed_at(self, x: float, y: float) -> None:
        surface = self._surface
        if surface is None:
            return
        column, row = int(np.argmin(np.abs(surface.x - x))), int(np.argmin(np.abs(surface.y - y)))
        text = self.tr("x {x}, y {y}\nLoss: {loss}")
        self.plot.show_tip(
            text.format(
                x=number(float(surface.x[column])),
                y=number(float(surface.y[row])),
                loss=exact(float(surface.losses[row, column])),
            )
        )


def _ends(axis: FloatArray) -> tuple[float, float]:
    """Of the outermost cells."""
    half = float(axis[1] - axis[0]) / 2 if len(axis) > 1 else 0.5
    return float(axis[0]) - half, float(axis[-1]) + half


@cache
def _banded(theme: Theme) -> palette.Table:
    """The map in few colours."""
    table = palette.table(Scale.LOG, theme)
    banded = table.copy()
    banded[:256] = table[(np.arange(256) * _BANDS // 256 * 256 + 128) // _BANDS]
    return banded
