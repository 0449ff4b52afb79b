"""Two runs beside each other: where they part, every row of them, their curves over each other, and what differs.

One page for two branches of the session and for two files; what it shows was computed by `gradscope.comparing`.
"""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from gradscope.comparing import Beside, RowKey
from gradscope.comparing.sheets import DATA, LOSS
from gradscope.comparing.telling import sentences
from gradscope.protocol.subjects import SubjectKey
from gradscope.ui.actions.controller import Controller
from gradscope.ui.compare.facts_page import FactsPage
from gradscope.ui.compare.run_rows import RunColumn, RunRowsModel
from gradscope.ui.compare.run_words import kind_of, lines_below, short_name, side_text
from gradscope.ui.compare.side_line import side_line
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.pair_chart import PairChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.chart_grid import ChartGrid
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.fields import ComboBox, SpinBox, clear_on_escape
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel, plain_tip
from gradscope.ui.widgets.redraw import Held

_MOST_CURVES = 12
_MOMENT_LETTERS = 20
_CHART_EMS, _TABLE_LINES = 8, 5
_LEAST_LINES = 29
"""Of the page, below which its rows come first: the curve of the chosen one is seen where there is more room."""
_WIDTHS = {
    RunColumn.NAME: 21,
    RunColumn.KIND: 13,
    RunColumn.RELATIVE: 11,
    RunColumn.OURS: 10,
    RunColumn.THEIRS: 10,
    RunColumn.STEP: 8,
    RunColumn.FIRST: 12,
    RunColumn.REMARK: 30,
}
"""In digits."""
_WIDTHS_IN_LITTLE = {
    RunColumn.NAME: 14,
    RunColumn.KIND: 9,
    RunColumn.RELATIVE: 8,
    RunColumn.OURS: 8,
    RunColumn.THEIRS: 8,
}
"""Where both numbers of a row would otherwise be out of sight."""
_LITTLE_DIGITS = 68


