"""The Layers panel beside models of many thousand layers: what is asked of the tree, and how much of it is laid out."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.messages import ModuleInfo, SessionInfo
from gradscope.protocol.phases import Position
from gradscope.ui.docks import layers
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column
from tests.session_info import session_info
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> LayersDock:
    dock = LayersDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(700, 500)
    dock.show()
    return dock


def _blocks(count: int, layers_each: int = 9) -> SessionInfo:
    names = [""]
    for i in range(count):
        names += [f"b{i}", *(f"b{i}.l{k}" for k in range(layers_each))]
    return session_info(modules=tuple(ModuleInfo(name=name, type="Linear", description="") for name in names))


def _open(controller: ShellController, session: SessionInfo) -> None:
    controller.state.apply(messages.Opened(session=session, position=Position()))
    controller.flush()


def _unfolded(dock: LayersDock, index: QModelIndex) -> int:
    """Rows below one that can be seen when everything is scrolled through."""
    model, view = dock.model, dock.view
    below = [model.index(row, 0, index) for row in range(model.rowCount(index))] if view.isExpanded(index) else []
    return len(below) + sum(_unfolded(dock, one) for one in below)


def test_a_star_unfolds_all_below_a_row(dock: LayersDock, controller: ShellController) -> None:
    _open(controller, _blocks(300))
    dock.view.collapseAll()
    dock.view.setCurrentIndex(dock.model.index(0, 0))
    QTest.keyClick(dock.view, Qt.Key.Key_Asterisk)
    assert _unfolded(dock, dock.model.index(0, 0)) == 3000
    assert dock.title_bar.note.text() == ""


def test_of_a_huge_model_it_unfolds_what_can_be_laid_out_at_once(
    dock: LayersDock, controller: ShellController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "_MOST_UNFOLDED", 1000)
    _open(controller, _blocks(300))
    dock.view.collapseAll()
    root = dock.model.index(0, 0)
    dock.view.setCurrentIndex(root)
    QTest.keyClick(dock.view, Qt.Key.Key_Asterisk)
    assert _unfolded(dock, root) == 300
    assert dock.title_bar.note.text() == "too many to unfold all"
    block = dock.model.index_of("b7", is_parameter=False)
    dock.view.setCurrentIndex(block)
    QTest.keyClick(dock.view, Qt.Key.Key_Asterisk)
    assert _unfolded(dock, block) == 9


def test_a_chain_of_many_layers_is_unfolded_to_its_end(dock: LayersDock, controller: ShellController) -> None:
    names = ["", *(".".join("0" * (1 + depth)) for depth in range(400))]
    _open(controller, session_info(modules=tuple(ModuleInfo(name=n, type="Linear", description="") for n in names)))
    dock.view.collapseAll()
    dock.view.setCurrentIndex(dock.model.index(0, 0))
    QTest.keyClick(dock.view, Qt.Key.Key_Asterisk)
    assert dock.view.isExpanded(dock.model.index_of(names[-2], is_parameter=False))


def test_what_the_columns_need_is_asked_once_until_it_changes(
    dock: LayersDock, controller: ShellController, monkeypatch: pytest.MonkeyPatch
) -> None:
    _open(controller, _blocks(300))
    asked: list[object] = []
    data = dock.model.data

    def counted(*what: Any) -> object:
        asked.append(what)
        return data(*what)

    monkeypatch.setattr(dock.model, "data", counted)
    dock.model.refresh_values()
    wide = dock.width_for(2000)
    # Five texts of each row that is seen, what stands before and around a name, and a few times all roles of a cell.
    assert 100 < len(asked) < 600
    asked.clear()
    narrower = [dock.width_for(room) for room in (500, 400, 300)]
    assert asked == [] and wide >= narrower[0] > narrower[1] > narrower[2]
    dock.model.refresh_values()
    assert dock.width_for(2000) == wide and asked
    asked.clear()
    font = dock.view.font()
    font.setPointSizeF(2 * font.pointSizeF())
    dock.view.setFont(font)
    assert dock.width_for(4000) > 1.5 * wide and asked


def test_names_and_types_are_whole_where_there_is_room(dock: LayersDock, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    dock.resize(1500, 500)
    for column in (Column.NAME, Column.FORM):
        index = dock.model.index(0, 0)
        while index.isValid():
            cell = index.siblingAtColumn(column)
            depth = len(dock.model.node(index).name.split(".")) if column == Column.NAME else 0  # type: ignore[union-attr]
            needed = dock.view.sizeHintForIndex(cell).width() + depth * dock.view.indentation()
            assert needed <= dock.view.columnWidth(column), cell.data()
            index = dock.view.indexBelow(index)
