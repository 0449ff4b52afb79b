"""The list of stops as a Qt model: whether each is on, what it is, how often it has held, and the newest time."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor, QFont

from gradscope.protocol.stops.point import StopPoint
from gradscope.state.stops import StopsState
from gradscope.ui.actions.stops import problem_of
from gradscope.ui.look.colours import Theme, blend
from gradscope.ui.look.theme import icon
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting
from gradscope.ui.words.stops import hit_place

Index = QModelIndex | QPersistentModelIndex
_Role = Qt.ItemDataRole
_TINT = 0.14
"""Of the row at which training stands."""


class Column(IntEnum):
    ON = 0
    TEXT = 1
    HITS = 2
    SENTENCE = 3
    PLACE = 4


@guarded
@plain_items
class StopsModel(QAbstractTableModel):
    """Rows are stops, in the order in which they were added."""

    enable_wanted = Signal(int, bool)
    """The number of a stop, and whether it is to be on."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._state = StopsState()
        self._points: tuple[StopPoint, ...] = ()
        self._problems: dict[str, str | None] = {}
        """By text."""
        self._is_stopped = False
        self._headers = {
            Column.ON: (self.tr("On"), self.tr("Training stops only at what is on")),
            Column.TEXT: (self.tr("Stop"), self.tr("The place or the condition at which training stops")),
            Column.HITS: (self.tr("Hits"), self.tr("How often it has held in this session")),
            Column.SENTENCE: (self.tr("Newest hit"), self.tr("What was set, and what was found")),
            Column.PLACE: (self.tr("Where"), self.tr("Step, phase and layer of the newest hit")),
        }

    # ------------------------------------------------------------------------------------------ public

    def show_state(self, state: StopsState, *, is_stopped: bool) -> None:
        """`is_stopped`: training stands still, so that where it has stopped is where it is."""
        self._state, self._is_stopped = state, is_stopped
        numbers = [point.id for point in state.points]
        if numbers == [point.id for point in self._points]:
            self._points = state.points
            self._tell_all_changed()
            return
        with resetting(self):
            self._points = state.points
            self._problems = {point.text: problem_of(point) for point in state.points}

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self._tell_all_changed()

    def point(self, row: int) -> StopPoint | None:
        return self._points[row] if 0 <= row < len(self._points) else None

    def row_of(self, number: int | None) -> int | None:
        return next((row for row, point in enumerate(self._points) if point.id == number), None)

    def is_now(self, row: int) -> bool:
        """Training stands where it stands because of this one."""
        return self._is_stopped and self._state.is_now(self._points[row].id)

    def problem(self, row: int) -> str | None:
        return self._problems.get(self._points[row].text)

    # ------------------------------------------------------------------------------------------ private

    def _tell_all_changed(self) -> None:
        if self._points:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._points) - 1, Column.PLACE))

    def _display(self, row: int, column: int) -> str:
        point = self._points[row]
        hit = self._state.hits.get(point.id)
        match column:
            case Column.TEXT:
                each = self.tr("%1  (1 time in %2)").replace("%2", str(point.every))
                return each.replace("%1", point.text) if point.every > 1 else point.text
            case Column.HITS:
                return "" if hit is None else f"{hit.hits:,}"
            case Column.SENTENCE:
                return self.problem(row) or ("" if hit is None else hit.sentence)
            case Column.PLACE:
                return "" if hit is None else hit_place(hit)
            case _:
                return ""

    def _foreground(self, row: int, column: int) -> QColor | None:
        if column == Column.SENTENCE and self.problem(row):
            return QColor(self._theme.bad)
        if not self._points[row].is_enabled or (column == Column.PLACE and not self.is_now(row)):
            return QColor(self._theme.muted)
        return None

    def _decoration(self, row: int) -> Any:
        if self.problem(row):
            return icon("warning", self._theme, colour=self._theme.bad)
        if self.is_now(row):
            return icon("here", self._theme, colour=self._theme.accent)
        colour = self._theme.accent if self._points[row].is_enabled else self._theme.muted
        return icon("halt", self._theme, colour=colour)

    def _font(self) -> QFont:
        font = QFont()
        font.setBold(True)
        return font

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._points)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(Column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:
        if orientation is not Qt.Orientation.Horizontal:
            return None
        title, explanation = self._headers[Column(section)]
        match role:
            case _Role.DisplayRole:
                return title
            case _Role.ToolTipRole:
                return explanation
            case _Role.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignRight if section == Column.HITS else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: Index, role: int = _Role.DisplayRole) -> Any:
        if not index.isValid():
            return None
        row, column = index.row(), index.column()
        match role:
            case _Role.DisplayRole:
                return self._display(row, column)
            case _Role.ToolTipRole:
                return self._display(row, column) or None
            case _Role.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignRight if column == Column.HITS else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
            case _Role.CheckStateRole if column == Column.ON:
                return Qt.CheckState.Checked if self._points[row].is_enabled else Qt.CheckState.Unchecked
            case _Role.DecorationRole if column == Column.TEXT:
                return self._decoration(row)
            case _Role.ForegroundRole:
                return self._foreground(row, column)
            case _Role.BackgroundRole if self.is_now(row):
                return QColor(blend(self._theme.accent, self._theme.surface, _TINT))
            case _Role.FontRole if self.is_now(row):
                return self._font()
            case _Role.AccessibleTextRole if column == Column.TEXT:
                stopped = self.tr("training has stopped here") if self.is_now(row) else ""
                return "; ".join(part for part in (self._display(row, column), stopped) if part)
            case _Role.AccessibleTextRole if column == Column.ON:
                return self.tr("on") if self._points[row].is_enabled else self.tr("off")
        return None

    def setData(self, index: Index, value: Any, role: int = _Role.EditRole) -> bool:
        if role != _Role.CheckStateRole or not index.isValid():
            return False
        self.enable_wanted.emit(self._points[index.row()].id, Qt.CheckState(value) is Qt.CheckState.Checked)
        return True

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid():
            return Qt.ItemFlag.NoItemFlags
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsUserCheckable if index.column() == Column.ON else flags
