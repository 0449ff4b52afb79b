"""What the plots show of a step's extras: turns, validation, skipped steps, clipping, the loss scale, momentum."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QComboBox
from pytestqt.qtbot import QtBot

from gradscope.protocol.messages import Clip, SessionChanged
from gradscope.protocol.subjects import SubjectKind
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.clipping_chart import ClippingChart
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.charts.scale_chart import ScaleChart
from gradscope.ui.plots.charts.validation_chart import ValidationChart
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from gradscope.ui.plots.tabs.kind_choices import gradient_choices, update_choices
from gradscope.ui.plots.tabs.overview_tab import GradientFlow
from gradscope.ui.window.tabs import Workspace
from tests.ui.fakes import (
    FakeController,
    FakeTraining,
    full_training,
    light_themes,
    small_training,
    started,
    switch_theme,
)
from tests.ui.test_plots_charts import shown

K = SubjectKind
GAN = {"optimizers": ("discriminator", "generator")}


@pytest.fixture
def themes(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


def tip_at(
    chart: ClippingChart | LossChart | ScaleChart | ValidationChart, x: float, monkeypatch: pytest.MonkeyPatch
) -> str:
    told: list[str] = []
    monkeypatch.setattr(chart.plot, "show_tip", told.append)
    chart.plot.pointed_at.emit(x, 0.5)
    return told[-1]


def cells(chart: LossChart | ClippingChart | ScaleChart | ValidationChart | RateChart) -> list[dict[str, object]]:
    """The chart's table."""
    table = chart.table(chart.controller.state)
    return [
        {header: table.cell(row, column) for column, header in enumerate(table.headers)} for row in range(table.rows)
    ]


# -------------------------------------------------------------------------------------------------- loss


