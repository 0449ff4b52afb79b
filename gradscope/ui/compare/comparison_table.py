"""The subjects of a comparison as a table model, sorted and filtered here: the largest difference first. GUI thread."""

from __future__ import annotations

import math
from enum import IntEnum

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from gradscope.protocol import numbers
from gradscope.protocol.subjects import COUNT, L2, SubjectKey
from gradscope.state.comparison import Comparison, Row, Verdict
from gradscope.state.records.newest import Latest
from gradscope.ui.compare.words import kind_text, remark
from gradscope.ui.look.colours import Theme
from gradscope.ui.plots.words.formats import percent
from gradscope.ui.widgets.copy_table import COPY_ROLE
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting

Index = QModelIndex | QPersistentModelIndex
_DIFFERENT = frozenset(Verdict) - {Verdict.IDENTICAL, Verdict.WAITING}


class Column(IntEnum):
    SUBJECT = 0
    KIND = 1
    ABSOLUTE = 2
    RELATIVE = 3
    DIFFERING = 4
    OURS = 5
    THEIRS = 6
    REMARK = 7


@guarded
@plain_items
class ComparisonTableModel(QAbstractTableModel):
    """`refresh` when the comparison has gone on; the rows that are selected stay so."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self.comparison: Comparison | None = None
        self._rows: list[Row] = []
        self._number: dict[SubjectKey, int] = {}
        self._filter = ""
        self._only_differences = False
        self._column = Column.ABSOLUTE
        self._order = Qt.SortOrder.DescendingOrder
        self._headers = {
            Column.SUBJECT: (self.tr("Tensor"), self.tr("The layer or parameter that it belongs to")),
            Column.KIND: (self.tr("Kind"), self.tr("What it is of the layer or parameter")),
            Column.ABSOLUTE: ("max |A − B|", self.tr("The largest difference of one element")),
            Column.RELATIVE: (
                self.tr("relative"),
                self.tr("The largest |A − B| / max(|A|, |B|) of one element; 2 where the signs are opposite"),
            ),
            Column.DIFFERING: (self.tr("Differing"), self.tr("The share of the elements that are not the same")),
            Column.OURS: (self.tr("L2 of A"), self.tr("The L2 norm of the whole tensor in A")),
            Column.THEIRS: (self.tr("L2 of B"), self.tr("The L2 norm of the whole tensor in B")),
            Column.REMARK: (self.tr("Remark"), self.tr("Why nothing could be compared, and other forms")),
        }

    # ------------------------------------------------------------------------------------------ public

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Another comparison, or what has come in of this one."""
        if comparison is not self.comparison:
            with resetting(self):
                self.comparison = comparison
                self._arrange()
        else:
            self._rearrange()

    def set_filter(self, wanted: str, *, only_differences: bool) -> None:
        """Keep the rows whose name contains the text, and leave out what is identical."""
        self._filter, self._only_differences = wanted.strip().lower(), only_differences
        self._rearrange()

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self._tell_changed()

    def row_at(self, row: int) -> Row | None:
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def place_of(self, key: SubjectKey) -> int | None:
        return self._number.get(key)

    # ------------------------------------------------------------------------------------------ private

    def _arrange(self) -> None:
        rows = self.comparison.rows if self.comparison is not None else []
        if self._only_differences:
            rows = [row for row in rows if row.verdict in _DIFFERENT]
        if self._filter:
            rows = [row for row in rows if self._filter in row.key.shown().lower()]
        if self._column in (Column.SUBJECT, Column.KIND, Column.REMARK):
            words = {Column.SUBJECT: _name, Column.KIND: _kind, Column.REMARK: remark}[self._column]
            rows.sort(key=words, reverse=self._order is Qt.SortOrder.DescendingOrder)
        else:
            # What has no number comes last, in either direction, in the order of the verdicts.
            sign = -1 if self._order is Qt.SortOrder.DescendingOrder else 1
            rows.sort(key=lambda row: _order_of(row, self._number_of(row, self._column), sign))
        self._rows = rows
        self._number = {row.key: i for i, row in enumerate(rows)}

    def _rearrange(self) -> None:
        self.layoutAboutToBeChanged.emit()
        try:
            before = self.persistentIndexList()
            keys = [self._rows[index.row()].key for index in before]
            self._arrange()
            places = [self._number.get(key) for key in keys]
            after = [
                QModelIndex() if place is None else self.index(place, index.column())
                for place, index in zip(places, before, strict=True)
            ]
            self.changePersistentIndexList(before, after)
        finally:
            self.layoutChanged.emit()

    def _tell_changed(self) -> None:
        if self._rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, len(Column) - 1))

    @staticmethod
    def _number_of(row: Row, column: Column) -> float:
        match column:
            case Column.ABSOLUTE:
                return row.absolute
            case Column.RELATIVE:
                return row.relative
            case Column.DIFFERING:
                difference = row.difference
                known = difference is not None and not difference.problem and difference.count
                return 100 * difference.differing / difference.count if difference is not None and known else math.nan
            case Column.OURS:
                return _norm(row.ours)
            case _:
                return _norm(row.theirs)

    def _text(self, row: Row, column: Column, *, is_exact: bool = False) -> str:
        match column:
            case Column.SUBJECT:
                return _name(row)
            case Column.KIND:
                return _kind(row)
            case Column.REMARK:
                return remark(row)
        number = self._number_of(row, column)
        if math.isnan(number):
            return ""
        if is_exact:
            return repr(number)
        return percent(number) if column is Column.DIFFERING else numbers.number(number)

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else len(Column)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid() or index.row() >= len(self._rows):
            return None
        row, column = self._rows[index.row()], Column(index.column())
        is_number = Column.ABSOLUTE <= column <= Column.THEIRS
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self._text(row, column)
            case Qt.ItemDataRole.ToolTipRole if not is_number:
                return self._text(row, column)
            case Qt.ItemDataRole.TextAlignmentRole:
                side = Qt.AlignmentFlag.AlignRight if is_number else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
            case Qt.ItemDataRole.ForegroundRole:
                return self._colour(row, column)
            case _ if role == COPY_ROLE and is_number:
                return self._text(row, column, is_exact=True)
        return None

    def _colour(self, row: Row, column: Column) -> QColor | None:
        if column is not Column.SUBJECT and row.verdict is Verdict.IDENTICAL:
            return QColor(self._theme.muted)
        if column in (Column.ABSOLUTE, Column.RELATIVE) and math.isinf(self._number_of(row, column)):
            return QColor(self._theme.bad)
        return QColor(self._theme.muted) if column in (Column.KIND, Column.REMARK) else None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation is not Qt.Orientation.Horizontal:
            return None
        name, explanation = self._headers[Column(section)]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return name
            case Qt.ItemDataRole.ToolTipRole:
                return explanation
            case Qt.ItemDataRole.TextAlignmentRole:
                # At the right the arrow of the order would lie on the text.
                is_number = Column.ABSOLUTE <= section <= Column.THEIRS
                side = Qt.AlignmentFlag.AlignHCenter if is_number else Qt.AlignmentFlag.AlignLeft
                return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        self._column, self._order = Column(column), order
        self._rearrange()


def _order_of(row: Row, number: float, sign: int) -> tuple[int, float, int]:
    if row.verdict is Verdict.OTHER_SHAPE and sign < 0:
        # As different as can be.
        return (0, 0.0, 0)
    if math.isnan(number):
        return (2, 0.0, row.verdict)
    is_last = number == 0 and sign < 0
    return (3 if is_last else 1, sign * number, row.verdict)


def _norm(latest: Latest | None) -> float:
    if latest is None or not latest.summary[COUNT]:
        return math.nan
    return float(latest.summary[L2])


def _name(row: Row) -> str:
    return row.key.shown()


def _kind(row: Row) -> str:
    return kind_text(row.key.kind)
