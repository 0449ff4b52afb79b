"""How wide the columns of the Layers panel are, and which of them there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from PySide6.QtCore import QModelIndex, QPoint, Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QTreeView

from gradscope.protocol.messages import BufferInfo
from gradscope.ui.models.layer_tree import Column, LayerTreeModel

LOOKED_AT = 60
"""Rows whose texts a column is to be wide enough for."""
NUMBERS = {Column.VALUE: 14.5, Column.GRADIENT: 8.0, Column.UPDATE: 7.5}
"""Least widths in digits of the view's font; longer numbers make their column wider."""
_NAMES, _FORMS, _FLAGS = (11, 28), (9, 16), (6.5, 14)
"""Bounds of columns that are as wide as their texts. Flags that are longer take what is left, or are a mark."""
_USUAL_NAMES, _DEEP_NAMES = 16, 10
"""Names are not cut to less for the sake of a column that can be left out: with what stands before them, and without, for
the deepest of those that are seen."""
_LEFT_OUT_FIRST = (Column.VALUE, Column.UPDATE, Column.FORM)
"""In a narrower panel; their tooltips, or the inspector, tell it too."""


class LayerColumns:
    """Of a view. It is resized several times before it is seen: what its texts need is measured once, until they change."""

    def __init__(self, view: QTreeView, model: LayerTreeModel, buffers: Callable[[], Sequence[BufferInfo]]) -> None:
        """`buffers` gives those of the session that is shown."""
        self._view, self._model, self._buffers = view, model, buffers
        self._widths: dict[tuple[int, Column], int] = {}
        """(a row, a column) -> what stands there needs."""
        self._margins: dict[tuple[bool, bool], int] = {}
        """(is it a name, has it a sign) -> what style and style sheet keep free around a text, which is the same for all."""
        self._font = ""
        for changed in (model.modelReset, model.dataChanged, view.expanded, view.collapsed):
            changed.connect(self._forget)

    def fit(self) -> None:
        """Every column that is shown is whole, but for names of buffers; these and the flags take what is left."""
        room = self._view.viewport().width()
        widths = self.widths_in(room)
        left = max(0, room - sum(widths.values()))
        for_names = min(left, max(0, self._width_of_buffers() - widths[Column.NAME]))
        widths[Column.NAME] += for_names
        widths[Column.FLAGS] += left - for_names
        for column in Column:
            self._view.setColumnHidden(column, column not in widths)
            if column in widths:
                self._view.header().resizeSection(column, widths[column])

    def widths_in(self, room: int) -> dict[Column, int]:
        """Of the columns that there is room for."""
        digit = self._view.fontMetrics().horizontalAdvance("0")
        widths = self._wanted_widths()
        wanted = widths[Column.NAME]
        names = max(_USUAL_NAMES * digit, self._deepest_seen() * self._view.indentation() + _DEEP_NAMES * digit)
        usual = {Column.FORM: _FORMS[0] * digit, Column.NAME: names}
        for column in _LEFT_OUT_FIRST:
            longer = sum(max(0, widths[soft] - least) for soft, least in usual.items() if soft in widths)
            if sum(widths.values()) - longer > room:
                del widths[column]
        # A text that is cut is whole in its tooltip; a number that is cut is another number.
        # The name of its column is whole where the names of layers have room enough to be shorter.
        whole = max(usual[Column.FORM], self._width_of_heading(Column.FORM))
        leasts = ((Column.FORM, whole), (Column.NAME, _NAMES[0] * digit), (Column.FORM, usual[Column.FORM]))
        for column, least in leasts:
            if column in widths:
                short = max(0, sum(widths.values()) - room)
                widths[column] = max(least, widths[column] - short)
        if sum(widths.values()) > room:
            # What does not fit is scrolled to, and then a cut name has saved nothing.
            widths[Column.NAME] = wanted
        return widths

    def widen(self) -> None:
        """Where a number or a flag has become longer than its column is wide."""
        needed = self._widths_of_texts()
        if any(width > self._view.columnWidth(c) for c, width in needed.items() if not self._view.isColumnHidden(c)):
            self.fit()

    # ------------------------------------------------------------------------------------------ private

    def _forget(self) -> None:
        self._widths.clear()
        self._margins.clear()

    def _wanted_widths(self) -> dict[Column, int]:
        digit = self._view.fontMetrics().horizontalAdvance("0")
        needed_by = self._widths_of_texts()
        widths: dict[Column, int] = {
            column: max(round(digits * digit), needed_by[column]) for column, digits in NUMBERS.items()
        }
        widths[Column.FLAGS] = needed_by[Column.FLAGS]
        around = self._around()
        for column, (least, most) in {Column.NAME: _NAMES, Column.FORM: _FORMS}.items():
            longest = max((self._width_of(index, column) for index in around), default=0)
            needed = max(longest + digit, self._width_of_heading(column))
            widths[column] = max(least * digit, min(needed, most * digit))
        return widths

    def _width_of_heading(self, column: Column) -> int:
        # The header's own hint is 0 for a column that is hidden now.
        metrics = self._view.header().fontMetrics()
        text = str(self._model.headerData(column, Qt.Orientation.Horizontal))
        return metrics.horizontalAdvance(text) + 3 * metrics.horizontalAdvance("0")

    def _width_of_buffers(self) -> int:
        """What the names of buffers need, as far as those of the first ones tell."""
        metrics = self._view.fontMetrics()
        names = [buffer.name.split(".") for buffer in self._buffers()[:LOOKED_AT]]
        indents = self._view.indentation() * max(map(len, names), default=0) + self._view.indentation()
        needed = max((metrics.horizontalAdvance(parts[-1]) for parts in names), default=0)
        digit = metrics.horizontalAdvance("0")
        return min(needed + indents + 2 * digit if names else 0, _NAMES[1] * digit)

    def _widths_of_texts(self) -> dict[Column, int]:
        """What the numbers and the flags of the rows that are seen need."""
        if self._font != self._view.font().key():
            self._forget()
            self._font = self._view.font().key()
        seen = list(self._seen())
        widths: dict[Column, int] = {
            column: max((self._width_of(index, column) for index in seen), default=0)
            for column in (*NUMBERS, Column.FLAGS)
        }
        least, most = (round(digits * self._view.fontMetrics().horizontalAdvance("0")) for digits in _FLAGS)
        widths[Column.FLAGS] = max(least, min(widths[Column.FLAGS], most))
        return widths

    def _width_of(self, row: QModelIndex, column: Column) -> int:
        place = (row.internalId(), column)
        if place not in self._widths:
            self._widths[place] = self._measured(row.siblingAtColumn(column))
        return self._widths[place]

    def _measured(self, cell: QModelIndex) -> int:
        """Cheaper than the view's own hint, which asks for all roles."""
        text, role = str(cell.data() or ""), Qt.ItemDataRole
        is_name = cell.column() == Column.NAME
        if not text or (is_name and cell.data(role.SizeHintRole) is not None):
            return 0
        font = cell.data(role.FontRole) if is_name else None
        metrics = self._view.fontMetrics() if font is None else QFontMetrics(font)
        kind = is_name, is_name and cell.data(role.DecorationRole) is not None
        if kind not in self._margins:
            self._margins[kind] = self._view.sizeHintForIndex(cell).width() - metrics.horizontalAdvance(text) + 1
        depth = self._depth(cell) if is_name else 0
        return metrics.horizontalAdvance(text) + self._margins[kind] + depth * self._view.indentation()

    def _deepest_seen(self) -> int:
        """How many layers stand around the deepest of the rows that are seen, itself included."""
        return max((self._depth(index) for index in self._seen()), default=0)

    def _depth(self, index: QModelIndex) -> int:
        depth = 0
        while index.isValid():
            depth, index = depth + 1, index.parent()
        return depth

    def _seen(self) -> Iterator[QModelIndex]:
        index, bottom = self._view.indexAt(QPoint(0, 0)), self._view.viewport().height()
        while index.isValid() and self._view.visualRect(index).top() < bottom:
            yield index
            index = self._view.indexBelow(index)

    def _around(self) -> list[QModelIndex]:
        """Those that are seen first, and those below and above them that are looked at."""
        top = self._view.indexAt(QPoint(0, 0))
        found = list(islice(_until_invalid(top, self._view.indexBelow), LOOKED_AT))
        above = islice(_until_invalid(top, self._view.indexAbove), 1, None)
        return [*found, *islice(above, LOOKED_AT - len(found))]


def _until_invalid(index: QModelIndex, following: Callable[[QModelIndex], QModelIndex]) -> Iterator[QModelIndex]:
    while index.isValid():
        yield index
        index = following(index)
