"""What a pinned batch comes to over the steps: its loss, its outputs, and how large each layer's output is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QCoreApplication, QRectF, Qt, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.numbers import number
from gradscope.protocol.subjects import COUNT, INF, MAX, MEAN, MIN, NAN
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.state.what_if.probe_history import NORM, ProbeHistory
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.axes import ChartAxis, NameAxis, StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.color_strip import ColorStrip
from gradscope.ui.plots.parts.legend import Legend, LegendEntry
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import decimate, step_range
from gradscope.ui.plots.parts.scales import GrowingScale, LinearScale
from gradscope.ui.plots.words.formats import exact
from gradscope.ui.words.quantities import Scale

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_GLYPHS = ("—", "- -", "···", "-·-")
_STYLES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine)
_MAX_POINTS = 4000
_MOST_COLUMNS = 1000
"""Of the map of layers."""


class ProbeLines(Chart):
    """Numbers of each run as lines, with a cross where one was NaN or Inf."""

    topics = frozenset({Topic.SESSION, Topic.PROBE})

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        *,
        title: str,
        explanation: str,
        label: str,
        parent: QWidget | None = None,
    ) -> None:
        self._values_axis = ChartAxis("left")
        plot = PlotView(axes={"left": self._values_axis, "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
        super().__init__(
            controller, themes, plot, title=title, explanation=explanation, readout_below=True, parent=parent
        )
        plot.set_axis_label("left", label)
        plot.set_axis_label("bottom", self.tr("After training step"))
        self._label = label
        self._steps: IntArray = np.zeros(0, dtype=np.int64)
        self._lines: dict[str, FloatArray] = {}
        self._curves = [pg.PlotCurveItem(connect="finite") for _ in _STYLES]
        self._points = pg.ScatterPlotItem(size=5, pxMode=True)
        self._crosses = pg.ScatterPlotItem(symbol="x", size=9, pxMode=True)
        for item in (*self._curves, self._points, self._crosses):
            plot.addItem(item, ignoreBounds=True)
        self._legend = Legend()
        self.body_layout.addWidget(self._legend)
        plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def lines(self, history: ProbeHistory) -> dict[str, FloatArray]:
        """At most three, by name; shape (n,) each."""
        raise NotImplementedError

    def bad(self, history: ProbeHistory) -> np.ndarray:
        """The runs that had NaN or Inf, shape (n,)."""
        raise NotImplementedError

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        for curve, colour, style in zip(self._curves, theme.series, _STYLES, strict=False):
            curve.setPen(pg.mkPen(colour, width=2, style=style))
        self._points.setPen(pg.mkPen(theme.series[0]))
        self._points.setBrush(pg.mkBrush(theme.series[0]))
        self._crosses.setPen(pg.mkPen(theme.bad))
        self._crosses.setBrush(pg.mkBrush(theme.bad))

    def draw(self, state: AppState) -> str:
        history = state.what_if.probe_history
        problem = nothing_probed(state)
        if problem:
            return problem
        self._steps, self._lines = history.steps - 1, self.lines(history)
        x, values = self._steps.astype(np.float64), list(self._lines.values())
        if not any(np.isfinite(line).any() for line in values) and not self.bad(history).any():
            return self._why_nothing(state)
        scale = LinearScale.around(np.concatenate(values))
        self._values_axis.show_exponent(scale.exponent)
        pad = 0.06 * (scale.high - scale.low)
        placed = [scale.place(np.where(np.isfinite(line), line, np.nan)) for line in values]
        for i, curve in enumerate(self._curves):
            curve.setVisible(i < len(placed))
            if i < len(placed):
                curve.setData(*decimate(x, placed[i], max_points=_MAX_POINTS), connect="finite")
        few = len(x) < 100 and len(placed) == 1
        self._points.setData(x if few else x[:0], placed[0] if few else x[:0])
        bad = x[self.bad(history)]
        self._crosses.setData(bad, np.full(len(bad), scale.low - pad))
        self.plot.show_range(
            step_range(int(self._steps[0]), int(self._steps[-1])), (scale.low - 2 * pad, scale.high + pad)
        )
        entries = [
            LegendEntry(glyph, colour, name)
            for glyph, colour, name in zip(_GLYPHS, self.theme.series, self._lines, strict=False)
        ]
        self._legend.show_entries(entries if len(entries) > 1 else [])
        self.write(state)
        return ""

    def write(self, state: AppState) -> None:
        at = self._column(state)
        if at is None:
            self.readout.show_text(self.tr("The probe was not run before step {step}").format(step=state.shown.step))
            return
        told = ", ".join(f"{name} {number(float(line[at]))}" for name, line in self._lines.items())
        self.readout.show_text(self.tr("{what} after step {step}").format(what=told, step=int(self._steps[at])))

    def _column(self, state: AppState) -> int | None:
        """The newest run, or the newest before the step that is shown."""
        step = state.shown.step
        at = len(self._steps) if step is None else int(np.searchsorted(self._steps, step, side="right"))
        return at - 1 if at else None

    def _why_nothing(self, state: AppState) -> str:
        setting = state.what_if.probe
        return "" if setting is None else state.what_if.probe_history.error or setting.note

    def table(self, state: AppState) -> TableData:
        steps, lines = self._steps, list(self._lines.values())
        return TableData(
            headers=(self.tr("After step"), *self._lines),
            rows=len(steps),
            cell=lambda row, column: int(steps[row]) if column == 0 else float(lines[column - 1][row]),
        )

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        if not len(self._steps):
            return
        at = int(np.argmin(np.abs(self._steps - x)))
        told = [f"{name}: {exact(float(line[at]))}" for name, line in self._lines.items()]
        self.plot.show_tip("\n".join([self.tr("After step {step}").format(step=int(self._steps[at])), *told]))


class ProbeLoss(ProbeLines):
    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        super().__init__(
            controller,
            themes,
            title=self.tr("Loss of the probe"),
            explanation=self.tr(
                "The loss of the pinned batch, run again beside the training. The batch and the random numbers are always "
                "the same, so that it moves with the parameters alone: what is noise in the training's own loss is not here."
            ),
            label=self.tr("Loss"),
            parent=parent,
        )

    def lines(self, history: ProbeHistory) -> dict[str, FloatArray]:
        return {self.tr("loss"): history.losses}

    def bad(self, history: ProbeHistory) -> np.ndarray:
        # A run of which there is nothing at all has failed, and one without any loss is a script's.
        was_run = np.isfinite(history.outputs[:, COUNT]) & np.isfinite(history.losses).any()
        is_bad: np.ndarray = np.isinf(history.losses) | (np.isnan(history.losses) & was_run)
        return is_bad


class ProbeOutputs(ProbeLines):
    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        super().__init__(
            controller,
            themes,
            title=self.tr("Outputs of the probe"),
            explanation=self.tr(
                "Least, mean and greatest of what the model puts out for the pinned batch. Ends that run apart are a model "
                "that becomes surer, or one that diverges; ends that meet, one that gives the same for everything."
            ),
            label=self.tr("Output"),
            parent=parent,
        )

    def lines(self, history: ProbeHistory) -> dict[str, FloatArray]:
        outputs = history.outputs
        return {
            self.tr("mean"): outputs[:, MEAN],
            self.tr("least"): outputs[:, MIN],
            self.tr("greatest"): outputs[:, MAX],
        }

    def bad(self, history: ProbeHistory) -> np.ndarray:
        is_bad: np.ndarray = np.nan_to_num(history.outputs[:, NAN : INF + 1]).sum(axis=1) > 0
        return is_bad


class ProbeLayers(Chart):
    """A row for each layer, a column for each step: how large its output is."""

    topics = frozenset({Topic.SESSION, Topic.PROBE})

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        self._names = NameAxis()
        plot = PlotView(axes={"left": self._names, "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Activations of the probe"),
            explanation=self.tr(
                "The L2 norm of each layer's output for the pinned batch, layers in the order of their calls from above. "
                "A row that fades is a layer that goes out; one that only grows, a layer that runs away."
            ),
            parent=parent,
        )
        plot.box.invertY(True)
        plot.set_axis_label("bottom", self.tr("After training step"))
        if plot.playhead is not None:
            plot.playhead.turn_around()
        self._history = ProbeHistory()
        self._scale = GrowingScale(Scale.LOG)
        self._of: ProbeHistory | None = None
        self._image = pg.ImageItem(axisOrder="row-major")
        plot.addItem(self._image, ignoreBounds=True)
        self._strip = ColorStrip()
        self.body_layout.addWidget(self._strip)
        plot.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        if self.plot.playhead is not None:
            self.plot.playhead.restyle(theme, is_over_colours=True)

    def draw(self, state: AppState) -> str:
        history = state.what_if.probe_history
        problem = nothing_probed(state)
        if problem:
            return problem
        if not history.names:
            return history.error or self.tr("No layer of the model was called, or none that hooks can see")
        if history is not self._of:
            self._scale, self._of = GrowingScale(Scale.LOG), history
        self._history = history
        norms, steps = history.layers(NORM), history.steps - 1
        self._scale.widen(norms)
        columns, first, last = _columns(steps)
        drawn = self._scale.place(norms[columns].T.astype(np.float64))
        table = palette.table(Scale.LOG, self.theme)
        index = palette.index_of(drawn, self._scale.low, self._scale.high)
        index[norms[columns].T == 0] = palette.ZERO
        self._image.setImage(palette.coloured(index, table), autoLevels=False, levels=None)
        self._image.setRect(QRectF(first - 0.5, -0.5, last - first + 1, len(history.names)))
        special = {which for which in (palette.ZERO, palette.UNMEASURED) if (index == which).any()}
        self._strip.show_scale(table, Scale.LOG, self._scale.low, self._scale.high, special)
        self._names.set_room(0.35 * self.width())
        self._names.set_names([visible(name) for name in history.names])
        self.plot.show_range(step_range(first, last), (-0.5, len(history.names) - 0.5))
        self.write(state)
        return ""

    def write(self, state: AppState) -> None:
        history = self._history
        if len(history):
            text = self.tr("L2 norm of {count} layers' outputs")
            self.readout.show_text(text.format(count=len(history.names)))

    def table(self, state: AppState) -> TableData:
        history = self._history
        norms, steps = history.layers(NORM), history.steps - 1
        return TableData(
            headers=(self.tr("After step"), *history.names),
            rows=len(steps),
            cell=lambda row, column: int(steps[row]) if column == 0 else float(norms[row, column - 1]),
        )

    @Slot(float, float)
    def _on_pointed_at(self, x: float, y: float) -> None:
        history, row = self._history, round(y)
        if not len(history) or not 0 <= row < len(history.names):
            return
        at = max(0, int(np.searchsorted(history.steps - 1, x + 0.5, side="right")) - 1)
        text = self.tr("{name}\nAfter step {step}: L2 norm {value}")
        value = float(history.layers(NORM)[at, row])
        told = text.format(name=visible(history.names[row]), step=int(history.steps[at]) - 1, value=exact(value))
        self.plot.show_tip(told)


def _columns(steps: IntArray) -> tuple[IntArray, int, int]:
    """(which run each column of the map shows, first step, last step): the newest at each place."""
    first, last = int(steps[0]), int(steps[-1])
    count = min(last - first + 1, _MOST_COLUMNS)
    places = first + (np.arange(count) + 1) * (last - first + 1) / count - 1
    return np.maximum(np.searchsorted(steps, places, side="right") - 1, 0), first, last


def nothing_probed(state: AppState) -> str:
    """What to do to see something, while there is nothing."""
    if not len(state.what_if.probe_history):
        return QCoreApplication.translate("Probe", "Pin a batch: it is run again after each step, and drawn here")
    return ""
