"""One number of two runs over the steps, drawn over each other. What is drawn was computed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QWidget

from gradscope.comparing import Line
from gradscope.protocol.arrays import FloatArray
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.axes import LogAxis, StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.legend import Legend, LegendEntry
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import decimate, step_range
from gradscope.ui.plots.parts.scales import GrowingScale, LinearScale
from gradscope.ui.plots.words.formats import exact, with_fewer_digits
from gradscope.ui.words.quantities import Scale

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX_POINTS = 4000
_WIDE = 100.0
"""From this ratio of the largest to the smallest number on, the axis is logarithmic."""
_ROOM_ABOVE = 1e4
"""So many times as large as the largest number of one run, those of the other are in the picture."""
_FEW = 3
"""With fewer steps there is no line yet."""
_NONE = Line(steps=np.zeros(0, dtype=np.int64), values=np.zeros(0))


class PairChart(Chart):
    """A is solid, B is dashed and lies above it: where only B is seen, they are the same."""

    topics: frozenset[Topic] = frozenset()
    step_wanted = Signal(int)
    """Of runs that are not the session's: the plot was clicked at a step."""

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        *,
        title: str,
        is_of_session: bool,
        parent: QWidget | None = None,
    ) -> None:
        """`is_of_session`: a click shows the step in the whole window."""
        self._values_axis = LogAxis("left")
        axes = {"left": self._values_axis, "bottom": StepAxis("bottom")}
        plot = PlotView(axes=axes, zoom_x=True, zoom_y=True, is_over_steps=is_of_session)
        super().__init__(
            controller,
            themes,
            plot,
            title=title,
            explanation=self.tr(
                "The same number of both runs over the steps. Where only the dashed line is seen, it lies on the other one. "
                "The dotted line upright is the step at which the runs part, a cross below a step with NaN or Inf. "
                "Numbers that lie far apart are drawn on a logarithmic axis."
            ),
            readout_below=True,
            parent=parent,
        )
        plot.set_axis_label("bottom", self.tr("Training step"))
        self._lines = (_NONE, _NONE)
        self._names = ("A", "B")
        self._parting: int | None = None
        self._step: int | None = None
        self._curves = (pg.PlotCurveItem(), pg.PlotCurveItem())
        self._points = (pg.ScatterPlotItem(size=7, pxMode=True), pg.ScatterPlotItem(size=7, symbol="d", pxMode=True))
        self._crosses = pg.ScatterPlotItem(symbol="x", size=9, pxMode=True)
        self._parting_line = pg.InfiniteLine(angle=90, movable=False)
        self._step_line = pg.InfiniteLine(angle=90, movable=False)
        for item in (self._parting_line, self._step_line, *self._curves, *self._points, self._crosses):
            plot.addItem(item, ignoreBounds=True)
        self._legend = Legend()
        self.body_layout.addWidget(self._legend)
        plot.pointed_at.connect(self._on_pointed_at)
        if not is_of_session:
            plot.clicked.connect(self._on_clicked)
        self.restyle(self.theme)

    def show_pair(self, lines: tuple[Line, Line], *, names: tuple[str, str], label: str, parting: int | None) -> None:
        """`label`: what the number is. `parting`: the step at which the runs part."""
        self._lines, self._names, self._parting = lines, names, parting
        self.plot.set_axis_label("left", label)
        self.mark_dirty()

    def show_step(self, step: int | None) -> None:
        """Of which the numbers are told, and which is marked."""
        if step != self._step:
            self._step = step
            self.mark_dirty()

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        colours = (theme.series[0], theme.series[1])
        styles = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine)
        for curve, points, colour, style in zip(self._curves, self._points, colours, styles, strict=True):
            curve.setPen(pg.mkPen(colour, width=2, style=style))
            points.setPen(pg.mkPen(theme.surface))
            points.setBrush(pg.mkBrush(colour))
        self._crosses.setPen(pg.mkPen(theme.bad))
        self._crosses.setBrush(pg.mkBrush(theme.bad))
        self._parting_line.setPen(pg.mkPen(theme.warning, width=1.5, style=Qt.PenStyle.DotLine))
        self._step_line.setPen(pg.mkPen(theme.text, width=1, style=Qt.PenStyle.DashLine))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        lines = [line for line in self._lines if len(line.steps)]
        if not lines:
            return self.tr("Neither of the runs has recorded this over its steps")
        scale = _scale_of([line.values for line in lines])
        self._values_axis.is_log = isinstance(scale, GrowingScale)
        self._values_axis.show_exponent(scale.exponent)
        pad = 0.06 * (scale.high - scale.low) or 1.0
        bad = []
        for line, curve, points in zip(self._lines, self._curves, self._points, strict=True):
            x, is_finite = line.steps.astype(np.float64), np.isfinite(line.values)
            placed = np.asarray(scale.place(np.where(is_finite, line.values, np.nan)), dtype=np.float64)
            curve.setData(*decimate(x, placed, max_points=_MAX_POINTS), connect="finite")
            few = is_finite if len(x) < _FEW else np.zeros(len(x), dtype=bool)
            points.setData(x[few], placed[few])
            bad.append(x[~is_finite])
        crosses = np.unique(np.concatenate(bad))[:_MAX_POINTS]
        self._crosses.setData(crosses, np.full(len(crosses), scale.low - pad))
        for item, step in ((self._parting_line, self._parting), (self._step_line, self._marked_step())):
            item.setVisible(step is not None)
            item.setValue(0 if step is None else step)
        steps = np.concatenate([line.steps for line in lines])
        self.plot.show_range(step_range(int(steps.min()), int(steps.max())), (scale.low - 2 * pad, scale.high + pad))
        self._legend.show_entries(self._entries())
        self.write(state)
        return ""

    def write(self, state: AppState) -> None:
        step = self._step if self.plot.playhead is None else state.shown.step
        if step is None:
            # The last that both have, if there is one.
            ends = [int(line.steps[-1]) for line in self._lines if len(line.steps)]
            step = min(ends) if len(ends) == 2 else ends[0]
        text, at = self.tr("{numbers} at step {step}"), step

        def told(digits: Callable[[float], str]) -> str:
            sides = zip("AB", self._lines, strict=True)
            return text.format(
                numbers=", ".join(f"{letter} {_told(line, at, digits)}" for letter, line in sides), step=at
            )

        self.readout.show_forms(with_fewer_digits(told))

    def table(self, state: AppState) -> TableData:
        steps = np.union1d(self._lines[0].steps, self._lines[1].steps)
        ours, theirs = self._lines
        return TableData(
            headers=(self.tr("Step"), "A", "B", "|A − B|"),
            rows=len(steps),
            cell=lambda row, column: _cell(int(steps[row]), column, ours, theirs),
        )

    def _marked_step(self) -> int | None:
        """Where there is a playhead, that says it."""
        return self._step if self.plot.playhead is None else None

    def _entries(self) -> list[LegendEntry]:
        theme = self.theme
        entries = [
            LegendEntry("━", theme.series[0], self._names[0]),
            LegendEntry("╍", theme.series[1], self._names[1]),
        ]
        if self._parting is not None:
            text = self.tr("they part at step {step}").format(step=self._parting)
            entries.append(LegendEntry("┊", theme.warning, text))
        return entries

    # ------------------------------------------------------------------------------------------ slots

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        known = [line for line in self._lines if len(line.steps)]
        if not known:
            return
        steps = np.concatenate([line.steps for line in known])
        step = int(steps[np.argmin(np.abs(steps - x))])
        told = [f"{letter}: {_told(line, step)}" for letter, line in zip("AB", self._lines, strict=True)]
        self.plot.show_tip("\n".join([self.tr("Step {step}").format(step=step), *told]))

    @Slot(float, float)
    def _on_clicked(self, x: float, _y: float) -> None:
        self.step_wanted.emit(round(x))


