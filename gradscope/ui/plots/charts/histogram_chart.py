"""The distribution of one subject's values: by powers of two while training runs, exact and linear when it rests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Slot
from PySide6.QtGui import QFontMetricsF
from PySide6.QtWidgets import QToolButton, QWidget

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.messages import FetchHistogram, Histogram, Unavailable
from gradscope.protocol.stops.quantities import Statistic
from gradscope.protocol.subjects import COUNT, EXPONENT_BINS, EXPONENT_LOW, MAX, MIN, NAN, ZERO, histogram_edges
from gradscope.state.app_state import AppState
from gradscope.state.records.newest import Latest
from gradscope.state.topics import Topic
from gradscope.ui.actions.fetcher import Fetcher
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.axes import ChartAxis, Ticks
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.scales import LinearScale, nice_range
from gradscope.ui.plots.words.formats import exact, short, two_digits
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.words.capture import why_no_distribution
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class PowerAxis(ChartAxis):
    """Signed powers of two around zero: the magnitude bin k of positive numbers is drawn at k + 1, of negative at -k - 1.

    With `is_power` False a plain axis.
    """

    is_power = True
    ends: tuple[float | None, float | None] = (None, None)
    """Where the outermost bars, negative and positive, really end, if that is beyond the last power of two."""

    def tickValues(self, minVal: float, maxVal: float, size: float) -> Ticks:  # noqa: N803
        if not self.is_power:
            return super().tickValues(minVal, maxVal, size)
        low, high = sorted((minVal, maxVal))
        room = QFontMetricsF(self._font).horizontalAdvance("-2⁻³²") + 10
        stride = next((n for n in (1, 2, 4, 8, 16) if n * size / max(1e-9, high - low) >= room), 32)
        ticks = [0.0] if low <= 0 <= high else []
        for exponent in range(EXPONENT_LOW, EXPONENT_LOW + EXPONENT_BINS + 1):
            # The edge below the bin of this exponent; edges next to zero would touch the zero's own label.
            at = exponent - EXPONENT_LOW + 0.5
            if exponent % stride == 0 and at >= 0.6 * stride:
                ticks += [at, -at]
        return [(1.0, [tick for tick in ticks if low <= tick <= high])]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        if not self.is_power:
            return super().tickStrings(values, scale, spacing)
        return ["0" if value == 0 else self._end(value) or _power(value) for value in values]

    def _end(self, at: float) -> str:
        end = self.ends[at > 0] if abs(at) > EXPONENT_BINS else None
        return "" if end is None else two_digits(end)


def _power(at: float) -> str:
    exponent = round(abs(at) - 0.5) + EXPONENT_LOW
    return ("-" if at < 0 else "") + "2" + str(exponent).translate(_SUPERSCRIPT)


class HistogramChart(Chart):
    """`look_at` a subject with a token that changes whenever its values may have; None while the session runs."""

    topics = frozenset[Topic]()
    """The inspector says when to redraw."""

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        self._axis = PowerAxis("bottom")
        self._linear = LinearScale()
        plot = PlotView(axes={"left": ChartAxis("left", widest="100"), "bottom": self._axis}, zoom_x=True, zoom_y=False)
        super().__init__(
            controller,
            themes,
            plot,
            title=self.tr("Histogram"),
            explanation=self.tr(
                "How the values are distributed: linear ones from the least to the greatest value, or by their power "
                "of two, negative ones on the left, exact zeros as the hollow bar. While training runs only the "
                "powers of two are known; all finite values are counted when it pauses."
            ),
            parent=parent,
        )
        plot.set_axis_label("left", self.tr("% of the values"))
        self._fetcher = Fetcher(controller)
        self._latest: Latest | None = None
        self._token: object = None
        self._exact: Histogram | None = None
        self._bars = pg.BarGraphItem(x0=[], x1=[], height=[], y0=0)
        self._zero_bar = pg.BarGraphItem(x0=[], x1=[], height=[], y0=0)
        for item in (self._bars, self._zero_bar):
            plot.addItem(item, ignoreBounds=True)
        self._drawn: tuple[FloatArray, FloatArray, FloatArray] = (np.zeros(0), np.zeros(0), np.zeros(0))
        self._powers = QToolButton()
        self._powers.setText(self.tr("Powers of two"))
        self._powers.setCheckable(True)
        self._style_as_small(self._powers)
        self._powers.toggled.connect(self._on_powers_toggled)
        self.header.insertWidget(2, self._powers)
        plot.pointed_at.connect(self._on_pointed_at)
        # The tab of the inspector is its title.
        self.replace_title(None)
        self.restyle(self.theme)

    def look_at(self, latest: Latest, token: object | None) -> None:
        self._latest = latest
        if token != self._token:
            self._token = token
            self._exact = None
            self._fetch()
        self.mark_dirty()

    def forget(self) -> None:
        """Another session: nothing that was asked for matters any more."""
        self._fetcher.forget()
        self._token, self._exact, self._latest = None, None, None
        self.plot.fit()

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        self._bars.setOpts(brush=pg.mkBrush(theme.series[0]), pen=pg.mkPen(theme.surface, width=1))
        self._zero_bar.setOpts(brush=pg.mkBrush(theme.surface), pen=pg.mkPen(theme.text, width=1))

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        if self._latest is None:
            return self.tr("Nothing is selected")
        not_captured = why_no_distribution(state, self._latest)
        # The values themselves can be there all the same: those of a parameter always are.
        self._powers.setEnabled(not not_captured)
        self._powers.setToolTip(plain_tip(not_captured))
        if not_captured and self._exact is None:
            return not_captured
        is_linear = self._exact is not None and (bool(not_captured) or not self._powers.isChecked())
        self._axis.is_power = not is_linear
        if is_linear:
            assert self._exact is not None
            problem = self._draw_linear(self._exact)
        else:
            problem = self._draw_powers(self._latest)
        if problem:
            return problem
        axis = self.tr("Value") if is_linear else self.tr("Value, by power of two")
        self.plot.set_axis_label("bottom", axis)
        return ""

    def _draw_linear(self, histogram: Histogram) -> str:
        total = int(histogram.counts.sum())
        if not total:
            return self.tr("No finite values")
        edges, shares = histogram.edges, 100 * histogram.counts / total
        self._drawn = edges[:-1], edges[1:], histogram.counts.astype(np.float64)
        self._linear = LinearScale.around(edges)
        self._axis.show_exponent(self._linear.exponent)
        drawn = self._linear.place(edges)
        self._bars.setOpts(x0=drawn[:-1], x1=drawn[1:], height=shares)
        self._zero_bar.setOpts(x0=[], x1=[], height=[])
        left, right = float(drawn[0]), float(drawn[-1])
        pad = 0.02 * (right - left) or 0.5
        self.plot.show_range((left - pad, right + pad), (0.0, 1.02 * nice_range(0.0, float(shares.max()))[1]))
        self.readout.show_text("")
        return ""

    def _draw_powers(self, latest: Latest) -> str:
        counts = latest.histogram.astype(np.float64)
        zeros = float(latest.summary[ZERO])
        whole = float(latest.summary[COUNT] - latest.summary[NAN])
        sampled = float(latest.sampled)
        if not counts.sum() and not zeros:
            return self.tr("No finite values")
        shares = 100 * counts / sampled if sampled else counts
        zero_share = 100 * zeros / whole if whole else 0.0
        at = np.concatenate([np.arange(-EXPONENT_BINS, 0), np.arange(1, EXPONENT_BINS + 1)]).astype(np.float64)
        is_there = counts > 0
        self._bars.setOpts(x0=at[is_there] - 0.5, x1=at[is_there] + 0.5, height=shares[is_there])
        low, high = _bin_edges(latest)
        self._drawn = low, high, counts
        self._axis.ends = _ends(latest)
        self._zero_bar.setOpts(x0=[-0.4], x1=[0.4], height=[zero_share])
        left = min(float(at[is_there].min(initial=0)), 0.0) - 1.5
        right = max(float(at[is_there].max(initial=0)), 0.0) + 1.5
        if not zeros and is_there.any():
            left, right = float(at[is_there].min()) - 1.5, float(at[is_there].max()) + 1.5
        if right - left < 8:
            left, right = (left + right) / 2 - 4, (left + right) / 2 + 4
        top = max(float(shares.max(initial=0)), zero_share)
        self.plot.show_range((left, right), (0.0, 1.02 * nice_range(0.0, top)[1]))
        sample = self.tr("from a sample of {count}").format(count=f"{latest.sampled:,}") if sampled < whole else ""
        beyond = self._beyond(counts)
        self.show_moment("; ".join(part for part in (beyond, sample) if part), [beyond] if beyond else [])
        return ""

    def _beyond(self, counts: FloatArray) -> str:
        """How many values are in a bar at an end that goes on beyond the powers of two, and how far."""
        text, limit, told = self.tr("{count} values from {low} to {high}"), _power(EXPONENT_BINS - 0.5), []
        for count, end in zip((counts[0], counts[-1]), self._axis.ends, strict=True):
            if end is not None:
                low = ("-" if end < 0 else "") + limit
                told.append(text.format(count=f"{int(count):,}", low=low, high=short(end)))
        return ", ".join(told)

    def table(self, state: AppState) -> TableData:
        low, high, counts = self._drawn
        is_there = np.flatnonzero(counts) if self._axis.is_power else np.arange(len(counts))
        return TableData(
            headers=(self.tr("From"), self.tr("To"), self.tr("Count")),
            rows=len(is_there),
            cell=lambda row, column: (
                float(low[is_there[row]]),
                float(high[is_there[row]]),
                int(counts[is_there[row]]),
            )[column],
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot(bool)
    def _on_powers_toggled(self, _checked: bool) -> None:
        self.plot.fit()
        self.mark_dirty()

    def spot_at(self, _x: float, _y: float) -> Spot | None:
        """How large its values are is what a distribution shows."""
        latest = self._latest
        if latest is None:
            return None
        largest = float(np.fmax(abs(latest.summary[MIN]), abs(latest.summary[MAX])))
        return Spot(subject=latest.row.key, statistic=Statistic.MAX_ABS, value=largest)

    @Slot(float, float)
    def _on_pointed_at(self, x: float, _y: float) -> None:
        if self.message:
            return
        low, high, counts = self._drawn
        if self._axis.is_power:
            position = round(x) + EXPONENT_BINS - (1 if x > 0 else 0)
            if round(x) == 0 and self._latest is not None:
                self.plot.show_tip(self.tr("0: {count} values").format(count=f"{int(self._latest.summary[ZERO]):,}"))
                return
        else:
            position = int(np.searchsorted(self._linear.place(high), x))
        if not 0 <= position < len(counts):
            self.plot.show_tip("")
            return
        self.plot.show_tip(
            self.tr("{low} to {high}: {count} values").format(
                low=_edge(float(low[position])), high=_edge(float(high[position])), count=f"{int(counts[position]):,}"
            )
        )

    def _fetch(self) -> None:
        if self._token is None or self._latest is None:
            return
        token = self._token

        def on_reply(reply: object) -> None:
            if token == self._token and not isinstance(reply, Unavailable):
                assert isinstance(reply, Histogram)
                self._exact = reply
                self.plot.fit()
                self.mark_dirty()

        step = self.controller.state.closer.step_of(self._latest)
        self._fetcher.request(FetchHistogram(subject=self._latest.row.key, step=step), on_reply)


def _bin_edges(latest: Latest) -> tuple[FloatArray, FloatArray]:
    """Lower and upper edge of each bin, negative bins first. Those at the ends take in all that is beyond, to the least and
    the greatest value; those around zero everything down to it."""
    edges = histogram_edges()
    negative, positive = edges[: EXPONENT_BINS + 1].copy(), edges[EXPONENT_BINS + 1 :].copy()
    negative[-1] = positive[0] = 0.0
    least, most = _ends(latest)
    negative[0], positive[-1] = negative[0] if least is None else least, positive[-1] if most is None else most
    return (
        np.concatenate([negative[:-1], positive[:-1]]),
        np.concatenate([negative[1:], positive[1:]]),
    )


def _ends(latest: Latest) -> tuple[float | None, float | None]:
    """The least and the greatest value, where they lie beyond the outermost powers of two."""
    limit = 2.0 ** (EXPONENT_LOW + EXPONENT_BINS)
    least, most = float(latest.summary[MIN]), float(latest.summary[MAX])
    return least if least <= -limit else None, most if most >= limit else None


def _edge(value: float) -> str:
    return short(value) if math.isfinite(value) else exact(value)
