"""Texts from anybody's code and files are shown as they are."""

import ast
from pathlib import Path

import pytest
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtWidgets import QInputDialog, QLabel, QMainWindow, QWidget
from pytestqt.qtbot import QtBot

import gradscope.ui
from gradscope.ui.training.layer_menu import LayerMenu
from gradscope.ui.widgets.plain import PlainLabel, caption, plain_items, plain_tip, window_title
from tests.ui.shell_fakes import ShellController

EVIL = "<b>x</b>\u202ey\x1b"
SHOWN = r"<b>x</b>\u202ey\x1b"
FILES = sorted(Path(gradscope.ui.__file__).parent.rglob("*.py"))
_RICH = {"lines_chart.py", "phase_strip.py", "rate_chart.py", "start_page.py"}
"""They put colours or weights into a label, and escape the names in it."""


def test_a_label_shows_it(qtbot: QtBot) -> None:
    label = PlainLabel(EVIL + "\nmore")
    qtbot.addWidget(label)
    assert label.text() == SHOWN + "\nmore"
    assert label.textFormat() is Qt.TextFormat.PlainText
    label.setText("<i>")
    assert label.text() == "<i>"


def test_a_tooltip_shows_it() -> None:
    assert plain_tip("one < two\n\u202ethree") == "one < two\n\\u202ethree"
    assert plain_tip(EVIL + "\nmore") == '<p style="white-space:pre">&lt;b&gt;x&lt;/b&gt;\\u202ey\\x1b\nmore</p>'


def test_a_caption_has_no_shortcut_and_a_title_no_mark(qtbot: QtBot) -> None:
    assert caption("R&D\n") == r"R&&D\n"
    window = QMainWindow()
    qtbot.addWidget(window)
    window.setWindowTitle(window_title("list[*]\u202e"))
    window.setWindowModified(True)
    assert window_title("list[*]\u202e") == "list[*][*]\\u202e"


def test_a_model_shows_it(qtbot: QtBot) -> None:
    @plain_items
    class Model(QAbstractTableModel):
        def rowCount(self, _parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
            return 1

        def columnCount(self, _parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
            return 1

        def data(self, _index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
            return 1.5 if role == Qt.ItemDataRole.FontRole else EVIL

    model = Model()
    index = model.index(0, 0)
    assert index.data() == model.data(index) == model.data(index, role=Qt.ItemDataRole.DisplayRole) == SHOWN
    assert index.data(Qt.ItemDataRole.ToolTipRole) == plain_tip(EVIL)
    # What is copied or edited is the text itself.
    assert index.data(Qt.ItemDataRole.EditRole) == EVIL
    assert index.data(Qt.ItemDataRole.FontRole) == 1.5


def test_a_question_shows_it(qtbot: QtBot, controller: ShellController) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    LayerMenu(controller, parent)._ask_dropout(EVIL, 0.5)
    dialog = parent.findChild(QInputDialog)
    assert SHOWN in dialog.labelText()
    assert [label.textFormat() for label in dialog.findChildren(QLabel)] == [Qt.TextFormat.PlainText]
    dialog.reject()


# ---------------------------------------------------------------------------------------------- everywhere


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_goes_around_it(path: Path) -> None:
    """Labels are plain ones, and every tooltip is a sentence of ours or goes through `plain_tip`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="QLabel" | "QMessageBox")) if path.name not in _RICH:
                found.append(f"line {node.lineno}: a label of Qt's")
            case ast.ClassDef(bases=[ast.Name(id="QLabel")]) if path.name != "plain.py":
                found.append(f"line {node.lineno}: a label of Qt's")
            case ast.Call(func=ast.Attribute(attr="setToolTip" | "setTabToolTip" | "setWhatsThis"), args=[*_, text]):
                if not _is_safe(text):
                    found.append(f"line {node.lineno}: {ast.unparse(text)}")
            case ast.Call(func=ast.Attribute(attr="showText", value=ast.Name(id="QToolTip")), args=[_, text, *_]):
                if not _is_safe(text):
                    found.append(f"line {node.lineno}: {ast.unparse(text)}")
    assert found == []


def _is_safe(text: ast.expr) -> bool:
    match text:
        case ast.Call(func=ast.Name(id="plain_tip")) | ast.Call(func=ast.Attribute(attr="toolTip")):
            return True
        case ast.Call(func=ast.Attribute(attr="tr"), args=[ast.Constant()]):
            return True
        case ast.JoinedStr(values=[ast.Constant(value="<p>"), ast.FormattedValue(value=value), ast.Constant()]):
            return isinstance(value, ast.Call) and ast.unparse(value.func) in ("escape", "html.escape")
    return False
