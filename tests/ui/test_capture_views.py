"""What was not captured is shown as unknown in every view, and says why: never as zero, NaN or an empty plot."""

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.capture import CaptureLevel
from gradscope.protocol.messages import Absence
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import NAN, STD, ZERO, SubjectKey, SubjectKind
from gradscope.state.engine import Origin
from gradscope.state.selection import Selection
from gradscope.ui.compare.compare_tab import _cell
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.docks.moments import MomentsDock
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.overview_tab import GradientFlow, UpdateRatio
from gradscope.ui.words.quantities import Quantity
from tests.ui.fakes import FakeController, FakeTraining, light_themes, small_training, started
from tests.ui.shell_fakes import ShellController

K = SubjectKind
T = TypeVar("T", bound=Chart)
FULL, NORMS, OFF = CaptureLevel.FULL, CaptureLevel.NORMS, CaptureLevel.OFF
ONLY_NORMS = "Only norms are captured, and this takes more: choose Full under Session, Capture"
IS_OFF = "Capture is off, so nothing is recorded: choose Full under Session, Capture"


def levels(controller: FakeController, training: FakeTraining, *wanted: CaptureLevel) -> None:
    """A step at each level, as the engine tells it."""
    for level in wanted:
        training.level = level
        change(controller, str(level))
        controller.play(training.steps(1))


def change(controller: FakeController, capture: str) -> None:
    session = controller.state.session
    assert session is not None
    controller.play(iter([messages.SessionChanged(session=replace(session, capture=capture))]))


