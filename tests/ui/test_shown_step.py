"""A step that is looked at: tree, inspector, plots, moments and the readout agree on it, and say what they do not have."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope.protocol.numbers import number
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import L2, MEAN, STD, SubjectKey, SubjectKind
from gradscope.state.records.kept_reports import KeptReports
from gradscope.state.selection import Selection
from gradscope.ui.actions.actions import Actions
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.docks.moments import MomentsDock
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.picture_chart import PictureChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.overview_tab import GradientFlow
from gradscope.ui.plots.words.formats import exact
from gradscope.ui.window.commands import Commands
from gradscope.ui.window.phase_strip import PhaseStrip
from gradscope.ui.window.shown_step_band import ShownStepBand
from gradscope.ui.words.quantities import Quantity
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController

STEPS = 30


@pytest.fixture
def trained(controller: ShellController) -> ShellController:
    return controller.start(small_training(), steps=STEPS)


def shown(qtbot: QtBot, widget: Chart) -> Chart:
    qtbot.addWidget(widget)
    widget.resize(500, 300)
    with qtbot.waitExposed(widget):
        widget.show()
    return widget


def gradient(controller: ShellController) -> SubjectKey:
    return controller.state.history.subjects(SubjectKind.GRAD)[0]


def summary_then(controller: ShellController, key: SubjectKey, step: int) -> list[float]:
    """From the report itself."""
    state = controller.state
    report = state.history.kept.of(step)[Phase.BACKWARD]
    place = [state.history.rows[number].key for number in report.subjects.tolist()].index(key)
    return report.summaries[place].tolist()


def test_tree_inspector_and_bars_show_the_numbers_of_the_same_step(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager
) -> None:
    layers, inspector = LayersDock(trained, themes), InspectorDock(trained, themes)  # type: ignore[arg-type]
    for dock in (layers, inspector):
        qtbot.addWidget(dock)
        dock.show()
    bars = GradientFlow(trained, themes)  # type: ignore[arg-type]
    shown(qtbot, bars)
    key = gradient(trained)
    trained.select(Selection.of_subject(key))
    for step in (7, 20, None):
        trained.show_step(step)
        told = summary_then(trained, key, STEPS - 1 if step is None else step)
        index = layers.model.index_of(key.name, is_parameter=True).siblingAtColumn(Column.GRADIENT)
        assert index.data() == number(told[L2], digits=3)
        assert f"mean\t{told[MEAN]!r}" in inspector.summary.all_as_text()
        assert f"std\t{told[STD]!r}" in inspector.summary.all_as_text()
        row = bars._keys.index(key)
        assert bars._values[row] == pytest.approx(told[L2], rel=1e-6)


def test_a_step_whose_reports_are_kept_is_shown_whole_although_the_history_keeps_it_with_others(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager
) -> None:
    training = small_training()
    controller.start(training)
    for block in controller.state.history.blocks.values():
        block._max_steps = 8
    for message in training.steps(STEPS):
        controller.state.apply(message)
    bars = GradientFlow(controller, themes)  # type: ignore[arg-type]
    shown(qtbot, bars)
    key = gradient(controller)
    steps = controller.state.history.blocks[SubjectKind.GRAD].steps.tolist()
    step = next(step for step in range(STEPS - 5, STEPS - 1) if step not in steps)
    controller.show_step(step)
    assert controller.state.shown.step == step
    told = summary_then(controller, key, step)
    latest = controller.state.shown.latest(key)
    assert latest is not None
    assert latest.summary.tolist() == told
    assert bars.message == ""
    assert bars._values[bars._keys.index(key)] == told[L2]
    assert f"step {step}" in bars.readout.text()


@pytest.mark.parametrize("tab", ["picture", "values", "why"])
def test_values_of_an_earlier_step_are_never_those_of_now(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager, tab: str
) -> None:
    inspector = InspectorDock(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(inspector)
    inspector.show()
    trained.select(Selection.of_subject(gradient(trained)))
    view = getattr(inspector, tab)
    inspector.tabs.setCurrentWidget(view)
    fetched = len(trained.fetches)
    trained.show_step(3)
    assert "step 3" in view.message
    assert len(trained.fetches) == fetched, "nothing is asked of the engine, which has values of now only"


def test_what_was_not_kept_is_said_and_nothing_newer_is_shown(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager
) -> None:
    trained.state.history.kept = KeptReports()
    for histograms in trained.state.history.histograms.values():
        histograms._columns = [column for column in histograms._columns if column.step != 5]
    inspector, moments = InspectorDock(trained, themes), MomentsDock(trained, themes)  # type: ignore[arg-type]
    for dock in (inspector, moments):
        qtbot.addWidget(dock)
        dock.show()
    trained.select(Selection.of_subject(gradient(trained)))
    trained.show_step(5)
    assert inspector.histogram.message.startswith("No histogram of step 5 was kept; the nearest are of steps 4 and 6")
    assert moments._stack.currentWidget() is moments._empty
    assert "step 5" in moments._empty.text()


def test_a_click_on_a_cell_shows_its_row_and_its_step(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager
) -> None:
    chart = HeatMap(trained, themes, title="Gradients")  # type: ignore[arg-type]
    chart.show_quantity(SubjectKind.GRAD, Quantity.L2)
    shown(qtbot, chart)
    click(qtbot, chart, 12.2, 1.0)
    assert trained.state.shown.step == 12
    assert trained.state.subject == chart._keys[1]
    assert chart.plot.playhead is not None
    assert (chart.plot.playhead.step, chart.plot.playhead.is_earlier) == (12, True)
    assert "step 12" in chart.readout.text()


@pytest.mark.parametrize("before", [None, 20])
def test_a_double_click_fits_the_plot_and_shows_no_other_step(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager, before: int | None
) -> None:
    chart = shown(qtbot, LossChart(trained, themes))  # type: ignore[arg-type]
    trained.show_step(before)
    chart.plot.zoom(0.5)
    middle = sum(chart.plot.box.viewRange()[1]) / 2
    place = chart.plot.mapFromScene(chart.plot.box.mapViewToScene(QPointF(14.0, middle)))
    qtbot.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert trained.state.shown.step == 14
    viewport, left = chart.plot.viewport(), Qt.MouseButton.LeftButton
    where = (QPointF(place), QPointF(viewport.mapToGlobal(place)))
    # As a window system sends it: the second press is a double click, and no press.
    for kind, held in ((QEvent.Type.MouseButtonDblClick, left), (QEvent.Type.MouseButtonRelease, left & ~left)):
        QApplication.sendEvent(viewport, QMouseEvent(kind, *where, left, held, Qt.KeyboardModifier.NoModifier))
    assert chart.plot.is_following
    assert trained.state.shown.step == before


def test_names_beside_a_map_choose_a_row_and_no_step(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager
) -> None:
    chart = HeatMap(trained, themes, title="Gradients")  # type: ignore[arg-type]
    shown(qtbot, chart)
    place = chart.plot.mapFromScene(chart.plot.box.mapViewToScene(QPointF(0.0, 1.0)))
    place.setX(4)
    qtbot.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert trained.state.selection.name is not None
    assert trained.state.shown.step is None


@pytest.mark.parametrize("kind", [LossChart, LinesChart])
def test_a_playhead_that_is_dragged_takes_the_window_with_it(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager, kind: type[Chart]
) -> None:
    chart = shown(qtbot, kind(trained, themes))  # type: ignore[arg-type, call-arg]
    playhead = chart.plot.playhead
    assert playhead is not None
    assert (playhead.step, playhead.is_earlier) == (STEPS - 1, False)
    line = playhead._line
    line.moving = True
    for x in (20.4, 8.7):
        line.setValue(x)
        line.sigDragged.emit(line)
        assert line.value() == x, "it stays below the mouse"
    assert trained.state.shown.step == 9
    line.moving = False
    line.sigPositionChangeFinished.emit(line)
    assert line.value() == 9
    trained.show_step(None)
    assert (playhead.step, playhead.is_earlier) == (STEPS - 1, False)


@pytest.mark.parametrize(("edge", "side"), [("right", -1), ("left", 1)])
def test_the_handle_of_a_playhead_at_an_edge_is_whole(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager, edge: str, side: int
) -> None:
    """An arrow of 4 pixels from the line to the inside of the plot; what lies outside is cut off."""
    chart = shown(qtbot, LinesChart(trained, themes))  # type: ignore[arg-type, call-arg]
    box, step = chart.plot.box, STEPS - 1
    four_pixels = 4 * 12 / box.width()
    ends = (
        (step + four_pixels - 12, step + four_pixels)
        if edge == "right"
        else (step - four_pixels, step - four_pixels + 12)
    )
    box.setXRange(*ends, padding=0)
    qtbot.wait(20)
    low, high = box.viewRange()[1]
    place = chart.plot.mapFromScene(box.mapViewToScene(QPointF(step, low + 0.93 * (high - low))))
    image = chart.plot.grab().toImage()
    paper = image.pixelColor(place.x() + side * 20, place.y())

    def is_drawn(right: int) -> bool:
        return any(image.pixelColor(place.x() + right, place.y() + down) != paper for down in (-2, -1, 0, 1, 2))

    assert all(is_drawn(side * pixels) for pixels in (2, 3, 4))
    assert not is_drawn(-2 * side)
    box.setXRange(step - 20, step + 20, padding=0)
    assert chart.plot.playhead is not None and chart.plot.playhead._shape == ">|<"


def test_loss_and_rate_are_those_of_the_step(qtbot: QtBot, trained: ShellController, themes: ThemeManager) -> None:
    loss = shown(qtbot, LossChart(trained, themes))  # type: ignore[arg-type]
    rate = shown(qtbot, RateChart(trained, themes, is_detailed=True))  # type: ignore[arg-type]
    trained.show_step(4)
    known = trained.state.history.loss
    assert loss.readout.text() == f"{exact(float(known.values[4, 0]))} at step 4"
    assert rate.readout.text().endswith("in step 4")
    trained.show_step(None)
    assert rate.readout.text().startswith("now ")


def test_a_picture_has_no_playhead(qtbot: QtBot, trained: ShellController, themes: ThemeManager) -> None:
    """Its columns are no steps."""
    chart = PictureChart(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(chart)
    assert chart.plot.playhead is None
    assert chart.plot.marks is None


def test_the_band_says_which_step_and_leads_back(qtbot: QtBot, trained: ShellController, themes: ThemeManager) -> None:
    strip = PhaseStrip(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(strip)
    commands = Commands(trained, window=strip, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    actions = Actions(trained, themes, commands.handlers(), strip)  # type: ignore[arg-type]
    band = ShownStepBand(trained, themes, actions=actions, parent=strip)  # type: ignore[arg-type]
    strip.take_band(band)
    strip.resize(1200, 40)
    strip.show()
    height = strip.sizeHint().height()
    actions[ActionId.SHOW_EARLIER].trigger()
    assert band.isVisible()
    assert not strip.steps.isVisible()
    assert band.label.text() == f"Showing step {STEPS - 2} of 0 to {STEPS - 1}; training stands at step {STEPS}"
    assert f"shown step {STEPS - 2}" in strip.readout.accessibleName()
    assert strip.sizeHint().height() == height, "nothing below it moves"
    actions[ActionId.SHOW_LATER].trigger()
    assert trained.state.shown.step is None
    assert not band.isVisible()
    assert not actions[ActionId.SHOW_NOW].isEnabled()
    assert "The newest step is shown" in actions[ActionId.SHOW_NOW].toolTip()


def test_alt_left_never_folds_the_tree(qtbot: QtBot, trained: ShellController, themes: ThemeManager) -> None:
    layers = LayersDock(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(layers)
    layers.show()
    root = layers.model.index(0, 0)
    layers.view.setCurrentIndex(root)
    assert layers.view.isExpanded(root)
    layers.view.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Left, Qt.KeyboardModifier.AltModifier))
    assert layers.view.isExpanded(root)


def click(qtbot: QtBot, chart: Chart, x: float, y: float) -> None:
    place = chart.plot.mapFromScene(chart.plot.box.mapViewToScene(QPointF(x, y)))
    qtbot.mouseClick(chart.plot.viewport(), Qt.MouseButton.LeftButton, pos=place)
