"""Every chart over a history of any doubles whatever, painted; and what a redraw that failed leaves behind."""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QRect
from PySide6.QtGui import QPainter, QPixmap
from PySide6.QtWidgets import QStyleOptionViewItem
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.subjects import INF, NAN, ZERO, SubjectKey, SubjectKind
from gradscope.snapshots import slices
from gradscope.state.records.curve import Curve
from gradscope.state.records.kept_numbers import as_kept
from gradscope.state.topics import Topic
from gradscope.ui.inspector.signed_bars import SignedBarDelegate
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.cell_table import Cell, CellTableModel
from gradscope.ui.plots.charts.clipping_chart import ClippingChart
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.histogram_chart import HistogramChart
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.picture_chart import PictureChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.charts.scale_chart import ScaleChart
from gradscope.ui.plots.charts.validation_chart import ValidationChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.overview_tab import GradientFlow, UpdateRatio
from gradscope.ui.words.quantities import CHOICES
from tests.ui.doubles import DOUBLES, LEAST, MOST
from tests.ui.fakes import FakeController, full_training, light_themes, small_training, started

few = settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SEVERAL = st.lists(DOUBLES, min_size=1, max_size=8)
SUBJECT = SubjectKey(SubjectKind.PARAMETER, "net.0.weight")
Make = Callable[[FakeController, ThemeManager], Chart]


