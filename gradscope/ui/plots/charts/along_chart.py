"""The loss along a step: before it, at it, and beyond; with the tangent that the gradient predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.numbers import number
from gradscope.protocol.what_if.tried import AlongUpdate
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.axes import ChartAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.legend import Legend, LegendEntry
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.scales import LinearScale
from gradscope.ui.plots.words.formats import exact
from gradscope.ui.plots.words.wording import nothing_tried

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_CURVE, _TANGENT, _HERE, _STEP, _BAD = "—", "- -", "●", "◆", "✕"


class AlongChart(Chart):
    topics = frozenset({Topic.SESSION, Topic.WHAT_IF})

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        self._values_axis = ChartAxis("left")
        axes = {"left": self._values_axis, "bottom": ChartAxis("bottom")}
        plot = PlotView(axes=axes, zoom_x=True, zoom_y=True, is_over_steps=False)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Loss along the step"),
            explanation=self.tr(
                "The loss of the same batch, in train mode with the same random numbers, where the parameters are moved by "
                "so many times the step: 0 is where they are, 1 is the step. The dashed line is what the gradient "
                "predicts. Where the curve has its lowest point far beyond 1, the rate is small; before 1, it is large."
            ),
            readout_below=True,
            parent=parent,
        )
        plot.set_axis_label("left", self.tr("Loss"))
        plot.set_axis_label("bottom", self.tr("Times the step"))
        self._along: AlongUpdate | None = None
        self._curve, self._tangent = pg.PlotCurveItem(connect="finite"), pg.PlotCurveItem()
        self._points = pg.ScatterPlotItem(size=5, pxMode=True)
        self._here = pg.ScatterPlotItem(symbol="o", size=10, pxMode=True)
        self._step = pg.ScatterPlotItem(symbol="d", size=11, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=9, pxMode=True)
        for item in (self._tangent, self._curve, self._points, self._here, self._step, self._crosses):
            plot.addItem(item, ignoreBounds=True)
        self._legend = Legend()
        self.body_layout.addWidget(self._legend)
        plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._curve.setPen(pg.mkPen(theme.series[0], width=2))
        self._tangent.setPen(pg.mkPen(theme.muted, width=1, style=Qt.PenStyle.DashLine))
        self._points.setPen(pg.mkPen(theme.series[0]))
        self._points.setBrush(pg.mkBrush(theme.series[0]))
        self._here.setPen(pg.mkPen(theme.text, width=1))
        self._here.setBrush(pg.mkBrush(theme.surface))
        self._step.setPen(pg.mkPen(theme.surface))
        self._step.setBrush(pg.mkBrush(theme.accent))
        self._crosses.setPen(pg.mkPen(theme.bad))
        self._crosses.setBrush(pg.mkBrush(theme.bad))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        along = state.what_if.along
        if along is None:
            return nothing_tried(
                state, self.tr('Press "Loss along the step" to see the loss on the way of a step, and beyond it')
            )
        if along is not self._along:
            self.plot.fit()
        self._along = along
        is_bad = ~np.isfinite(along.losses)
        tangent = _tangent(along)
        scale = LinearScale.around(along.losses)
        self._values_axis.show_exponent(scale.exponent)
        placed = scale.place(np.where(is_bad, np.nan, along.losses))
        pad = 0.06 * (scale.high - scale.low)
        self._curve.setData(along.at, placed, connect="finite")
        self._points.setData(along.at[~is_bad], placed[~is_bad])
        self._tangent.setData(along.at, np.clip(scale.place(tangent), scale.low - 100 * pad, scale.high + 100 * pad))
        for item, at in ((self._here, 0.0), (self._step, 1.0)):
            chosen = (along.at == at) & ~is_bad
            item.setData(along.at[chosen], placed[chosen])
        self._crosses.setData(along.at[is_bad], np.full(int(is_bad.sum()), scale.low - pad))
        margin = 0.02 * (along.at[-1] - along.at[0])
        self.plot.show_range(
            (float(along.at[0] - margin), float(along.at[-1] + margin)), (scale.low - 2 * pad, scale.high + pad)
        )
        self._legend.show_entries(self._entries(has_bad=bool(is_bad.any())))
        self.readout.show_text(self._told(along))
        return ""

    def _entries(self, *, has_bad: bool) -> list[LegendEntry]:
        theme = self.theme
        entries = [
            LegendEntry(_CURVE, theme.series[0], self.tr("loss")),
            LegendEntry(_TANGENT, theme.muted, self.tr("predicted by the gradient")),
            LegendEntry("○", theme.text, self.tr("now")),
            LegendEntry(_STEP, theme.accent, self.tr("after the step")),
        ]
        return [*entries, LegendEntry(_BAD, theme.bad, self.tr("NaN or Inf"))] if has_bad else entries

    def _told(self, along: AlongUpdate) -> str:
        is_known = np.isfinite(along.losses)
        if not is_known.any():
            return self.tr("No loss along this step is finite")
        lowest = int(np.argmin(np.where(is_known, along.losses, np.inf)))
        text = self.tr("{what}: lowest loss here {loss}, at {at} times the step")
        words = along.alternative.words
        return text.format(what=words, loss=number(float(along.losses[lowest])), at=number(float(along.at[lowest])))

    def table(self, state: AppState) -> TableData:
        along = self._along
        assert along is not None
        columns: tuple[FloatArray, ...] = (along.at, along.losses, _tangent(along))
        return TableData(
            headers=(self.tr("Times the step"), self.tr("Loss"), self.tr("Predicted")),
            rows=len(along.at),
            cell=lambda row, column: float(columns[column][row]),
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        along = self._along
        if along is None or not len(along.at):
            return
        nearest = int(np.argmin(np.abs(along.at - x)))
        text = self.tr("{at} times the step\nLoss: {loss}\nPredicted: {predicted}")
        self.plot.show_tip(
            text.format(
                at=number(float(along.at[nearest])),
                loss=exact(float(along.losses[nearest])),
                predicted=exact(float(_tangent(along)[nearest])),
            )
        )


def _tangent(along: AlongUpdate) -> FloatArray:
    here = along.losses[along.at == 0]
    start = float(here[0]) if len(here) else float("nan")
    with np.errstate(all="ignore"):
        line: FloatArray = start + along.slope * along.at
    return line
