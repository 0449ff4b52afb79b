"""The field that Python is typed into: as high as its lines, with what was typed before, and names that may follow."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, QStringListModel, Qt, Signal, Slot
from PySide6.QtGui import QFocusEvent, QFontDatabase, QKeyEvent, QKeySequence, QResizeEvent, QTextCursor
from PySide6.QtWidgets import QCompleter, QListView, QPlainTextEdit, QSizePolicy, QWidget

from gradscope.ui.widgets.guarded import guarded

_MOST_LINES = 8
_INDENT = "    "


@guarded
class CodeField(QPlainTextEdit):
    """Enter is `submitted`, Shift+Enter a new line, Up and Down what was typed before, Tab asks for names."""

    submitted = Signal(str)
    completion_wanted = Signal(str, int)
    """(text, place of the cursor)"""
    interrupt_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.setTabChangesFocus(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.document().setDocumentMargin(4)
        self._typed: Sequence[str] = ()
        self._place: int | None = None
        """Of what was typed before, in the field now."""
        self._draft = ""
        self._asked: tuple[str, int] | None = None
        self._start = 0
        self._names = QStringListModel(self)
        self.completer = QCompleter(self._names, self)
        self.completer.setWidget(self)
        self.completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        self.completer.activated.connect(self._insert)
        self._popup = QListView(self)
        self._popup.setObjectName("codeNames")
        self.completer.setPopup(self._popup)
        self.textChanged.connect(self._on_text_changed)

    def set_typed(self, typed: Sequence[str]) -> None:
        """What was typed before, the oldest first."""
        self._typed, self._place = typed, None

    def show_placeholder(self, text: str) -> None:
        """Qt draws only as much of a new one anew as it thinks has changed."""
        if text != self.placeholderText():
            self.setPlaceholderText(text)
            self.viewport().update()

    def offer(self, start: int, names: tuple[str, ...]) -> None:
        """What may stand from `start` to the cursor, if nothing was typed since it was asked for."""
        cursor = self.textCursor()
        if self._asked != (self.toPlainText(), cursor.position()) or not names:
            return
        self._start = start
        typed = self.toPlainText()[start : cursor.position()]
        common = _beginning_of_all(names)
        if len(names) == 1 or len(common) > len(typed):
            self._insert(common)
            if len(names) == 1:
                return
        self._names.setStringList(list(names))
        popup = self._popup
        popup.setCurrentIndex(self._names.index(0, 0))
        place = self.cursorRect()
        wide = popup.sizeHintForColumn(0) + popup.verticalScrollBar().sizeHint().width() + 8
        place.setWidth(max(wide, 20 * self.fontMetrics().horizontalAdvance("0")))
        self.completer.complete(place)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_text_changed(self) -> None:
        self.updateGeometry()
        self._popup.hide()

    @Slot(str)
    def _insert(self, name: str) -> None:
        cursor = self.textCursor()
        end = cursor.position()
        cursor.setPosition(min(self._start, end))
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        cursor.insertText(name)
        self.setTextCursor(cursor)

    # ------------------------------------------------------------------------------------------ private

    def _submit(self) -> None:
        text = self.toPlainText().strip("\n")
        if text.strip():
            self.submitted.emit(text)

    def _recall(self, by: int) -> bool:
        """False where there is nothing further in that direction."""
        count = len(self._typed)
        before = count if self._place is None else self._place
        place = before + by
        if not 0 <= place <= count:
            return False
        if self._place is None:
            self._draft = self.toPlainText()
        text = self._draft if place == count else self._typed[place]
        self.setPlainText(text)
        self._place = None if place == count else place
        self.moveCursor(QTextCursor.MoveOperation.End)
        return True

    def _begin_line(self) -> None:
        """As far in as the one before, and farther after a colon. Qt would only break the line that there is."""
        cursor = self.textCursor()
        before = cursor.block().text()[: cursor.positionInBlock()]
        indent = before[: len(before) - len(before.lstrip())] + (_INDENT if before.rstrip().endswith(":") else "")
        cursor.insertText(f"\n{indent}")
        self.ensureCursorVisible()

    def _is_way_out(self, key: int) -> bool:
        """Up in the first line, Down in the last one."""
        line = self.textCursor().blockNumber()
        return line == 0 if key == Qt.Key.Key_Up else key == Qt.Key.Key_Down and line == self.blockCount() - 1

    def _ask(self) -> None:
        self._asked = (self.toPlainText(), self.textCursor().position())
        self.completion_wanted.emit(*self._asked)

    def _press_tab(self, event: QKeyEvent) -> None:
        before = self.textCursor().block().text()[: self.textCursor().positionInBlock()]
        if not self.toPlainText():
            # Nothing to complete: the key goes on to what comes next.
            self.focusNextChild()
        elif not before.strip():
            self.textCursor().insertText(_INDENT)
        else:
            self._ask()
        event.accept()

    # ------------------------------------------------------------------------------------------ Qt

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key, is_plain = event.key(), not event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        popup = self._popup
        if popup.isVisible() and key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape):
            event.ignore()
            return
        if popup.isVisible() and key == Qt.Key.Key_Tab:
            self._insert(popup.currentIndex().data() or "")
            popup.hide()
            return
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and is_plain:
            self._submit()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._begin_line()
        elif key == Qt.Key.Key_Tab and is_plain:
            self._press_tab(event)
        elif event.matches(QKeySequence.StandardKey.Copy) and not self.textCursor().hasSelection():
            self.interrupt_wanted.emit()
        elif is_plain and self._is_way_out(key) and self._recall(-1 if key == Qt.Key.Key_Up else 1):
            return
        else:
            super().keyPressEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        if event.reason() is not Qt.FocusReason.PopupFocusReason:
            self._popup.hide()
        super().focusOutEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.updateGeometry()
        if self.height() >= self.sizeHint().height():
            # All of it has room now: what was scrolled away comes back.
            self.verticalScrollBar().setValue(0)

    def sizeHint(self) -> QSize:
        # A block that wraps takes several lines.
        lines = sum(max(1, self._lines_of(number)) for number in range(min(self.blockCount(), _MOST_LINES)))
        height = (
            min(lines, _MOST_LINES) * self.fontMetrics().lineSpacing() + 2 * round(self.document().documentMargin()) + 2
        )
        return QSize(super().sizeHint().width(), height)

    def _lines_of(self, number: int) -> int:
        return self.document().findBlockByNumber(number).layout().lineCount()

    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())


def _beginning_of_all(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]