@pytest.fixture
def themes(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


EVERY: list[Make] = [
    LossChart,
    GradientFlow,
    UpdateRatio,
    ClippingChart,
    ScaleChart,
    lambda controller, themes: RateChart(controller, themes, is_detailed=True),
    lambda controller, themes: ValidationChart(controller, themes, metric="loss"),
    lambda controller, themes: HeatMap(controller, themes, title="Updates"),
    LinesChart,
]


def played() -> FakeController:
    """Six steps of everything that a step can have, and two validations."""
    training = full_training()
    controller = started(training, steps=6)
    for step in (2, 5):
        controller.state.apply(training.validated(step=step))
    return controller


def fill(controller: FakeController, values: list[float]) -> None:
    """Have every curve and every summary of the history hold these numbers, over and over."""
    history = controller.state.history
    numbers = cycle(values)
    for curve in (history.loss, history.lr, history.momentum, history.clipping, history.scale, history.skipped):
        curve.values[:] = np.array([next(numbers) for _ in range(curve.values.size)]).reshape(curve.values.shape)
    for curve in history.validations.values():
        curve.values[:] = np.array([next(numbers) for _ in range(curve.values.size)]).reshape(curve.values.shape)
    # Which parameter had the largest gradient is a number, too.
    history.clipping.values[:, 4] = np.nan
    for block in history.blocks.values():
        for column in set(range(len(block._cells.values))) - {0, NAN, INF, ZERO}:
            part = block.column(column)
            part[:] = as_kept(np.array([next(numbers) for _ in range(part.size)]).reshape(part.shape))


def ranges(chart: Chart) -> list[float]:
    return [end for ends in chart.plot.box.viewRange() for end in ends]


def point_everywhere(chart: Chart) -> None:
    (left, right), (low, high) = chart.plot.box.viewRange()
    for share in (0.0, 0.3, 1.0):
        chart.plot.pointed_at.emit(left + share * (right - left), low + share * (high - low))


@pytest.mark.parametrize("number", range(len(EVERY)))
@few
@given(values=SEVERAL)
@example(values=[MOST, -MOST])
@example(values=[MOST])
@example(values=[LEAST, 0.0])
@example(values=[2.7e307, 1.19e308])
@example(values=[np.inf, np.nan])
@example(values=[1e200, 1.0, 1e-200])
def test_every_chart_is_painted(qtbot: QtBot, themes: ThemeManager, number: int, values: list[float]) -> None:
    controller = played()
    fill(controller, values)
    chart = EVERY[number](controller, themes)
    qtbot.addWidget(chart)
    chart.resize(420, 300)
    chart.show()
    choices = CHOICES[SubjectKind.UPDATE] if isinstance(chart, HeatMap | LinesChart) else [None]
    for quantity in choices:
        if quantity is not None:
            chart.show_quantity(SubjectKind.UPDATE, quantity)
        chart.grab()
        assert np.isfinite(ranges(chart)).all()
        point_everywhere(chart)
        table = chart.table(controller.state)
        cells = [table.cell(row, column) for row in range(table.rows) for column in range(len(table.headers))]
        assert all(isinstance(cell, float | int) or len(str(cell)) < 60 for cell in cells)


@pytest.mark.parametrize("number", range(len(EVERY)))
@pytest.mark.parametrize("first", [2**53 - 3, 2**62])
def test_steps_that_no_float_tells_apart(qtbot: QtBot, themes: ThemeManager, number: int, first: int) -> None:
    controller = played()
    history = controller.state.history
    curves = [*history.validations.values(), *(v for v in vars(history).values() if isinstance(v, Curve))]
    for steps in (one.steps for one in (*curves, *history.blocks.values())):
        steps += first
    chart = EVERY[number](controller, themes)
    qtbot.addWidget(chart)
    chart.resize(420, 300)
    chart.show()
    chart.grab()
    assert np.isfinite(ranges(chart)).all()
    point_everywhere(chart)


@few
@given(SEVERAL)
@example([MOST, -MOST])
@example([LEAST])
@example([MOST])
def test_the_histogram_and_the_picture_are_painted(qtbot: QtBot, themes: ThemeManager, values: list[float]) -> None:
    edges, counts, nan, inf = slices.histogram(np.array(values), 16)
    drawn, unit = slices.in_float32(np.array(values)[None])

    def answer(message: Any, on_reply: Callable[[object], None]) -> None:
        if isinstance(message, messages.FetchPicture):
            shape = drawn.shape
            on_reply(messages.Picture(subject=SUBJECT, shape=shape, index=(), block=(1, 1), values=drawn, unit=unit))
        else:
            on_reply(messages.Histogram(subject=SUBJECT, edges=edges, counts=counts, nan=nan, inf=inf))

    controller = started(small_training(), steps=2)
    controller.fetch = answer  # type: ignore[method-assign]
    for chart in (HistogramChart(controller, themes), PictureChart(controller, themes)):
        qtbot.addWidget(chart)
        chart.resize(420, 300)
        chart.show()
        chart.look_at(controller.state.history.latest(SUBJECT), "now")
        chart.grab()
        assert np.isfinite(ranges(chart)).all()
        if not chart.message:
            point_everywhere(chart)
    picture = chart._values()
    np.testing.assert_array_equal(np.isfinite(picture[0]), np.isfinite(values))


@few
@given(SEVERAL)
@example([MOST, -MOST, np.inf, np.nan])
def test_signed_bars_of_any_shares(qtbot: QtBot, themes: ThemeManager, shares: list[float]) -> None:
    model = CellTableModel(("Share",))
    model.show_rows(tuple((Cell(text="x", share=share),) for share in shares))
    delegate = SignedBarDelegate(themes)
    delegate.set_range(shares)
    picture = QPixmap(200, 20)
    picture.fill()
    painter = QPainter(picture)
    option = QStyleOptionViewItem()
    option.rect = QRect(0, 0, 200, 20)
    for row in range(len(shares)):
        delegate.paint(painter, option, model.index(row, 0))
    painter.end()


# ------------------------------------------------------------------------------------------ a redraw that failed


@pytest.mark.parametrize("number", range(len(EVERY)))
def test_a_redraw_that_failed_is_made_up_for(
    qtbot: QtBot, themes: ThemeManager, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = played()
    chart = EVERY[number](controller, themes)
    other = EVERY[number](controller, themes)
    for each in (chart, other):
        qtbot.addWidget(each)
        each.resize(420, 300)
    other.show()

    def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as broken:
        # The last thing that drawing does to the plot, when everything else has been set.
        broken.setattr(chart.plot.box, "setRange", fail)
        with pytest.raises(RuntimeError, match="a bug"):
            chart.redraw()
    chart.show()
    assert ranges(chart) == ranges(other)
    assert chart.message == other.message == ""


def test_lines_whose_names_could_not_be_written_are_named_later(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(small_training(), steps=3)
    chart = LinesChart(controller, themes)
    qtbot.addWidget(chart)
    with monkeypatch.context() as broken:
        broken.setattr("gradscope.ui.plots.charts.lines_chart.html.escape", lambda _text: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            chart.redraw()
    chart.show()
    assert "net.0" in chart._legend.text()


def test_a_chart_goes_on_after_numbers_that_it_failed_at(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=3)
    chart = LossChart(controller, themes)
    qtbot.addWidget(chart)
    chart.show()
    controller.state.history.loss.values[-1] = MOST
    controller.refreshed.emit({Topic.HISTORY})
    assert chart.plot.getAxis("left").tickStrings([1.0], 1.0, 0.2) == ["1e308"]
    chart._table_button.setChecked(True)
    table = chart._table
    assert table.columnWidth(0) < table.columnWidth(1) > table.fontMetrics().horizontalAdvance("1.79769313e+308")
    controller.state.history.loss.values[-1] = 0.5
    controller.refreshed.emit({Topic.HISTORY})
    assert chart.plot.getAxis("left").tickStrings([1.0], 1.0, 0.2) == ["1"]
