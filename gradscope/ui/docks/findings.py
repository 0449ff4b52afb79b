"""The Findings panel: what is wrong with this training, where, how that is known, and what to do."""

from __future__ import annotations

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QStackedWidget, QTreeView, QWidget

from gradscope.protocol.findings import Finding
from gradscope.state.topics import Topic
from gradscope.ui.actions.check_ups import CheckUps
from gradscope.ui.actions.controller import Controller
from gradscope.ui.docks.findings_split import FindingsSplit
from gradscope.ui.docks.panel import Panel
from gradscope.ui.findings.detail import FindingDetail
from gradscope.ui.findings.looked_at import LookedAt
from gradscope.ui.findings.model import CHECKS, Column, FindingsModel, RowKey
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.redraw import Held, owing
from gradscope.ui.words.findings import summary

_TOPICS = frozenset({Topic.SESSION, Topic.FINDINGS})
_OF_BUTTONS = frozenset({Topic.POSITION, Topic.ENGINE})
"""What can be done may be something else."""
_WIDTHS = {Column.SEVERITY: 13, Column.PLACE: 17, Column.STEP: 7}
"""In digits; what it is has the rest."""


class FindingsDock(Panel):
    """A list at the side of the finding that is selected in it. Rows keep what was folded and selected when others come."""

    show_wanted = Signal(object)
    """Finding: its place is to be seen."""
    again_wanted = Signal(str)
    """The id of a finding whose experiment is to be run again."""
    page_wanted = Signal(str)

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        parent: QWidget | None = None,
        *,
        check_ups: CheckUps,
        check_up: QAction,
    ) -> None:
        super().__init__(self.tr("Findings"), name="findingsDock", themes=themes, parent=parent)
        self._controller = controller
        self._check_ups = check_ups
        self._is_following = Held()
        self._current: RowKey | None = None
        self._unfolded: set[RowKey] = set()
        self.model = FindingsModel(themes.theme, self)
        self.view = self._make_view()
        self.detail = FindingDetail(themes, self)
        self.looked_at = LookedAt(check_up, self)
        self._pages = QStackedWidget(self)
        self._pages.addWidget(self.looked_at)
        self._pages.addWidget(self.detail)
        self.split = FindingsSplit(self.view, self._pages, self)
        self.body.addWidget(self.split, 1)
        button = self.title_bar.add_button("validate", self.tr("Check-up..."), check_up.trigger)
        check_up.changed.connect(lambda: button.setEnabled(check_up.isEnabled()))
        button.setEnabled(check_up.isEnabled())
        self.detail.show_wanted.connect(self.show_wanted)
        self.detail.page_wanted.connect(self.page_wanted)
        self.detail.dismiss_wanted.connect(check_ups.dismiss)
        self.detail.recall_wanted.connect(check_ups.recall)
        self.detail.again_wanted.connect(self._on_again_wanted)
        self._refresh()
        controller.panels_refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        self.visibilityChanged.connect(self._on_visibility_changed)

    def select(self, finding: Finding) -> None:
        """Show one of the list."""
        self._refresh()
        index = self.model.index_of((*finding.key, False))
        if index.isValid():
            self.view.setCurrentIndex(index)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if not topics & _TOPICS:
            if topics & _OF_BUTTONS and not self.visibleRegion().isEmpty():
                self._show_current()
            return
        if Topic.SESSION in topics:
            self._current = None
            self._unfolded.clear()
        self.set_title_note(summary(self._controller.state.findings))
        if not self.visibleRegion().isEmpty():
            self._refresh()

    @Slot(bool)
    def _on_visibility_changed(self, visible: bool) -> None:
        if visible:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.model.set_theme(theme)

    @Slot(QModelIndex, QModelIndex)
    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if not self._is_following and current.isValid():
            self._current = self.model.key(current)
            self._show_current()

    @Slot(QModelIndex)
    def _on_activated(self, index: QModelIndex) -> None:
        finding = self.model.finding(index)
        if finding is not None:
            self.show_wanted.emit(finding)

    @Slot(QModelIndex)
    def _on_unfolded(self, index: QModelIndex) -> None:
        key = self.model.key(index)
        if key is not None and not self._is_following:
            self._unfolded.add(key)

    @Slot(QModelIndex)
    def _on_folded(self, index: QModelIndex) -> None:
        key = self.model.key(index)
        if key is not None and not self._is_following:
            self._unfolded.discard(key)

    @Slot(object)
    def _on_again_wanted(self, finding: Finding) -> None:
        self.again_wanted.emit(finding.id)

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        state = self._controller.state
        has_rows = bool(state.findings.known.findings)
        with self._is_following:
            self.model.show_state(state.findings)
            self._restore()
        self.view.setVisible(has_rows)
        self.set_title_note(summary(state.findings))
        self._show_current()
        self.split.arrange()

    def _restore(self) -> None:
        """What was unfolded and selected; at first, the gravest is selected."""
        for row in range(self.model.rowCount()):
            top = self.model.index(row, 0)
            self.view.setFirstColumnSpanned(row, QModelIndex(), self.model.finding(top) is None)
            self.view.setExpanded(top, self.model.key(top) in self._unfolded)
            for number in range(self.model.rowCount(top)):
                inner = self.model.index(number, 0, top)
                self.view.setExpanded(inner, self.model.key(inner) in self._unfolded)
        index = self.model.index_of(self._current)
        if not index.isValid():
            index = self.model.index(0, 0)
            self._current = None if self.model.finding(index) is None else self.model.key(index)
        flags = QItemSelectionModel.SelectionFlag
        if self._current is not None:
            self.view.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)

    def _show_current(self) -> None:
        state = self._controller.state
        finding = self.model.finding(self.model.index_of(self._current))
        if finding is None or self._current in (None, CHECKS):
            self.looked_at.show_state(state)
            self._pages.setCurrentWidget(self.looked_at)
            return
        self.detail.show_finding(
            finding, is_dismissed=state.findings.is_dismissed(finding), again_refusal=state.check_up_refusal()
        )
        self._pages.setCurrentWidget(self.detail)

    def _make_view(self) -> QTreeView:
        view = QTreeView(self)
        view.setModel(self.model)
        view.setAccessibleName(self.tr("Findings"))
        view.setUniformRowHeights(True)
        view.setAllColumnsShowFocus(True)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setTextElideMode(Qt.TextElideMode.ElideRight)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        view.setExpandsOnDoubleClick(False)
        digit = view.fontMetrics().horizontalAdvance("0")
        view.setIndentation(round(0.9 * view.fontMetrics().height()))
        header = view.header()
        header.setStretchLastSection(False)
        header.setSectionsMovable(False)
        header.setSectionResizeMode(Column.SEVERITY, QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(Column.TITLE, QHeaderView.ResizeMode.Stretch)
        for column, digits in _WIDTHS.items():
            header.resizeSection(column, digits * digit)
        view.selectionModel().currentChanged.connect(self._on_current_changed)
        view.activated.connect(self._on_activated)
        view.expanded.connect(self._on_unfolded)
        view.collapsed.connect(self._on_folded)
        return view
