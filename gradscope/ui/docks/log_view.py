"""The text of the log, with the source of every line named in a margin that is not copied with it."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt, Slot
from PySide6.QtGui import (
    QColor,
    QFont,
    QFontDatabase,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QTextBlock,
    QTextCharFormat,
    QTextCursor,
    QTextOption,
)
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from gradscope.protocol.visible import visible_lines
from gradscope.state.log import MAX_LINES, Line, Source
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded

_PADDING = 8
_MARKS = ("", "out", "err", "note", "warn")
"""What a block's user state says, as the word in the margin."""


@guarded
class LogView(QPlainTextEdit):
    """Read-only, append-only; stays at the end unless it was scrolled up."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self.setReadOnly(True)
        self.setUndoRedoEnabled(False)
        self.setMaximumBlockCount(MAX_LINES)
        # A long line goes on below, at any letter: what is copied is the line as it was printed.
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self._margin = _Margin(self)
        self._is_empty = True
        self.setViewportMargins(self.margin_width(), 0, 0, 0)
        self.updateRequest.connect(self._on_update_request)

    def append_lines(self, lines: list[Line]) -> None:
        is_at_end = self._is_at_end()
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.beginEditBlock()
        try:
            for line in lines:
                if not self._is_empty:
                    cursor.insertBlock()
                self._is_empty = False
                mark = _mark_of(line)
                cursor.insertText(visible_lines(line.text), self._format(mark))
                cursor.block().setUserState(mark)
        finally:
            # Nothing is shown before it ends.
            cursor.endEditBlock()
        if is_at_end:
            self._go_to_end()

    def clear_lines(self) -> None:
        self.clear()
        self._is_empty = True

    def margin_width(self) -> int:
        widest = max(self.fontMetrics().horizontalAdvance(mark) for mark in _MARKS)
        return widest + 2 * _PADDING

    def paint_margin(self, event: QPaintEvent) -> None:
        theme = self._themes.theme
        painter = QPainter(self._margin)
        painter.setFont(self.font())
        painter.fillRect(event.rect(), QColor(theme.raised))
        block: QTextBlock = self.firstVisibleBlock()
        top = self.blockBoundingGeometry(block).translated(self.contentOffset()).top()
        while block.isValid() and top <= event.rect().bottom():
            height = self.blockBoundingRect(block).height()
            mark = max(0, block.userState())
            cell = QRect(_PADDING, round(top), self._margin.width() - _PADDING, round(height))
            painter.setPen(self._colour(mark, theme) if mark > 1 else QColor(theme.muted))
            painter.drawText(cell, Qt.AlignmentFlag.AlignLeft, _MARKS[mark])
            block, top = block.next(), top + height
        painter.end()

    @Slot(QRect, int)
    def _on_update_request(self, _rect: QRect, _dy: int) -> None:
        self._margin.update()

    def _is_at_end(self) -> bool:
        bar = self.verticalScrollBar()
        return bar.value() >= bar.maximum() - 1

    def _go_to_end(self) -> None:
        self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())

    def _format(self, mark: int) -> QTextCharFormat:
        result = QTextCharFormat()
        result.setForeground(self._colour(mark, self._themes.theme))
        if _MARKS[mark] == "err":
            result.setFontItalic(True)
        if _MARKS[mark] in ("", "warn"):
            # A divider, or a warning.
            result.setFontWeight(QFont.Weight.Bold)
        return result

    def _colour(self, mark: int, theme: Theme) -> QColor:
        return QColor({"err": theme.bad, "warn": theme.warning, "note": theme.muted}.get(_MARKS[mark], theme.text))

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        is_at_end = self._is_at_end()
        super().resizeEvent(event)
        if is_at_end:
            # In another width the lines take more room, or less.
            self._go_to_end()
        inside = self.contentsRect()
        self._margin.setGeometry(inside.left(), inside.top(), self.margin_width(), inside.height())


@guarded
class _Margin(QWidget):
    def __init__(self, view: LogView) -> None:
        super().__init__(view)
        self._view = view

    def sizeHint(self) -> QSize:
        return QSize(self._view.margin_width(), 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        self._view.paint_margin(event)


def _mark_of(line: Line) -> int:
    if line.is_divider:
        return _MARKS.index("")
    match line.source:
        case Source.STDOUT:
            return _MARKS.index("out")
        case Source.STDERR:
            return _MARKS.index("err")
        case _:
            return _MARKS.index("warn" if line.is_warning else "note")
