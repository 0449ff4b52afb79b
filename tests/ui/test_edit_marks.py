"""Edits as lines in the plots over steps, in their tips, in the menus; and the menu of a layer."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtWidgets import QDoubleSpinBox, QInputDialog, QToolTip, QTreeView
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.messages.edits import EditDropout, EditMade, EditMembership, EditMode, EditRequiresGrad
from gradscope.protocol.phases import Rest
from gradscope.state.selection import Selection
from gradscope.state.tree import Node, walk
from gradscope.ui.actions.actions import plain
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column
from gradscope.ui.plots.charts.layer_bars import LayerBars
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.tabs.overview_tab import GradientFlow
from gradscope.ui.training.layer_menu import LayerMenu
from gradscope.ui.words.text import shortened
from tests.ui.fakes import FakeController, light_themes, small_training, started, switch_theme
from tests.ui.shell_fakes import ShellController


def edited(controller: FakeController, *edits: EditMade) -> None:
    controller.play(edits)


def test_every_plot_over_steps_is_marked(qtbot: QtBot, tmp_path: Path) -> None:
    themes = light_themes(tmp_path)
    controller = started(small_training())
    controller.play(small_training().steps(0))
    charts = [
        LossChart(controller, themes),
        LinesChart(controller, themes),
        RateChart(controller, themes, is_detailed=True),
    ]
    for chart in charts:
        qtbot.addWidget(chart)
        chart.resize(500, 300)
        chart.show()
    edited(controller, EditMade(number=0, step=3, text="lr"), EditMade(number=1, step=5, text="clip", undone_at=6))
    for chart in charts:
        assert chart.plot.marks is not None and chart.plot.marks.steps == [3, 5, 6]
        lines = [line for line in chart.plot.marks._lines if line.isVisible()]
        assert [line.value() for line in lines] == [2.5, 4.5, 5.5]
    edited(controller, EditMade(number=0, step=3, text="lr", undone_at=3))
    assert charts[0].plot.marks is not None and charts[0].plot.marks.steps == [5, 6]
    switch_theme(themes, DARK)
    controller.play(small_training().opened())
    assert charts[0].plot.marks.steps == []


def test_a_plot_over_layers_is_not(qtbot: QtBot, tmp_path: Path) -> None:
    bars = GradientFlow(started(small_training()), light_themes(tmp_path))
    qtbot.addWidget(bars)
    assert isinstance(bars, LayerBars) and bars.plot.marks is None


def test_the_tip_tells_what_was_edited(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tips: list[str] = []
    monkeypatch.setattr(QToolTip, "showText", lambda _position, text, _widget: tips.append(text))
    training = small_training()
    controller = started(training)
    controller.play(training.steps(8))
    chart = LossChart(controller, light_themes(tmp_path))
    qtbot.addWidget(chart)
    chart.resize(500, 300)
    chart.show()
    edited(controller, EditMade(number=0, step=4, text="Learning rate: 0.1 → 0.01"))
    for x, is_near in ((3.5, True), (6.0, False)):
        y = sum(chart.plot.box.viewRange()[1]) / 2
        chart.plot._on_mouse_moved(chart.plot.box.mapViewToScene(QPointF(x, y)))
        assert ("Edited before step 4:\nLearning rate: 0.1 → 0.01" in tips[-1]) is is_near
        assert tips[-1].startswith("Step ")


def test_shortened() -> None:
    assert shortened("Learning rate: 0.1 → 0.01; StepLR goes on from it", at_most=40) == "Learning rate: 0.1 → 0.01"
    assert shortened("a" * 50, at_most=10) == "a" * 9 + "…"


# ------------------------------------------------------------------------------------------ the menu of a layer


@pytest.fixture
def menu(qtbot: QtBot, controller: ShellController) -> Iterator[LayerMenu]:
    controller.start(small_training())
    view = QTreeView()
    qtbot.addWidget(view)
    yield LayerMenu(controller, view)  # type: ignore[arg-type]
    # It belongs to the view, which belongs to nobody else.
    view.hide()


def node(controller: ShellController, name: str) -> Node:
    assert controller.state.tree is not None
    return next(node for node in walk(controller.state.tree) if node.name == name)


def texts(menu: LayerMenu) -> list[str]:
    """Of the edits; what is captured or pinned is no edit."""
    others = re.compile("apture|^Pin ")
    found = [plain(action.text()) for action in menu.actions()]
    return [text for text in found if text and not others.search(text)]


def trigger(menu: LayerMenu, text: str) -> None:
    next(action for action in menu.actions() if plain(action.text()) == plain(text)).trigger()


def test_a_layer(menu: LayerMenu, controller: ShellController) -> None:
    menu.fill(node(controller, "net.0"))
    assert texts(menu) == ["Freeze", "Train mode", "Eval mode"]
    assert [action.isChecked() for action in menu.actions() if action.isCheckable()][2:] == [True, False]
    trigger(menu, "Freeze")
    assert controller.asked[-1] == ("edit", EditRequiresGrad(name="net.0", is_parameter=False, requires_grad=False))
    trigger(menu, "Eval mode")
    assert controller.asked[-1] == ("edit", EditMode(layer="net.0", training=False))


def test_a_frozen_parameter_that_no_optimizer_holds(menu: LayerMenu, controller: ShellController) -> None:
    session = controller.state.session
    assert session is not None
    orphan = replace(session.parameters[0], requires_grad=False, group=None)
    changed = replace(session, parameters=(orphan, *session.parameters[1:]))
    controller.play([messages.SessionChanged(session=changed)])
    menu.fill(node(controller, orphan.name))
    assert texts(menu) == ["Unfreeze", "Add to parameter group 0"]
    trigger(menu, "Add to parameter group 0")
    assert controller.asked[-1] == ("edit", EditMembership(name=orphan.name, is_parameter=True, group=0))
    menu.fill(node(controller, "net.0"))
    assert texts(menu)[:2] == ["Freeze", "Unfreeze"]


def test_dropout_is_asked_for(menu: LayerMenu, controller: ShellController, qtbot: QtBot) -> None:
    session = controller.state.session
    assert session is not None
    modules = tuple(replace(m, dropout=0.3) if m.name == "net.1" else m for m in session.modules)
    controller.play([messages.SessionChanged(session=replace(session, modules=modules))])
    menu.fill(node(controller, ""))
    trigger(menu, "Dropout p (0.3)...")
    dialog = menu.parentWidget().findChild(QInputDialog)
    assert dialog is not None and dialog.doubleValue() == 0.3
    dialog.setDoubleValue(0.75)
    dialog.accept()
    assert controller.asked[-1] == ("edit", EditDropout(layer="", p=0.75))
    menu.fill(node(controller, ""))
    trigger(menu, "Dropout p (0.3)...")
    dialog = menu.parentWidget().findChildren(QInputDialog)[-1]
    editor = dialog.findChild(QDoubleSpinBox)
    assert editor is not None
    editor.lineEdit().setText("1.5")
    dialog.accept()
    assert controller.asked[-1] == ("edit", EditDropout(layer="", p=1.5)), "the engine refuses it in a sentence"
    menu.fill(node(controller, "net.0"))
    assert not any("Dropout" in text for text in texts(menu))


def test_the_menu_bar_has_it_for_what_is_selected(menu: LayerMenu, controller: ShellController) -> None:
    menu.fill_for_selection()
    assert texts(menu) == ["Select a layer, a parameter or a buffer first"]
    controller.state.select(Selection.of_node("net.0", is_parameter=False))
    menu.fill_for_selection()
    assert texts(menu) == ["net.0", "Freeze", "Train mode", "Eval mode"]
    trigger(menu, "Freeze")
    assert controller.asked[-1] == ("edit", EditRequiresGrad(name="net.0", is_parameter=False, requires_grad=False))
    controller.state.select(Selection.of_node("net.0.weight", is_parameter=True))
    menu.fill_for_selection()
    assert texts(menu) == ["net.0.weight", "Freeze"]


def test_what_is_not_possible_now_says_why(menu: LayerMenu, controller: ShellController) -> None:
    controller.rest_at(Rest.FORWARD)
    menu.fill(node(controller, "net.0"))
    pins, others = menu.actions()[:2], [action for action in menu.actions()[2:] if action.text()]
    assert all(action.isEnabled() for action in pins)
    assert [action.isEnabled() for action in others] == [False] * 5
    assert "finish the step first" in others[0].toolTip()


def test_the_layers_panel_follows_other_settings(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager
) -> None:
    controller.start(small_training(), steps=1)
    dock = LayersDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.show()
    dock.filter.setText("net")
    session = controller.state.session
    assert session is not None
    frozen = tuple(replace(parameter, requires_grad=False) for parameter in session.parameters)
    controller.play([messages.SessionChanged(session=replace(session, parameters=frozen))])
    index = dock.model.index_of("net.0.weight", is_parameter=True)
    assert "frozen" in str(index.siblingAtColumn(Column.FLAGS).data())
    assert dock.filter.text() == "net"


def test_the_menu_comes_for_the_row_under_the_mouse_and_for_the_current_one_by_the_keyboard(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.start(small_training())
    dock = LayersDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.show()
    shown: list[str] = []
    monkeypatch.setattr(dock.menu, "show_for", lambda node, _place: shown.append(node.name))
    index = dock.model.index_of("net.2", is_parameter=False)
    reasons = QContextMenuEvent.Reason
    dock.view.contextMenuEvent(QContextMenuEvent(reasons.Mouse, dock.view.visualRect(index).center(), QPoint()))
    dock.view.setCurrentIndex(dock.model.index_of("net.0.weight", is_parameter=True))
    dock.view.contextMenuEvent(QContextMenuEvent(reasons.Keyboard, QPoint(1, 1), QPoint()))
    dock.view.contextMenuEvent(QContextMenuEvent(reasons.Mouse, QPoint(1, 5000), QPoint()))
    assert shown == ["net.2", "net.0.weight"]
