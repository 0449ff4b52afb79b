"""Charts under each other share their steps, zooming has buttons, and the loss a logarithmic scale and a smoother."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QToolButton
from pytestqt.qtbot import QtBot

from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from gradscope.ui.plots.tabs.kind_choices import activation_choices
from gradscope.ui.plots.tabs.overview_tab import OverviewTab
from tests.ui.fakes import FakeController, light_themes, small_training, started


@pytest.fixture
def themes(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


def history_tab(qtbot: QtBot, controller: FakeController, themes: ThemeManager) -> HistoryTab:
    tab = HistoryTab(controller, themes, title="Activations", choices=activation_choices)
    qtbot.addWidget(tab)
    tab.resize(700, 600)
    tab.show()
    return tab


def overview(qtbot: QtBot, controller: FakeController, themes: ThemeManager) -> OverviewTab:
    tab = OverviewTab(controller, themes)
    qtbot.addWidget(tab)
    tab.resize(900, 700)
    tab.show()
    qtbot.waitUntil(lambda: len(tab.charts) == 4)
    return tab


def steps_of(chart: Chart) -> list[float]:
    return list(chart.plot.box.viewRange()[0])


def button(chart: Chart, text: str) -> QToolButton:
    return next(found for found in chart.findChildren(QToolButton) if found.text() == text)


def moved(plot: PlotView, low: float, high: float) -> None:
    plot.box.setRange(xRange=(low, high), padding=0)
    plot.box.sigRangeChangedManually.emit([True, True])


@pytest.mark.parametrize("make", [history_tab, overview])
def test_what_is_moved_in_one_is_moved_in_all(
    qtbot: QtBot, themes: ThemeManager, make: Callable[..., HistoryTab | OverviewTab]
) -> None:
    training = small_training()
    controller = started(training, steps=60)
    tab = make(qtbot, controller, themes)
    upper, lower = (chart for chart in tab.charts if chart.plot.marks is not None)
    whole = steps_of(lower)
    moved(upper.plot, 12, 30)
    assert steps_of(lower) == pytest.approx([12, 30])
    controller.play(training.steps(5))
    assert steps_of(lower) == pytest.approx([12, 30]) and steps_of(upper) == pytest.approx([12, 30])
    moved(lower.plot, 15, 20)
    assert steps_of(upper) == pytest.approx([15, 20])
    assert button(upper, "Fit").isEnabled() and button(lower, "Fit").isEnabled()
    button(upper, "Fit").click()
    for chart in (upper, lower):
        assert not button(chart, "Fit").isEnabled()
        assert steps_of(chart)[0] < 1 and steps_of(chart)[1] >= 60
    assert steps_of(lower)[1] >= whole[1]


def test_values_are_followed_where_only_the_steps_are_held(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=40)
    tab = history_tab(qtbot, controller, themes)
    heat_map, lines = tab.charts
    before = lines.plot.box.viewRange()[1]
    moved(heat_map.plot, 5, 9)
    assert lines.plot.box.viewRange()[1] == before and lines.plot.is_following


def test_zooming_has_buttons(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=40)
    tab = history_tab(qtbot, controller, themes)
    upper, lower = tab.charts
    low, high = steps_of(upper)
    assert button(upper, "+").isVisible() and button(upper, "Fit").isVisible()
    button(upper, "+").click()
    nearer = steps_of(upper)
    assert nearer[1] - nearer[0] == pytest.approx((high - low) / 1.5)
    assert steps_of(lower) == pytest.approx(nearer)
    button(lower, "−").click()
    assert steps_of(upper) == pytest.approx([low, high], abs=0.01)


def test_the_loss_on_a_logarithmic_scale(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=30)
    curve = controller.state.history.loss
    for step in range(30):
        curve._values[step, 0] = 10.0 ** (-step / 5)
    curve._values[7, 0], curve._values[8, 0] = -1, 0
    chart = LossChart(controller, themes)
    qtbot.addWidget(chart)
    chart.show()
    chart._log.click()
    low, high = chart.plot.box.viewRange()[1]
    assert low == pytest.approx(-6, abs=0.5) and high == pytest.approx(0, abs=0.5)
    _, y = chart._lines[0]._raw.getData()
    assert y[20] == pytest.approx(-4, abs=1e-5) and y[7] == y[8] == pytest.approx(-6)
    assert chart._values_axis.tickStrings([-3.0, 0.0], 1.0, 1.0) == ["0.001", "1"]
    chart._log.click()
    assert chart.plot.box.viewRange()[1][1] > 0.9


def test_how_much_the_loss_is_smoothed_is_chosen(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=40)
    chart = LossChart(controller, themes)
    qtbot.addWidget(chart)
    chart.show()
    spread = {}
    for steps in (1, 10, 200):
        chart._smoothing.choose(steps)
        spread[steps] = float(np.abs(np.diff(chart._lines[0].smooth)).mean())
    np.testing.assert_array_equal(spread[1] > spread[10] > spread[200], True)
    assert chart._smoothing.text() == "Smooth 200"
    chart._smoothing.choose(1)
    np.testing.assert_allclose(chart._lines[0].smooth, chart._lines[0].values)


@pytest.mark.parametrize("height", [400, 480, 700])
def test_the_heat_map_has_a_third_of_the_height(qtbot: QtBot, themes: ThemeManager, height: int) -> None:
    controller = started(small_training(), steps=40)
    tab = history_tab(qtbot, controller, themes)
    tab.resize(560, height)
    qtbot.wait(1)
    assert tab.heat_map.plot.box.height() >= height / 3 - 3
    assert tab.minimumSizeHint().height() < 330


def test_a_longer_text_below_does_not_move_the_plot(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=10)
    tab = history_tab(qtbot, controller, themes)
    tab.resize(420, 900)
    qtbot.wait(1)
    lines = tab.lines
    lines._meaning.show_steadily("A long text that needs several lines. " * 8)
    qtbot.wait(1)
    before = lines.plot.height()
    for shown in ("short", "A long text that needs several lines. " * 8, "", "short"):
        lines._meaning.show_steadily(shown)
        qtbot.wait(1)
        assert lines.plot.height() == before
