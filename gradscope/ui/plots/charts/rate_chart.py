"""The learning rate of every parameter group: what it was, what it is, and what the schedule will make of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QLabel, QSizePolicy, QToolButton, QWidget

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.numbers import number
from gradscope.protocol.scripts import Ability
from gradscope.protocol.stops.quantities import Figure
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.momentum_plot import MomentumPlot
from gradscope.ui.plots.parts.axes import LogAxis, StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.inside_label import InsideLabel
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import decimate, step_range
from gradscope.ui.plots.parts.scales import GrowingScale, LinearScale
from gradscope.ui.plots.words.wording import nothing_yet
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.scrolled_column import ScrolledColumn
from gradscope.ui.widgets.steady_label import SteadyLabel
from gradscope.ui.words.quantities import Scale
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

AnyFloats = npt.NDArray[np.floating[Any]]

_MAX_GROUPS = 8
_LEGEND_SHARE = 0.35
"""Of the chart's height; more groups are scrolled to."""
_MAX_DASHED_POINTS = 300


class RateChart(Chart):
    topics = frozenset({Topic.SESSION, Topic.HISTORY, Topic.SCHEDULE, Topic.POSITION})

    def __init__(
        self, controller: Controller, themes: ThemeManager, *, is_detailed: bool, parent: QWidget | None = None
    ) -> None:
        self._values_axis = LogAxis("left")
        self._values_axis.is_log = False
        plot = PlotView(axes={"left": self._values_axis, "bottom": StepAxis("bottom")}, zoom_x=True, zoom_y=True)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Learning rate"),
            explanation=self.tr(
                "The solid line is the rate that each step has used, the dashed one what the schedule will do if training "
                "goes on; every parameter group has a line of its own. The dotted line upright is the newest step. Where the "
                "schedule also moves the momentum (or Adam's first beta), that is drawn below."
            ),
            parent=parent,
        )
        plot.set_axis_label("left", self.tr("Learning rate"))
        plot.set_axis_label("bottom", self.tr("Training step"))
        self._past_steps: IntArray = np.zeros(0, dtype=np.int64)
        self._past: FloatArray = np.zeros((0, 0))
        self._ahead_steps: IntArray = np.zeros(0, dtype=np.int64)
        self._ahead: FloatArray = np.zeros((0, 0))
        self._past_curves = [pg.PlotCurveItem() for _ in range(_MAX_GROUPS)]
        self._ahead_curves = [pg.PlotCurveItem() for _ in range(_MAX_GROUPS)]
        self._now = pg.ScatterPlotItem(size=7, pxMode=True)
        self._end_line = pg.InfiniteLine(angle=90, movable=False)
        self._end_label = InsideLabel(self._end_line, position=0.5, anchors=[(0, 0.5), (1, 0.5)])
        for item in (*self._past_curves, *self._ahead_curves, self._now, self._end_line):
            plot.addItem(item, ignoreBounds=True)
        self._momenta = MomentumPlot(plot, groups=_MAX_GROUPS)
        self._momenta.set_axis_label("left", self.tr("Momentum"))
        self._momenta.set_axis_label("bottom", self.tr("Training step"))
        self._log = QToolButton()
        self._log.setText(self.tr("Log"))
        self._log.setAccessibleName(self.tr("Logarithmic"))
        self._log.setCheckable(True)
        self._style_as_small(self._log)
        self._log.toggled.connect(self._on_log_toggled)
        self.header.insertWidget(2, self._log)
        self._log.setVisible(is_detailed)
        self._is_detailed = is_detailed
        self._describe_lines(is_detailed=is_detailed)
        plot.pointed_at.connect(self._on_pointed_at)
        self._momenta.pointed_at.connect(self._on_pointed_at)
        self.restyle(self.theme)

    def _describe_lines(self, *, is_detailed: bool) -> None:
        """What is said below the plots."""
        self._groups = QLabel(self)
        self._groups.setTextFormat(Qt.TextFormat.RichText)
        self._groups.setVisible(is_detailed)
        # Lines that wrap would make the small chart ask for height.
        self._outlook: SteadyLabel | ElidedLabel = SteadyLabel() if is_detailed else ElidedLabel()
        self._outlook.setProperty("role", "muted")
        self.body_layout.addWidget(self._momenta)
        self.body_layout.setStretch(0, 5)
        self.body_layout.setStretch(1, 3)
        legend = ScrolledColumn(within=self.body, share=_LEGEND_SHARE)
        for label in (self._groups, self._outlook):
            label.setContentsMargins(8, 2, 8, 4)
            if is_detailed:
                label.setWordWrap(True)
                label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            legend.add(label)
        self.body_layout.addWidget(legend)

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        # pyqtgraph keeps a picture of a symbol for every pen and brush that it has ever seen.
        self._now_styles = [{"pen": pg.mkPen(colour), "brush": pg.mkBrush(colour)} for colour in theme.series]
        for i, colour in enumerate(theme.series[:_MAX_GROUPS]):
            self._past_curves[i].setPen(pg.mkPen(colour, width=2))
            self._ahead_curves[i].setPen(pg.mkPen(colour, width=1, style=Qt.PenStyle.DashLine))
        self._momenta.restyle(theme)
        self._end_line.setPen(pg.mkPen(theme.warning, width=1))
        self._end_label.setColor(QColor(theme.warning))
        behind = QColor(theme.surface)
        behind.setAlpha(200)
        self._end_label.fill = pg.mkBrush(behind)

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        if state.session is None:
            return self.tr("Open a recipe to begin")
        curve, schedule = state.history.lr, state.schedule
        self._past_steps, self._past = curve.steps, curve.values
        if schedule is not None and schedule.rates.size:
            self._ahead_steps = schedule.first_step + np.arange(schedule.rates.shape[1])
            self._ahead = schedule.rates.T
        else:
            self._ahead_steps, self._ahead = np.zeros(0, dtype=np.int64), np.zeros((0, 0))
        if not len(self._past) and not len(self._ahead):
            if not state.session.groups:
                if state.in_script:
                    return self.tr("No optimizer of the script has been seen yet, so there is no learning rate")
                return self.tr("This recipe has no optimizer, so there is no learning rate")
            return (
                schedule.reason
                if schedule is not None and schedule.reason
                else nothing_yet(state, self.tr("Press Step (F7) to see the learning rate"))
            )
        self._draw_lines()
        self._draw_momenta(state)
        self._draw_end(state)
        self.write(state)
        return ""

    def _draw_lines(self) -> None:
        drawn_past, drawn_ahead, y_range = self._on_scale()
        steps = np.concatenate([self._past_steps, self._ahead_steps])
        points = []
        for i in range(_MAX_GROUPS):
            past = i < self._past.shape[1] and len(self._past) > 0
            known = i < self._ahead.shape[1] and len(self._ahead) > 0
            ahead = known and len(self._ahead) > 1
            self._past_curves[i].setVisible(past)
            self._ahead_curves[i].setVisible(ahead)
            if past:
                x = self._past_steps.astype(np.float64)
                self._past_curves[i].setData(
                    *decimate(x, drawn_past[:, i].astype(np.float64), max_points=2000), connect="finite"
                )
            if ahead:
                x = self._ahead_steps.astype(np.float64)
                y = drawn_ahead[:, i].astype(np.float64)
                self._ahead_curves[i].setData(*decimate(x, y, max_points=_MAX_DASHED_POINTS), connect="finite")
            if past or known:
                at = (self._ahead_steps[0], drawn_ahead[0, i]) if known else (self._past_steps[-1], drawn_past[-1, i])
                if np.isfinite(at[1]):
                    points.append({"pos": at, **self._now_styles[i]})
        self._now.setData(points)
        self.plot.show_range(step_range(int(steps[0]), int(steps[-1])), y_range)

    def _draw_momenta(self, state: AppState) -> None:
        is_shown = self._momenta.take(state) and self._is_detailed
        self._momenta.setVisible(is_shown)
        self.plot.show_bottom_axis(not is_shown)
        if is_shown:
            self._momenta.draw(self._past_steps, self._ahead_steps)

    def _draw_end(self, state: AppState) -> None:
        text = self._end_text(state)
        self._end_line.setVisible(bool(text))
        if text and state.schedule is not None and state.schedule.horizon is not None:
            self._end_line.setValue(state.schedule.horizon - 0.5)
            shorter = self.tr("ends after step {step}").format(step=state.schedule.horizon - 1)
            self._end_label.say(*((text, shorter) if self._is_detailed else ("",)))

    def _end_text(self, state: AppState) -> str:
        """Where the schedule ends, for one that ends."""
        if state.session is None or state.schedule is None or state.schedule.horizon is None:
            return ""
        text = self.tr("{scheduler} ends after step {step}")
        return text.format(scheduler=visible(state.session.scheduler or ""), step=state.schedule.horizon - 1)

    def _on_scale(self) -> tuple[AnyFloats, AnyFloats, tuple[float, float]]:
        both = np.concatenate([self._past.ravel(), self._ahead.ravel()])
        known = both[np.isfinite(both)]
        self._values_axis.is_log = self._log.isChecked()
        if self._log.isChecked():
            scale = GrowingScale(Scale.LOG)
            scale.widen(known)
            pad = 0.05 * (scale.high - scale.low)
            return scale.place(self._past), scale.place(self._ahead), (scale.low - pad, scale.high + pad)
        linear = LinearScale.around(np.append(known, 0.0))
        self._values_axis.show_exponent(linear.exponent)
        pad = 0.05 * (linear.high - linear.low)
        return linear.place(self._past), linear.place(self._ahead), (linear.low - pad, linear.high + pad)

    def write(self, state: AppState) -> None:
        assert state.session is not None
        step = state.shown.step
        point = None if step is None else state.shown.point_of(self._past_steps)
        if step is None:
            shown, text = self._ahead[0] if len(self._ahead) else self._past[-1], self.tr("now {rates}")
        elif point is None:
            shown, text = np.zeros(0), self.tr("No rate is known of step {step}")
        else:
            shown, text = self._past[point], self.tr("{rates} in step {step}")
        rates = [number(float(rate), digits=6) for rate in shown]
        exact = ", ".join(repr(float(rate)) for rate in shown)
        told = self._in_less_room(shown)
        # Which step it is of stands above all panels, too.
        self.readout.show_forms([*(text.format(rates=rates, step=step) for rates in told), told[-1]])
        self.readout.setToolTip(plain_tip(text.format(rates=exact, step=step)))
        if self._is_detailed:
            lines = []
            for i, group in enumerate(state.session.groups[: len(rates)]):
                text = self.tr("{group}: {rate} (parameters: {count})")
                lines.append(
                    f'<span style="color:{self.theme.series[i % len(self.theme.series)]}">■</span> '
                    + escape(visible(text.format(group=self._named(i), rate=rates[i], count=len(group.parameters))))
                )
            self._groups.setText("<br>".join(lines))
        outlook = self._outlook_text(state)
        if isinstance(self._outlook, SteadyLabel):
            self._outlook.show_steadily(outlook)
        elif outlook == state.never(Ability.SCHEDULE_AHEAD) or state.session.scheduler is None:
            # What is so comes first, and why behind it.
            self._outlook.show_forms([outlook, outlook.partition(":")[0]])
        else:
            self._outlook.show_text(outlook)
        self._outlook.setToolTip(plain_tip("" if self._is_detailed else outlook))

    def _in_less_room(self, rates: FloatArray) -> list[str]:
        """All rates, and the first one with how many others there are; each with fewer and fewer digits."""
        known = [[number(float(rate), digits=digits) for rate in rates] for digits in (6, 4, 2)]
        forms = [", ".join(told) for told in known]
        if len(rates) > 1:
            text = self.tr("{rate} and {count} more")
            forms += [text.format(rate=told[0], count=len(rates) - 1) for told in known]
        return list(dict.fromkeys(forms))

    def _named(self, group: int) -> str:
        """A group by its number; where there are several optimizers, by the name of its own."""
        session = self.controller.state.session
        owners = [known.optimizer for known in session.groups] if session is not None else []
        owner = owners[group] if group < len(owners) else ""
        if owner and owners.count(owner) == 1:
            return visible(owner)
        text = self.tr("{optimizer}, group {number}") if owner else self.tr("Group {number}")
        return text.format(optimizer=visible(owner), number=group)

    def _outlook_text(self, state: AppState) -> str:
        assert state.session is not None
        scheduler, schedule = state.session.scheduler, state.schedule
        never = state.never(Ability.SCHEDULE_AHEAD)
        if never is not None:
            return f"{visible(scheduler)}\n{never}" if scheduler and self._is_detailed else never
        if scheduler is None:
            return self.tr("No scheduler: the rate stays as it is")
        if not self._is_detailed and schedule is not None and schedule.reason:
            return self.tr("Ahead: {reason}").format(reason=schedule.reason)
        end = self._end_text(state)
        if not self._is_detailed and end:
            return end
        unit = self.tr("epoch") if state.session.scheduler_unit == "epoch" else self.tr("step")
        text = self.tr("{scheduler}, advanced every {unit}").format(scheduler=scheduler, unit=unit)
        if schedule is not None and schedule.reason:
            text += "\n" + self.tr("Ahead: {reason}").format(reason=schedule.reason)
        return f"{text}\n{end}" if end else text

    def table(self, state: AppState) -> TableData:
        past_steps, past, ahead_steps, ahead = self._past_steps, self._past, self._ahead_steps, self._ahead
        groups = max(past.shape[1], ahead.shape[1] if ahead.ndim == 2 else 0)
        names = tuple(self._named(i) for i in range(groups))
        used, foretold = self.tr("used"), self.tr("foretold")
        has_momenta = not self._momenta.isHidden()
        if has_momenta:
            names += tuple(self.tr("Momentum, {group}").format(group=self._named(i)) for i in range(groups))
        momenta, momenta_ahead = self._momenta.past, self._momenta.ahead

        def cell(row: int, column: int) -> object:
            is_past = row < len(past_steps)
            steps, rates = (past_steps, past) if is_past else (ahead_steps, ahead)
            row = row if is_past else row - len(past_steps)
            if column == 0:
                return int(steps[row])
            if column == 1:
                return used if is_past else foretold
            if column >= 2 + groups:
                rates, column = (momenta if is_past else momenta_ahead), column - groups
            is_known = row < len(rates) and column - 2 < rates.shape[1]
            return repr(float(rates[row, column - 2])) if is_known else ""

        rows = len(past_steps) + len(ahead_steps)
        return TableData(headers=(self.tr("Step"), self.tr("When"), *names), rows=rows, cell=cell)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(bool)
    def _on_log_toggled(self, _checked: bool) -> None:
        self.plot.fit()
        self.mark_dirty()

    def spot_at(self, x: float, _y: float) -> Spot | None:
        at = int(np.argmin(np.abs(self._past_steps - x))) if len(self._past_steps) else None
        return Spot(figure=Figure.LR, value=None if at is None else float(np.nanmax(self._past[at])))

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        is_ahead = len(self._ahead_steps) > 0 and (not len(self._past_steps) or x >= self._ahead_steps[0] - 0.5)
        steps, rates = (self._ahead_steps, self._ahead) if is_ahead else (self._past_steps, self._past)
        if not len(steps):
            return
        position = int(np.argmin(np.abs(steps - x)))
        step = self.tr("Step {step} (foretold)") if is_ahead else self.tr("Step {step}")
        lines = [f"{self._named(i)}: {float(rate)!r}" for i, rate in enumerate(rates[position])]
        momenta = self._momenta.ahead if is_ahead else self._momenta.past
        if not self._momenta.isHidden() and position < len(momenta):
            text = self.tr("Momentum, {group}: {value}")
            values = enumerate(momenta[position])
            lines += [text.format(group=self._named(i), value=repr(float(value))) for i, value in values]
        self.plot.show_tip("\n".join([step.format(step=int(steps[position])), *lines]))
