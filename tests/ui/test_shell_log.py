"""The Log panel: appends, marks the source, follows the end, and survives a flood."""

import pytest
from PySide6.QtGui import QGuiApplication, QTextCursor
from pytestqt.qtbot import QtBot

from gradscope.state.log import MAX_LINES, Source
from gradscope.state.topics import Topic
from gradscope.ui.docks.log import LogDock
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from tests.ui.fakes import switch_theme
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> LogDock:
    dock = LogDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(600, 200)
    dock.show()
    return dock


def say(controller: ShellController, text: str, source: Source = Source.STDOUT, *, is_warning: bool = False) -> None:
    controller.state.log.add(text, source=source, is_warning=is_warning)
    controller.state.touch(Topic.LOG)
    controller.flush()


def test_lines_are_appended_without_marks_in_the_text(dock: LogDock, controller: ShellController) -> None:
    say(controller, "printed")
    say(controller, "complained", Source.STDERR)
    say(controller, "noted", Source.GRADSCOPE)
    say(controller, "warned", Source.GRADSCOPE, is_warning=True)
    assert dock.view.toPlainText() == "printed\ncomplained\nnoted\nwarned"
    states = [dock.view.document().findBlockByNumber(i).userState() for i in range(4)]
    assert len(set(states)) == 4


def test_stderr_differs_by_more_than_its_colour(dock: LogDock, controller: ShellController) -> None:
    say(controller, "printed")
    say(controller, "complained", Source.STDERR)
    formats = []
    for i in range(2):
        cursor = QTextCursor(dock.view.document().findBlockByNumber(i))
        cursor.movePosition(QTextCursor.MoveOperation.NextCharacter)
        formats.append(cursor.charFormat())
    assert not formats[0].fontItalic()
    assert formats[1].fontItalic()
    assert dock.view.margin_width() > dock.view.fontMetrics().horizontalAdvance("err")
    assert not dock.view.grab().isNull()


def test_it_follows_the_end_unless_scrolled_up(dock: LogDock, controller: ShellController) -> None:
    bar = dock.view.verticalScrollBar()
    for i in range(100):
        say(controller, f"line {i}")
    assert bar.value() == bar.maximum() > 0
    bar.setValue(10)
    say(controller, "one more")
    assert bar.value() == 10
    bar.setValue(bar.maximum())
    say(controller, "the last")
    assert bar.value() == bar.maximum()


def test_a_long_line_goes_on_below_and_is_copied_as_one(
    dock: LogDock, controller: ShellController, qtbot: QtBot
) -> None:
    line = "a sentence of words, and /a/path/" + "without_any_break/" * 40
    for i in range(9):
        say(controller, f"{i} {line}")
    assert dock.view.horizontalScrollBar().maximum() == 0
    last = dock.view.document().lastBlock()
    lines = last.layout().lineCount()
    assert lines > 2
    bar = dock.view.verticalScrollBar()
    dock.resize(300, 200)
    qtbot.waitUntil(lambda: last.layout().lineCount() > lines)
    assert bar.value() == bar.maximum() > 0, "still at the end"
    cursor = QTextCursor(last)
    cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
    dock.view.setTextCursor(cursor)
    dock._on_copy_clicked()
    assert QGuiApplication.clipboard().text() == f"8 {line}"


def test_clearing_empties_the_view_only(dock: LogDock, controller: ShellController) -> None:
    say(controller, "old")
    dock._on_clear_clicked()
    assert dock.view.toPlainText() == ""
    assert controller.state.log.total == 1
    say(controller, "new")
    assert dock.view.toPlainText() == "new"


def test_copying_takes_the_selection_or_everything(dock: LogDock, controller: ShellController) -> None:
    say(controller, "one\ntwo")
    dock._on_copy_clicked()
    assert QGuiApplication.clipboard().text() == "one\ntwo"
    cursor = QTextCursor(dock.view.document().findBlockByNumber(1))
    cursor.select(QTextCursor.SelectionType.LineUnderCursor)
    dock.view.setTextCursor(cursor)
    dock._on_copy_clicked()
    assert QGuiApplication.clipboard().text() == "two"


def test_what_was_said_before_is_there(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> None:
    controller.state.log.add("early")
    dock = LogDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    assert dock.view.toPlainText() == "early"


def test_a_flood_is_bounded_and_comes_bit_by_bit(dock: LogDock, controller: ShellController, qtbot: QtBot) -> None:
    last = 3 * MAX_LINES - 1
    for i in range(last + 1):
        controller.state.log.add(f"line {i}", source=Source.STDOUT)
    controller.state.touch(Topic.LOG)
    controller.flush()
    assert dock.view.blockCount() < MAX_LINES / 2
    qtbot.waitUntil(lambda: dock.view.toPlainText().endswith(f"line {last}"), timeout=10_000)
    assert dock.view.blockCount() == MAX_LINES
    assert dock.view.document().firstBlock().text() == f"line {last + 1 - MAX_LINES}"


def test_a_burst_within_a_flood_stays_in_order(dock: LogDock, controller: ShellController, qtbot: QtBot) -> None:
    say(controller, "\n".join(str(i) for i in range(900)))
    say(controller, "900")
    qtbot.waitUntil(lambda: dock.view.blockCount() == 901)
    assert dock.view.toPlainText().split("\n") == [str(i) for i in range(901)]


def test_colours_follow_the_theme(dock: LogDock, controller: ShellController, themes: ThemeManager) -> None:
    say(controller, "complained", Source.STDERR)
    switch_theme(themes, DARK)
    cursor = QTextCursor(dock.view.document().firstBlock())
    cursor.movePosition(QTextCursor.MoveOperation.NextCharacter)
    assert cursor.charFormat().foreground().color().name() == DARK.bad
    assert dock.view.toPlainText() == "complained"


def test_what_was_cleared_does_not_come_back_with_another_theme(
    dock: LogDock, controller: ShellController, themes: ThemeManager
) -> None:
    say(controller, "old")
    dock._on_clear_clicked()
    say(controller, "new")
    switch_theme(themes, DARK)
    assert dock.view.toPlainText() == "new"


def test_a_divider_stands_out_and_is_copied_with_the_rest(dock: LogDock, controller: ShellController) -> None:
    say(controller, "printed")
    controller.state.log.divide("b.py \x1b[31m, seed 0")
    say(controller, "printed, too")
    lines = dock.view.toPlainText().split("\n")
    assert lines[0] == "printed" and lines[2] == "printed, too"
    assert lines[1].startswith("────") and lines[1].endswith("────") and "b.py" in lines[1] and "\x1b" not in lines[1]
    cursor = QTextCursor(dock.view.document().findBlockByNumber(1))
    cursor.movePosition(QTextCursor.MoveOperation.NextCharacter)
    assert cursor.charFormat().font().bold()
