"""The list of findings as a Qt model: roots with what follows from them, then what was dismissed, then what was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from PySide6.QtCore import QAbstractItemModel, QModelIndex, QObject, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

from gradscope.protocol.findings import Finding, Verdict
from gradscope.state.findings import FindingsState, Group
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import icon
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting
from gradscope.ui.words.findings import SIGNS, looked_at, not_judged, place_of, seen_from, severity_name

Index = QModelIndex | QPersistentModelIndex
_Role = Qt.ItemDataRole
RowKey = tuple[str, str, bool]
"""The id and the place of a finding, and whether it is among the dismissed."""
DISMISSED: RowKey = ("", "dismissed", False)
CHECKS: RowKey = ("", "checks", False)


class Column(IntEnum):
    SEVERITY = 0
    TITLE = 1
    PLACE = 2
    STEP = 3


@dataclass
class _Row:
    key: RowKey
    parent: int
    place: int
    finding: Finding | None = None
    children: list[int] = field(default_factory=list)


@guarded
@plain_items
class FindingsModel(QAbstractItemModel):
    """An index carries the number of its row."""

    def __init__(self, theme: Theme, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._state = FindingsState()
        self._rows: list[_Row] = []
        self._top: list[int] = []
        self._headers = (self.tr("Finding"), self.tr("What it is"), self.tr("Place"), self.tr("Step"))

    # ------------------------------------------------------------------------------------------ public

    def show_state(self, state: FindingsState) -> None:
        """Other findings; rows that stay the same keep their places in the views."""
        before = [(row.key, row.parent) for row in self._rows]
        rows, top = _arranged(state)
        if before == [(row.key, row.parent) for row in rows]:
            self._state, self._rows, self._top = state, rows, top
            self._tell_all_changed()
            return
        with resetting(self):
            self._state, self._rows, self._top = state, rows, top

    def set_theme(self, theme: Theme) -> None:
        self._theme = theme
        self._tell_all_changed()

    def finding(self, index: Index) -> Finding | None:
        """None for a row that is none."""
        return self._rows[index.internalId()].finding if index.isValid() else None

    def key(self, index: Index) -> RowKey | None:
        return self._rows[index.internalId()].key if index.isValid() else None

    def index_of(self, key: RowKey | None) -> QModelIndex:
        """An invalid one where there is no such row."""
        found = (number for number, row in enumerate(self._rows) if row.key == key)
        number = next(found, None)
        return QModelIndex() if number is None else self.createIndex(self._rows[number].place, 0, number)

    # ------------------------------------------------------------------------------------------ private

    def _tell_all_changed(self) -> None:
        for siblings in (self._top, *(row.children for row in self._rows)):
            if siblings:
                first, last = siblings[0], siblings[-1]
                self.dataChanged.emit(
                    self.createIndex(0, 0, first), self.createIndex(len(siblings) - 1, len(Column) - 1, last)
                )

    def _text(self, row: _Row, column: int) -> str:
        finding = row.finding
        if finding is None:
            return self._heading(row) if column == Column.SEVERITY else ""
        match column:
            case Column.SEVERITY:
                return severity_name(finding.severity)
            case Column.TITLE:
                return finding.title
            case Column.PLACE:
                return place_of(finding)
        return str(finding.first_step)

    def _heading(self, row: _Row) -> str:
        if row.key == DISMISSED:
            return self.tr("Dismissed (%1)").replace("%1", str(len(row.children)))
        left = len(self._state.checks(Verdict.NOT_JUDGED))
        text = looked_at(self._state)
        return f"{text}; {not_judged(left, is_beside=bool(self._state.judged))}" if left else text

    def _tooltip(self, row: _Row, column: int) -> str:
        finding = row.finding
        if finding is None:
            return self._heading(row)
        if column == Column.STEP:
            return self.tr("Seen in %1").replace("%1", seen_from(finding))
        if column == Column.PLACE and finding.near:
            return ", ".join((place_of(finding), *finding.near))
        return f"{severity_name(finding.severity)}: {finding.title}\n{finding.why}"

    # ------------------------------------------------------------------------------------------ Qt

    def index(self, row: int, column: int, parent: Index = QModelIndex()) -> QModelIndex:  # noqa: B008
        siblings: Sequence[int] = self._rows[parent.internalId()].children if parent.isValid() else self._top
        return self.createIndex(row, column, siblings[row]) if 0 <= row < len(siblings) else QModelIndex()

    def parent(self, index: Index) -> QModelIndex:  # type: ignore[override]
        number = self._rows[index.internalId()].parent if index.isValid() else -1
        return self.createIndex(self._rows[number].place, 0, number) if number >= 0 else QModelIndex()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        if not parent.isValid():
            return len(self._top)
        return len(self._rows[parent.internalId()].children) if parent.column() == 0 else 0

    def columnCount(self, _parent: Index = QModelIndex()) -> int:  # noqa: B008
        return len(Column)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:
        if orientation is Qt.Orientation.Horizontal and role == _Role.DisplayRole:
            return self._headers[section]
        if orientation is Qt.Orientation.Horizontal and role == _Role.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if section == Column.STEP else Qt.AlignmentFlag.AlignLeft
            return side | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: Index, role: int = _Role.DisplayRole) -> Any:
        if not index.isValid():
            return None
        row, column = self._rows[index.internalId()], index.column()
        finding = row.finding
        match role:
            case _Role.DisplayRole:
                return self._text(row, column)
            case _Role.ToolTipRole:
                return self._tooltip(row, column)
            case _Role.DecorationRole if column == Column.SEVERITY and finding is not None:
                name, colour = SIGNS[finding.severity]
                return icon(name, self._theme, colour=getattr(self._theme, colour))
            case _Role.ForegroundRole if finding is None or (column == Column.SEVERITY and finding.severity.counts):
                return QColor(
                    self._theme.muted if finding is None else getattr(self._theme, SIGNS[finding.severity][1])
                )
            case _Role.TextAlignmentRole if column == Column.STEP:
                return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None


def _arranged(state: FindingsState) -> tuple[list[_Row], list[int]]:
    """(all rows, the numbers of those at the top)."""
    rows: list[_Row] = []
    top: list[int] = []

    def add(key: RowKey, parent: int, finding: Finding | None = None) -> int:
        number = len(rows)
        siblings = top if parent < 0 else rows[parent].children
        rows.append(_Row(key, parent, len(siblings), finding))
        siblings.append(number)
        return number

    def add_group(group: Group, parent: int, *, is_dismissed: bool) -> None:
        root = add((*group.root.key, is_dismissed), parent, group.root)
        for finding in group.consequences:
            add((*finding.key, is_dismissed), root, finding)

    for group in state.groups():
        add_group(group, -1, is_dismissed=False)
    dismissed = state.groups(dismissed=True)
    if dismissed:
        heading = add(DISMISSED, -1)
        for group in dismissed:
            add_group(group, heading, is_dismissed=True)
    add(CHECKS, -1)
    return rows, top
