"""The charts over a made-up training: what they draw, say, and do when pressed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QToolTip
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.nonfinite import FirstNonFinite, Stage
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import DARK, LIGHT
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.layer_bars import LayerBars
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.overview_tab import GradientFlow, UpdateRatio
from gradscope.ui.words.quantities import Quantity, Scale
from tests.ui.fakes import (
    FakeController,
    bare_training,
    light_themes,
    small_training,
    started,
    switch_theme,
)

K = SubjectKind
T = TypeVar("T", bound=Chart)
Make = Callable[[FakeController, ThemeManager], Chart]


@pytest.fixture
def themes(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


def heat_map(controller: FakeController, themes: ThemeManager) -> HeatMap:
    return HeatMap(controller, themes, title="Activations")


def rates(controller: FakeController, themes: ThemeManager) -> RateChart:
    return RateChart(controller, themes, is_detailed=True)


EVERY: list[Make] = [heat_map, LinesChart, LossChart, GradientFlow, UpdateRatio, rates]


def shown(qtbot: QtBot, chart: T) -> T:
    qtbot.addWidget(chart)
    chart.resize(600, 400)
    chart.show()
    return chart


@pytest.mark.parametrize("make", EVERY)
def test_empty_charts_say_what_to_do(qtbot: QtBot, themes: ThemeManager, make: Make) -> None:
    chart = shown(qtbot, make(FakeController(), themes))
    assert chart.message == (
        "The selected rows appear here as lines" if make is LinesChart else "Open a recipe to begin"
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (heat_map, "Forward (F5)"),
        (LossChart, "Forward (F5)"),
        (GradientFlow, "Backward (F6)"),
        (UpdateRatio, "Step (F7)"),
    ],
)
def test_an_open_recipe_asks_for_the_next_button(qtbot: QtBot, themes: ThemeManager, make: Make, words: str) -> None:
    chart = shown(qtbot, make(started(small_training()), themes))
    assert words in chart.message


@pytest.mark.parametrize("make", EVERY)
def test_every_chart_draws_and_has_a_table(qtbot: QtBot, themes: ThemeManager, make: Make) -> None:
    controller = started(small_training(), steps=5)
    chart = shown(qtbot, make(controller, themes))
    assert chart.message == ""
    table = chart.table(controller.state)
    assert table.rows >= 4 and len(table.headers) >= 2
    cells = [table.cell(row, column) for row in range(table.rows) for column in range(len(table.headers))]
    assert all(cell is not None for cell in cells)
    assert chart.accessibleName() and len(chart.accessibleDescription()) > 80


@pytest.mark.parametrize("make", EVERY)
def test_only_what_is_seen_is_drawn(
    qtbot: QtBot, themes: ThemeManager, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(small_training(), steps=2)
    chart = make(controller, themes)
    qtbot.addWidget(chart)
    drawn: list[int] = []
    draw = chart.draw
    monkeypatch.setattr(chart, "draw", lambda state: drawn.append(1) or draw(state))
    controller.refresh_all()
    controller.refresh_all()
    assert not drawn
    chart.show()
    assert len(drawn) == 1
    controller.refreshed.emit({Topic.LOG})
    assert len(drawn) == 1
    controller.refreshed.emit({Topic.HISTORY})
    assert len(drawn) == 2


@pytest.mark.parametrize("make", EVERY)
def test_items_are_reused(qtbot: QtBot, themes: ThemeManager, make: Make) -> None:
    training = small_training()
    controller = started(training, steps=2)
    chart = shown(qtbot, make(controller, themes))
    before = set(chart.plot.box.allChildItems())
    for _ in range(5):
        controller.play(training.steps(1))
    after = set(chart.plot.box.allChildItems())
    assert {type(item) for item in after - before} <= {type(item) for item in before}
    assert len(after) <= len(before) + 1


@pytest.mark.parametrize("make", EVERY)
def test_charts_follow_the_theme(qtbot: QtBot, themes: ThemeManager, make: Make) -> None:
    chart = shown(qtbot, make(started(small_training(), steps=3), themes))
    assert chart.plot.backgroundBrush().color().name() == LIGHT.surface
    switch_theme(themes, DARK)
    assert chart.plot.backgroundBrush().color().name() == DARK.surface


def test_another_session_starts_anew(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=3)
    chart = shown(qtbot, heat_map(controller, themes))
    chart.plot.following_changed.emit(False)
    controller.play(bare_training().opened())
    assert "no layers" in chart.message


# ------------------------------------------------------------------------------------------ heat map


def image_colours(chart: HeatMap) -> np.ndarray:
    return chart._image.image


def test_nan_is_red_and_marked_and_zero_is_grey(qtbot: QtBot, themes: ThemeManager) -> None:
    bad, zero = SubjectKey(K.ACTIVATION, "net.2"), SubjectKey(K.ACTIVATION, "net.1")
    controller = started(small_training(non_finite_from={bad: 3}, zero=frozenset({zero})), steps=6)
    chart = shown(qtbot, heat_map(controller, themes))
    image, colours = image_colours(chart), palette.table(Scale.LOG, LIGHT)
    assert image.shape == (4, 6, 4)
    assert (image[2, 3:] == colours[palette.NON_FINITE]).all()
    assert not (image[2, :3] == colours[palette.NON_FINITE]).all(axis=-1).any()
    assert (image[1] == colours[palette.ZERO]).all()
    # The cross is where it went wrong first.
    assert [(point["x"], point["y"]) for point in chart._crosses.data] == [(3, 2)]


def test_a_click_on_a_row_selects_it(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=4)
    chart = shown(qtbot, heat_map(controller, themes))
    chart.plot.clicked.emit(2.0, 1.2)
    assert controller.state.selection.subject == SubjectKey(K.ACTIVATION, "net.1")
    assert chart._outline.isVisible() and chart._outline.rect().top() == 0.5


def test_a_real_click_lands_on_the_row_below_the_mouse(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=4)
    chart = shown(qtbot, heat_map(controller, themes))
    QTest.qWait(1)
    spot = chart.plot.mapFromScene(chart.plot.box.mapViewToScene(QPointF(1, 2)))
    QTest.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    assert controller.state.selection.subject == SubjectKey(K.ACTIVATION, "net.2")


def test_rows_can_be_walked_by_keyboard(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=4)
    chart = shown(qtbot, heat_map(controller, themes))
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Up):
        QTest.keyClick(chart.plot, key)
    assert controller.state.selection.name == "net.0"


def test_pointing_says_layer_step_and_exact_value(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(small_training(non_finite_from={SubjectKey(K.ACTIVATION, "net.2"): 2}), steps=4)
    chart = shown(qtbot, heat_map(controller, themes))
    tips: list[str] = []
    monkeypatch.setattr(QToolTip, "showText", lambda _position, text, _widget: tips.append(text))
    chart.plot.pointed_at.emit(3.2, 2.1)
    std = controller.state.history.blocks[K.ACTIVATION].column(7)[2, 3]
    assert tips[-1].splitlines()[:3] == ["net.2", "Step 3", f"Standard deviation: {std:.9g}"]
    assert "106 NaN, 32 Inf" in tips[-1]
    chart.plot.pointed_at.emit(50.0, 2.1)
    assert tips[-1] == ""


def test_the_colour_scale_does_not_follow_every_step(qtbot: QtBot, themes: ThemeManager) -> None:
    training = small_training()
    controller = started(training, steps=30)
    chart = shown(qtbot, heat_map(controller, themes))
    scale = chart._scale_for(controller.state)
    before = (scale.low, scale.high)
    controller.play(training.steps(10))
    assert chart._scale_for(controller.state) is scale
    assert (scale.low, scale.high) == before
    assert before[0] == round(before[0]) and before[1] == round(before[1])


def test_the_range_is_a_person_s_once_it_was_moved(qtbot: QtBot, themes: ThemeManager) -> None:
    training = small_training()
    controller = started(training, steps=30)
    chart = shown(qtbot, heat_map(controller, themes))
    chart.plot.box.setRange(xRange=(3, 6), padding=0)
    chart.plot.box.sigRangeChangedManually.emit([True, True])
    controller.play(training.steps(5))
    assert chart.plot.box.viewRange()[0] == pytest.approx([3, 6])
    assert chart._fit_button.isVisible() and chart._fit_button.isEnabled()
    chart._fit_button.click()
    assert chart.plot.box.viewRange()[0][1] > 30 and not chart._fit_button.isEnabled()


def test_the_gradient_says_which_one_it_is(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=42)
    chart = shown(qtbot, heat_map(controller, themes))
    chart.show_quantity(K.GRAD, Quantity.L2)
    assert chart.readout.text() == "Gradient of the loss, batch 12 of epoch 1, before step 41"


# ------------------------------------------------------------------------------------------ lines


def test_a_line_whose_newest_numbers_are_nan_in_part_says_so(qtbot: QtBot, themes: ThemeManager) -> None:
    key = SubjectKey(K.ACTIVATION, "net.1")
    controller = started(small_training(non_finite_from={key: 2}), steps=4)
    controller.select(Selection.of_subject(key))
    chart = shown(qtbot, LinesChart(controller, themes))
    assert chart.readout.text() == "net.1: NaN at step 3"


def test_lines_are_the_selected_row_and_its_siblings(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=4)
    chart = shown(qtbot, LinesChart(controller, themes))
    chart.show_quantity(K.UPDATE, Quantity.RATIO)
    controller.select(Selection.of_node("net.2.weight", is_parameter=True))
    assert [key.name for key in chart._drawn_keys] == ["net.2.weight", "net.0.weight", "net.2.bias"]
    assert [curve.isVisible() for curve in chart._curves] == [True, True, True, False, False]
    assert chart._band._region.isVisible()
    ratio = controller.state.history.update_ratio()[2][2]
    np.testing.assert_allclose(chart._curves[0].yData, np.log10(ratio), rtol=1e-4)
    chart.show_quantity(K.UPDATE, Quantity.MEAN)
    assert not chart._band._region.isVisible()


def test_a_layer_that_only_some_batches_reach_is_drawn_as_points(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=6)
    updates = controller.state.history.blocks[K.GRAD]
    row = updates.index_of(SubjectKey(K.GRAD, "net.0.bias"))
    updates._cells.values[:, row, 1:6:2] = np.nan
    chart = shown(qtbot, LinesChart(controller, themes))
    chart.show_quantity(K.GRAD, Quantity.L2)
    controller.select(Selection.of_node("net.0.bias", is_parameter=True))
    small = [point["x"] for point in chart._ends.data if point["size"] == 5]
    assert small == [0, 2, 4]


# ------------------------------------------------------------------------------------------ bars


def bars_of(chart: LayerBars) -> dict[str, list[int]]:
    items = {"good": chart._bars, "odd": chart._odd_bars, "bad": chart._bad_bars}
    return {name: [int(y) for y in item.opts["y"]] for name, item in items.items()}


def test_bars_tell_zero_odd_and_nan_apart(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(
        small_training(
            non_finite_from={SubjectKey(K.GRAD, "net.2.weight"): 0},
            zero=frozenset({SubjectKey(K.GRAD, "net.0.bias")}),
        ),
        steps=2,
    )
    chart = shown(qtbot, GradientFlow(controller, themes))
    assert bars_of(chart) == {"good": [0, 3], "odd": [], "bad": [2]}
    assert [point["y"] for point in chart._zeros.data] == [1]
    assert [point["y"] for point in chart._crosses.data] == [2]


def test_the_update_ratio_outside_of_its_band_is_odd(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=1)
    updates = controller.state.history.blocks[K.UPDATE]
    updates._cells.values[8, 1, 0] *= 1e-3
    chart = shown(qtbot, UpdateRatio(controller, themes))
    assert 1 in bars_of(chart)["odd"] and 0 in bars_of(chart)["good"]


def test_gradient_flow_of_activations(qtbot: QtBot, themes: ThemeManager) -> None:
    chart = shown(qtbot, GradientFlow(started(small_training(), steps=1), themes))
    chart._choice.setCurrentIndex(1)
    assert [key.label() for key in chart._keys] == ["net.0", "net.1", "net.2", "(model)"]


def test_a_click_on_a_bar_selects_it(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=1)
    chart = shown(qtbot, UpdateRatio(controller, themes))
    chart.plot.clicked.emit(-3.0, 2.0)
    assert controller.state.selection.subject == SubjectKey(K.UPDATE, "net.2.weight")


# ------------------------------------------------------------------------------------------ loss


def test_a_loss_that_is_nan_is_marked(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(nan_losses=frozenset({3, 4})), steps=6)
    chart = shown(qtbot, LossChart(controller, themes))
    assert [point["x"] for point in chart._crosses.data] == [3, 4]
    assert np.isnan(chart._lines[0]._raw.yData[[3, 4]]).all()
    value = controller.state.history.loss.values[-1, 0]
    assert chart.readout.text() == f"{value:.9g} at step 5"


def test_a_loss_that_is_nothing_but_nan(qtbot: QtBot, themes: ThemeManager) -> None:
    chart = shown(qtbot, LossChart(started(small_training(nan_losses=frozenset(range(9))), steps=3), themes))
    assert chart.readout.text() == "NaN since step 0"
    assert len(chart._crosses.data) == 3 and not len(chart._ends.data)


def test_a_loss_that_ends_in_nan_ends_in_a_mark(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(nan_losses=frozenset({1, 4, 5, 6})), steps=7)
    chart = shown(qtbot, LossChart(controller, themes))
    assert chart.readout.text() == "NaN since step 4"
    (end,) = chart._ends.data
    loss = controller.state.history.loss.values[:, 0]
    assert end["x"] == 4 and end["y"] == pytest.approx(loss[3])
    assert [point["x"] for point in chart._crosses.data] == [1], "one mark for what does not end"
    assert np.isnan(chart._lines[0].smooth[[1, 4, 5, 6]]).all(), "no average of what is not there"
    assert np.isfinite(chart._lines[0].smooth[[0, 2, 3]]).all()
    drawn = chart._lines[0]._strong
    assert np.nanmax(drawn.xData[np.isfinite(drawn.yData)]) == 3


def test_a_loss_that_is_finite_while_nan_has_begun(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=3)
    controller.state.first_nonfinite = FirstNonFinite(
        step=2, stage=Stage.UPDATE, place="w", nan=1, inf=0, count=2, sentence="First NaN: ..."
    )
    chart = shown(qtbot, LossChart(controller, themes))
    assert chart.readout.text().startswith("NaN in step 2; ") and chart.readout.text().endswith(" at step 2")
    assert [point["x"] for point in chart._ends.data] == [2]


# ------------------------------------------------------------------------------------------ learning rate


def test_the_future_of_the_rate_is_dashed_and_the_past_solid(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(rates=(0.01, 0.003)), steps=25)
    chart = shown(qtbot, rates(controller, themes))
    assert [curve.isVisible() for curve in chart._past_curves[:3]] == [True, True, False]
    assert chart._past_curves[0].xData.tolist() == list(range(25))
    assert chart._ahead_curves[1].opts["pen"].style() is Qt.PenStyle.DashLine
    assert chart._ahead_curves[0].xData[0] == 25
    assert chart.readout.text() == "now 0.005, 0.0015"
    assert "StepLR" in chart._outlook.text()
    controller.state.apply(messages.Schedule(first_step=25, rates=np.array([[0.0040000000000000036], [0.0164232]])))
    chart.draw(controller.state)
    assert chart.readout.text() == "now 0.004, 0.0164232"
    assert chart.readout.toolTip() == "now 0.0040000000000000036, 0.0164232"


def test_a_rate_that_depends_on_results_says_so(qtbot: QtBot, themes: ThemeManager) -> None:
    reason = "ReduceLROnPlateau depends on results"
    chart = shown(qtbot, rates(started(small_training(schedule_reason=reason), steps=3), themes))
    assert reason in chart._outlook.text()
    assert not chart._ahead_curves[0].isVisible()
    assert chart.readout.text() == "now 0.01"


def test_the_rate_before_the_first_step_is_known(qtbot: QtBot, themes: ThemeManager) -> None:
    chart = shown(qtbot, rates(started(small_training()), themes))
    assert chart.message == "" and chart.readout.text() == "now 0.01"


def test_the_rates_of_several_optimizers_have_their_names(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(rates=(0.01, 0.003)), steps=2)
    session = controller.state.session
    assert session is not None
    groups = tuple(replace(group, optimizer=name) for group, name in zip(session.groups, "dg", strict=True))
    controller.state.session = replace(session, groups=groups)
    chart = shown(qtbot, rates(controller, themes))
    legend = chart._groups.text()
    assert "> d: 0.01" in legend and "> g: 0.003" in legend and "Group" not in legend
    assert chart.table(controller.state).headers[2:] == ("d", "g")
    controller.state.session = replace(session, groups=tuple(replace(group, optimizer="d") for group in groups))
    chart.draw(controller.state)
    assert "> d, group 1: 0.003" in chart._groups.text()


def test_the_rate_on_a_logarithmic_axis(qtbot: QtBot, themes: ThemeManager) -> None:
    chart = shown(qtbot, rates(started(small_training(), steps=3), themes))
    chart._log.setChecked(True)
    np.testing.assert_allclose(chart._past_curves[0].yData, -2.0, atol=1e-6)


# ------------------------------------------------------------------------------------------ table twin


def test_the_table_twin_copies_as_tsv(qtbot: QtBot, themes: ThemeManager) -> None:
    training = small_training()
    controller = started(training, steps=3)
    chart = shown(qtbot, LossChart(controller, themes))
    chart._table_button.click()
    view = chart._table
    assert view.isVisible() and not chart.plot.isVisible()
    assert view.model().rowCount() == 3
    view.selectRow(1)
    controller.play(training.steps(1))
    assert view.model().rowCount() == 4
    # The selection is still there, although a row was added.
    QTest.keyClick(view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    loss = controller.state.history.loss.values[1, 0]
    step, value, _smoothed = QGuiApplication.clipboard().text().split("\t")
    assert (step, value) == ("1", f"{loss:.9g}")
    assert view.all_as_text().splitlines()[0] == "Step\tLoss\tSmoothed"
