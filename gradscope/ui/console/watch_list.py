"""The list of watched expressions: a table, and a field for one more."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QFontDatabase, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QLineEdit, QMenu, QStackedWidget, QVBoxLayout, QWidget

from gradscope.protocol.messages.evaluate import WatchTime
from gradscope.state.console import ConsoleState, Watch
from gradscope.ui.console.sparkline import SparklineDelegate
from gradscope.ui.console.watch_model import NUMBERS_ROLE, Column, WatchModel
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import WrappedLabel

_WIDTHS = {Column.VALUE: 16, Column.NUMBERS: 14, Column.TIME: 13}
"""In digits; the expression has the rest."""


class WatchList(QWidget):
    added = Signal(str)
    edited = Signal(object, str)
    """(Watch, its new text)"""
    time_changed = Signal(object, object)
    """(Watch, WatchTime)"""
    removed = Signal(object)
    chart_wanted = Signal(object)
    """Watch: its numbers over the steps, as a chart."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = WatchModel(themes.theme, lambda watch, text: self.edited.emit(watch, text), self)
        self.table = _Table(self)
        self.table.setModel(self.model)
        self.table.setAccessibleName(self.tr("Watched expressions"))
        self.table.setItemDelegateForColumn(
            Column.NUMBERS, SparklineDelegate(themes, role=NUMBERS_ROLE, parent=self.table)
        )
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.table.horizontalHeader()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(Column.EXPRESSION, QHeaderView.ResizeMode.Stretch)
        digit = self.fontMetrics().horizontalAdvance("0")
        for column, digits in _WIDTHS.items():
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
            header.resizeSection(column, digits * digit)
        self.table.activated.connect(self._on_activated)
        self.table.clicked.connect(self._on_clicked)
        self.table.remove_wanted.connect(self._on_remove_wanted)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.table.customContextMenuRequested.connect(self._on_menu_wanted)
        self._empty = EmptyNote(
            self.tr("The value of an expression after every step, as a number and as a line: type one below, or press "
                    "“Watch this” beside an answer"),
            self,
        )  # fmt: skip
        self._pages = QStackedWidget(self)
        self._pages.addWidget(self._empty)
        self._pages.addWidget(self.table)
        self._note = WrappedLabel("", self)
        self._note.setProperty("role", "muted")
        self._note.setContentsMargins(8, 2, 8, 2)
        self._note.hide()
        self.field = QLineEdit(self)
        self.field.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.field.setPlaceholderText(self.tr("Watch an expression: loss.item()"))
        self.field.setAccessibleName(self.tr("Watch an expression"))
        self.field.returnPressed.connect(self._on_entered)
        lines = QVBoxLayout(self)
        lines.setContentsMargins(0, 0, 4, 4)
        lines.setSpacing(2)
        lines.addWidget(self._pages, 1)
        lines.addWidget(self._note)
        lines.addWidget(self.field)
        themes.changed.connect(self._on_theme_changed)

    def show_state(self, console: ConsoleState) -> None:
        self.model.show_watches(console.watches)
        self._pages.setCurrentWidget(self.table if console.watches else self._empty)
        self._note.setText(console.note)
        self._note.setVisible(bool(console.note))

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_entered(self) -> None:
        text = self.field.text().strip()
        if text:
            self.field.clear()
            self.added.emit(text)

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        watch = self.model.watch(index)
        if watch is not None and index.column() == Column.TIME:
            self._toggle(watch)
        elif watch is not None and index.column() == Column.NUMBERS:
            self.chart_wanted.emit(watch)

    @Slot(QModelIndex)
    def _on_clicked(self, index: QModelIndex) -> None:
        """The small line is where one wants to see more of it."""
        watch = self.model.watch(index)
        if watch is not None and index.column() == Column.NUMBERS:
            self.chart_wanted.emit(watch)

    @Slot()
    def _on_remove_wanted(self) -> None:
        for index in self.table.selectionModel().selectedRows():
            watch = self.model.watch(index)
            if watch is not None:
                self.removed.emit(watch)

    @Slot(QPoint)
    def _on_menu_wanted(self, place: QPoint) -> None:
        watch = self.model.watch(self.table.indexAt(place))
        if watch is None:
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(self.tr("Draw it over the steps"), lambda: self.chart_wanted.emit(watch))
        is_off = watch.value is not None and watch.value.is_off
        is_each_step = watch.expression.each is WatchTime.STEP
        if is_off:
            menu.addAction(self.tr("Switch on again"), lambda: self.time_changed.emit(watch, watch.expression.each))
        text = self.tr("Take it only at stops") if is_each_step else self.tr("Take it after each step")
        menu.addAction(text, lambda: self._toggle(watch))
        first = self.model.index(self.table.indexAt(place).row(), Column.EXPRESSION)
        menu.addAction(self.tr("Edit"), lambda: self.table.edit(first))
        menu.addAction(self.tr("Remove"), lambda: self.removed.emit(watch))
        menu.addSeparator()
        menu.addActions(self.table.actions())
        menu.popup(self.table.viewport().mapToGlobal(place))

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.model.set_theme(theme)

    def _toggle(self, watch: Watch) -> None:
        is_each_step = watch.expression.each is WatchTime.STEP
        self.time_changed.emit(watch, WatchTime.STOP if is_each_step else WatchTime.STEP)


@guarded
class _Table(CopyTable):
    remove_wanted = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Delete):
            self.remove_wanted.emit()
        else:
            super().keyPressEvent(event)