@guarded
class RunPage(QWidget):
    """`is_of_session`: both are branches of the session, so that a step can be looked at in the whole window."""

    row_chosen = Signal(object)
    """SubjectKey."""
    step_chosen = Signal(object)
    """int, or None for the largest difference over all steps: a person has said which."""

    def __init__(
        self, controller: Controller, themes: ThemeManager, *, is_of_session: bool, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller, self._themes = controller, themes
        self._is_of_session = is_of_session
        self._beside: Beside | None = None
        self._is_following = Held()
        self._has_little: bool | None = None
        """Width, for the columns; None: they have not been laid out."""
        self.ours, self.theirs = ElidedLabel(), ElidedLabel()
        self.headline = WrappedLabel(parent=self)
        self.below = ElidedLabel(parent=self)
        self.below.setProperty("role", "muted")
        self.show_parting = QPushButton(self.tr("Show where"), self)
        self.show_parting.setToolTip(self.tr("The row and the step with which the runs part"))
        # In a dialog it would be what Enter presses, wherever the keyboard is.
        self.show_parting.setAutoDefault(False)
        self.show_parting.clicked.connect(self.go_to_parting)
        self.moment = ComboBox(self)
        self.moment.addItems([self.tr("Largest over all common steps"), self.tr("At step")])
        self.moment.setSizeAdjustPolicy(ComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.moment.setMinimumContentsLength(_MOMENT_LETTERS)
        self.moment.setAccessibleName(self.tr("Which step the rows are of"))
        tip = self.tr("The largest difference over all steps that both have, or the numbers of one step")
        self.moment.setToolTip(plain_tip(tip))
        self.step = SpinBox(self)
        self.step.setAccessibleName(self.tr("Step"))
        self.step.setKeyboardTracking(False)
        self.filter = QLineEdit(self)
        self.filter.setPlaceholderText(self.tr("Filter by name, kind"))
        self.filter.setAccessibleName(self.tr("Filter the rows"))
        self.filter.setClearButtonEnabled(True)
        clear_on_escape(self.filter, within=self)
        self.only_differences = QCheckBox(self.tr("Only differences"), self)
        self.count = PlainLabel(parent=self)
        self.count.setProperty("role", "muted")
        self.model = RunRowsModel(themes.theme, self)
        self.table = self._make_table()
        self.chart = PairChart(controller, themes, title=self.tr("Chosen row"), is_of_session=is_of_session)
        self.curves = ChartGrid(self)
        self.facts = FactsPage(self)
        self.pages = QTabWidget(self)
        self._arrange()
        self._connect()

    # ------------------------------------------------------------------------------------------ public

    def show_beside(self, beside: Beside) -> None:
        """Other runs, or the same ones as they are now: the row, the filter and the step stay as far as they can."""
        comparison = beside.comparison
        self._beside = beside
        self.ours.show_text(self.tr("First run: {side}").format(side=side_text(comparison.ours)))
        self.theirs.show_text(self.tr("Second run: {side}").format(side=side_text(comparison.theirs)))
        self.headline.setText(sentences.headline(comparison))
        self.below.show_text(". ".join(lines_below(comparison)))
        self.show_parting.setVisible(comparison.divergence is not None)
        with self._is_following:
            self.step.setRange(comparison.steps[0], comparison.steps[-1])
            self.model.show_beside(beside)
        self.facts.show_comparison(comparison)
        self.pages.setTabText(2, self._facts_title())
        self._show_count()
        self._show_curves()
        self._choose_first_row()
        self._show_row()

    def show_step(self, step: int | None) -> None:
        """The rows at that step; None where they differ most."""
        with self._is_following:
            self.moment.setCurrentIndex(0 if step is None else 1)
            if step is not None:
                self.step.setValue(step)
        self._take_step()

    def select(self, key: RowKey) -> bool:
        """Make a row the chosen one; whether it is there."""
        place = self.model.place_of(key)
        if place is None:
            return False
        index = self.model.index(place, 0)
        flags = QItemSelectionModel.SelectionFlag
        self.table.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
        self.table.scrollTo(index)
        return True

    @property
    def chosen(self) -> RowKey | None:
        index = self.table.currentIndex()
        row = self.model.row_at(index.row()) if index.isValid() else None
        return None if row is None else row.key

    @property
    def chosen_step(self) -> int | None:
        """That the rows are of; None where they are those of the largest difference."""
        return self.step.value() if self.moment.currentIndex() == 1 else None

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def go_to_parting(self) -> None:
        """To the row and the step with which the runs part."""
        divergence = None if self._beside is None else self._beside.comparison.divergence
        if divergence is None:
            return
        self.pages.setCurrentIndex(0)
        self.filter.clear()
        self.show_step(divergence.step)
        self.step_chosen.emit(divergence.step)
        self.select(divergence.name if divergence.subject is None else divergence.subject)
        self.table.setFocus()

    @Slot()
    def _on_filter_changed(self) -> None:
        with self._is_following:
            self.model.set_filter(self.filter.text(), only_differences=self.only_differences.isChecked())
        self._show_count()

    @Slot()
    def _on_moment_changed(self) -> None:
        if not self._is_following:
            self._take_step()
            self.step_chosen.emit(self.chosen_step)

    @Slot(int)
    def _on_step_wanted(self, step: int) -> None:
        """A curve was clicked."""
        self.show_step(step)

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, _current: QModelIndex, _previous: QModelIndex) -> None:
        self._show_row()
        key = self.chosen
        if not self._is_following and isinstance(key, SubjectKey):
            self.row_chosen.emit(key)

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.model.set_theme(theme)

    # ------------------------------------------------------------------------------------------ private

    def _take_step(self) -> None:
        step = self.chosen_step
        self.step.setVisible(step is not None)
        self.table.setColumnHidden(RunColumn.STEP, step is not None)
        with self._is_following:
            self.model.show_step(step)
        for chart in (self.chart, *self.curves.charts):
            if isinstance(chart, PairChart):
                chart.show_step(step)
        self._show_count()

    def _choose_first_row(self) -> None:
        if self.chosen is None and self.model.rowCount():
            with self._is_following:
                divergence = None if self._beside is None else self._beside.comparison.divergence
                key = None if divergence is None else divergence.subject or divergence.name
                if key is None or not self.select(key):
                    self.table.selectRow(0)

    def _show_row(self) -> None:
        index = self.table.currentIndex()
        row = self.model.row_at(index.row()) if index.isValid() else None
        if self._beside is not None and row is not None:
            of_subject = isinstance(row.key, SubjectKey)
            # A digest is the same or is not: over the steps there is nothing to see of it.
            key = LOSS if row.key == DATA else row.key
            self.chart.set_title(f"{row.name} ({kind_of(row)})" if of_subject else str(key))
            self._draw(self.chart, key, self.tr("L2 norm") if of_subject else str(key))

    def _draw(self, chart: PairChart, key: RowKey, label: str) -> None:
        beside = self._beside
        assert beside is not None
        divergence = beside.comparison.divergence
        names = short_name(beside.comparison.ours), short_name(beside.comparison.theirs)
        if names[0] == names[1]:
            names = f"{names[0]} (A)", f"{names[1]} (B)"
        parting = None if divergence is None else divergence.step
        chart.show_pair(beside.rows.lines(key), names=names, label=label, parting=parting)

    def _show_curves(self) -> None:
        """The numbers of whole steps: the loss, and what else there is."""
        assert self._beside is not None
        keys = [key for key in self._beside.rows.keys if isinstance(key, str) and key != DATA]
        keys.sort(key=lambda key: key != LOSS)
        known = [chart.accessibleName() for chart in self.curves.charts]
        if known == keys[:_MOST_CURVES]:
            for chart in self.curves.charts:
                if isinstance(chart, PairChart):
                    self._draw(chart, chart.accessibleName(), chart.accessibleName())
        else:
            self.curves.show_charts([partial(self._curve, key) for key in keys[:_MOST_CURVES]])

    def _curve(self, key: str) -> Chart:
        chart = PairChart(self._controller, self._themes, title=key, is_of_session=self._is_of_session)
        chart.step_wanted.connect(self._on_step_wanted)
        chart.show_step(self.chosen_step)
        self._draw(chart, key, key)
        return chart

    def _facts_title(self) -> str:
        count = self.facts.differing
        return self.tr("What differs ({count})").format(count=count) if count else self.tr("What differs")

    def _show_count(self) -> None:
        shown, count = self.model.counts
        text = self.tr("{count} rows") if shown == count else self.tr("{shown} of {count} rows")
        self.count.setText(text.format(shown=shown, count=count))

    def _make_table(self) -> CopyTable:
        table = CopyTable(self)
        table.setModel(self.model)
        table.setAccessibleName(self.tr("Rows of both runs"))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setShowGrid(False)
        # The end of a long name tells layers apart.
        table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        table.verticalHeader().hide()
        table.setMinimumHeight(_TABLE_LINES * table.fontMetrics().lineSpacing())
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        table.setSortingEnabled(True)
        table.sortByColumn(RunColumn.RELATIVE, Qt.SortOrder.DescendingOrder)
        return table

    def _lay_out_columns(self) -> None:
        """As narrow as the page; a width that somebody has chosen stays until that changes."""
        digit = self.table.fontMetrics().horizontalAdvance("0")
        is_little = self.width() < _LITTLE_DIGITS * digit
        if is_little != self._has_little:
            self._has_little = is_little
            for column, width in (_WIDTHS | (_WIDTHS_IN_LITTLE if is_little else {})).items():
                self.table.horizontalHeader().resizeSection(column, width * digit)

    def _connect(self) -> None:
        self.table.selectionModel().currentChanged.connect(self._on_current_changed)
        self.filter.textChanged.connect(self._on_filter_changed)
        self.only_differences.toggled.connect(self._on_filter_changed)
        self.moment.currentIndexChanged.connect(self._on_moment_changed)
        self.step.valueChanged.connect(self._on_moment_changed)
        self.chart.step_wanted.connect(self._on_step_wanted)
        self._themes.changed.connect(self._on_theme_changed)
        self.step.hide()

    def _arrange(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 4)
        column.setSpacing(4)
        for letter, label in (("A", self.ours), ("B", self.theirs)):
            column.addLayout(side_line(letter, label))
        font = self.headline.font()
        font.setBold(True)
        self.headline.setFont(font)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addWidget(self.headline, 1)
        line.addWidget(self.show_parting, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(line)
        column.addWidget(self.below)
        self.pages.setDocumentMode(True)
        self.pages.setMinimumWidth(1)
        self.pages.addTab(self._rows_page(), self.tr("Rows"))
        self.pages.addTab(self.curves, self.tr("Curves"))
        self.pages.addTab(self.facts, self.tr("What differs"))
        column.addWidget(self.pages, 1)

    def _rows_page(self) -> QWidget:
        page = QWidget(self)
        choice = FlowRow(page, spacing=8)
        self.filter.setMinimumWidth(22 * self.fontMetrics().averageCharWidth())
        for widget in (self.moment, self.step, self.filter, self.only_differences, self.count):
            choice.add(widget)
        parts = QSplitter(Qt.Orientation.Vertical, page)
        parts.setChildrenCollapsible(False)
        self.chart.setMinimumHeight(_CHART_EMS * self.fontMetrics().height())
        self.chart.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        parts.addWidget(self.table)
        parts.addWidget(self.chart)
        parts.setStretchFactor(0, 3)
        parts.setStretchFactor(1, 2)
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 6, 0, 0)
        column.setSpacing(6)
        column.addWidget(choice)
        column.addWidget(parts, 1)
        return page

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.chart.setVisible(self.height() >= _LEAST_LINES * self.fontMetrics().lineSpacing())
        self._lay_out_columns()