def _scale_of(lines: Sequence[FloatArray]) -> LinearScale | GrowingScale:
    """Logarithmic where one would be flat beside the other. A run that blows up leaves the picture in time."""
    largest = [float(np.abs(line[np.isfinite(line)]).max(initial=0.0)) for line in lines]
    most = _ROOM_ABOVE * min((size for size in largest if size > 0), default=np.inf)
    values = np.concatenate([line[np.abs(line) <= most] for line in lines])
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() / finite.min() > _WIDE:
        scale = GrowingScale(Scale.LOG)
        scale.widen(finite)
        return scale
    return LinearScale.around(values)


def _value(line: Line, step: int) -> float | None:
    """At that step; None where there is none."""
    at = int(np.searchsorted(line.steps, step))
    return float(line.values[at]) if at < len(line.steps) and line.steps[at] == step else None


def _told(line: Line, step: int, digits: Callable[[float], str] = exact) -> str:
    value = _value(line, step)
    return "–" if value is None else digits(value)


def _cell(step: int, column: int, ours: Line, theirs: Line) -> object:
    if column == 0:
        return step
    a, b = _value(ours, step), _value(theirs, step)
    if column < 3:
        value = a if column == 1 else b
        return "–" if value is None else value
    return "–" if a is None or b is None else abs(a - b)
