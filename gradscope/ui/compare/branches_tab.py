"""The tab of two branches beside each other: the one that training is on, and one that it has left."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QStackedLayout, QToolButton, QVBoxLayout, QWidget

from gradscope.protocol.subjects import SubjectKey
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.run_comparisons import BranchComparison
from gradscope.ui.compare.run_page import RunPage
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import owing


@guarded
class BranchesTab(QWidget):
    """A row that is chosen is selected everywhere, and the step that is shown everywhere is shown here."""

    window_wanted = Signal(object)
    """Beside: it is to be shown in a window of its own."""

    def __init__(
        self,
        controller: Controller,
        comparison: BranchComparison,
        themes: ThemeManager,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._controller, self.comparison, self._themes = controller, comparison, themes
        # Where there is little room, texts get shorter; the page is never cut at its side.
        self.setMinimumWidth(1)
        self.page: RunPage | None = None
        """Made for the first comparison."""
        self.note = EmptyNote("", self)
        self.stale = ElidedLabel(parent=self)
        self.stale.setProperty("role", "muted")
        self.again = QPushButton(self.tr("Compare again"), self)
        self.again.clicked.connect(comparison.again)
        self._bar = QWidget(self)
        line = QHBoxLayout(self._bar)
        line.setContentsMargins(8, 6, 8, 0)
        line.setSpacing(8)
        line.addWidget(self.stale, 1)
        line.addWidget(self.again)
        self._pages = QStackedLayout()
        self._pages.addWidget(self.note)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._bar)
        column.addLayout(self._pages, 1)
        comparison.changed.connect(self.refresh)
        controller.panels_refreshed.connect(self._on_refreshed)
        self.refresh()

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def refresh(self) -> None:
        comparison, beside = self.comparison, self.comparison.beside
        if beside is None:
            self.note.setText(comparison.problem or (self.tr("Comparing ...") if comparison.is_busy else ""))
            self._pages.setCurrentWidget(self.note)
        elif not comparison.is_busy:
            if self.page is None:
                self.page = self._make_page()
            self.page.show_beside(beside)
            self._follow_step()
            self._pages.setCurrentWidget(self.page)
        self._show_stale()

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics and self.comparison.other is not None:
            self.comparison.close()
        if topics & {Topic.HISTORY, Topic.POSITION, Topic.TIMELINE}:
            self._show_stale()
        if Topic.SHOWN in topics:
            self._follow_step()
        if Topic.SELECTION in topics and self.page is not None:
            key = self._controller.state.selection.subject
            if key is not None and key != self.page.chosen:
                self.page.select(key)

    @Slot(object)
    def _on_row_chosen(self, key: SubjectKey) -> None:
        if self._controller.state.history.latest(key) is not None:
            self._controller.select(Selection.of_subject(key))

    @Slot(object)
    def _on_step_chosen(self, step: int | None) -> None:
        if step != self._controller.state.shown.step:
            self._controller.show_step(step)

    # ------------------------------------------------------------------------------------------ private

    def _make_page(self) -> RunPage:
        page = RunPage(self._controller, self._themes, is_of_session=True, parent=self)
        page.row_chosen.connect(self._on_row_chosen)
        page.step_chosen.connect(self._on_step_chosen)
        window = QToolButton(page)
        window.setProperty("flat", True)
        window.setText(self.tr("Own window"))
        window.setToolTip(plain_tip(self.tr("Show this comparison in a window of its own, which stays as it is")))
        window.clicked.connect(lambda: self.window_wanted.emit(self.comparison.beside))
        page.pages.setCornerWidget(window)
        self._pages.addWidget(page)
        return page

    def _follow_step(self) -> None:
        if self.page is not None and self.comparison.beside is not None:
            shown, steps = self._controller.state.shown, self.comparison.beside.comparison.steps
            step, chosen = shown.step, self.page.chosen_step
            if step is None and chosen is not None and chosen >= shown.newest:
                # The newest step, which a person has chosen here, is shown by itself everywhere else.
                return
            self.page.show_step(step if step is not None and steps[0] <= step <= steps[-1] else None)

    def _show_stale(self) -> None:
        comparison = self.comparison
        is_busy = comparison.is_busy and comparison.beside is not None
        self._bar.setVisible(is_busy or comparison.is_stale)
        self.again.setEnabled(not comparison.is_busy)
        self.stale.show_text(
            self.tr("Comparing ...") if is_busy else self.tr("Training has moved on since the branches were compared")
        )
