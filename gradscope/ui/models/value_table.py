"""The values of one 2-d slice as a table model that fetches pages of 64 x 64 as they are looked at. GUI thread."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, QTimer, Signal, Slot

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.messages import FetchPage, Page, Unavailable
from gradscope.protocol.numbers import number
from gradscope.protocol.subjects import SubjectKey
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_items
from gradscope.ui.widgets.redraw import resetting

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

PAGE = 64
MAX_SECTIONS = 1_000_000
"""Rows (or columns) that are offered at once: a table header keeps a few bytes for each."""
_MAX_PAGES = 256
_MAX_WANTED = 8
_NOT_YET = "…"
_DIGITS = {"float64": 17, "complex128": 17, "float16": 5, "bfloat16": 4}

Index = QModelIndex | QPersistentModelIndex
Place = tuple[int, int]


@guarded
@plain_items
class ValueTableModel(QAbstractTableModel):
    """One request is under way at a time, and the page that was looked at last comes first."""

    unavailable = Signal(str)
    """The values cannot be had; the reason."""

    def __init__(self, controller: Controller, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._generation = 0
        self._subject: SubjectKey | None = None
        self._index: tuple[int, ...] = ()
        self._step: int | None = None
        self._digits = 9
        self._size: Place = (0, 0)
        self._first: Place = (0, 0)
        self._pages: OrderedDict[Place, FloatArray] = OrderedDict()
        self._integer = False
        self._wanted: OrderedDict[Place, None] = OrderedDict()
        self._under_way: Place | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._on_timer)

    def show_slice(
        self,
        subject: SubjectKey,
        *,
        shape: tuple[int, ...],
        dtype: str,
        index: tuple[int, ...],
        first: Place = (0, 0),
        step: int | None = None,
    ) -> None:
        """Show a slice anew; whatever is still under way is of no interest any more. `first` is the first row, column; `step`
        an earlier one, whose values have been computed again."""
        size = slice_size(shape)
        shown = tuple(min(n - f, MAX_SECTIONS) for n, f in zip(size, first, strict=True))
        old = (self.rowCount(), self.columnCount(), self._first)
        self._generation += 1
        self._pages.clear()
        self._wanted.clear()
        self._under_way = None
        self._digits, self._step = digits_of(dtype), step
        if old == (*shown, first):
            # The same table with other numbers keeps its scroll position.
            self._subject, self._index = subject, index
            if shown[0] and shown[1]:
                self.dataChanged.emit(self.index(0, 0), self.index(shown[0] - 1, shown[1] - 1))
            return
        with resetting(self):
            self._subject, self._index, self._size, self._first = subject, index, size, first

    def clear(self) -> None:
        with resetting(self):
            self._generation += 1
            self._subject, self._size, self._first = None, (0, 0), (0, 0)
            self._pages.clear()
            self._wanted.clear()
            self._under_way = None

    @property
    def page_count(self) -> int:
        return len(self._pages)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_timer(self) -> None:
        if self._under_way is not None or not self._wanted or self._subject is None:
            return
        place, _ = self._wanted.popitem(last=True)
        self._under_way = place
        generation = self._generation

        def on_reply(reply: Any) -> None:
            if generation == self._generation:
                self._take(place, reply)

        row, column = place
        request = FetchPage(
            subject=self._subject,
            index=self._index,
            row=row,
            rows=PAGE,
            column=column,
            columns=PAGE,
            step=self._step,
        )
        self._controller.fetch(request, on_reply)

    def _take(self, place: Place, reply: object) -> None:
        self._under_way = None
        if isinstance(reply, Unavailable):
            self._wanted.clear()
            self.unavailable.emit(reply.reason)
            return
        if not isinstance(reply, Page):
            return
        self._integer = reply.integer
        self._pages[place] = reply.values
        while len(self._pages) > _MAX_PAGES:
            self._pages.popitem(last=False)
        top, left = place[0] - self._first[0], place[1] - self._first[1]
        rows, columns = reply.values.shape
        bottom, right = min(top + rows, self.rowCount()) - 1, min(left + columns, self.columnCount()) - 1
        if bottom >= 0 and right >= 0:
            self.dataChanged.emit(self.index(max(0, top), max(0, left)), self.index(bottom, right))
        if self._wanted:
            self._timer.start()

    def _want(self, place: Place) -> None:
        if place == self._under_way:
            return
        self._wanted[place] = None
        self._wanted.move_to_end(place)
        while len(self._wanted) > _MAX_WANTED:
            self._wanted.popitem(last=False)
        # Asked for from inside of a paint event; the request itself is made outside of it.
        if self._under_way is None and not self._timer.isActive():
            self._timer.start()

    def _text(self, value: float) -> str:
        if self._integer and np.isfinite(value):
            return f"{value:.0f}"
        return number(value, digits=self._digits)

    # ------------------------------------------------------------------------------------------ Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else min(self._size[0] - self._first[0], MAX_SECTIONS)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 (Qt's own signature)
        return 0 if parent.isValid() else min(self._size[1] - self._first[1], MAX_SECTIONS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        row, column = index.row() + self._first[0], index.column() + self._first[1]
        place = (row // PAGE * PAGE, column // PAGE * PAGE)
        page = self._pages.get(place)
        if page is None:
            self._want(place)
            return _NOT_YET
        y, x = row - place[0], column - place[1]
        return self._text(float(page[y, x])) if y < page.shape[0] and x < page.shape[1] else _NOT_YET

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return str(section + self._first[0 if orientation is Qt.Orientation.Vertical else 1])


def digits_of(dtype: str) -> int:
    """Significant digits that tell all numbers of a type apart."""
    return _DIGITS.get(dtype, 9)


def slice_size(shape: tuple[int, ...]) -> Place:
    """Rows and columns of a tensor's slice: its last two dimensions; a 1-d tensor is one column, a scalar one cell."""
    match shape:
        case ():
            return 1, 1
        case (size,):
            return size, 1
        case _:
            return shape[-2], shape[-1]
