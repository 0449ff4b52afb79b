"""The selected subject and its siblings as lines over the steps, with the healthy band where one is known."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.subjects import INF, NAN, SubjectKey, SubjectKind
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.records.cells import Origin
from gradscope.state.records.kept_numbers import as_kept
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.axes import LogAxis, StepAxis
from gradscope.ui.plots.parts.band import Band
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import apart, step_range
from gradscope.ui.plots.parts.scales import GrowingScale
from gradscope.ui.plots.words.cell_text import cell_lines
from gradscope.ui.plots.words.formats import BEYOND, kept, kept_cell, with_fewer_digits
from gradscope.ui.plots.words.names import shortened
from gradscope.ui.plots.words.subjects_in_order import execution_order, rows_of_selection, with_siblings
from gradscope.ui.plots.words.wording import kept_number, lost_ratios_note
from gradscope.ui.widgets.steady_label import SteadyLabel
from gradscope.ui.words.capture import why_unmeasured
from gradscope.ui.words.quantities import QUANTITIES, Quantity, Scale, has_lost_ratios, series_of, text, values_in_step
from gradscope.ui.words.shown_step import why_not_recorded
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX_LINES = 5
_LEGEND_LINES = 2
_LONG_LEGEND = 80
_MAX_ALONE = 100
_SYMBOLS = ("o", "s", "t", "d", "+")
_GLYPHS = ("●", "■", "▼", "◆", "✚")
"""What the symbols look like in the legend."""


class LinesChart(Chart):
    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        self._values_axis = LogAxis("left")
        plot = PlotView(axes={"left": self._values_axis, "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Selected rows over the steps"),
            explanation=self.tr(
                "The row that is selected above, and its neighbours below the same parent, as lines. "
                "A shaded band is where healthy training usually is; a red cross at the bottom is a step with NaN or Inf."
            ),
            parent=parent,
        )
        self._has_words = True
        self._kind = SubjectKind.ACTIVATION
        self._quantity = Quantity.STD
        self._leaf: str | None = None
        self._scale = GrowingScale(Scale.LOG)
        self._drawn_keys: list[SubjectKey] = []
        self._steps: IntArray = np.zeros(0, dtype=np.int64)
        self._series: list[FloatArray] = []
        self._band = Band(plot, horizontal=True)
        self._curves = [pg.PlotCurveItem(connect="finite") for _ in range(_MAX_LINES)]
        self._ends = pg.ScatterPlotItem(size=9, pxMode=True)
        self._zeros = pg.ScatterPlotItem(symbol="o", size=6, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=9, pxMode=True)
        self._beyond = pg.ScatterPlotItem(symbol="t1", size=9, pxMode=True)
        for item in (*self._curves, self._ends, self._zeros, self._crosses, self._beyond):
            plot.addItem(item, ignoreBounds=True)
        self._legend, self._meaning = SteadyLabel(least_lines=_LEGEND_LINES), SteadyLabel()
        self._legend.setTextFormat(Qt.TextFormat.RichText)
        self._meaning.setProperty("role", "muted")
        for label in (self._legend, self._meaning):
            self.body_layout.addWidget(label)
        plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)
        self.show_quantity(self._kind, self._quantity)

    def show_quantity(self, kind: SubjectKind, quantity: Quantity, *, leaf: str | None = None) -> None:
        """`leaf`: only the subjects of this leaf."""
        self._kind, self._quantity, self._leaf = kind, quantity, leaf
        info = QUANTITIES[quantity]
        self._values_axis.is_log = info.scale is Scale.LOG
        self._name_axes()
        self._tell_meaning(has_beyond=False, has_lost=False)
        self._meaning.start_anew()
        self._drawn_keys = []
        self.plot.fit()
        self.mark_dirty()

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._band.restyle(theme)
        for curve, colour in zip(self._curves, theme.series, strict=False):
            curve.setPen(pg.mkPen(colour, width=1))
        # pyqtgraph keeps a picture of a symbol for every pen and brush that it has ever seen.
        self._end_styles = [
            {"symbol": symbol, "pen": pg.mkPen(colour), "brush": pg.mkBrush(colour)}
            for symbol, colour in zip(_SYMBOLS, theme.series, strict=False)
        ]
        self._zeros.setBrush(pg.mkBrush(theme.surface))
        self._zeros.setPen(pg.mkPen(theme.text))
        self._crosses.setPen(pg.mkPen(theme.bad))
        self._crosses.setBrush(pg.mkBrush(theme.bad))
        self._beyond.setPen(pg.mkPen(theme.surface))
        self._beyond.setBrush(pg.mkBrush(theme.text))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        block = state.history.blocks[self._kind]
        if not block.keys or not len(block.steps):
            return self.tr("The selected rows appear here as lines")
        order = execution_order(state, self._kind, self._leaf)
        unmeasured = why_unmeasured(state, self._kind, self._quantity, order)
        if unmeasured:
            return unmeasured
        keys = [block.keys[i] for i in order]
        selected = rows_of_selection(keys, state.selection)
        rows = with_siblings(keys, selected, at_most=_MAX_LINES)
        chosen = [keys[row] for row in rows]
        if chosen != self._drawn_keys:
            self._scale = GrowingScale(QUANTITIES[self._quantity].scale, band=QUANTITIES[self._quantity].band)
            self._write_legend(chosen, bold=len(selected))
            self._drawn_keys = chosen
        history = state.history
        values = np.array([series_of(history, key, self._quantity, greatest=True) for key in chosen], dtype=np.float64)
        bad = [
            block.origins(Origin.BAD)[order[row]][(block.series(key, NAN) > 0) | (block.series(key, INF) > 0)]
            for row, key in zip(rows, chosen, strict=True)
        ]
        self._steps, self._series = block.steps, list(values)
        self._scale.widen_by_kept(values)
        # Not np.unique, which imports numpy.ma while somebody waits for the tab.
        self._draw_lines(values, np.array(sorted({step for steps in bad for step in steps.tolist()}), dtype=np.float64))
        has_beyond = bool(np.isinf(values).any())
        self._tell_meaning(has_beyond=has_beyond, has_lost=has_lost_ratios(history, self._kind, self._quantity))
        self.write(state)
        return ""

    def write(self, state: AppState) -> None:
        is_selected = bool(rows_of_selection(self._drawn_keys[:1], state.selection))
        told, *shorter = self._moment_texts(state) if is_selected else [self.tr("Click a row above to choose")]
        self.show_moment(told, shorter)

    def _draw_lines(self, values: FloatArray, crosses: FloatArray) -> None:
        """`crosses`: the steps with NaN or Inf."""
        x = self._steps.astype(np.float64)
        low, high = self._scale.low, self._scale.high
        # Infinite ones are beyond float32: the line goes on to the end of the scale.
        is_beyond = np.isinf(values)
        drawn = np.where(is_beyond, np.where(values > 0, high, low), self._scale.place(values))
        self._values_axis.show_exponent(self._scale.exponent)
        pad = 0.04 * (high - low)
        ends: list[dict[str, object]] = []
        for i, curve in enumerate(self._curves):
            curve.setVisible(i < len(drawn))
            if i >= len(drawn):
                continue
            curve.setData(x, drawn[i], connect="finite")
            known = np.flatnonzero(np.isfinite(drawn[i]))
            if len(known):
                ends.append({"pos": (x[known[-1]], drawn[i, known[-1]]), "size": 9, **self._end_styles[i]})
                # A point without neighbours is no line: a layer that only some batches go through.
                is_known = np.isfinite(drawn[i])
                alone = is_known & ~np.append(is_known[1:], False) & ~np.insert(is_known[:-1], 0, False)
                ends += [
                    {"pos": (x[at], drawn[i, at]), "size": 5, **self._end_styles[i]}
                    for at in np.flatnonzero(alone)[-_MAX_ALONE:]
                ]
        self._ends.setData(ends)
        shown = step_range(int(self._steps[0]), int(self._steps[-1]))
        gap = 12 * (shown[1] - shown[0]) / max(50.0, self.plot.box.width())
        zeros = x[(values == 0).any(axis=0)] if self._scale.scale is Scale.LOG else x[:0]
        zeros = zeros[apart(zeros, at_least=gap)]
        self._zeros.setData(zeros, np.full(len(zeros), low))
        self._mark_beyond(x, drawn, is_beyond, gap)
        crosses = crosses[apart(crosses, at_least=gap)]
        self._crosses.setData(crosses, np.full(len(crosses), low - pad))
        band = QUANTITIES[self._quantity].band
        self._band.show_between(None if band is None else (np.log10(band[0]), np.log10(band[1])))
        self.plot.show_range(shown, (low - 2 * pad, high + pad))

    def _write_legend(self, keys: list[SubjectKey], *, bold: int) -> None:
        names = [key.shown() for key in keys]
        if sum(len(name) for name in names) > _LONG_LEGEND:
            names = [names[0], *shortened(names)[1:]]
        parts = []
        for i, name in enumerate(names):
            name = html.escape(visible(name)).replace(" ", "&nbsp;")
            name = f"<b>{name}</b>" if i < bold else name
            parts.append(f'<span style="color:{self.theme.series[i]}">{_GLYPHS[i]}</span>&nbsp;{name}')
        self._legend.show_steadily("&nbsp;&nbsp; ".join(parts))

    def _mark_beyond(self, x: FloatArray, drawn: FloatArray, is_beyond: np.ndarray, gap: float) -> None:
        """A triangle where a line leaves the scale, each time."""
        leaves = is_beyond.copy()
        leaves[:, 1:] &= ~is_beyond[:, :-1] | (drawn[:, 1:] != drawn[:, :-1])
        columns = np.flatnonzero(leaves.any(axis=0))
        columns = columns[apart(x[columns], at_least=gap)]
        at = drawn[leaves.argmax(axis=0)[columns], columns]
        self._beyond.setData(x[columns], at, symbol=["t1" if end == self._scale.high else "t" for end in at])

    def _name_axes(self) -> None:
        self.plot.set_axis_label("left", text(QUANTITIES[self._quantity].label) if self._has_words else "")
        self.plot.set_axis_label("bottom", self.tr("Training step") if self._has_words else "")

    def _tell_meaning(self, *, has_beyond: bool, has_lost: bool) -> None:
        meaning = text(QUANTITIES[self._quantity].meaning)
        note = self.tr("▲ and ▼: beyond {most}, which is more than the history holds; drawn as infinite").format(
            most=BEYOND
        )
        told = [meaning, note if has_beyond else "", lost_ratios_note() if has_lost else ""]
        self._meaning.show_steadily(". ".join(part for part in told if part))

    def _moment_texts(self, state: AppState) -> list[str]:
        """In more and in less room."""
        if not self._series or not len(self._series[0]):
            return [""]
        key, shown, history = self._drawn_keys[0], state.shown, state.history
        values = values_in_step(shown, history, self._kind, self._quantity)
        row, found = history.blocks[self._kind].index_of(key), shown.summaries(self._kind)
        if values is None or found is None or row is None:
            return [f"{key.shown()}: {why_not_recorded(state, self._kind)}"]
        # The number would be that of the finite part.
        bad = next((word for column, word in ((NAN, "NaN"), (INF, "Inf")) if found[row, column] > 0), "")
        value = float(as_kept(np.asarray(values[row : row + 1]))[0])
        step = int(self._steps[-1]) if shown.step is None else shown.step
        with_name, alone = self.tr("{name}: {value} at step {step}"), self.tr("{value} at step {step}")
        # The legend has the name.
        in_less_room = with_fewer_digits(lambda digits: alone.format(value=bad or kept(value, digits), step=step))
        return [with_name.format(name=key.shown(), value=bad or kept_number(value), step=step), *in_less_room]

    def table(self, state: AppState) -> TableData:
        steps, series = self._steps, self._series
        return TableData(
            headers=(self.tr("Step"), *(key.shown() for key in self._drawn_keys)),
            rows=len(steps),
            cell=lambda row, column: int(steps[row]) if column == 0 else kept_cell(float(series[column - 1][row])),
        )

    # ------------------------------------------------------------------------------------------ slots

    def show_words(self, is_shown: bool) -> None:
        """What the quantity means, the names of the axes, and buttons: all of it is said or done by the map above, too."""
        if is_shown != self._has_words:
            self._has_words = is_shown
            self._meaning.setVisible(is_shown)
            self._legend.keep_lines(_LEGEND_LINES if is_shown else 1)
            self.plot.show_corner(is_shown)
            self._name_axes()

    @Slot(float)
    def set_axis_width(self, width: float) -> None:
        """Begin where the plot above begins."""
        self._values_axis.set_least_width(width)

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self._drawn_keys = []
        super()._on_theme_changed(theme)

    def spot_at(self, x: float, y: float) -> Spot | None:
        found = self._nearest(x, y)
        if found is None:
            return None
        position, line = found
        return Spot.of_quantity(self._drawn_keys[line], self._quantity, float(self._series[line][position]))

    def _nearest(self, x: float, y: float) -> tuple[int, int] | None:
        """(the position of a step, the number of a line) that lie nearest."""
        if not len(self._steps) or not self._series:
            return None
        position = int(np.argmin(np.abs(self._steps - x)))
        at = [float(self._scale.place(series[position : position + 1])[0]) for series in self._series]
        distances = [abs(value - y) if math.isfinite(value) else math.inf for value in at]
        return position, int(np.argmin(distances))

    @Slot(float, float)
    def _on_pointed_at(self, x: float, y: float) -> None:
        found = self._nearest(x, y)
        if found is None:
            return
        position, nearest = found
        key = self._drawn_keys[nearest]
        lines = [key.shown(), *cell_lines(self.controller.state.history, key, self._quantity, position, position)]
        self.plot.show_tip("\n".join(lines))
