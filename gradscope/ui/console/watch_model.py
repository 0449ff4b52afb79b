"""The watched expressions as a table: what is watched, its value now, its numbers over the steps, when it is taken."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor, QFontDatabase

from gradscope.protocol.messages.evaluate import WatchTime
from gradscope.protocol.numbers import exact
from gradscope.state.console import Watch
from gradscope.ui.look.colours import Theme
from gradscope.ui.widgets.copy_table import COPY_ROLE
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting

Index = QModelIndex | QPersistentModelIndex
NUMBERS_ROLE = int(Qt.ItemDataRole.UserRole) + 3


class Column(IntEnum):
    EXPRESSION = 0
    VALUE = 1
    NUMBERS = 2
    TIME = 3


@guarded
@plain_items
class WatchModel(QAbstractTableModel):
    """`on_edited` is told of a watch and its new text."""

    def __init__(self, theme: Theme, on_edited: Callable[[Watch, str], None], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme, self._on_edited = theme, on_edited
        self._watches: list[Watch] = []
        self._names = (self.tr("Expression"), self.tr("Value"), self.tr("After steps"), self.tr("Taken"))
        self._times = {WatchTime.STEP: self.tr("each step"), WatchTime.STOP: self.tr("each stop")}

    def show_watches(self, watches: list[Watch]) -> None:
        if [watch.id for watch in watches] == [watch.id for watch in self._watches]:
            self._watches = list(watches)
            if watches:
                self.dataChanged.emit(self.index(0, 0), self.index(len(watches) - 1, len(Column) - 1))
            return
        with resetting(self):
            self._watches = list(watches)

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self.show_watches(self._watches)

    def watch(self, index: Index) -> Watch | None:
        return self._watches[index.row()] if index.isValid() and index.row() < len(self._watches) else None

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(self._watches)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(Column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        is_name = orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole
        return self._names[section] if is_name and 0 <= section < len(self._names) else None

    def flags(self, index: Index) -> Qt.ItemFlag:
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == Column.EXPRESSION else flags

    def setData(self, index: Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        watch = self.watch(index)
        if role != Qt.ItemDataRole.EditRole or watch is None or not isinstance(value, str):
            return False
        if value != watch.expression.text:
            self._on_edited(watch, value)
        return True

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        watch = self.watch(index)
        if watch is None:
            return None
        column = Column(index.column())
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._text(watch, column)
            case Qt.ItemDataRole.EditRole:
                return watch.expression.text
            case Qt.ItemDataRole.ToolTipRole:
                return self._tip(watch, column)
            case Qt.ItemDataRole.ForegroundRole:
                return self._colour(watch, column)
            case Qt.ItemDataRole.FontRole if column in (Column.EXPRESSION, Column.VALUE):
                return QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
            case _ if role == NUMBERS_ROLE:
                return watch.steps, watch.numbers
            case _ if role == COPY_ROLE:
                return self._copied(watch, column)
        return None

    def _text(self, watch: Watch, column: Column) -> str:
        match column:
            case Column.EXPRESSION:
                return watch.expression.text
            case Column.TIME:
                is_off = watch.value is not None and watch.value.is_off
                return self.tr("switched off") if is_off else self._times[watch.expression.each]
            case Column.VALUE:
                return "–" if watch.value is None else watch.value.error or watch.value.text
        return ""

    def _tip(self, watch: Watch, column: Column) -> str:
        match column:
            case Column.VALUE if watch.value is not None:
                said = watch.value.error or watch.value.text
                return f"{said}\n" + self.tr("At step %1").replace("%1", str(watch.step))
            case Column.NUMBERS if watch.steps:
                low, high = min(watch.numbers), max(watch.numbers)
                return (
                    f"{exact(low)} ... {exact(high)}\n"
                    + self.tr("steps %1 to %2").replace("%1", str(watch.steps[0])).replace("%2", str(watch.steps[-1]))
                    + "\n"
                    + self.tr("Click to see it as a chart")
                )
            case Column.NUMBERS:
                return self.tr("Nothing yet: the numbers after each step are drawn here")
            case Column.TIME:
                return self.tr("When it is taken: after each step and at each stop, or only at stops. Enter changes it")
        return watch.expression.text

    def _copied(self, watch: Watch, column: Column) -> str:
        if column is Column.NUMBERS:
            return " ".join(f"{step}:{value!r}" for step, value in zip(watch.steps, watch.numbers, strict=True))
        if column is Column.VALUE and watch.value is not None and watch.value.number is not None:
            return repr(watch.value.number)
        return self._text(watch, column)

    def _colour(self, watch: Watch, column: Column) -> QColor | None:
        if column is Column.VALUE and watch.value is not None and watch.value.error:
            return QColor(self._theme.bad)
        return QColor(self._theme.muted) if column is Column.TIME else None
