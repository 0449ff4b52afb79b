"""Stops in the window: the panel, the dialog, menus, margins and signs; what is sent to the engine, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtTest import QAbstractItemModelTester, QTest
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.phases import Moment, Rest, SubStep, Verb
from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.point import StopHit, StopPoint
from gradscope.protocol.stops.quantities import Figure, Statistic
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.engine import Origin
from gradscope.state.selection import Selection
from gradscope.state.stops import Wanted
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.stop_memory import StopMemory
from gradscope.ui.dialogs.stop import StopDialog
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column as LayerColumn
from gradscope.ui.plots.charts.clipping_chart import ClippingChart
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.charts.scale_chart import ScaleChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.stops.choices import Choices, When, Where, choices_of, text_of
from gradscope.ui.stops.entries import Entries
from gradscope.ui.stops.model import Column
from gradscope.ui.window.main_window import MainWindow
from gradscope.ui.words.quantities import Quantity
from gradscope.ui.words.spot import Spot
from tests.ui.fakes import small_training, started, switch_theme
from tests.ui.shell_fakes import FakeClient, ShellController


class Lab(ShellController):
    """Notes what was sent."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sent: list[Any] = []
        self.client = FakeClient(self)

    def ask(self, message: object, on_reply: Callable[[object], None]) -> None:
        self.sent.append(message)
        super().ask(message, on_reply)

    @property
    def sent_stops(self) -> tuple[StopPoint, ...]:
        """Of the newest that were sent."""
        found: tuple[StopPoint, ...] = [message for message in self.sent if isinstance(message, m.SetStops)][-1].stops
        return found


