"""The loss over the steps: one line for each optimizer, the validation's as points, and the steps that were skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QToolButton, QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.messages import VALIDATION_LOSS
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.state.app_state import AppState
from gradscope.state.history import History
from gradscope.state.records.curve import Curve
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
from gradscope.ui.plots.parts.sampling import apart, decimate, step_range
from gradscope.ui.plots.parts.scales import GrowingScale, LinearScale
from gradscope.ui.plots.words.formats import exact, short, with_fewer_digits
from gradscope.ui.plots.words.wording import nothing_yet
from gradscope.ui.words.quantities import Scale
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX_LINES = 4
_VALIDATION_COLOUR = 4
"""Index in the theme's series, behind those of the lines."""
_MARK_PIXELS = 9
_ROOM_FOR_LEFT = 5.0
"""So many times as far as the training's own losses lie apart, those of a branch that was left are in the picture."""
_MAX_LEFT_POINTS = 2000


class LossChart(Chart):
    topics = frozenset({Topic.SESSION, Topic.HISTORY, Topic.NONFINITE, Topic.TIMELINE})

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
        self._is_by_optimizer = False
        """There are several, so that their names tell something."""
        self._lines = [LossLine(plot) for _ in range(_MAX_LINES)]
        self._left_steps: IntArray = np.zeros(0, dtype=np.int64)
        self._left_losses: FloatArray = np.zeros(0)
        """Of the branch beside the one that training is on, from where they part."""
        self._left_curve = pg.PlotCurveItem()
        self._validation = Curve()
        self._validation_curve = pg.PlotCurveItem()
        self._validation_points = pg.ScatterPlotItem(symbol="d", size=8, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=10, pxMode=True)
        self._skipped = pg.ScatterPlotItem(symbol="t", size=9, pxMode=True)
        self._ends = pg.ScatterPlotItem(symbol="x", size=14, pxMode=True)
        curves = (self._left_curve, self._validation_curve)
        for item in (*curves, self._validation_points, self._crosses, self._skipped, self._ends):
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
        self.second_line.addWidget(self._smoothing)
        # The line of the readout has no room for two of them in a small chart; that of a title as short as this one has.
        self.header.insertWidget(self.header.count() - 1, self._log)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._style_lines(theme)
        validation = theme.series[_VALIDATION_COLOUR]
        self._validation_curve.setPen(pg.mkPen(validation, width=1))
        self._validation_points.setPen(pg.mkPen(theme.surface))
        self._validation_points.setBrush(pg.mkBrush(validation))
        self._left_curve.setPen(pg.mkPen(theme.muted, width=1.5, style=Qt.PenStyle.DashLine))
        for crosses in (self._crosses, self._ends):
            crosses.setPen(pg.mkPen(theme.bad))
            crosses.setBrush(pg.mkBrush(theme.bad))
        self._skipped.setPen(pg.mkPen(theme.surface))
        self._skipped.setBrush(pg.mkBrush(theme.warning))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        history = state.history
        self._validation = history.validations.get(VALIDATION_LOSS, Curve())
        if not len(history.loss) and not len(self._validation) and not len(self._left_behind(state)[0]):
            return nothing_yet(state, self.tr("Press Forward (F5) to see the loss"))
        if history is not self._history:
            for line in self._lines:
                line.forget()
            self._history = history
        curves = dict(list(history.losses.items())[:_MAX_LINES]) or {"": history.loss}
        is_by_optimizer = len(curves) > 1 or (state.session is not None and len(state.session.optimizers) > 1)
        if (list(curves), is_by_optimizer) != (self._names, self._is_by_optimizer):
            self._names, self._is_by_optimizer = list(curves), is_by_optimizer
            self._style_lines(self.theme)
        for line, curve in zip(self._lines, curves.values(), strict=False):
            line.take(curve)
        other = state.timeline.other_history()
        self._left_steps, self._left_losses = self._left_behind(state)
        first = state.first_nonfinite
        self._draw(history, None if first is None else first.step)
        self.write(state)
        self._legend.show_entries(self._entries(history, None if other is None else other[0]))
        return ""

    def write(self, state: AppState) -> None:
        step = state.shown.step
        if step is None:
            self.readout.show_forms(self._latest_texts(state.history, state.first_nonfinite))
            return
        loss = state.shown.number_of(state.history.every_loss)
        if loss is None:
            self.readout.show_text(self.tr("No loss is known of step {step}").format(step=step))
        else:
            text, value = self.tr("{value} at step {step}"), loss
            self.readout.show_forms(with_fewer_digits(lambda digits: text.format(value=digits(value), step=step)))

    @property
    def _shown(self) -> list[tuple[str, LossLine]]:
        return [(name, line) for name, line in zip(self._names, self._lines, strict=False) if len(line.steps)]

    @staticmethod
    def _left_behind(state: AppState) -> tuple[IntArray, FloatArray]:
        """From the last step that both have in common on."""
        timeline, other = state.timeline, state.timeline.other_history()
        if other is None:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        curve, own = other[1].loss, timeline.branches.get(timeline.branch)
        first = state.shown.newest if other[0] == timeline.branch or own is None else own.from_step - 1
        start = int(np.searchsorted(curve.steps, first))
        return curve.steps[start:], curve.values[start:, 0]

    def _draw(self, history: History, nonfinite_from: int | None) -> None:
        others = (self._validation.steps, self._left_steps)
        steps = np.concatenate([*(line.steps for _, line in self._shown), *others])
        other_values = (self._validation.values[:, 0], self._left_losses)
        values = np.concatenate([*(line.values for _, line in self._shown), *other_values])
        is_finite = np.isfinite(values)
        scale = self._scale_around(values[: len(values) - len(self._left_losses)])
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
        left = np.where(np.isfinite(self._left_losses), self._left_losses, np.nan)
        left = np.asarray(scale.place(left), dtype=np.float64)
        self._left_curve.setData(
            *decimate(self._left_steps.astype(np.float64), left, max_points=_MAX_LEFT_POINTS), connect="finite"
        )
        ends = [end for _, line in self._shown if (end := line.end(nonfinite_from)) is not None]
        self._ends.setData([step for step, _ in ends], [scale.place(np.array([loss]))[0] for _, loss in ends])
        # After its end a line has no crosses of its own.
        is_own = np.arange(len(steps)) < len(steps) - len(self._left_steps)
        bad = np.setdiff1d(steps[~is_finite & is_own], [step for _, line in self._shown for step in line.lost_steps])
        self._crosses.setData(bad.astype(np.float64), np.full(len(bad), low))
        skipped = history.skipped.steps.astype(np.float64)
        skipped = skipped[apart(skipped, at_least=gap / 2)]
        self._skipped.setData(skipped, np.full(len(skipped), high))
        self.plot.show_range(shown, (low - pad, high + pad))

    def _scale_around(self, own: FloatArray) -> LinearScale | GrowingScale:
        """Around what is drawn; a branch that was left because it blew up does not press its successor flat."""
        values, finite = np.concatenate([own, self._left_losses]), own[np.isfinite(own)]
        if len(finite):
            low, high = float(finite.min()), float(finite.max())
            room = _ROOM_FOR_LEFT * max(high - low, 0.1 * abs(high))
            values = np.concatenate([own, self._left_losses[np.abs(self._left_losses - low) <= room]])
        if not self._log.isChecked():
            return LinearScale.around(values)
        scale = GrowingScale(Scale.LOG)
        scale.widen(values)
        return scale

    def _style_lines(self, theme: Theme) -> None:
        for line, colour in zip(self._lines, theme.series, strict=False):
            thin, strong = QColor(theme.muted), QColor(theme.accent)
            if self._is_by_optimizer:
                thin, strong = QColor(colour), QColor(colour)
                thin.setAlpha(110)
            line.restyle(thin=thin, strong=strong)

    def _latest_texts(self, history: History, first: FirstNonFinite | None) -> list[str]:
        """In more and in less room."""
        if not len(history.loss):
            return [""]
        value, step = float(history.loss.values[-1, 0]), int(history.loss.steps[-1])
        if not np.isfinite(value):
            last = np.flatnonzero(np.isfinite(history.loss.values[:, 0]))
            since = int(history.loss.steps[last[-1] + 1 if len(last) else 0])
            return [self.tr("{value} since step {step}").format(value=exact(value), step=since)]
        text = self.tr("{value} at step {step}")
        texts = with_fewer_digits(lambda digits: text.format(value=digits(value), step=step))
        if first is None or first.step < step:
            return texts
        kind, both = self.tr("{kind} in step {step}"), self.tr("{kind} in step {step}; {loss}")
        return [
            *(both.format(loss=loss, kind=first.kind, step=first.step) for loss in texts),
            kind.format(kind=first.kind, step=first.step),
        ]

    def _entries(self, history: History, left: int | None) -> list[LegendEntry]:
        theme = self.theme
        names = self._names if self._is_by_optimizer else []
        entries = [LegendEntry("━", theme.series[i], name) for i, name in enumerate(names) if name]
        if len(history.losses) > _MAX_LINES:
            more = self.tr("and {count} more").format(count=len(history.losses) - _MAX_LINES)
            entries.append(LegendEntry("", theme.muted, more))
        if not entries:
            # From the beginning, so that nothing moves when others join it.
            entries.append(LegendEntry("─", theme.muted, self.tr("each step")))
            entries.append(LegendEntry("━", theme.accent, self.tr("smoothed")))
        if len(self._validation):
            entries.append(LegendEntry("◆", theme.series[_VALIDATION_COLOUR], self.tr("validation")))
        if left is not None and len(self._left_steps):
            is_same = left == self.controller.state.timeline.branch
            text = self.tr("before going back") if is_same else self.tr("branch {number}").format(number=left)
            entries.append(LegendEntry("╌", theme.muted, text))
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

    def spot_at(self, x: float, _y: float) -> Spot | None:
        lines = [line for _, line in self._shown if len(line.steps)]
        return Spot(value=float(lines[0].values[lines[0].nearest(x)])) if lines else None

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
