"""One quantity at the step that is shown, a bar for each layer or parameter, on a logarithmic axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Slot
from PySide6.QtGui import QColor, QResizeEvent
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.extremes import worst
from gradscope.protocol.subjects import INF, NAN, SubjectKey, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.axes import LogAxis, NameAxis
from gradscope.ui.plots.parts.band import Band
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import RowGrid
from gradscope.ui.plots.parts.scales import GrowingScale
from gradscope.ui.plots.words.cell_text import others_in_line
from gradscope.ui.plots.words.formats import kept_cell
from gradscope.ui.plots.words.moment_text import in_less_room, is_left_behind, newest_moment
from gradscope.ui.plots.words.subjects_in_order import execution_order, rows_of_selection
from gradscope.ui.plots.words.wording import kept_number, what_to_press
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.words.quantities import (
    QUANTITIES,
    Quantity,
    Scale,
    text,
    usual_of,
    values_in_step,
)
from gradscope.ui.words.shown_step import why_not_recorded
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_LEAST_ROWS = 6
_NAMES_SHARE = 0.4


@guarded
class LayerBars(Chart):
    topics = Chart.topics | {Topic.SHOWN}

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        *,
        kind: SubjectKind,
        quantity: Quantity,
        title: str,
        explanation: str,
        parent: QWidget | None = None,
    ) -> None:
        self._names = NameAxis()
        plot = PlotView(axes={"left": self._names, "bottom": LogAxis("bottom")}, zoom_x=False, zoom_y=True)
        super().__init__(
            controller, themes, plot, title=title, explanation=explanation, readout_below=True, parent=parent
        )
        self._info = QUANTITIES[quantity]
        self._kind, self._quantity = kind, quantity
        plot.box.invertY(True)
        plot.set_axis_label("bottom", text(self._info.axis))
        self._history: object = None
        self._scale = GrowingScale(Scale.LOG)
        self._keys: list[SubjectKey] = []
        self._step = -1
        self._troubles: FloatArray = np.zeros((0, 2))
        """How many NaN and Inf there are of each."""
        self._values: FloatArray = np.zeros(0)
        self._drawn: FloatArray = np.zeros(0)
        """The values on the drawn scale."""
        self._grid: RowGrid | None = None
        self._usual = 0.0
        self._bad = np.zeros(0, dtype=bool)
        self._band = Band(plot, horizontal=False)
        self._bars, self._odd_bars, self._bad_bars = (pg.BarGraphItem(x0=[], x1=[], y=[], height=0.7) for _ in range(3))
        self._zeros = pg.ScatterPlotItem(symbol="o", size=8, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=10, pxMode=True)
        self._selected = pg.ScatterPlotItem(symbol="t2", size=9, pxMode=True)
        for item in (self._bars, self._odd_bars, self._bad_bars, self._zeros, self._crosses, self._selected):
            plot.addItem(item, ignoreBounds=True)
        plot.pointed_at.connect(self._on_pointed_at)
        plot.clicked.connect(self._on_clicked)
        plot.scale_changed.connect(self._on_scale_changed)
        plot.row_key_pressed.connect(self._on_row_key_pressed)
        self.restyle(self.theme)

    def show_kind(self, kind: SubjectKind) -> None:
        self._kind = kind
        self._history = None
        self.plot.fit()
        self.mark_dirty()

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._band.restyle(theme)
        bad = QColor(theme.bad)
        bad.setAlpha(90)
        for bars, colour in (
            (self._bars, QColor(theme.series[0])),
            (self._odd_bars, QColor(theme.warning)),
            (self._bad_bars, bad),
        ):
            bars.setOpts(brush=colour, pen=pg.mkPen(None))
        self._zeros.setPen(pg.mkPen(theme.text, width=1))
        self._zeros.setBrush(pg.mkBrush(theme.surface))
        self._crosses.setPen(pg.mkPen(theme.surface))
        self._crosses.setBrush(pg.mkBrush(theme.bad))
        self._selected.setPen(pg.mkPen(theme.text))
        self._selected.setBrush(pg.mkBrush(theme.text))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        block = state.history.blocks[self._kind]
        values = values_in_step(state.shown, state.history, self._kind, self._quantity)
        summaries = state.shown.summaries(self._kind)
        self._grid = None
        if values is None and state.shown.step is not None:
            return why_not_recorded(state, self._kind)
        if not block.keys or values is None or summaries is None or is_left_behind(state, self._kind):
            # Bars of an older step beside what is newest everywhere else would be taken for it.
            return what_to_press(state, self._kind)
        if state.history is not self._history:
            self._history = state.history
            self._scale = GrowingScale(Scale.LOG, band=self._info.band)
        order = execution_order(state, self._kind)
        self._keys = [block.keys[i] for i in order]
        self._step = int(block.steps[-1]) if state.shown.step is None else state.shown.step
        self._values = values[order]
        self._troubles = summaries[order][:, [NAN, INF]]
        self._bad = (self._troubles[:, 0] > 0) | (self._troubles[:, 1] > 0)
        self._scale.widen_by_kept(self._values)
        self._draw_frame(state)
        self._draw_bars()
        moment = newest_moment(state, self._kind)
        told = " · ".join(part for part in (self._rows_text(), moment) if part)
        self.show_moment(told, in_less_room(state, self._kind, moment))
        return ""

    @property
    def _low(self) -> float:
        """Where bars begin: a power of ten below the scale, so that what lies at its low end has a bar, too."""
        return self._scale.low - 1

    def _draw_bars(self) -> None:
        low, high = self._low, self._scale.high
        self._grid = grid = self._wanted_grid()
        drawn = self._scale.place_apart(self._values).astype(np.float64)
        self._usual = usual_of(self._info, drawn, low=self._scale.low)
        self._drawn = drawn
        bad, seen = grid.any(self._bad), worst(*grid.bounds(drawn, drawn), self._usual)
        is_zero = (seen < self._scale.low) & ~bad
        is_bar = (seen >= self._scale.low) & ~bad
        is_odd = np.zeros(grid.lines, dtype=bool)
        if self._info.band is not None:
            is_odd = is_bar & ((seen < np.log10(self._info.band[0])) | (seen > np.log10(self._info.band[1])))
        y = grid.middles
        # Bars of a pixel or two would show gaps where the rounding falls.
        height = 0.7 if self.plot.box.height() > 4 * len(self._keys) else grid.stride
        for bars in (self._bars, self._odd_bars, self._bad_bars):
            bars.opts["height"] = height
        for bars, which in ((self._bars, is_bar & ~is_odd), (self._odd_bars, is_odd)):
            # Infinite ones are beyond float32: they go on to the end.
            bars.setOpts(x0=np.full(int(which.sum()), low), x1=np.minimum(seen[which], high), y=y[which])
        self._bad_bars.setOpts(x0=np.full(int(bad.sum()), low), x1=np.full(int(bad.sum()), high), y=y[bad])
        self._crosses.setData(np.full(int(bad.sum()), (low + high) / 2), y[bad])
        self._zeros.setData(np.full(int(is_zero.sum()), low), y[is_zero])

    def _wanted_grid(self) -> RowGrid:
        """As many lines as have a pixel of their own."""
        rows = len(self._keys)
        return RowGrid.of(rows, max_lines=math.floor(rows / max(self.plot.units_per_pixel[1], 1e-9)))

    def _rows_text(self) -> str:
        """How many rows a pixel holds, where it holds several."""
        if self._grid is None or self._grid.is_identity:
            return ""
        text = self.tr("Worst of {count} rows a pixel")
        return text.format(count=self._grid.stride)

    def _draw_frame(self, state: AppState) -> None:
        low, high = self._low, self._scale.high
        pad = 0.03 * (high - low)
        band = self._info.band
        self._band.show_between(None if band is None else (np.log10(band[0]), np.log10(band[1])))
        self._names.set_room(_NAMES_SHARE * self.width())
        self._names.set_names([key.shown() for key in self._keys])
        rows = max(len(self._keys), _LEAST_ROWS)
        # Below the last bar there is room for the name of the band.
        free = 0.0 if band is None else rows * self.fontMetrics().height() * 1.8 / max(50.0, self.plot.box.height())
        self.plot.show_range((low - pad, high + pad), (-0.6, rows - 0.4 + free))
        selected = rows_of_selection(self._keys, state.selection)
        self._selected.setData(np.full(len(selected), low - 0.6 * pad), np.array(selected, dtype=np.float64))

    def table(self, state: AppState) -> TableData:
        keys, values, bad = self._keys, self._values, self._bad
        headers = (self.tr("Name"), text(self._info.label), self.tr("NaN or Inf"))
        yes = self.tr("yes")
        return TableData(
            headers=headers,
            rows=len(keys),
            cell=lambda row, column: (keys[row].shown(), kept_cell(float(values[row])), yes if bad[row] else "")[
                column
            ],
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot(float, float)
    def _on_pointed_at(self, _x: float, y: float) -> None:
        row = self._row_at(y)
        if row is None or self._grid is None:
            self.plot.show_tip("")
            return
        key, value = self._keys[row], float(self._values[row])
        lines = [
            key.shown(),
            self.tr("Step {step}").format(step=self._step),
            f"{text(self._info.label)}: {kept_number(value)}",
        ]
        if self._bad[row]:
            nan, inf = (int(count) for count in self._troubles[row])
            lines.append(self.tr("{nan} NaN, {inf} Inf (the number is of the rest)").format(nan=nan, inf=inf))
        line = self._grid.line_at(y)
        if line is not None and not self._grid.is_identity:
            lines.append(others_in_line(self._keys, self._grid.rows_of(line)))
        self.plot.show_tip("\n".join(lines))

    def spot_at(self, _x: float, y: float) -> Spot | None:
        row = self._row_at(y)
        return None if row is None else Spot.of_quantity(self._keys[row], self._quantity, float(self._values[row]))

    @Slot(float, float)
    def _on_clicked(self, _x: float, y: float) -> None:
        row = self._row_at(y)
        if row is not None:
            self._select_row(row)

    @Slot()
    def _on_scale_changed(self) -> None:
        """Other rows share a pixel: a person has zoomed, or there is other room."""
        if self._grid is not None and self._wanted_grid().stride != self._grid.stride:
            self.mark_dirty()

    def _row_at(self, y: float) -> int | None:
        """The row below the mouse; where several share a pixel, the one that is seen."""
        line = None if self._grid is None else self._grid.line_at(y)
        if self._grid is None or line is None or self._grid.is_identity:
            return line
        rows = self._grid.rows_of(line)
        return self._grid.worst_row(line, self._drawn[rows], self._bad[rows], self._usual)

    @Slot(int)
    def _on_row_key_pressed(self, move: int) -> None:
        selected = rows_of_selection(self._keys, self.controller.state.selection)
        self._select_row((selected[0] + move) if selected else 0)

    def _select_row(self, row: int) -> None:
        if 0 <= row < len(self._keys):
            self.controller.select(Selection.of_subject(self._keys[row]))

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._keys:
            self.mark_dirty()