@pytest.fixture
def lab(qtbot: QtBot, tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.start(small_training(), steps=3)
    return lab


@pytest.fixture
def themes(lab: Lab) -> ThemeManager:
    return ThemeManager(lab.settings, lab)


@pytest.fixture
def window(lab: Lab, themes: ThemeManager, qtbot: QtBot) -> MainWindow:
    window = MainWindow(lab, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.resize(1440, 900)
    window.show()
    lab.flush()
    window.stops_dock.raise_()
    return window


def rows(window: MainWindow) -> list[str]:
    model = window.stops_dock.model
    return [
        " | ".join(text for column in Column if (text := str(model.index(row, column).data() or "")))
        for row in range(model.rowCount())
    ]


def stop_at(
    lab: Lab, number: int, *, layer: str = "net.1", event: str = "enter", substep: SubStep = SubStep.FORWARD
) -> None:
    """As the engine tells it."""
    moment = Moment(step=3, substep=substep, event=event, layer=layer)
    hit = StopHit(
        id=number, hits=2, step=3, moment=moment, subject=layer, sentence=f"grad.l2 of {layer} is 12.4, above 10"
    )
    rest = {SubStep.FORWARD: Rest.IN_FORWARD, SubStep.BACKWARD: Rest.IN_BACKWARD}[substep]
    position = m.Moved(position=_at(lab, rest, moment)).position
    lab.state.apply(m.Stopped(hits=(hit,)))
    lab.state.apply(m.Done(position=position))
    lab.flush()


def _at(lab: Lab, rest: Rest, moment: Moment | None, *, running: bool = False) -> Any:
    return replace(lab.state.position, rest=rest, moment=moment, running=running)


def entries(menu: QMenu) -> dict[str, QAction]:
    return {action.text().replace("&", ""): action for action in menu.actions() if not action.isSeparator()}


def dialog_of(window: MainWindow) -> StopDialog:
    (dialog,) = (dialog for dialog in window.findChildren(StopDialog) if dialog.isVisible())
    return dialog


# ------------------------------------------------------------------------------------------------- the panel


def test_the_empty_panel_says_what_one_can_do(window: MainWindow, lab: Lab) -> None:
    dock = window.stops_dock
    assert dock.examples.isVisible() and "anywhere" in dock.examples.headline.text()
    shown = [button for button in dock.examples.buttons if button.isVisible()]
    assert "enter net.0" in [button.text() for button in shown]
    for button in shown:
        parse(button.text())
    shown[1].click()
    dialog = dialog_of(window)
    assert dialog.text.text() == shown[1].text()
    dialog.ok.click()
    assert rows(window) == [shown[1].text()] and dock.view.isVisible()
    assert lab.sent_stops == (StopPoint(id=0, text=shown[1].text()),)


def test_a_hit_is_told_and_its_row_stands_out(window: MainWindow, lab: Lab, themes: ThemeManager) -> None:
    dock, model = window.stops_dock, window.stops_dock.model
    for text in ("any nan", "grad.l2 > 10"):
        window.stops.add(text)
    stop_at(lab, 1)
    assert rows(window)[1] == "grad.l2 > 10 | 2 | grad.l2 of net.1 is 12.4, above 10 | step 3, forward, entering net.1"
    strong = [bool(model.index(row, Column.TEXT).data(Qt.ItemDataRole.FontRole)) for row in (0, 1)]
    tinted = [model.index(row, Column.TEXT).data(Qt.ItemDataRole.BackgroundRole) is not None for row in (0, 1)]
    assert strong == tinted == [False, True]
    assert "stopped here" in model.index(1, Column.TEXT).data(Qt.ItemDataRole.AccessibleTextRole)
    assert dock.title_bar.note.text() == "2 stops"
    switch_theme(themes, DARK)
    lab.set_running(True)
    assert model.index(1, Column.TEXT).data(Qt.ItemDataRole.BackgroundRole) is None, "it goes on"
    assert "12.4" in rows(window)[1], "what was last stays to be read"


def test_the_model_is_a_good_qt_model(window: MainWindow, lab: Lab) -> None:
    tester = QAbstractItemModelTester(window.stops_dock.model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    window.stops.add("any nan")
    stop_at(lab, 0)
    window.stops.remove_all()
    assert tester.model() is window.stops_dock.model


def test_the_keyboard_turns_off_removes_and_changes(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    view = window.stops_dock.view
    for text in ("any nan", "backward", "at step 9"):
        window.stops.add(text)
    assert view.rows() == [2], "what was added is selected"
    view.selectRow(1)
    QTest.keyClick(view, Qt.Key.Key_Space)
    assert [point.is_enabled for point in lab.sent_stops] == [True, False, True]
    assert window.stops_dock.title_bar.note.text() == "3 stops, 1 off"
    QTest.keyClick(view, Qt.Key.Key_Space)
    assert [point.is_enabled for point in lab.sent_stops] == [True, True, True]
    QTest.keyClick(view, Qt.Key.Key_Delete)
    assert rows(window) == ["any nan", "at step 9"] and view.rows() == [1]
    QTest.keyClick(view, Qt.Key.Key_Return)
    dialog = dialog_of(window)
    dialog.text.setText("at step 12")
    dialog.ok.click()
    assert rows(window) == ["any nan", "at step 12"]
    view.selectAll()
    QTest.keyClick(view, Qt.Key.Key_Delete)
    assert rows(window) == [] and lab.sent_stops == () and window.stops_dock.examples.isVisible()


def test_the_box_turns_one_on_and_off(window: MainWindow, lab: Lab) -> None:
    window.stops.add("any nan")
    model = window.stops_dock.model
    index = model.index(0, Column.ON)
    assert index.data(Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
    model.setData(index, Qt.CheckState.Unchecked, Qt.ItemDataRole.CheckStateRole)
    assert [point.is_enabled for point in lab.sent_stops] == [False]
    assert index.data(Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Unchecked


def test_the_menu_of_a_row(window: MainWindow, lab: Lab) -> None:
    dock = window.stops_dock
    for text in ("any nan", "grad.l2 > 10"):
        window.stops.add(text)
    stop_at(lab, 1)
    dock.select(1)
    offered = entries(dock.make_menu())
    offered["Copy text"].trigger()
    assert QGuiApplication.clipboard().text() == "grad.l2 > 10"
    offered["Show where it was hit"].trigger()
    assert lab.state.selection.name == "net.1"
    offered["Turn all off"].trigger()
    assert not any(point.is_enabled for point in lab.sent_stops)
    offered = entries(dock.make_menu())
    assert not offered["Turn all off"].isEnabled()
    offered["Turn on"].trigger()
    assert [point.is_enabled for point in lab.sent_stops] == [False, True]
    offered["Remove all"].trigger()
    assert lab.sent_stops == () and "Edit..." not in entries(dock.make_menu())


def test_buttons_act_on_what_is_selected(window: MainWindow, lab: Lab) -> None:
    dock = window.stops_dock
    assert not dock.edit_button.isEnabled() and not dock.clear_button.isEnabled()
    window.stops.add("any nan")
    assert dock.edit_button.isEnabled() and dock.remove_button.isEnabled()
    dock.remove_button.click()
    assert lab.sent_stops == ()
    dock.add_button.click()
    assert dialog_of(window).windowTitle() == "Add a stop"


# ------------------------------------------------------------------------------------------------- recheck


def recheck(window: MainWindow, qtbot: QtBot, text: str) -> list[tuple[str, ...]]:
    """The rows that a look at what is recorded lists."""
    dock = window.stops_dock
    window.stops.add(text)
    dock.recheck_button.click()
    qtbot.waitUntil(lambda: not dock.rechecker.is_running)
    assert dock.held.isVisible()
    return [tuple(line.split("\t")) for line in dock.held.table.all_as_text().splitlines()[1:]]


def test_recheck_lists_the_recorded_steps_and_leads_there(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    dock = window.stops_dock
    asked = len(lab.asked)
    listed = recheck(window, qtbot, "grad.l2 > 0 in net.0.weight")
    assert [row[0] for row in listed] == ["0", "1", "2"]
    assert all("net.0.weight" in row[1] and "above 0" in row[1] for row in listed)
    assert dock.held.headline.text() == "grad.l2 > 0 in net.0.weight: Has held in 3 of 3 recorded steps"
    assert not [entry for entry in lab.asked[asked:] if entry[0] in ("go", "run")], "nothing is run"
    dock.held.table.clicked.emit(dock.held.model.index(1, 0))
    assert lab.state.subject == SubjectKey(SubjectKind.GRAD, "net.0.weight") and lab.state.shown.step == 1
    dock.held.close_button.click()
    assert not dock.held.isVisible()


def test_recheck_says_what_is_not_there(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    dock = window.stops_dock
    assert recheck(window, qtbot, "loss > 1e9") == []
    assert dock.held.headline.text().endswith("Has not held in any of 3 recorded steps")
    window.stops.add("enter net.0")
    dock.recheck_button.click()
    assert "expected a condition" in dock.held.headline.text() and not dock.held.table.isVisible()
    lab.play(small_training().opened())
    lab.flush()
    assert not dock.held.isVisible(), "it was of another session"
    assert recheck(window, qtbot, "loss > 2") == [] and "No step is recorded" in dock.held.headline.text()


def test_the_dialog_tells_how_often_it_would_have_held(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    window.actions_[ActionId.ADD_STOP].trigger()
    dialog = dialog_of(window)
    dialog.text.setText("loss > 0")
    qtbot.waitUntil(lambda: dialog.held.text() == "Has held in 3 of 3 recorded steps: 0, 1, 2")
    dialog.text.setText("enter net.0")
    assert dialog.held.text() == ""


# ------------------------------------------------------------------------------------------------- keeping them


def test_they_are_kept_with_the_file_and_sent_when_it_is_opened(window: MainWindow, lab: Lab) -> None:
    window.stops.add("any nan", every=3)
    window.stops.add("backward")
    window.stops.enable([1], False)
    other = small_training()
    other.name = "Another"
    lab.play(other.opened())
    assert lab.state.stops.points == () and rows(window) == []
    before = len(lab.sent)
    lab.play(small_training().opened())
    lab.flush()
    assert [(p.text, p.is_enabled, p.every) for p in lab.sent_stops] == [("any nan", True, 3), ("backward", False, 1)]
    assert len(lab.sent) > before
    assert rows(window) == ["any nan  (1 time in 3)", "backward"]


def test_an_engine_that_opens_the_file_again_hears_of_them(window: MainWindow, lab: Lab) -> None:
    window.stops.add("any nan")
    stop_at(lab, 0)
    lab.sent.clear()
    lab.play(small_training().opened())
    lab.flush()
    assert lab.sent_stops == (StopPoint(id=1, text="any nan"),), "by another number, so that its hits begin anew"
    assert lab.state.stops.hits == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "[[[", '{"/a": 3}', '{"/a": [["x"], ["x", 1, 1], ["", true, 1], 3]}'])
def test_a_memory_that_cannot_be_understood_is_empty(lab: Lab, text: str) -> None:
    lab.settings.set(Setting.STOPS, text)
    memory = StopMemory(lab.settings)
    assert memory.recall("/a") == ()
    stops = (Wanted(text="any nan", is_enabled=False), Wanted(text="backward", every=2))
    memory.remember("/a", stops)
    assert StopMemory(lab.settings).recall("/a") == stops and memory.recall("/b") == ()
    memory.remember("", stops)
    assert memory.recall("") == stops and StopMemory(lab.settings).recall("") == ()


def test_what_another_version_has_kept_is_shown_and_not_sent(window: MainWindow, lab: Lab) -> None:
    lab.state.stops.add(Wanted(text="when the moon is full"))
    window.stops.add("any nan")
    assert [point.text for point in lab.sent_stops] == ["any nan"]
    assert "when the moon is full | " in rows(window)[0] and "expected" in rows(window)[0]


def test_a_snapshot_has_none_to_add(window: MainWindow, lab: Lab) -> None:
    window.stops.add("any nan")
    state = started(small_training(), steps=2).state
    state.snapshot = Origin(path="/some/s.zip", created="2026-11-21T11:12:03+01:00")
    session = lab.state
    lab.state, lab.sent = state, []
    lab.refresh_all()
    assert window.stops.refusal() is not None and lab.sent == []
    assert not window.actions_[ActionId.ADD_STOP].isEnabled() and not window.stops_dock.add_button.isEnabled()
    lab.state = session
    lab.refresh_all()
    assert rows(window) == ["any nan"]


# ------------------------------------------------------------------------------------------------- the dialog


@pytest.mark.parametrize(
    "text",
    [
        *("enter encoder.1", "leave net.0 #2", "gradient net.0.weight", "at step 40", "every 10 steps", "at epoch 2"),
        *("line train.py:42", "backward", "before loss", "grad.l2 > 10 in encoder.*", "activation.zero_share > 0.9"),
        *("update_ratio > 0.1", "loss > 1.5 * previous loss", "any nan", "any inf in net.0", "scale drop", "finding"),
        *("finding dead-units", "skipped step", "leave net.1 if activation.mean < -1e-05", "lr <= 0.001"),
    ],
)
def test_choices_and_text_say_the_same(text: str) -> None:
    choices = choices_of(parse(text))
    assert choices is not None and text_of(choices) == str(parse(text)) == text


@pytest.mark.parametrize("text", ["not any nan", "any nan or any inf", "grad.l2 of net.0 > 3", "loss > lr + 1"])
def test_what_the_choices_cannot_say_can_be_typed(window: MainWindow, lab: Lab, text: str) -> None:
    assert choices_of(parse(text)) is None
    window.actions_[ActionId.ADD_STOP].trigger()
    dialog = dialog_of(window)
    dialog.text.setText(text)
    assert "more than the choices" in dialog.verdict.text() and dialog.ok.isEnabled()
    dialog.ok.click()
    assert [point.text for point in lab.sent_stops] == [text]


def test_the_text_follows_the_choices_and_they_follow_it(window: MainWindow) -> None:
    window.actions_[ActionId.ADD_STOP].trigger()
    dialog, form = dialog_of(window), dialog_of(window).form
    assert not dialog.ok.isEnabled() and "Choose a place" in dialog.verdict.text()
    form.when.setCurrentIndex(form.when.findText("a number of a tensor"))
    assert dialog.text.text() == "grad.l2 >" and not dialog.ok.isEnabled() and "expected" in dialog.verdict.text()
    form.limit.setText("10")
    form.within.setEditText("net.*")
    assert dialog.text.text() == "grad.l2 > 10 in net.*" and dialog.ok.isEnabled()
    form.where.setCurrentIndex(form.where.findText("when a layer is left"))
    form.layer.setEditText("net.1")
    assert dialog.text.text() == "leave net.1 if grad.l2 > 10 in net.*"
    assert form.layer.isVisible() and not form.number.isVisible() and not form.finding.isVisible()
    dialog.text.setText("every 5 steps if loss > 2 * previous")
    assert form.choices() == Choices(
        where=Where.STEPS,
        number=5,
        when=When.FIGURE,
        figure=Figure.LOSS,
        limit="2",
        is_of_previous=True,
        layer=form.layer.currentText(),
        substep=form.choices().substep,
    )
    assert form.number.isVisible() and form.previous.isVisible() and not form.within.isVisible()
    form.where.setCurrentIndex(form.where.findText("before a sub-step"))
    form.substep.setCurrentIndex(form.substep.findText("schedule"))
    assert dialog.text.text() == "before schedule if loss > 2 * previous loss"


def test_what_is_wrong_is_said_with_its_column(window: MainWindow, lab: Lab) -> None:
    window.actions_[ActionId.ADD_STOP].trigger()
    dialog = dialog_of(window)
    dialog.text.setText("grad.l2 > ten")
    assert "column 11" in dialog.verdict.text() and dialog.verdict.property("role") == "bad"
    before = len(lab.sent)
    dialog.accept()
    assert dialog.isVisible() and len(lab.sent) == before


def test_how_often_it_has_to_hold(window: MainWindow, lab: Lab) -> None:
    window.stops.add("any nan")
    window.stops_dock.edit_button.click()
    dialog = dialog_of(window)
    dialog.every.setValue(10)
    dialog.ok.click()
    assert [(point.text, point.every) for point in lab.sent_stops] == [("any nan", 10)]


def test_layers_are_offered_and_completed(window: MainWindow) -> None:
    window.actions_[ActionId.ADD_STOP].trigger()
    form = dialog_of(window).form
    assert "net.0" in [form.layer.itemText(i) for i in range(form.layer.count())]
    completer = form.layer.completer()
    completer.setCompletionPrefix("T.2")
    assert completer.currentCompletion() == "net.2"


# ------------------------------------------------------------------------------------------------- menus


def test_the_menu_of_a_layer(window: MainWindow, lab: Lab) -> None:
    lab.select(Selection.of_node("net.1", is_parameter=False))
    window.layer_menu.fill_for_selection()
    offered = entries(window.layer_menu)
    offered["Run to here"].trigger()
    assert lab.asked[-1] == ("run to", "enter net.1")
    offered["Stop when entered"].trigger()
    offered["Stop when its gradient arrives"].trigger()
    assert [point.text for point in lab.sent_stops] == ["enter net.1", "gradient net.1"]
    window.layer_menu.fill_for_selection()
    offered = entries(window.layer_menu)
    assert offered["Stop when entered"].isChecked() and not offered["Stop when left"].isChecked()
    offered["Stop when entered"].trigger()
    assert [point.text for point in lab.sent_stops] == ["gradient net.1"], "once more takes it away"
    offered["Stop if..."].trigger()
    assert dialog_of(window).text.text() == "activation.l2 > 1 in net.1"


def test_the_menu_of_a_parameter(window: MainWindow, lab: Lab) -> None:
    lab.select(Selection.of_node("net.0.weight", is_parameter=True))
    window.layer_menu.fill_for_selection()
    offered = entries(window.layer_menu)
    assert "Stop when entered" not in offered
    offered["Run to where its gradient arrives"].trigger()
    assert lab.asked[-1] == ("run to", "gradient net.0.weight")
    window.actions_[ActionId.RUN_TO_LAYER].trigger()
    assert lab.asked[-1] == ("run to", "gradient net.0.weight")


def test_nothing_can_be_run_to_while_it_runs(window: MainWindow, lab: Lab) -> None:
    lab.select(Selection.of_node("net.1", is_parameter=False))
    lab.rest_at(Rest.READY, running=True)
    window.layer_menu.fill_for_selection()
    offered = entries(window.layer_menu)
    assert not offered["Run to here"].isEnabled() and "running" in offered["Run to here"].toolTip()
    assert offered["Stop when entered"].isEnabled(), "a stop can be set at any time"


@pytest.mark.parametrize(
    ("spot", "text"),
    [
        (
            Spot.of_quantity(SubjectKey(SubjectKind.GRAD, "net.0.weight"), Quantity.L2, 12.345),
            "grad.l2 > 12.3 in net.0.weight",
        ),
        (
            Spot.of_quantity(SubjectKey(SubjectKind.ACTIVATION, "net.1"), Quantity.ZEROS, 90.0),
            "activation.zero_share > 0.9 in net.1",
        ),
        (
            Spot.of_quantity(SubjectKey(SubjectKind.UPDATE, "net.0.weight"), Quantity.RATIO, float("nan")),
            "update_ratio > 1 in net.0.weight",
        ),
        (Spot(value=0.25), "loss > 0.25"),
    ],
)
def test_the_menu_of_a_plot_proposes_its_number(window: MainWindow, lab: Lab, spot: Spot, text: str) -> None:
    menu = QMenu()
    lab.menu_filling.emit(menu, spot)
    entries(menu)["Stop if..."].trigger()
    dialog = dialog_of(window)
    assert dialog.text.text() == text and dialog.ok.isEnabled()


def test_numbers_of_the_inspector_can_be_stopped_at(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    lab.select(Selection.of_subject(SubjectKey(SubjectKind.GRAD, "net.0.weight")))
    window.inspector.raise_()
    lab.flush()
    summary = window.inspector.summary
    spots = [
        summary.spot_at(summary.visualRect(summary.model().index(row, column)).center())
        for column in (1, 3)
        for row in range(summary.model().rowCount())
    ]
    known = [spot.statistic for spot in spots if spot is not None]
    assert known[:3] == [Statistic.MIN, Statistic.MAX, Statistic.MEAN] and known[-1] is Statistic.L2


def test_a_heat_map_knows_what_it_is_asked_about(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    window.workspace.setCurrentIndex(2)
    qtbot.wait(20)
    chart = next(chart for chart in window.workspace.currentWidget().findChildren(HeatMap) if chart.isVisible())
    spot = chart.spot_at(1.0, 0.0)
    assert spot is not None and spot.subject is not None and spot.value is not None
    assert parse(f"{spot.quantity} > 1") is not None
    assert chart.spot_at(1.0, 10_000.0) is None
    offered: list[object] = []
    lab.menu_filling.connect(lambda menu, spot: offered.append(spot))
    chart.plot.menu_wanted.emit(1.0, 0.0, QPoint(10, 10))
    assert offered == [spot]
    QTest.mouseClick(chart.plot.viewport(), Qt.MouseButton.RightButton, pos=chart.plot.viewport().rect().center())
    qtbot.waitUntil(lambda: len(offered) == 2)


def test_the_menu_of_a_moment(window: MainWindow, lab: Lab) -> None:
    model = window.moments.model
    texts = []
    for row in range(model.rowCount()):
        menu = QMenu()
        Entries(menu, window.stops).of_moment(model.place(row))
        entries(menu)["Run to here"].trigger()
        texts.append(lab.asked[-1][1])
    assert texts[:3] == ["batch", "enter (model)", "enter net.0"] and "gradient net.2.weight" in texts
    for text in texts:
        parse(str(text))


# ------------------------------------------------------------------------------------------------- the source


FILE = "/made/up/net.py"


def show_source(window: MainWindow, lab: Lab) -> None:
    window.source.raise_()
    lab.flush()
    lab.state.apply(m.Whereabouts(stack=(StackFrame(SourceLine(FILE, 12, "Net.forward")),)))
    lab.flush()
    asked = next(entry for entry in reversed(lab.asked) if isinstance(entry[0], m.FetchSource))
    asked[1](m.SourceText(file=FILE, text="\n".join(f"x = {i}" for i in range(1, 60))))  # type: ignore[operator]


def test_a_click_into_the_margin_stops_there(window: MainWindow, lab: Lab) -> None:
    show_source(window, lab)
    view = window.source.view
    height = view.cursorRect().center().y()
    QTest.mouseClick(view._margin, Qt.MouseButton.LeftButton, pos=QPoint(5, height))
    assert [point.text for point in lab.sent_stops] == ["line net.py:12"], "from the folder of what is open"
    assert view._stops == {12: True}
    window.stops.enable([0], False)
    assert view._stops == {12: False}
    QTest.mouseClick(view._margin, Qt.MouseButton.LeftButton, pos=QPoint(5, height))
    assert lab.sent_stops == () and view._stops == {}


def test_stops_at_lines_of_other_files_have_no_mark(window: MainWindow, lab: Lab) -> None:
    window.stops.add("line other.py:12")
    window.stops.add("line up/net.py:14 if loss > 3")
    show_source(window, lab)
    assert window.source.view._stops == {14: True}
    menu = QMenu()
    window.source.view.menu_filling.emit(menu, 20)
    entries(menu)["Stop at this line"].trigger()
    assert window.source.view._stops == {14: True, 20: True}
    entries(menu)["Run to this line"].trigger()
    assert lab.asked[-1] == ("run to", "line net.py:20")


# ------------------------------------------------------------------------------------------------- signs


def test_layers_with_stops_have_a_sign(window: MainWindow, lab: Lab) -> None:
    for text in ("enter net.0", "grad.l2 > 10 in net.1", "any nan"):
        window.stops.add(text)
    model = window.layers.model

    def told(name: str) -> tuple[bool, str]:
        index = model.index_of(name, is_parameter=False).siblingAtColumn(LayerColumn.FLAGS)
        has_sign = index.data(Qt.ItemDataRole.DecorationRole) is not None
        return has_sign, str(index.data(Qt.ItemDataRole.ToolTipRole) or "")

    assert told("net.0")[0] and "enter net.0" in told("net.0")[1]
    assert told("net.1")[0] and "grad.l2" in told("net.1")[1].replace("&gt;", ">")
    assert not told("net.2")[0], "a condition on all layers is no sign of each"
    window.stops.remove_all()
    assert not told("net.0")[0]


def test_where_it_has_stopped_is_shown_everywhere(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    window.stops.add("enter net.1")
    window.layers.view.collapseAll()
    stop_at(lab, 0)
    model, view = window.layers.model, window.layers.view
    index = model.index_of("net.1", is_parameter=False)
    assert index.data(Qt.ItemDataRole.BackgroundRole) is not None and view.visualRect(index).isValid(), (
        "brought into sight"
    )
    assert "entering net.1" in index.data(Qt.ItemDataRole.ToolTipRole)
    sign = window.status.stopped
    assert sign.isVisible() and sign.accessibleName() == "Stopped in forward, entering net.1"
    qtbot.waitUntil(lambda: sign.text().strip() == sign.accessibleName())
    assert "12.4, above 10" in sign.toolTip()
    assert any("12.4, above 10" in line.text for line in lab.state.log.lines)
    window.log.raise_()
    sign.click()
    assert window.stops_dock.view.rows() == [0] and not window.stops_dock.visibleRegion().isEmpty()
    lab.set_running(True)
    assert not sign.isVisible() and index.data(Qt.ItemDataRole.BackgroundRole) is None


def test_a_stop_in_the_backward_marks_the_parameter(window: MainWindow, lab: Lab) -> None:
    window.stops.add("gradient net.0.weight")
    stop_at(lab, 0, layer="net.0.weight", event="gradient", substep=SubStep.BACKWARD)
    index = window.layers.model.index_of("net.0.weight", is_parameter=True)
    assert index.data(Qt.ItemDataRole.BackgroundRole) is not None
    assert "at the gradient of net.0.weight" in window.status.stopped.accessibleName()


def test_a_pause_inside_is_told_without_a_stop(window: MainWindow, lab: Lab) -> None:
    moment = Moment(step=3, substep=SubStep.FORWARD, event="leave", layer="net.2", call=1)
    lab.state.apply(m.Done(position=_at(lab, Rest.IN_FORWARD, moment), paused=True))
    lab.flush()
    assert window.status.stopped.accessibleName() == "Stopped in forward, leaving net.2 #1"


# ------------------------------------------------------------------------------------------------- actions


@pytest.mark.parametrize(
    ("action_id", "verb"),
    [(ActionId.STEP_INTO, Verb.INTO), (ActionId.STEP_OVER, Verb.OVER), (ActionId.STEP_OUT, Verb.OUT)],
)
def test_stepping_inside(window: MainWindow, lab: Lab, action_id: ActionId, verb: Verb) -> None:
    moment = Moment(step=3, substep=SubStep.FORWARD, event="enter", layer="net.2")
    lab.state.apply(m.Moved(position=_at(lab, Rest.IN_FORWARD, moment)))
    lab.flush()
    assert window.actions_[action_id].isEnabled()
    window.actions_[action_id].trigger()
    assert lab.asked[-1] == ("go", verb)
    lab.rest_at(Rest.READY, running=True)
    assert not window.actions_[action_id].isEnabled() and "Pause" in window.actions_[action_id].toolTip()


def test_run_to_this_layer_needs_one(window: MainWindow, lab: Lab) -> None:
    action = window.actions_[ActionId.RUN_TO_LAYER]
    lab.select(Selection())
    assert not action.isEnabled() and "Select a layer" in action.toolTip()
    lab.select(Selection.of_node("net.2", is_parameter=False))
    action.trigger()
    assert lab.asked[-1] == ("run to", "enter net.2")


def test_names_of_anybody_are_shown_and_never_obeyed(window: MainWindow, lab: Lab) -> None:
    odd = "<b>net</b>\u202e&x"
    window.stops.add(f'enter "{odd}"')
    stop_at(lab, 0, layer=odd)
    assert "\u202e" not in rows(window)[0] and "\u202e" not in window.status.stopped.text()
    assert "<b>" not in window.status.stopped.toolTip()


@pytest.mark.parametrize(
    ("make", "quantity"),
    [
        (lambda lab, themes: RateChart(lab, themes, is_detailed=True), "lr"),
        (ClippingChart, "grad_norm"),
        (ScaleChart, "scale"),
    ],
    ids=["rate", "clipping", "scale"],
)
def test_charts_of_whole_steps_offer_their_number_too(
    window: MainWindow, lab: Lab, make: Callable[..., Chart], quantity: str, qtbot: QtBot
) -> None:
    chart = make(lab, window.themes)
    qtbot.addWidget(chart)
    chart.redraw()
    spot = chart.spot_at(1.0, 0.0)
    assert spot is not None and spot.subject is None and spot.quantity == quantity
    assert parse(f"{spot.quantity} > 1") is not None
