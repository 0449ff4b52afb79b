"""The Compare tab: the two sides, the progress, the table of subjects, and both summaries of the chosen one."""

from __future__ import annotations

import math
import time

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt, QTimer, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol import numbers
from gradscope.protocol.subjects import COLUMNS, COUNT, MIN
from gradscope.state.comparison import Comparison, Row
from gradscope.state.records.newest import Latest
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.comparer import Comparer
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.pacing import SPARE_FACTOR
from gradscope.ui.compare.comparison_table import Column, ComparisonTableModel
from gradscope.ui.compare.side_line import side_line
from gradscope.ui.compare.words import largest_text, result_text, side_text
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.number_table import NumberTable, TableData
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.fields import clear_on_escape
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import Held, owing

_REFRESH_MS = 200
_LEAST_LINES = 24
_WIDTHS = {
    Column.SUBJECT: 19,
    Column.KIND: 12,
    Column.ABSOLUTE: 14,
    Column.RELATIVE: 10,
    Column.DIFFERING: 10,
    Column.OURS: 10,
    Column.THEIRS: 10,
    Column.REMARK: 26,
}


@guarded
class CompareTab(QWidget):
    """Choosing a row selects its subject everywhere."""

    def __init__(
        self, controller: Controller, comparer: Comparer, themes: ThemeManager, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._comparer = comparer
        self._is_following = Held()
        self._shown: tuple[bool, Comparison | None] = (False, None)
        self.ours, self.theirs, self.result = ElidedLabel(), ElidedLabel(), ElidedLabel()
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName(self.tr("Progress of the comparison"))
        self.cancel = QPushButton(self.tr("Cancel"))
        self.cancel.clicked.connect(comparer.cancel)
        self.again = QPushButton(self.tr("Compare again"))
        self.again.clicked.connect(comparer.again)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText(self.tr("Filter by name"))
        self.filter.setClearButtonEnabled(True)
        self.filter.setAccessibleName(self.tr("Filter the comparison"))
        clear_on_escape(self.filter, within=self)
        self.only_differences = QCheckBox(self.tr("Only differences"))
        self.filter.textChanged.connect(self._on_filter_changed)
        self.only_differences.toggled.connect(self._on_filter_changed)
        self.model = ComparisonTableModel(themes.theme, self)
        self.table = self._make_table()
        self.largest = ElidedLabel()
        self.largest.setProperty("role", "muted")
        self.summaries = NumberTable(self)
        self._summary_view = self._make_summary_view()
        self._arrange()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.refresh)
        comparer.changed.connect(self._on_changed)
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        self.refresh()

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_changed(self) -> None:
        """At once when it begins and when it is done; bit by bit in between."""
        is_news = (self._comparer.is_busy, self._comparer.comparison) != self._shown
        if is_news or not self._comparer.is_busy:
            self.refresh()
        elif not self._timer.isActive():
            self._timer.start()

    @Slot()
    def refresh(self) -> None:
        """Show what the comparer has now."""
        self._timer.stop()
        started = time.perf_counter()
        comparison, is_busy = self._comparer.comparison, self._comparer.is_busy
        is_done = self._shown[0] and not is_busy
        self._shown = (is_busy, comparison)
        is_over = comparison is not None and comparison.is_stale
        self.ours.show_text(side_text(comparison.ours, is_over=is_over) if comparison is not None else "")
        self.theirs.show_text(side_text(comparison.theirs) if comparison is not None else "")
        with self._is_following:
            self.model.show_comparison(comparison)
        self.result.show_text(self._result(comparison, is_busy=is_busy))
        self.progress.setVisible(is_busy)
        self.cancel.setVisible(is_busy)
        self.again.setVisible(not is_busy)
        total = len(comparison.rows) if comparison is not None else 0
        self.progress.setRange(0, total)
        self.progress.setValue(total - comparison.to_compare if comparison is not None else 0)
        self._follow_selection()
        self._show_summaries()
        if is_done:
            self.table.scrollToTop()
        # The window has to answer: most of the time is left to everything else.
        spent_ms = int(1000 * (time.perf_counter() - started))
        self._timer.setInterval(max(_REFRESH_MS, SPARE_FACTOR * spent_ms))

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.ENGINE, Topic.POSITION, Topic.SESSION}:
            self._refresh_again()
        if Topic.SELECTION in topics:
            self._follow_selection()
            self._show_summaries()

    @Slot()
    def _on_filter_changed(self) -> None:
        with self._is_following:
            self.model.set_filter(self.filter.text(), only_differences=self.only_differences.isChecked())
        self._follow_selection()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.model.set_theme(theme)

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        row = self.model.row_at(current.row()) if current.isValid() else None
        if self._is_following or row is None:
            return
        if row.ours is not None:
            self._controller.select(Selection.of_subject(row.key))
        self._show_summaries()

    # ------------------------------------------------------------------------------------------ private

    def _result(self, comparison: Comparison | None, *, is_busy: bool) -> str:
        if comparison is None:
            return self.tr("Reading the snapshot ...") if is_busy else ""
        if is_busy:
            done = self.tr("Comparing: {count} tensors to go")
            return done.format(count=comparison.to_compare)
        result = result_text(comparison)
        if comparison.is_stale:
            return self.tr("{result} (A has moved on since)").format(result=result)
        return result

    def _refresh_again(self) -> None:
        position = self._controller.state.position
        self.again.setEnabled(not position.running)
        self.again.setToolTip(
            plain_tip(self.tr("The session is running: press Pause first") if position.running else "")
        )

    def _current_row(self) -> Row | None:
        index = self.table.currentIndex()
        return self.model.row_at(index.row()) if index.isValid() else None

    def _follow_selection(self) -> None:
        key = self._controller.state.selection.subject
        row = self._current_row()
        if key is None or (row is not None and (row.key == key or row.ours is None)):
            return
        place = self.model.place_of(key)
        with self._is_following:
            flags = QItemSelectionModel.SelectionFlag
            if place is None:
                self.table.selectionModel().clear()
            else:
                index = self.model.index(place, 0)
                self.table.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
                self.table.scrollTo(index)

    def _show_summaries(self) -> None:
        row = self._current_row()
        self.largest.show_text(largest_text(row))
        sides = [("A", row.ours if row is not None else None), ("B", row.theirs if row is not None else None)]
        self.summaries.set_data(
            TableData(
                headers=("", self.tr("count"), "NaN", "Inf", self.tr("zeros"), *COLUMNS[MIN:-1], "L2"),
                rows=len(sides),
                cell=lambda number, column: sides[number][0] if column == 0 else _cell(sides[number][1], column - 1),
            )
        )

    def _make_table(self) -> CopyTable:
        table = CopyTable()
        table.setModel(self.model)
        table.setAccessibleName(self.tr("Comparison"))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setShowGrid(False)
        # The end of a long name tells layers apart.
        table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        table.verticalHeader().hide()
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        digit = table.fontMetrics().horizontalAdvance("0")
        for column, width in _WIDTHS.items():
            header.resizeSection(column, width * digit)
        table.setSortingEnabled(True)
        table.sortByColumn(Column.ABSOLUTE, Qt.SortOrder.DescendingOrder)
        table.selectionModel().currentChanged.connect(self._on_current_changed)
        return table

    def _make_summary_view(self) -> CopyTable:
        view = CopyTable()
        view.setModel(self.summaries)
        view.setAccessibleName(self.tr("Both summaries"))
        view.setFrameShape(QFrame.Shape.NoFrame)
        view.verticalHeader().hide()
        view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        view.setSizeAdjustPolicy(QAbstractItemView.SizeAdjustPolicy.AdjustToContents)
        view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        view.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        return view

    def _arrange(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 4)
        column.setSpacing(4)
        for letter, label in (("A", self.ours), ("B", self.theirs)):
            column.addLayout(side_line(letter, label))
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.result, 2)
        line.addWidget(self.progress, 1)
        line.addWidget(self.cancel)
        line.addWidget(self.again)
        column.addLayout(line)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.filter, 1)
        line.addWidget(self.only_differences)
        column.addLayout(line)
        column.addWidget(self.table, 1)
        column.addWidget(self.largest)
        column.addWidget(self._summary_view)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        # In a small window the subjects come first; the inspector has the numbers too.
        has_room = self.height() >= _LEAST_LINES * self.fontMetrics().lineSpacing()
        self.largest.setVisible(has_room)
        self._summary_view.setVisible(has_room)


def _cell(latest: Latest | None, column: int) -> object:
    if latest is None:
        return "–"
    number = float(latest.summary[column])
    if math.isnan(number):
        return "–"
    return f"{number:,.0f}" if COUNT <= column < MIN else numbers.number(number)