@pytest.fixture
def look(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


def shown(qtbot: QtBot, chart: T) -> T:
    qtbot.addWidget(chart)
    chart.resize(600, 400)
    chart.show()
    return chart


# ----------------------------------------------------------------------------------------------- plots


def test_a_heat_map_of_norms_says_what_it_takes_to_see_more(qtbot: QtBot, look: ThemeManager) -> None:
    controller = started(small_training(level=NORMS), steps=3)
    heat_map, lines = shown(qtbot, HeatMap(controller, look, title="A")), shown(qtbot, LinesChart(controller, look))
    for quantity in (Quantity.STD, Quantity.MEAN, Quantity.LARGEST, Quantity.ZEROS):
        for chart in (heat_map, lines):
            chart.show_quantity(K.ACTIVATION, quantity)
            chart.redraw()
            assert chart.message == ONLY_NORMS.replace("choose", "choose L2 norm above, or")
            assert not chart._table_button.isEnabled()
    for chart in (heat_map, lines):
        chart.show_quantity(K.ACTIVATION, Quantity.L2)
        chart.redraw()
        assert chart.message == ""


def test_the_steps_that_were_captured_stay(qtbot: QtBot, look: ThemeManager) -> None:
    training = small_training()
    controller = started(training, steps=2)
    levels(controller, training, NORMS, OFF)
    heat_map = shown(qtbot, HeatMap(controller, look, title="A"))
    heat_map.show_quantity(K.ACTIVATION, Quantity.ZEROS)
    heat_map.redraw()
    assert heat_map.message == ""
    assert [key.text for key in heat_map._strip._keys] == ["not measured"]
    table = heat_map.table(controller.state)
    assert [table.cell(row, 0) for row in range(table.rows)] == [0, 1, 2], "nothing of the step that was not captured"
    assert isinstance(table.cell(1, 1), float) and table.cell(2, 1) == "–"
    heat_map._table_button.setChecked(True)
    index = heat_map._table_model.index(2, 1)
    assert index.data() == "–"
    assert index.data(Qt.ItemDataRole.TextAlignmentRole) & Qt.AlignmentFlag.AlignRight
    assert heat_map.readout.text() == "Forward of step 2; nothing was captured since"


def test_nan_is_seen_also_where_only_norms_are_captured(qtbot: QtBot, look: ThemeManager) -> None:
    training = small_training(level=NORMS, non_finite_from={SubjectKey(K.ACTIVATION, "net.1"): 1})
    controller = started(training, steps=3)
    heat_map = shown(qtbot, HeatMap(controller, look, title="A"))
    assert heat_map.message == ""
    assert {key.is_crossed for key in heat_map._strip._keys} == {True, False}
    assert palette.NON_FINITE


def test_bars_are_of_the_newest_step_or_not_there(qtbot: QtBot, look: ThemeManager) -> None:
    training = small_training()
    controller = started(training, steps=2)
    charts = [shown(qtbot, make(controller, look)) for make in (GradientFlow, UpdateRatio)]
    levels(controller, training, NORMS)
    assert [chart.message for chart in charts] == ["", ""], "norms are enough"
    levels(controller, training, OFF)
    assert [chart.message for chart in charts] == [IS_OFF, IS_OFF]
    change(controller, "full")
    assert ["to see gradients" in charts[0].message, "to see updates" in charts[1].message] == [True, True]


def test_empty_plots_say_that_capture_is_off(qtbot: QtBot, look: ThemeManager) -> None:
    controller = started(small_training(level=OFF), steps=1)
    chart = shown(qtbot, HeatMap(controller, look, title="A"))
    for kind in (K.ACTIVATION, K.GRAD, K.UPDATE, K.PARAMETER):
        chart.show_quantity(kind, Quantity.L2)
        chart.redraw()
        assert chart.message == IS_OFF
    change(controller, "full")
    assert chart.message == "Make a step (F8) to see parameters"
    controller.state.snapshot = Origin(path="/shot", created="")
    change(controller, "off")
    assert chart.message == "Capture was off when this snapshot was written: nothing was recorded"


# ----------------------------------------------------------------------------------------------- the inspector


@pytest.fixture
def inspector(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> InspectorDock:
    dock = InspectorDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(420, 600)
    dock.show()
    return dock


def select(controller: FakeController, kind: SubjectKind, name: str) -> None:
    controller.select(Selection.of_subject(SubjectKey(kind, name)))


def test_the_summary_of_norms_has_dashes(inspector: InspectorDock, controller: ShellController) -> None:
    controller.start(small_training(level=NORMS), steps=1)
    select(controller, K.ACTIVATION, "net.1")
    entries = {entry.name: entry for entry in inspector.summary._model.entries}
    unknown = {"min", "max", "mean", "std", "zeros"}
    assert {name for name, entry in entries.items() if entry.text == "–"} == unknown
    assert entries["count"].exact == "512" and float(entries["L2"].exact) > 0
    assert all(entries[name].exact == "" for name in unknown)
    model = inspector.summary._model
    tips = [
        str(model.index(row, column).data(Qt.ItemDataRole.ToolTipRole))
        for row in range(model.rowCount())
        for column in (1, 3)
    ]
    assert "zeros: not captured: only norms are" in tips
    assert "zeros\t\n" in inspector.summary.all_as_text()


def test_the_histogram_of_norms_is_the_exact_one_or_none(inspector: InspectorDock, controller: ShellController) -> None:
    training = small_training(level=NORMS)
    controller.start(training, steps=1)
    controller.fetches.clear()
    select(controller, K.PARAMETER, "net.0.weight")
    chart = inspector.histogram
    assert chart.message == ONLY_NORMS
    chart._on_pointed_at(0.0, 0.0)
    request, reply = controller.fetches[-1]
    assert isinstance(request, messages.FetchHistogram)
    reply(
        messages.Histogram(
            subject=request.subject, edges=np.linspace(0, 1, 5), counts=np.array([1, 2, 3, 4]), nan=0, inf=0
        )
    )
    assert chart.message == "", "the values of a parameter are there at every level"
    assert not chart._powers.isEnabled() and "Only norms" in chart._powers.toolTip()
    training.level = FULL
    change(controller, "full")
    controller.play(training.steps(1))
    assert chart._powers.isEnabled() and chart.message == ""


def test_numbers_of_before_it_was_off_are_not_shown_as_those_of_now(
    inspector: InspectorDock, controller: ShellController
) -> None:
    training = small_training()
    controller.start(training)
    select(controller, K.PARAMETER, "net.0.weight")
    assert inspector.message == "" and inspector.header._moment.text() == "Before the first step"
    change(controller, "off")
    assert inspector.message == "", "they are still those of now"
    levels(controller, training, OFF)
    assert inspector.message == IS_OFF
    levels(controller, training, FULL, OFF)
    assert inspector.message == IS_OFF
    levels(controller, training, NORMS)
    assert inspector.message == ""


def test_a_layer_that_was_not_chosen_says_so(inspector: InspectorDock, controller: ShellController) -> None:
    controller.start(small_training(level=OFF))
    change(controller, "layers:net.0")
    select(controller, K.ACTIVATION, "net.2")
    assert inspector.message.startswith("Not captured: only chosen layers are (net.0).")
    select(controller, K.ACTIVATION, "net.0")
    assert inspector.message == "Press Forward (F5) to see activations"
    controller.state.snapshot = Origin(path="/shot", created="")
    select(controller, K.ACTIVATION, "net.2")
    assert inspector.message == "Not captured: this snapshot has chosen layers only (net.0)"


def test_optimizer_state_takes_more_than_norms(inspector: InspectorDock, controller: ShellController) -> None:
    controller.start(small_training(level=NORMS, states=("exp_avg",)), steps=1)
    select(controller, K.OPTIMIZER_STATE, "net.0.weight")
    assert inspector.message == ONLY_NORMS


def test_the_engine_s_reason_goes_before_the_numbers_of_an_earlier_step(
    inspector: InspectorDock, controller: ShellController
) -> None:
    training = small_training()
    controller.start(training, steps=1)
    select(controller, K.ACTIVATION, "net.1")
    assert inspector.message == ""
    left_out = SubjectKey(K.ACTIVATION, "net.1")
    for message in training.forward():
        if isinstance(message, messages.Report):
            rows = controller.state.history.rows
            kept = np.array([rows[number].key != left_out for number in message.subjects.tolist()])
            message = replace(
                message,
                subjects=message.subjects[kept],
                summaries=message.summaries[kept],
                histograms=message.histograms[kept],
                sampled=message.sampled[kept],
                absent=(Absence(name="net.1", kind="activation", reason="never called in this forward"),),
            )
        controller.play(iter([message]))
    assert inspector.message == "never called in this forward", "at once, after the forward"


# ----------------------------------------------------------------------------------------------- layers and moments


@pytest.fixture
def layers(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> LayersDock:
    dock = LayersDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(700, 500)
    dock.show()
    return dock


def cell(dock: LayersDock, name: str, column: Column, *, is_parameter: bool = False) -> str:
    return str(dock.model.index_of(name, is_parameter=is_parameter).siblingAtColumn(column).data())


def tip(dock: LayersDock, name: str, column: Column, *, is_parameter: bool = False) -> str:
    index = dock.model.index_of(name, is_parameter=is_parameter).siblingAtColumn(column)
    return str(index.data(Qt.ItemDataRole.ToolTipRole))


def test_the_tree_of_norms_has_norms_and_dashes(layers: LayersDock, controller: ShellController) -> None:
    training = small_training(level=NORMS, non_finite_from={SubjectKey(K.ACTIVATION, "net.1"): 0})
    controller.start(training, steps=1)
    assert cell(layers, "net.0", Column.VALUE) == "–"
    assert tip(layers, "net.0", Column.VALUE).endswith(ONLY_NORMS)
    assert cell(layers, "net.1", Column.VALUE) == "NaN"
    assert cell(layers, "net.1", Column.FLAGS) == "NaN, Inf"
    assert float(cell(layers, "net.0.weight", Column.GRADIENT, is_parameter=True)) > 0
    assert float(cell(layers, "net.0.weight", Column.UPDATE, is_parameter=True)) > 0


def test_the_tree_has_no_old_numbers_when_capture_is_off(layers: LayersDock, controller: ShellController) -> None:
    training = small_training()
    controller.start(training)
    assert "±" in cell(layers, "net.0.weight", Column.VALUE, is_parameter=True)
    levels(controller, training, OFF)
    assert cell(layers, "net.0.weight", Column.VALUE, is_parameter=True) == "", "it has moved since"
    assert tip(layers, "net.0.weight", Column.VALUE, is_parameter=True).endswith(IS_OFF)
    assert "not captured" not in cell(layers, "net.0", Column.FLAGS)


def test_layers_that_are_left_out_are_marked(layers: LayersDock, controller: ShellController) -> None:
    controller.start(small_training())
    change(controller, "layers:net.0")
    assert cell(layers, "net.0", Column.FLAGS) == ""
    assert cell(layers, "net.0.weight", Column.FLAGS, is_parameter=True) == ""
    assert cell(layers, "net.2", Column.FLAGS) == "not captured"
    assert "(net.0)" in tip(layers, "net.2", Column.FLAGS)
    change(controller, "full")
    assert cell(layers, "net.2", Column.FLAGS) == ""


def test_moments_say_that_layers_are_missing(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> None:
    dock = MomentsDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(900, 300)
    dock.show()
    qtbot.waitExposed(dock)
    controller.start(small_training(), steps=1)
    assert dock.title_bar.note.text() == "step 0"
    change(controller, "off")
    assert dock.title_bar.note.text() == "step 0, capture is off: no layers"
    change(controller, "layers:net.0")
    assert dock.title_bar.note.text() == "step 0, chosen layers only"


def test_a_comparison_has_dashes(controller: ShellController) -> None:
    controller.start(small_training(level=NORMS), steps=1)
    latest = controller.state.history.latest(SubjectKey(K.ACTIVATION, "net.1"))
    assert _cell(latest, ZERO) == "–" and _cell(latest, STD) == "–" and _cell(latest, NAN) == "0"
    assert controller.state.reports[Phase.FORWARD].summaries.shape[0]
