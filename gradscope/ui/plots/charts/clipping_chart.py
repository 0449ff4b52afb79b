"""What clipping did in each step: the norm of all gradients before and after, the threshold, the coefficient."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.stops.quantities import Figure
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.records.step_curves import ClipColumn
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.lower_plot import LowerPlot
from gradscope.ui.plots.parts.axes import ChartAxis, LogAxis, StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.legend import Legend, LegendEntry
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import decimate, step_range
from gradscope.ui.plots.words.formats import exact, percent, short
from gradscope.ui.plots.words.wording import not_clipped, nothing_yet
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX_POINTS = 2000


class ClippingChart(Chart):
    topics = frozenset({Topic.SESSION, Topic.SETTINGS, Topic.HISTORY})

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        plot = PlotView(axes={"left": LogAxis("left"), "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Gradient clipping"),
            explanation=self.tr(
                "The L2 norm of all gradients together in each step, before clipping and after; the dashed line is the "
                "largest norm that clip_norm allows. Below, the coefficient that every gradient was multiplied with: "
                "1 means that nothing was clipped; if it is far below 1 in nearly every step, clipping sets the pace of "
                "training and not the learning rate."
            ),
            readout_below=True,
            parent=parent,
        )
        plot.set_axis_label("left", self.tr("L2 norm"))
        plot.set_axis_label("bottom", self.tr("Training step"))
        self._lower = LowerPlot(plot, left=ChartAxis("left"))
        self._lower.set_axis_label("left", self.tr("Coefficient"))
        self._lower.set_axis_label("bottom", self.tr("Training step"))
        self._steps: IntArray = np.zeros(0, dtype=np.int64)
        self._values: FloatArray = np.zeros((0, len(ClipColumn)))
        self._before, self._after, self._threshold = (pg.PlotCurveItem() for _ in range(3))
        self._coefficient = pg.PlotCurveItem()
        self._ends = pg.ScatterPlotItem(size=7, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=10, pxMode=True)
        for item in (self._threshold, self._before, self._after, self._ends, self._crosses):
            plot.addItem(item, ignoreBounds=True)
        self._lower.addItem(self._coefficient, ignoreBounds=True)
        self._legend = Legend()
        self.body_layout.addWidget(self._lower)
        self.body_layout.addWidget(self._legend)
        self.body_layout.setStretch(0, 5)
        self.body_layout.setStretch(1, 3)
        plot.pointed_at.connect(self._on_pointed_at)
        self._lower.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._lower.restyle(theme)
        before, after = theme.series[0], theme.series[1]
        self._before.setPen(pg.mkPen(before, width=1))
        self._after.setPen(pg.mkPen(after, width=2))
        self._coefficient.setPen(pg.mkPen(after, width=1))
        self._threshold.setPen(pg.mkPen(theme.text, width=1, style=Qt.PenStyle.DashLine))
        self._end_styles = [{"pen": pg.mkPen(colour), "brush": pg.mkBrush(colour)} for colour in (before, after)]
        self._crosses.setPen(pg.mkPen(theme.bad))
        self._crosses.setBrush(pg.mkBrush(theme.bad))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        curve, session = state.history.clipping, state.session
        if session is None:
            return self.tr("Open a recipe to begin")
        if not len(curve):
            if session.clip_norm is None and session.clip_value is None:
                return not_clipped(state)
            return nothing_yet(state, self.tr("Press Step (F7) to see what clipping does"))
        self._steps, self._values = curve.steps, curve.values
        self._draw_norms(session.clip_norm)
        self._draw_coefficient()
        self._tell_lines()
        self.write(state)
        return ""

    def _draw_norms(self, threshold_now: float | None) -> None:
        x = self._steps.astype(np.float64)
        norms = self._values[:, [ClipColumn.NORM, ClipColumn.AFTER, ClipColumn.THRESHOLD]]
        norms = np.where(np.isfinite(norms), norms, np.nan)
        shown = step_range(int(self._steps[0]), int(self._steps[-1]))
        # The threshold goes on to the edge: it counts for the next step, too.
        thresholds = np.append(norms[:, 2], np.nan if threshold_now is None else threshold_now)
        low, high = _log_range(np.append(norms[:, :2], thresholds))
        drawn = _on_log_scale(norms, low)
        for item, column in ((self._before, 0), (self._after, 1)):
            item.setData(*decimate(x, drawn[:, column], max_points=_MAX_POINTS), connect="finite")
        self._threshold.setData(np.append(x, shown[1]), _on_log_scale(thresholds, low), connect="finite")
        self._ends.setData(
            [
                {"pos": (x[-1], drawn[-1, i]), **style}
                for i, style in enumerate(self._end_styles)
                if np.isfinite(drawn[-1, i])
            ]
        )
        pad = 0.06 * (high - low)
        bad = x[~np.isfinite(self._values[:, ClipColumn.NORM])]
        self._crosses.setData(bad, np.full(len(bad), low))
        self.plot.show_range(shown, (low - pad, high + pad))

    def _draw_coefficient(self) -> None:
        # None is above 1; what a damaged file may say is clipped where nobody sees it.
        coefficients = np.clip(self._values[:, ClipColumn.COEFFICIENT], -1.0, 2.0)
        has_any = bool(np.isfinite(coefficients).any())
        self._lower.setVisible(has_any)
        self.plot.show_bottom_axis(not has_any)
        if has_any:
            x = self._steps.astype(np.float64)
            self._coefficient.setData(*decimate(x, coefficients, max_points=_MAX_POINTS), connect="finite")
            self._lower.show_heights((-0.05, 1.08))

    def write(self, state: AppState) -> None:
        point = state.shown.point_of(self._steps)
        if point is None:
            self.readout.show_text(self.tr("Nothing is known of clipping in step {step}").format(step=state.shown.step))
        else:
            self.readout.show_text(", ".join(self._in_words(point, digits=short)))

    def _tell_lines(self) -> None:
        theme = self.theme
        entries = [
            LegendEntry("━", theme.series[0], self.tr("before clipping")),
            LegendEntry("━", theme.series[1], self.tr("after")),
        ]
        if np.isfinite(self._values[:, ClipColumn.THRESHOLD]).any():
            entries.append(LegendEntry("╍", theme.text, self.tr("clip_norm")))
        if not np.isfinite(self._values[:, ClipColumn.NORM]).all():
            entries.append(LegendEntry("✕", theme.bad, self.tr("NaN or Inf")))
        self._legend.show_entries(entries)

    def _in_words(self, point: int, *, digits: Callable[[float], str]) -> list[str]:
        """ "step 41", "norm 3.21 → 1 (× 0.311)", "83 % of it: net.0.weight"."""
        before, after, coefficient, _, _, share = self._values[point].tolist()
        norms = self.tr("norm {before}").format(before=digits(before))
        if np.isfinite(after):
            norms += f" → {digits(after)}"
        if np.isfinite(coefficient):
            norms += f" (× {digits(coefficient)})"
        words = [self.tr("step {step}").format(step=int(self._steps[point])), norms]
        dominant = self.controller.state.history.dominant_at(point)
        if dominant:
            text = self.tr("{share} of it: {parameter}")
            words.append(text.format(share=percent(round(100 * share, 1)), parameter=visible(dominant)))
        return words

    def table(self, state: AppState) -> TableData:
        steps, values, history = self._steps, self._values, state.history

        def cell(row: int, column: int) -> object:
            match column:
                case 0:
                    return int(steps[row])
                case 5:
                    return history.dominant_at(row)
                case 6:
                    return float(values[row, ClipColumn.SHARE])
                case _:
                    return float(values[row, column - 1])

        headers = (
            self.tr("Step"),
            self.tr("Norm before"),
            self.tr("Norm after"),
            self.tr("Coefficient"),
            self.tr("clip_norm"),
            self.tr("Largest gradient"),
            self.tr("Its share of the squared norm"),
        )
        return TableData(headers=headers, rows=len(steps), cell=cell)

    # ------------------------------------------------------------------------------------------ slots

    def spot_at(self, x: float, _y: float) -> Spot | None:
        at = int(np.argmin(np.abs(self._steps - x))) if len(self._steps) else None
        return Spot(figure=Figure.GRAD_NORM, value=None if at is None else float(self._values[at, ClipColumn.NORM]))

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        if len(self._steps):
            point = int(np.argmin(np.abs(self._steps - x)))
            self.plot.show_tip("\n".join(self._in_words(point, digits=exact)))


def _log_range(values: FloatArray) -> tuple[float, float]:
    """Powers of ten around all positive values, in halves, so that the range does not move with every new point."""
    positive = values[(values > 0) & np.isfinite(values)]
    if not len(positive):
        return -1.0, 1.0
    low, high = np.floor(2 * np.log10(positive.min())) / 2, np.ceil(2 * np.log10(positive.max())) / 2
    return float(low), float(max(high, low + 0.5))


def _on_log_scale(values: FloatArray, low: float) -> FloatArray:
    """Zeros lie at the low end."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.maximum(np.log10(values), low)
