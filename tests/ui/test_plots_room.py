"""Charts with little room: what is said of a moment keeps its number and its step, and words in a plot stay inside of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QSize
from PySide6.QtWidgets import QStyle, QStyleOptionComboBox
from pytestqt.qtbot import QtBot

from gradscope.protocol.messages import VALIDATION_LOSS
from gradscope.protocol.subjects import SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.charts.scale_chart import ScaleChart
from gradscope.ui.plots.charts.validation_chart import ValidationChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.overview_tab import GradientFlow, UpdateRatio
from gradscope.ui.words.quantities import Quantity
from tests.ui.fakes import FakeController, full_training, light_themes, small_training, started

Make = Callable[[FakeController, ThemeManager], Chart]


@pytest.fixture
def themes(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


def map_of_gradients(controller: FakeController, themes: ThemeManager) -> Chart:
    chart = HeatMap(controller, themes, title="Gradients")
    chart.show_quantity(SubjectKind.GRAD, Quantity.L2)
    return chart


def lines_of_activations(controller: FakeController, themes: ThemeManager) -> Chart:
    controller.select(Selection.of_subject(controller.state.history.subjects(SubjectKind.ACTIVATION)[0]))
    chart = LinesChart(controller, themes)
    chart.show_quantity(SubjectKind.ACTIVATION, Quantity.L2)
    return chart


MAKE: dict[str, Make] = {
    "loss": LossChart,
    "flow": GradientFlow,
    "updates": UpdateRatio,
    "map": map_of_gradients,
    "lines": lines_of_activations,
    "rate": lambda controller, themes: RateChart(controller, themes, is_detailed=False),
    "scale": ScaleChart,
    "validation": lambda controller, themes: ValidationChart(controller, themes, metric=VALIDATION_LOSS),
}


def small(qtbot: QtBot, chart: Chart) -> Chart:
    """As narrow as it can be."""
    qtbot.addWidget(chart)
    chart.resize(500, 300)
    chart.show()
    chart.redraw()
    qtbot.wait(10)
    chart.resize(chart.minimumSizeHint().width(), 300)
    qtbot.wait(10)
    return chart


@pytest.mark.parametrize("which", MAKE)
def test_a_number_and_its_step_are_whole_in_the_smallest_chart(qtbot: QtBot, themes: ThemeManager, which: str) -> None:
    training = full_training()
    controller = started(training, steps=31)
    controller.play(iter([training.validated()]))
    chart = small(qtbot, MAKE[which](controller, themes))
    assert not chart.message
    whole, seen = chart.readout.text(), chart.readout.seen_text
    assert "…" not in seen and len(seen) <= len(whole) and chart.readout.toolTip()
    assert seen or not chart.readout.keeps_room, "beside a title it may have no room at all"
    assert not seen or re.findall(r"(?:step|now) ?(\d+|)", whole)[-1] in seen
    chart.resize(2000, 300)
    qtbot.wait(10)
    assert chart.readout.seen_text == whole


def test_a_rate_is_seen_beside_its_title(qtbot: QtBot, themes: ThemeManager) -> None:
    """277 pixels is what a chart of two beside each other has at least."""
    controller = started(small_training(), steps=31)
    controller.state.history.lr.values[:] = 0.0823543210
    controller.state.schedule = None
    chart = RateChart(controller, themes, is_detailed=False)
    qtbot.addWidget(chart)
    chart.resize(277, 220)
    chart.show()
    qtbot.wait(10)
    assert chart.readout.seen_text in ("now 0.0823543", "now 0.08235", "now 0.082")
    controller.show_step(4)
    controller.flush()
    chart.redraw()
    assert chart.readout.seen_text.startswith("0.082")


def test_a_gradient_says_less_and_less_of_itself_and_always_its_step(qtbot: QtBot, themes: ThemeManager) -> None:
    chart = GradientFlow(started(full_training(), steps=31), themes)
    qtbot.addWidget(chart)
    chart.show()
    said = []
    for width in range(1400, 200, -20):
        chart.resize(width, 300)
        qtbot.wait(1)
        said.append(chart.readout.seen_text)
    said = list(dict.fromkeys(said))
    assert said[1].endswith("; divided by the loss scale 16384") and len(said) > 4
    assert "batch 1 of epoch 1, before step 30" in said and all("before step 30" in text for text in said)


@pytest.mark.parametrize("loss", [0.803912345, 8.03912345e-12, 1.2345678e300])
@pytest.mark.parametrize("width", [277, 300, 600])
def test_a_loss_has_room_beside_its_buttons(qtbot: QtBot, themes: ThemeManager, loss: float, width: int) -> None:
    """277 is what a chart of two beside each other has at least."""
    controller = started(small_training(), steps=41)
    controller.state.history.loss.values[-1] = loss
    chart = LossChart(controller, themes)
    qtbot.addWidget(chart)
    chart.resize(width, 220)
    chart.show()
    qtbot.wait(10)
    number, step = chart.readout.seen_text.split(" at step ")
    assert step == "40" and float(number) == pytest.approx(loss, rel=0.06)
    assert chart.width() == width
    # More room, more digits.
    assert width < 600 or len(number) >= 9


def test_what_has_no_room_does_not_move_its_neighbours_with_each_step(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=12)
    controller.state.history.loss.values[-1] = 1.2e-12
    chart = small(qtbot, LossChart(controller, themes))
    least = chart.readout.minimumWidth()
    controller.state.history.loss.values[-1] = 0.5
    chart.redraw()
    assert chart.readout.minimumWidth() == least


def test_choices_that_begin_alike_are_told_apart_in_little_room(qtbot: QtBot, themes: ThemeManager) -> None:
    chart = GradientFlow(started(full_training(), steps=3), themes)
    small(qtbot, chart)
    box = chart._choice
    shorter = [box.itemData(index, box.SHORTER) for index in range(box.count())]
    assert len(set(shorter)) == box.count() == 3
    option = QStyleOptionComboBox()
    box.initStyleOption(option)
    field = QStyle.SubControl.SC_ComboBoxEditField
    room = box.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, field, box).width()
    assert all(box.fontMetrics().horizontalAdvance(text) <= room for text in shorter)


@pytest.mark.parametrize("size", [QSize(600, 400), QSize(280, 220), QSize(190, 180)])
@pytest.mark.parametrize("largest", [1e-3, 1.0, 1e9, 1e30])
def test_the_name_of_the_band_is_inside_of_the_plot(
    qtbot: QtBot, themes: ThemeManager, size: QSize, largest: float
) -> None:
    controller = started(small_training(), steps=3)
    controller.state.history.blocks[SubjectKind.UPDATE]._cells.values[:, 0, 0] *= largest
    chart = UpdateRatio(controller, themes)
    qtbot.addWidget(chart)
    chart.resize(size)
    chart.show()
    qtbot.wait(20)
    label = chart._band._label
    seen = label.mapRectToScene(label.boundingRect())
    box = chart.plot.box.sceneBoundingRect()
    words = label.textItem.toPlainText()
    assert words in ("healthy: 1e-4 to 0.1", "healthy")
    assert box.left() - 0.5 <= seen.left() and seen.right() <= box.right() + 0.5, (words, seen, box)
    assert box.top() - 0.5 <= seen.top() and seen.bottom() <= box.bottom() + 0.5


def test_the_end_of_a_schedule_is_named_inside_of_the_plot(qtbot: QtBot, themes: ThemeManager) -> None:
    chart = RateChart(started(full_training(), steps=3), themes, is_detailed=True)
    qtbot.addWidget(chart)
    chart.resize(320, 300)
    chart.show()
    qtbot.wait(20)
    for at in np.linspace(0.0, 1.0, 9):
        low, high = chart.plot.box.viewRange()[0]
        chart._end_line.setVisible(True)
        chart._end_label.say("{OneCycleLR} ends")
        chart._end_line.setValue(low + at * (high - low))
        qtbot.wait(1)
        seen = chart._end_label.mapRectToScene(chart._end_label.boundingRect())
        box = chart.plot.box.sceneBoundingRect()
        assert chart._end_label.textItem.toPlainText() == "{OneCycleLR} ends"
        assert box.left() - 0.5 <= seen.left() and seen.right() <= box.right() + 0.5
