"""The rows of two runs as a table model, sorted and filtered here: the largest difference first. GUI thread."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor, QFont

from gradscope.comparing import Beside, Entry, RowKey
from gradscope.comparing.sheets import DATA
from gradscope.protocol import numbers
from gradscope.ui.compare.run_words import is_parting, kind_of, remark_of
from gradscope.ui.look.colours import Theme
from gradscope.ui.widgets.copy_table import COPY_ROLE
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items

Index = QModelIndex | QPersistentModelIndex
PARTING_MARK = "▶ "


class RunColumn(IntEnum):
    NAME = 0
    KIND = 1
    RELATIVE = 2
    OURS = 3
    THEIRS = 4
    STEP = 5
    FIRST = 6
    REMARK = 7


_OF_NUMBERS = frozenset({RunColumn.RELATIVE, RunColumn.OURS, RunColumn.THEIRS})
_NUMBERS = frozenset({RunColumn.RELATIVE, RunColumn.OURS, RunColumn.THEIRS, RunColumn.STEP, RunColumn.FIRST})


@guarded
@plain_items
class RunRowsModel(QAbstractTableModel):
    """`show_beside` gives it two runs, `show_step` the step that it is of; the row that is selected stays so."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._beside: Beside | None = None
        self._step: int | None = None
        self._all: list[Entry] = []
        self._rows: list[Entry] = []
        self._number: dict[RowKey, int] = {}
        self._filter = ""
        self._only_differences = False
        self._column, self._order = RunColumn.RELATIVE, Qt.SortOrder.DescendingOrder
        self._headers = {
            RunColumn.NAME: (self.tr("Row"), self.tr("A layer, a parameter, or a number of the whole step")),
            RunColumn.KIND: (self.tr("Kind"), self.tr("What it is of the layer or parameter")),
            RunColumn.RELATIVE: (self.tr("Difference"), self.tr("|A − B| as a share of the larger one")),
            RunColumn.OURS: ("A", self.tr("In the first run: the L2 norm, unless the remark says another number")),
            RunColumn.THEIRS: ("B", self.tr("The same number in the second run")),
            RunColumn.STEP: (self.tr("At step"), self.tr("The step that these numbers are of")),
            RunColumn.FIRST: (self.tr("Differs from"), self.tr("The first step at which it is not the same")),
            RunColumn.REMARK: (self.tr("Remark"), self.tr("Where the runs part, and what has no numbers to compare")),
        }

    # ------------------------------------------------------------------------------------------ public

    def show_beside(self, beside: Beside | None) -> None:
        self._beside = beside
        self._take(self._step)

    def show_step(self, step: int | None) -> None:
        """None: each row where it differs most of all steps that both have."""
        if step != self._step:
            self._take(step)

    def set_filter(self, wanted: str, *, only_differences: bool) -> None:
        self._filter, self._only_differences = wanted.strip().lower(), only_differences
        self._rearrange(self._arrange)

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        if self._rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, len(RunColumn) - 1))

    def row_at(self, row: int) -> Entry | None:
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def place_of(self, key: RowKey) -> int | None:
        return self._number.get(key)

    @property
    def counts(self) -> tuple[int, int]:
        """(rows that are shown, rows that there are)."""
        return len(self._rows), len(self._all)

    # ------------------------------------------------------------------------------------------ private

    def _take(self, step: int | None) -> None:
        def renew() -> None:
            self._step = step
            self._all = [] if self._beside is None else self._beside.rows.at(step)
            self._arrange()

        self._rearrange(renew)

    def _arrange(self) -> None:
        rows = self._all
        if self._only_differences:
            rows = [row for row in rows if row.relative != 0]
        if self._filter:
            rows = [row for row in rows if self._filter in f"{row.name} {kind_of(row)}".lower()]
        is_falling = self._order is Qt.SortOrder.DescendingOrder
        if self._column in _NUMBERS:
            sign = -1 if is_falling else 1
            rows = sorted(rows, key=lambda row: _order_of(self._number_of(row, self._column), sign, row))
        else:
            words: Callable[[Entry], str] = {
                RunColumn.NAME: lambda row: row.name,
                RunColumn.KIND: kind_of,
            }.get(self._column, self._remark)
            rows = sorted(rows, key=words, reverse=is_falling)
        self._rows = rows
        self._number = {row.key: i for i, row in enumerate(rows)}

    def _rearrange(self, arrange: Callable[[], None]) -> None:
        self.layoutAboutToBeChanged.emit()
        try:
            before = self.persistentIndexList()
            keys = [self._rows[index.row()].key for index in before]
            arrange()
            places = [self._number.get(key) for key in keys]
            after = [
                QModelIndex() if place is None else self.index(place, index.column())
                for place, index in zip(places, before, strict=True)
            ]
            self.changePersistentIndexList(before, after)
        finally:
            self.layoutChanged.emit()

    def _is_parting(self, row: Entry) -> bool:
        return self._beside is not None and is_parting(row, self._beside.comparison.divergence)

    def _remark(self, row: Entry) -> str:
        return "" if self._beside is None else remark_of(row, self._beside.comparison.divergence)

    @staticmethod
    def _number_of(row: Entry, column: RunColumn) -> float:
        match column:
            case RunColumn.RELATIVE:
                return row.relative
            case RunColumn.OURS:
                return row.ours
            case RunColumn.THEIRS:
                return row.theirs
            case RunColumn.STEP:
                return math.nan if row.step is None else row.step
            case _:
                return math.nan if row.first_step is None else row.first_step

    def _text(self, row: Entry, column: RunColumn, *, is_exact: bool = False) -> str:
        match column:
            case RunColumn.NAME:
                return f"{PARTING_MARK}{row.name}" if self._is_parting(row) and not is_exact else row.name
            case RunColumn.KIND:
                return kind_of(row)
            case RunColumn.REMARK:
                return self._remark(row)
        value = self._number_of(row, column)
        if row.key == DATA and column in _OF_NUMBERS:
            # Digests: how large they are says nothing.
            return self.tr("other data") if column is RunColumn.RELATIVE and value > 0 else ""
        if math.isnan(value):
            return "" if column is not RunColumn.RELATIVE else "–"
        if column in (RunColumn.STEP, RunColumn.FIRST):
            return str(int(value))
        if is_exact:
            return repr(value)
        if column is RunColumn.RELATIVE:
            return numbers.percent(100 * value) if 1e-3 <= value < math.inf else numbers.number(value, digits=2)
        # As many digits as it takes to see that they are not the same.
        digits = next((n for n in (4, 6, 9, 13) if _differ(row, n)), 17) if row.relative > 0 else 4
        return numbers.number(value, digits=digits)

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(RunColumn)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid() or index.row() >= len(self._rows):
            return None
        row, column = self._rows[index.row()], RunColumn(index.column())
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._text(row, column)
            case Qt.ItemDataRole.ToolTipRole if column not in _NUMBERS:
                return self._text(row, column, is_exact=True)
            case Qt.ItemDataRole.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignRight if column in _NUMBERS else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
            case Qt.ItemDataRole.ForegroundRole:
                return self._colour(row, column)
            case Qt.ItemDataRole.FontRole if self._is_parting(row) and column in (RunColumn.NAME, RunColumn.REMARK):
                font = QFont()
                font.setBold(True)
                return font
            case _ if role == COPY_ROLE:
                return self._text(row, column, is_exact=True)
        return None

    def _colour(self, row: Entry, column: RunColumn) -> QColor | None:
        if column is RunColumn.RELATIVE and math.isinf(row.relative):
            return QColor(self._theme.bad)
        if column is not RunColumn.NAME and row.relative == 0:
            return QColor(self._theme.muted)
        if column is RunColumn.KIND or (column is RunColumn.REMARK and not self._is_parting(row)):
            return QColor(self._theme.muted)
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is not Qt.Orientation.Horizontal:
            return None
        name, explanation = self._headers[RunColumn(section)]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return name
            case Qt.ItemDataRole.ToolTipRole:
                return explanation
            case Qt.ItemDataRole.TextAlignmentRole:
                # At the right the arrow of the order would lie on the text.
                is_number = RunColumn(section) in _NUMBERS
                side = Qt.AlignmentFlag.AlignHCenter if is_number else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self._column, self._order = RunColumn(column), order
        self._rearrange(self._arrange)


def _order_of(value: float, sign: int, row: Entry) -> tuple[bool, float, int]:
    """What has no number comes last, in either direction; of the same the one that comes first in a step."""
    return math.isnan(value), 0.0 if math.isnan(value) else sign * value, row.place


def _differ(row: Entry, digits: int) -> bool:
    return numbers.number(row.ours, digits=digits) != numbers.number(row.theirs, digits=digits)
