"""The values themselves, as a table of one 2-d slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSpinBox, QStackedLayout, QVBoxLayout, QWidget

from gradscope.protocol.numbers import scientific
from gradscope.state.records.newest import Latest
from gradscope.state.topics import Topic
from gradscope.ui.models.value_table import MAX_SECTIONS, ValueTableModel, digits_of, slice_size
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.fields import SpinBox
from gradscope.ui.widgets.index_bar import IndexBar
from gradscope.ui.widgets.plain import PlainLabel
from gradscope.ui.words.shown_step import why_no_values

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller


_LONGEST = 8.8888888888888888e-300


class ValuesView(QWidget):
    """`look_at` it with a token that changes whenever the values may have; it fetches what comes into view."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._latest: Latest | None = None
        self._token: object = None
        self.model = ValueTableModel(controller, self)
        self.model.unavailable.connect(self._on_unavailable)
        self._index_bar = IndexBar()
        self._index_bar.changed.connect(self._on_index_changed)
        self._jumps = [self._make_jump(self.tr("from row")), self._make_jump(self.tr("from column"))]
        self.table = CopyTable()
        self.table.setModel(self.model)
        self.table.setAccessibleName(self.tr("Values"))
        self._note = EmptyNote("")
        page = QWidget()
        jumps = QHBoxLayout()
        jumps.setContentsMargins(8, 0, 8, 0)
        for label, spin in self._jumps:
            jumps.addWidget(label)
            jumps.addWidget(spin)
        jumps.addStretch(1)
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._index_bar)
        column.addLayout(jumps)
        column.addWidget(self.table, 1)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(page)
        self._stack.addWidget(self._note)

    @property
    def message(self) -> str:
        """The sentence that is shown instead of values, if any."""
        return self._note.text() if self._stack.currentWidget() is self._note else ""

    def look_at(self, latest: Latest, token: object | None) -> None:
        """Show the values of a subject; token None while the session runs."""
        not_kept = why_no_values(self._controller.state, latest)
        if not_kept:
            self._token = None
            self.model.clear()
            self._say(not_kept)
            return
        if token is None:
            self._token = None
            self.model.clear()
            self._say(self.tr("Running: the values are fetched when it pauses"))
            return
        if token == self._token:
            return
        self._token, self._latest = token, latest
        self._index_bar.show_shape(latest.row.shape)
        for (label, spin), size in zip(self._jumps, slice_size(latest.row.shape), strict=True):
            label.setVisible(size > MAX_SECTIONS)
            spin.setVisible(size > MAX_SECTIONS)
            spin.setMaximum(max(0, min(size - 1, 2**31 - 1)))
        self._fetch()

    @Slot()
    def _on_index_changed(self) -> None:
        self._fetch()

    @Slot(str)
    def _on_unavailable(self, reason: str) -> None:
        self._say(reason)
        state = self._controller.state
        if self._latest is not None and self._token is not None and state.closer.forget(self._latest):
            state.touch(Topic.SHOWN)
            self._controller.flush()

    def _fetch(self) -> None:
        if self._latest is None or self._token is None:
            return
        row = self._latest.row
        if 0 in row.shape:
            self._say(self.tr("This tensor is empty"))
            return
        self._stack.setCurrentIndex(0)
        first = (self._jumps[0][1].value(), self._jumps[1][1].value())
        # Wide enough for the longest number of the type, so that none is rounded.
        longest = scientific(-_LONGEST, digits=digits_of(row.dtype)) + "00"
        self.table.horizontalHeader().setDefaultSectionSize(self.fontMetrics().horizontalAdvance(longest))
        step = self._controller.state.closer.step_of(self._latest)
        self.model.show_slice(
            row.key, shape=row.shape, dtype=row.dtype, index=self._index_bar.index, first=first, step=step
        )

    def _say(self, text: str) -> None:
        self._note.setText(text)
        self._stack.setCurrentWidget(self._note)

    def _make_jump(self, text: str) -> tuple[QLabel, QSpinBox]:
        label, spin = PlainLabel(text), SpinBox()
        label.setBuddy(spin)
        spin.setAccessibleName(text)
        spin.setSingleStep(MAX_SECTIONS)
        spin.setKeyboardTracking(False)
        spin.valueChanged.connect(self._on_index_changed)
        label.hide()
        spin.hide()
        return label, spin
