"""Source code to read: numbered lines, coloured, one of them marked."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QFont,
    QFontDatabase,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
    QResizeEvent,
    QTextBlock,
    QTextCursor,
    QTextOption,
)
from PySide6.QtWidgets import QMenu, QPlainTextEdit, QWidget

from gradscope.protocol.visible import visible_lines
from gradscope.ui.docks.code_highlighter import CodeHighlighter
from gradscope.ui.look.code_colours import code_colours
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded

_PADDING = 4
_TAB = 4
_MOST_COLUMNS = 2000
"""Of a line. A longer one is no line that anybody reads, and takes seconds to lay out."""


@guarded
class CodeView(QPlainTextEdit):
    """Read-only. `mark` says which line is the current one: it has an arrow in the margin and another background."""

    margin_clicked = Signal(int)
    """Beside this line, from 1."""
    menu_filling = Signal(object, int)
    """QMenu and the line that it is about: who has something to offer for it adds that now."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._marked = 0
        self._stops: dict[int, bool] = {}
        self._text = ""
        self.setReadOnly(True)
        self.setUndoRedoEnabled(False)
        self.setWordWrapMode(QTextOption.WrapMode.NoWrap)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        # The family alone: the size is that of everything else, also when it changes.
        font = QFont()
        font.setFamilies(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).families())
        font.setStyleHint(QFont.StyleHint.Monospace)
        self.setFont(font)
        self.highlighter = CodeHighlighter(self.document(), self)
        self._margin = _Margin(self)
        self._lay_out()
        self.updateRequest.connect(self._on_update_request)
        themes.changed.connect(self._on_theme_changed)

    # ------------------------------------------------------------------------------------------ public

    @property
    def marked(self) -> int:
        """The number of the current line, from 1; 0 where there is none."""
        return self._marked

    def show_code(self, text: str) -> None:
        """Another file, from its beginning, with no line marked."""
        self.highlighter.stop()
        self._text = "\n".join(_shortened(line) for line in visible_lines(text.expandtabs(_TAB)).split("\n"))
        self.setPlainText(self._text)
        self.highlighter.start(self._text, code_colours(self._themes.theme))
        self._lay_out()
        self.mark(0)

    def mark(self, line: int) -> None:
        """Make this line, from 1, the current one, and bring it into sight; 0: there is none."""
        block = self.document().findBlockByNumber(line - 1) if line > 0 else None
        self._marked = line if block is not None and block.isValid() else 0
        if block is not None and self._marked:
            self.setTextCursor(QTextCursor(block))
            self._bring_into_sight()
        self._margin.update()
        self.viewport().update()

    def show_stops(self, stops: dict[int, bool]) -> None:
        """The lines, from 1, at which training is to stop, and whether that is on: a dot in the margin, or a ring."""
        if stops != self._stops:
            self._stops = dict(stops)
            self._margin.update()

    def margin_width(self) -> int:
        digits = max(3, len(str(self.blockCount())))
        return self._arrow_width() + digits * self.fontMetrics().horizontalAdvance("9") + 3 * _PADDING

    def paint_margin(self, event: QPaintEvent) -> None:
        theme = self._themes.theme
        painter = QPainter(self._margin)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(event.rect(), QColor(theme.raised))
        block = self.firstVisibleBlock()
        top = self.blockBoundingGeometry(block).translated(self.contentOffset()).top()
        font = self.font()
        while block.isValid() and top <= event.rect().bottom():
            height = self._height(block)
            number = block.blockNumber() + 1
            is_marked = number == self._marked
            font.setBold(is_marked)
            painter.setFont(font)
            painter.setPen(QColor(theme.text if is_marked else theme.muted))
            cell = QRect(0, round(top), self._margin.width() - 2 * _PADDING, round(height))
            painter.drawText(cell, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, str(number))
            if number in self._stops:
                cell = QRect(_PADDING, round(top), self._arrow_width(), round(height))
                self._paint_dot(painter, cell, is_on=self._stops[number], is_below=is_marked)
            if is_marked:
                self._paint_arrow(painter, QRect(_PADDING, round(top), self._arrow_width(), round(height)))
            block, top = block.next(), top + height
        painter.end()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(QRect, int)
    def _on_update_request(self, _rect: QRect, _dy: int) -> None:
        self._margin.update()

    @Slot()
    def _on_theme_changed(self) -> None:
        if self._text:
            self.highlighter.start(self._text, code_colours(self._themes.theme))
        self._margin.update()
        self.viewport().update()

    # ------------------------------------------------------------------------------------------ private

    def _paint_arrow(self, painter: QPainter, cell: QRect) -> None:
        side = self._arrow_width()
        middle = cell.center().y() + 0.5
        points = [QPointF(cell.left(), middle - side / 2), QPointF(cell.left() + side, middle)]
        points.append(QPointF(cell.left(), middle + side / 2))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(self._themes.theme.accent))
        painter.drawPolygon(QPolygonF(points))

    def _paint_dot(self, painter: QPainter, cell: QRect, *, is_on: bool, is_below: bool) -> None:
        """The sign of a stop; where the arrow of the current line lies on it, it is a ring around that."""
        theme = self._themes.theme
        colour = QColor(theme.accent if is_on else theme.muted)
        side = self._arrow_width() + (3 if is_below else 0)
        place = QRectF(0, 0, side, side)
        place.moveCenter(QRectF(cell).center())
        painter.setPen(QPen(colour, 1.5))
        painter.setBrush(colour if is_on and not is_below else Qt.BrushStyle.NoBrush)
        painter.drawEllipse(place)

    def line_at(self, y: int) -> int:
        """The number of the line at a height of the view, from 1; 0 where there is none."""
        block = self.cursorForPosition(QPoint(0, y)).block()
        bottom = self.blockBoundingGeometry(block).translated(self.contentOffset()).top() + self._height(block)
        return block.blockNumber() + 1 if block.isValid() and y <= bottom else 0

    def show_menu(self, y: int, place: QPoint, *, is_of_text: bool) -> None:
        """What can be done with the line at a height of the view, at a place on the screen."""
        menu = self.createStandardContextMenu() if is_of_text else QMenu(self)
        menu.aboutToHide.connect(menu.deleteLater)
        line = self.line_at(y)
        if line:
            before = menu.actions()
            self.menu_filling.emit(menu, line)
            if before and len(menu.actions()) > len(before):
                menu.insertSeparator(menu.actions()[len(before)])
        if menu.actions():
            menu.popup(place)

    def _height(self, block: QTextBlock) -> float:
        """Of a line. Qt counts the margin of the document as a part of the last one."""
        margin = 0.0 if block.next().isValid() else self.document().documentMargin()
        return self.blockBoundingRect(block).height() - margin

    def _arrow_width(self) -> int:
        return self.fontMetrics().height() // 2

    def _bring_into_sight(self) -> None:
        """In the middle, unless it is in sight with some lines around it; with the beginning of the line in sight."""
        rect, height = self.cursorRect(), self.fontMetrics().height()
        around = min(2 * height, self.viewport().height() // 4)
        if not around <= rect.top() <= self.viewport().height() - rect.height() - around:
            self.centerCursor()
        self.horizontalScrollBar().setValue(0)

    def _lay_out(self) -> None:
        self.setTabStopDistance(_TAB * self.fontMetrics().horizontalAdvance(" "))
        width = self.margin_width()
        self.setViewportMargins(width, 0, 0, 0)
        inside = self.contentsRect()
        self._margin.setGeometry(inside.left(), inside.top(), width, inside.height())

    # ------------------------------------------------------------------------------------------ Qt

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._marked:
            # Beneath the text, from one side to the other; as a format of the text it would leave gaps.
            block = self.document().findBlockByNumber(self._marked - 1)
            line = self.blockBoundingGeometry(block).translated(self.contentOffset())
            painter = QPainter(self.viewport())
            painter.fillRect(
                QRectF(0, line.top(), self.viewport().width(), self._height(block)),
                QColor(code_colours(self._themes.theme).current_line),
            )
            painter.end()
        super().paintEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay_out()
        if self._marked and event.size().height() != event.oldSize().height():
            # A panel that is laid out, or was made lower, keeps in sight what it is about.
            self._bring_into_sight()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        by_keyboard = event.reason() is QContextMenuEvent.Reason.Keyboard
        point = self.cursorRect().center() if by_keyboard else event.pos()
        self.show_menu(point.y(), self.viewport().mapToGlobal(point), is_of_text=True)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.FontChange and hasattr(self, "_margin"):
            self._lay_out()


@guarded
class _Margin(QWidget):
    def __init__(self, view: CodeView) -> None:
        super().__init__(view)
        self._view = view

    def sizeHint(self) -> QSize:
        return QSize(self._view.margin_width(), 0)

    def paintEvent(self, event: QPaintEvent) -> None:
        self._view.paint_margin(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        line = self._view.line_at(event.position().toPoint().y())
        if line and event.button() is Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self._view.margin_clicked.emit(line)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self._view.show_menu(event.pos().y(), event.globalPos(), is_of_text=False)


def _shortened(line: str) -> str:
    return line if len(line) <= _MOST_COLUMNS else line[:_MOST_COLUMNS] + " ..."