def test_every_optimizer_has_a_loss_line(qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    training = small_training(settings=GAN)
    chart = shown(qtbot, LossChart(started(training, steps=7), themes))
    assert [entry.text for entry in chart._legend.entries] == ["discriminator", "generator"]
    assert chart._legend.isVisible()
    assert [line.steps.tolist() for _, line in chart._shown] == [[0, 2, 4, 6], [1, 3, 5]]
    assert [row["Optimizer"] for row in cells(chart)[:3]] == ["discriminator", "generator", "discriminator"]
    assert [row["Step"] for row in cells(chart)] == list(range(7))
    tip = tip_at(chart, 3.1, monkeypatch)
    assert "generator: Step 3" in tip and "discriminator: Step " in tip
    # Another session with a single optimizer is drawn as ever.
    other = small_training()
    chart.controller.play(other.opened())
    chart.controller.play(other.steps(2))
    assert chart._names == [""]
    assert [entry.text for entry in chart._legend.entries] == ["each step", "smoothed"], "always: nothing is to move"
    assert "Optimizer" not in chart.table(chart.controller.state).headers
    assert chart._lines[1].steps.size == 0


def test_validations_are_points_of_the_loss_plot(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = small_training(settings={"has_validation": True})
    controller = started(training)
    chart = shown(qtbot, LossChart(controller, themes))
    controller.play(iter([training.validated(loss=7.5)]))
    assert chart.message == "", "a validation before the first step"
    assert chart.plot.box.viewRange()[0][0] < -1
    controller.play(training.steps(30))
    controller.play(iter([training.validated(loss=math.nan)]))
    controller.play(training.steps(30))
    controller.play(iter([training.validated(loss=0.125)]))
    assert [(point["x"], point["y"]) for point in chart._validation_points.data] == [(-1, 7.5), (59, 0.125)]
    assert 29 in [point["x"] for point in chart._crosses.data]
    assert chart.plot.box.viewRange()[1][1] > 7.5
    assert [entry.text for entry in chart._legend.entries] == ["each step", "smoothed", "validation"]
    assert cells(chart)[59]["Validation"] == 0.125 and cells(chart)[58]["Validation"] == ""
    assert "Validation after step 59: 0.125" in tip_at(chart, 58, monkeypatch)


def test_skipped_steps_are_marked_in_the_loss_plot(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = shown(qtbot, LossChart(started(full_training(), steps=6), themes))
    assert [point["x"] for point in chart._skipped.data] == [0, 3]
    assert [entry.text for entry in chart._legend.entries] == ["each step", "smoothed", "skipped steps: 2"]
    assert [row["Note"] for row in cells(chart)] == ["skipped", "", "", "skipped", "", ""]
    assert "Skipped" in tip_at(chart, 3, monkeypatch) and "Skipped" not in tip_at(chart, 2, monkeypatch)


# -------------------------------------------------------------------------------------------------- clipping


def test_clipping_draws_norms_threshold_and_coefficient(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = started(full_training(), steps=40)
    chart = shown(qtbot, ClippingChart(controller, themes))
    before, after = 10.0**chart._before.yData, 10.0**chart._after.yData
    np.testing.assert_allclose(before[:2], [3.0, 3 * math.exp(-1 / 30)])
    np.testing.assert_allclose(after[:2], 1)
    np.testing.assert_allclose(10.0**chart._threshold.yData, 1)
    assert chart._threshold.xData[-1] > 39.5, "the threshold counts for the next step, too"
    np.testing.assert_allclose(chart._coefficient.yData[0], 1 / 3)
    assert chart._coefficient.yData[-1] == 1
    low, high = chart.plot.box.viewRange()[1]
    assert low < math.log10(before.min()) and high > math.log10(3)
    assert "step 39, norm 0.8176 → 0.8176 (× 1), 80 % of it: net.0.bias" in chart.readout.text()
    assert tip_at(chart, 0, monkeypatch) == "step 0\nnorm 3 → 1 (× 0.333333333)\n80 % of it: net.0.weight"
    first = cells(chart)[0]
    assert (first["Norm before"], first["clip_norm"], first["Largest gradient"]) == (3.0, 1.0, "net.0.weight")


def test_the_lower_plot_follows_the_upper_one(qtbot: QtBot, themes: ThemeManager) -> None:
    chart = shown(qtbot, ClippingChart(started(full_training(), steps=40), themes))
    assert chart._lower.isVisible()
    assert chart._lower.box.viewRange()[0] == chart.plot.box.viewRange()[0]
    chart.plot.box.setXRange(5, 10, padding=0)
    assert chart._lower.box.viewRange()[0] == [5, 10]
    switch_theme(themes, DARK)
    assert chart._lower.backgroundBrush().color().name() == DARK.surface


def test_a_threshold_that_was_changed_keeps_its_past(qtbot: QtBot, themes: ThemeManager) -> None:
    training = full_training()
    controller = started(training, steps=3)
    session = controller.state.session
    assert session is not None
    training.settings["clip_norm"] = 2.0
    controller.play(iter([SessionChanged(session=replace(session, clip_norm=2.0))]))
    controller.play(training.steps(2))
    chart = shown(qtbot, ClippingChart(controller, themes))
    np.testing.assert_allclose(10.0**chart._threshold.yData, [1, 1, 1, 2, 2, 2])
    controller.play(iter([SessionChanged(session=replace(session, clip_norm=None))]))
    assert np.isnan(chart._threshold.yData[-1])


def test_clipping_by_value_has_no_coefficient(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = small_training(settings={"clip_value": 0.1, "clip_norm": None})
    monkeypatch.setattr(FakeTraining, "_clip", lambda _: Clip(norm=2.0, coefficient=None, norm_after=0.5))
    monkeypatch.setattr(training, "settings", {"clip_value": 0.1})
    chart = shown(qtbot, ClippingChart(started(training, steps=3), themes))
    assert not chart._lower.isVisible()
    assert chart.readout.text() == "step 2, norm 2 → 0.5"
    assert [entry.text for entry in chart._legend.entries] == ["before clipping", "after"]


def test_a_norm_that_is_not_finite_is_a_cross(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip(norm=math.inf, coefficient=math.nan, norm_after=math.nan, dominant="net.0.bias", dominant_share=1.0)
    monkeypatch.setattr(FakeTraining, "_clip", lambda _: clip)
    chart = shown(qtbot, ClippingChart(started(full_training(), steps=2), themes))
    assert [point["x"] for point in chart._crosses.data] == [0, 1]
    assert "NaN or Inf" in [entry.text for entry in chart._legend.entries]
    assert "norm Inf, 100 % of it: net.0.bias" in chart.readout.text()


# -------------------------------------------------------------------------------------------------- loss scale


def test_the_loss_scale_is_drawn_in_powers_of_two(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart = shown(qtbot, ScaleChart(started(full_training(), steps=6), themes))
    assert chart._curve.yData.tolist() == [16, 15, 15, 15, 14, 14]
    assert [point["x"] for point in chart._skipped.data] == [0, 3]
    assert chart.readout.text() == "16384 in step 5; skipped steps so far: 2"
    assert [row[""] for row in cells(chart)] == ["skipped", "", "", "skipped", "", ""]
    assert chart.plot.getAxis("left").tickStrings([14.0, 15.0], 1, 1) == ["16384", "32768"]
    assert tip_at(chart, 3, monkeypatch) == "Step 3\nLoss scale: 32768\nSkipped: a gradient was not finite"


# -------------------------------------------------------------------------------------------------- validation


def test_a_metric_over_the_steps_with_its_best(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = full_training()
    controller = started(training)
    chart = shown(qtbot, ValidationChart(controller, themes, metric="accuracy"))
    assert chart.message == "Press Validate (F3), or run to the end of an epoch"
    for steps, accuracy, is_best in ((0, 0.1, True), (3, 0.8, True), (2, 0.7, False), (1, math.nan, False)):
        controller.play(training.steps(steps))
        controller.play(iter([training.validated(metrics={"accuracy": accuracy}, is_best=is_best)]))
    assert [point["x"] for point in chart._dots.data] == [-1, 2, 4]
    assert [(point["x"], point["y"]) for point in chart._best.data] == [(2, 0.8)]
    assert [entry.text for entry in chart._legend.entries] == ["best, kept: 0.8 after step 2"]
    assert [point["x"] for point in chart._crosses.data] == [5]
    assert chart.readout.text() == "NaN after step 5"
    assert tip_at(chart, 2.2, monkeypatch) == "After step 2\naccuracy: 0.8"
    assert [row["accuracy"] for row in cells(chart)][:3] == [0.1, 0.8, 0.7]


@pytest.mark.parametrize(
    ("chart", "words"), [(ClippingChart, "does not clip"), (ScaleChart, "Only recipes with precision fp16")]
)
def test_a_plot_without_sense_says_so(
    qtbot: QtBot, themes: ThemeManager, chart: type[ClippingChart | ScaleChart], words: str
) -> None:
    assert shown(qtbot, chart(FakeController(), themes)).message == "Open a recipe to begin"
    assert words in shown(qtbot, chart(started(small_training(), steps=1), themes)).message
    assert "Press Step (F7)" in shown(qtbot, chart(started(full_training()), themes)).message


# -------------------------------------------------------------------------------------------------- schedule


def test_momentum_is_drawn_where_the_schedule_moves_it(qtbot: QtBot, themes: ThemeManager) -> None:
    training = small_training(momenta=(0.9,))
    chart = shown(qtbot, RateChart(started(training, steps=5), themes, is_detailed=True))
    assert chart._momenta.isVisible()
    np.testing.assert_allclose(chart._momenta._past_curves[0].yData[0], 0.9)
    assert chart._momenta._ahead_curves[0].xData[0] == 5
    assert float(str(cells(chart)[0]["Momentum, Group 0"])) == 0.9
    assert cells(chart)[5]["When"] == "foretold"
    small = shown(qtbot, RateChart(started(small_training(), steps=5), themes, is_detailed=True))
    assert not small._momenta.isVisible()
    assert "Momentum, Group 0" not in small.table(small.controller.state).headers
    overview = shown(qtbot, RateChart(started(small_training(momenta=(0.9,)), steps=5), themes, is_detailed=False))
    assert not overview._momenta.isVisible(), "there is no room for it"


@pytest.mark.parametrize("is_detailed", [True, False])
def test_where_a_schedule_ends_is_marked_and_told(qtbot: QtBot, themes: ThemeManager, is_detailed: bool) -> None:
    training = small_training(horizon=60, scheduler="OneCycleLR")
    chart = shown(qtbot, RateChart(started(training, steps=5), themes, is_detailed=is_detailed))
    assert chart._end_line.isVisible() and chart._end_line.value() == 59.5
    assert "OneCycleLR ends after step 59" in chart._outlook.text() and chart._outlook.isVisible()
    without = shown(qtbot, RateChart(started(small_training(), steps=5), themes, is_detailed=is_detailed))
    assert not without._end_line.isVisible()


def test_a_plateau_has_words_and_no_line(qtbot: QtBot, themes: ThemeManager) -> None:
    reason = "ReduceLROnPlateau depends on results: its future cannot be drawn"
    training = small_training(schedule_reason=reason, scheduler="ReduceLROnPlateau")
    chart = shown(qtbot, RateChart(started(training, steps=5), themes, is_detailed=True))
    assert reason in chart._outlook.text()
    assert not any(curve.isVisible() for curve in chart._ahead_curves)


# -------------------------------------------------------------------------------------------------- tabs and choices


def visible_tabs(workspace: Workspace) -> list[str]:
    return [workspace.tabText(i) for i in range(workspace.count()) if workspace.isTabVisible(i)]


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, []),
        ({"clip_norm": 1.0}, ["Clipping"]),
        ({"precision": "fp16"}, ["Loss scale"]),
        ({"clip_norm": 1.0, "precision": "fp16"}, ["Clipping, scale"]),
        ({"precision": "bf16", "has_validation": True}, ["Validation"]),
    ],
)
def test_only_tabs_that_make_sense_are_shown(
    qtbot: QtBot, themes: ThemeManager, settings: dict[str, object], more: list[str]
) -> None:
    controller = FakeController()
    workspace = Workspace(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(workspace)
    always = ["Overview", "Activations", "Gradients", "Updates", "Learning rate"]
    assert visible_tabs(workspace) == always
    controller.play(small_training(settings=settings).opened())
    assert visible_tabs(workspace) == always + more


def test_the_charts_of_a_tab_follow_the_session(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(full_training(), steps=2)
    workspace = Workspace(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(workspace)
    workspace.resize(900, 700)
    workspace.show()
    workspace.setCurrentIndex(workspace.count() - 1)

    def titles() -> list[str]:
        return [chart.accessibleName() for chart in workspace.findChildren(ValidationChart)]

    qtbot.waitUntil(lambda: titles() == ["Validation loss", "accuracy", "top 2"])
    other = full_training()
    other.settings["metrics"] = ("error",)
    controller.play(other.opened())
    qtbot.waitUntil(lambda: titles() == ["Validation loss", "error"])
    # What was clipped and scaled stays to be seen when that is switched off.
    controller.play(other.steps(1))
    session = controller.state.session
    assert session is not None
    controller.play(iter([SessionChanged(session=replace(session, clip_norm=None, precision=None))]))
    assert "Clipping, scale" in visible_tabs(workspace)
    controller.play(small_training().opened())
    assert "Validation" not in visible_tabs(workspace) and workspace.isTabVisible(workspace.currentIndex())


def test_the_extra_plots_become_pictures_too(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(full_training(), steps=2)
    workspace = Workspace(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(workspace)
    names = {Path(picture.name).stem for picture in workspace.each_plot_image()}
    assert {"clipping", "loss_scale", "validation_loss", "validation_accuracy", "validation_top_2"} < names


def test_gradients_after_clipping_are_offered_where_there_is_clipping(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=1)
    tab = HistoryTab(controller, themes, title="Gradients", choices=gradient_choices)  # type: ignore[arg-type]
    flow = shown(qtbot, GradientFlow(controller, themes))  # type: ignore[arg-type]
    qtbot.addWidget(tab)
    box = flow.findChild(QComboBox)
    assert (tab._kind.count(), box.count()) == (2, 2)
    full = full_training()
    controller.play(full.opened())
    assert (tab._kind.count(), box.count()) == (3, 3)
    controller.play(full.steps(2))
    tab.show_kind(K.CLIPPED_GRAD)
    tab.resize(700, 600)
    tab.show()
    assert [key.kind for key in tab.heat_map._keys] == [K.CLIPPED_GRAD] * 4
    assert "Gradient after clipping" in tab.heat_map.readout.text()
    controller.play(small_training().opened())
    assert tab._kind.currentData().kind is K.GRAD, "what cannot be shown any more is not chosen any more"
    assert tab.heat_map._kind is K.GRAD


def test_each_part_of_the_optimizer_state_has_a_heat_map(qtbot: QtBot, themes: ThemeManager) -> None:
    training = full_training()
    controller = started(training)
    tab = HistoryTab(controller, themes, title="Updates", choices=update_choices)  # type: ignore[arg-type]
    qtbot.addWidget(tab)
    tab.resize(700, 600)
    tab.show()
    assert tab._kind.isHidden()
    controller.play(training.steps(3))
    texts = [tab._kind.itemText(i) for i in range(tab._kind.count())]
    assert texts == ["of the parameters", "Optimizer state: exp_avg", "Optimizer state: exp_avg_sq"]
    tab._kind.setCurrentIndex(2)
    assert {key.leaf for key in tab.heat_map._keys} == {".exp_avg_sq"} and len(tab.heat_map._keys) == 4
    table = tab.heat_map.table(controller.state)
    assert table.headers[1] == "net.0.weight"
    block = controller.state.history.blocks[K.OPTIMIZER_STATE]
    key = tab.heat_map._keys[1]
    assert table.cell(2, 2) == pytest.approx(float(block.series(key, 8)[2]))
    assert {key.leaf for key in tab.lines._drawn_keys} == {".exp_avg_sq"}


def test_the_first_part_of_a_state_is_drawn_alone(qtbot: QtBot, themes: ThemeManager) -> None:
    training = FakeTraining(layers={}, parameters={"w": (3,)}, states=("exp_avg", "exp_avg_sq"))
    tab = HistoryTab(started(training, steps=3), themes, title="Updates", choices=update_choices)  # type: ignore[arg-type]
    qtbot.addWidget(tab)
    tab.resize(700, 600)
    tab.show()
    tab.show_kind(K.OPTIMIZER_STATE)
    assert tab.heat_map._image.image.shape[:2] == (1, 3)
