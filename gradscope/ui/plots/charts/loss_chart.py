"""The loss over the steps: one line for each optimizer, the validation's as points, and the steps that were skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QToolButton, QWidget

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.messages import VALIDATION_LOSS
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.state.app_state import AppState
from gradscope.state.curve import Curve
from gradscope.state.history import History
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.loss_line import LossLine
from gradscope.ui.plots.charts.smoothing_button import SmoothingButton
from gradscope.ui.plots.parts.axes import LogAxis, StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.legend import Legend, LegendEntry
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import apart, step_range
from gradscope.ui.plots.parts.scales import GrowingScale, LinearScale
from gradscope.ui.plots.words.formats import exact, short
from gradscope.ui.plots.words.wording import nothing_yet
from gradscope.ui.words.quantities import Scale

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX_LINES = 4
_VALIDATION_COLOUR = 4
"""Index in the theme's series, behind those of the lines."""
_MARK_PIXELS = 9


class LossChart(Chart):
    topics = frozenset({Topic.SESSION, Topic.HISTORY, Topic.NONFINITE})

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        self._values_axis = LogAxis("left")
        self._values_axis.is_log = False
        plot = PlotView(axes={"left": self._values_axis, "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Loss"),
            explanation=self.tr(
                "The thin line is the loss of each step (the mean of its micro-batches), the strong one its average over "
                "about as many of the last ones as “Smooth” says; several optimizers have a line each, and diamonds are "
                "the validation's. It should fall, quickly at first; a red cross on the axis is a step whose loss was NaN "
                "or Inf, one at the end of the line where that began for good, a triangle at the top a step that the "
                "gradient scaler left out."
            ),
            readout_below=True,
            parent=parent,
        )
        plot.set_axis_label("left", self.tr("Loss"))
        plot.set_axis_label("bottom", self.tr("Training step"))
        self._history: object = None
        self._names: list[str] = []
        """Of the optimizers, one line each."""
        self._lines = [LossLine(plot) for _ in range(_MAX_LINES)]
        self._validation = Curve()
        self._validation_curve = pg.PlotCurveItem()
        self._validation_points = pg.ScatterPlotItem(symbol="d", size=8, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=10, pxMode=True)
        self._skipped = pg.ScatterPlotItem(symbol="t", size=9, pxMode=True)
        self._ends = pg.ScatterPlotItem(symbol="x", size=14, pxMode=True)
        for item in (self._validation_curve, self._validation_points, self._crosses, self._skipped, self._ends):
            plot.addItem(item, ignoreBounds=True)
        self._legend = Legend()
        self.body_layout.addWidget(self._legend)
        plot.pointed_at.connect(self._on_pointed_at)
        self._log = QToolButton()
        self._log.setText(self.tr("Log"))
        self._log.setToolTip(self.tr("A logarithmic scale; what is not above zero lies at its lower end"))
        self._log.setAccessibleName(self.tr("Logarithmic"))
        self._log.setCheckable(True)
        self._log.toggled.connect(self._on_log_toggled)
        self._smoothing = SmoothingButton()
        self._smoothing.changed.connect(self._on_smoothing_changed)
        for button in (self._smoothing, self._log):
            self._style_as_small(button)
            self.second_line.addWidget(button)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._style_lines(theme)
        validation = theme.series[_VALIDATION_COLOUR]
        self._validation_curve.setPen(pg.mkPen(validation, width=1))
        self._validation_points.setPen(pg.mkPen(theme.surface))
        self._validation_points.setBrush(pg.mkBrush(validation))
        for crosses in (self._crosses, self._ends):
            crosses.setPen(pg.mkPen(theme.bad))
            crosses.setBrush(pg.mkBrush(theme.bad))
        self._skipped.setPen(pg.mkPen(theme.surface))
        self._skipped.setBrush(pg.mkBrush(theme.warning))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        history = state.history
        self._validation = history.validations.get(VALIDATION_LOSS, Curve())
        if not len(history.loss) and not len(self._validation):
            return nothing_yet(state, self.tr("Press Forward (F5) to see the loss"))
        if history is not self._history:
            for line in self._lines:
                line.forget()
            self._history = history
        curves = dict(list(history.losses.items())[:_MAX_LINES]) or {"": history.loss}
        if list(curves) != self._names:
            self._names = list(curves)
            self._style_lines(self.theme)
        for line, curve in zip(self._lines, curves.values(), strict=False):
            line.take(curve)
        first = state.first_nonfinite
        self._draw(history, None if first is None else first.step)
        self.readout.show_text(self._latest_text(history, first))
        self._legend.show_entries(self._entries(history))
        return ""

    @property
    def _shown(self) -> list[tuple[str, LossLine]]:
        return [(name, line) for name, line in zip(self._names, self._lines, strict=False) if len(line.steps)]

    def _draw(self, history: History, nonfinite_from: int | None) -> None:
        steps = np.concatenate([*(line.steps for _, line in self._shown), self._validation.steps])
        values = np.concatenate([*(line.values for _, line in self._shown), self._validation.values[:, 0]])
        is_finite = np.isfinite(values)
        scale = self._scale_around(values)
        self._values_axis.is_log = isinstance(scale, GrowingScale)
        self._values_axis.show_exponent(scale.exponent)
        for line in self._lines:
            line.draw(scale)
        low, high = scale.low, scale.high
        if not self._values_axis.is_log and 0 < low < 0.4 * high:
            low = 0.0
        pad = 0.04 * (high - low)
        shown = step_range(int(steps.min()), int(steps.max()))
        x, loss = self._validation.steps.astype(np.float64), self._validation.values[:, 0]
        loss = np.asarray(scale.place(np.where(np.isfinite(loss), loss, np.nan)), dtype=np.float64)
        self._validation_curve.setData(x, loss, connect="finite")
        gap = _MARK_PIXELS * (shown[1] - shown[0]) / max(50.0, self.plot.box.width())
        marked = apart(x, at_least=gap) & np.isfinite(loss)
        self._validation_points.setData(x[marked], loss[marked])
        ends = [end for _, line in self._shown if (end := line.end(nonfinite_from)) is not None]
        self._ends.setData([step for step, _ in ends], [scale.place(np.array([loss]))[0] for _, loss in ends])
        # After its end a line has no crosses of its own.
        bad = np.setdiff1d(steps[~is_finite], [step for _, line in self._shown for step in line.lost_steps])
        self._crosses.setData(bad.astype(np.float64), np.full(len(bad), low))
        skipped = history.skipped.steps.astype(np.float64)
        skipped = skipped[apart(skipped, at_least=gap / 2)]
        self._skipped.setData(skipped, np.full(len(skipped), high))
        self.plot.show_range(shown, (low - pad, high + pad))

    def _scale_around(self, values: FloatArray) -> LinearScale | GrowingScale:
        if not self._log.isChecked():
            return LinearScale.around(values)
        scale = GrowingScale(Scale.LOG)
        scale.widen(values)
        return scale

    def _style_lines(self, theme: Theme) -> None:
        for line, colour in zip(self._lines, theme.series, strict=False):
            thin, strong = QColor(theme.muted), QColor(theme.accent)
            if len(self._names) > 1:
                thin, strong = QColor(colour), QColor(colour)
                thin.setAlpha(110)
            line.restyle(thin=thin, strong=strong)

    def _latest_text(self, history: History, first: FirstNonFinite | None) -> str:
        if not len(history.loss):
            return ""
        value, step = float(history.loss.values[-1, 0]), int(history.loss.steps[-1])
        if not np.isfinite(value):
            last = np.flatnonzero(np.isfinite(history.loss.values[:, 0]))
            since = int(history.loss.steps[last[-1] + 1 if len(last) else 0])
            return self.tr("{value} since step {step}").format(value=exact(value), step=since)
        text = self.tr("{value} at step {step}").format(value=exact(value), step=step)
        if first is not None and first.step >= step:
            return self.tr("{kind} in step {step}; {loss}").format(loss=text, kind=first.kind, step=first.step)
        return text

    def _entries(self, history: History) -> list[LegendEntry]:
        theme = self.theme
        entries = [LegendEntry("━", theme.series[i], name) for i, name in enumerate(self._names) if name]
        if len(history.losses) > _MAX_LINES:
            more = self.tr("and {count} more").format(count=len(history.losses) - _MAX_LINES)
            entries.append(LegendEntry("", theme.muted, more))
        if not entries:
            # From the beginning, so that nothing moves when others join it.
            entries.append(LegendEntry("─", theme.muted, self.tr("each step")))
            entries.append(LegendEntry("━", theme.accent, self.tr("smoothed")))
        if len(self._validation):
            entries.append(LegendEntry("◆", theme.series[_VALIDATION_COLOUR], self.tr("validation")))
        if history.skipped_steps:
            text = self.tr("skipped steps: {count}").format(count=history.skipped_steps)
            entries.append(LegendEntry("▼", theme.warning, text))
        return entries

    def table(self, state: AppState) -> TableData:
        """Every step's loss, by its optimizer where there are several, and the validation's of the same step."""
        if not self._shown:
            return TableData(
                headers=(self.tr("Step"), self.tr("Loss"), self.tr("Smoothed")), rows=0, cell=lambda *_: ""
            )
        order = np.argsort(np.concatenate([line.steps for _, line in self._shown]), kind="stable")
        steps = np.concatenate([line.steps for _, line in self._shown])[order]
        values = np.concatenate([line.values for _, line in self._shown])[order]
        smooth = np.concatenate([line.smooth for _, line in self._shown])[order]
        every = state.history.every_loss
        if len(self._names) == 1 and len(every) > len(steps):
            # What is too much for a line: smoothed only where that has a point.
            steps, values, drawn = every.steps, every.values[:, 0], (steps, smooth)
            smooth = np.full(len(steps), np.nan)
            smooth[np.searchsorted(steps, drawn[0])] = drawn[1]
        columns: list[tuple[str, Callable[[int], object]]] = [
            (self.tr("Step"), lambda row: int(steps[row])),
            (self.tr("Loss"), lambda row: float(values[row])),
            (self.tr("Smoothed"), lambda row: float(smooth[row])),
        ]
        if len(self._names) > 1:
            turns = [name for name, line in self._shown for _ in range(len(line.steps))]
            columns.append((self.tr("Optimizer"), lambda row: turns[order[row]]))
        if len(self._validation):
            known = dict(zip(self._validation.steps.tolist(), self._validation.values[:, 0].tolist(), strict=True))
            columns.append((self.tr("Validation"), lambda row: known.get(int(steps[row]), "")))
        if state.history.skipped_steps:
            skipped, word = set(state.history.skipped.steps.tolist()), self.tr("skipped")
            columns.append((self.tr("Note"), lambda row: word if int(steps[row]) in skipped else ""))
        return TableData(
            headers=tuple(header for header, _ in columns),
            rows=len(steps),
            cell=lambda row, column: columns[column][1](row),
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot(bool)
    def _on_log_toggled(self, _checked: bool) -> None:
        self.plot.fit()
        self.mark_dirty()

    @Slot(int)
    def _on_smoothing_changed(self, steps: int) -> None:
        for line in self._lines:
            line.smooth_over(steps)
        self.mark_dirty()

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        parts = []
        for name, line in self._shown:
            at = line.nearest(x)
            text = self.tr("Step {step}\nLoss: {value}\nSmoothed: {smooth}")
            words = text.format(
                step=int(line.steps[at]), value=exact(float(line.values[at])), smooth=short(float(line.smooth[at]))
            )
            parts.append(f"{name}: {words}" if name else words)
            if line.steps[at] in self.controller.state.history.skipped.steps:
                parts.append(self.tr("Skipped: a gradient was not finite"))
        if len(self._validation):
            at = int(np.argmin(np.abs(self._validation.steps - x)))
            text = self.tr("Validation after step {step}: {value}")
            value = exact(float(self._validation.values[at, 0]))
            parts.append(text.format(step=int(self._validation.steps[at]), value=value))
        if parts:
            self.plot.show_tip("\n".join(parts))
