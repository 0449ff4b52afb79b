"""The inspector: everything that is known of the selected subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, Qt, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QSizePolicy, QStackedLayout, QVBoxLayout, QWidget

from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import PARAMETER_KINDS, SubjectKey, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.pins import PinStatus, status_of
from gradscope.state.records.newest import Latest
from gradscope.state.shown_step import Recorded
from gradscope.state.topics import Topic
from gradscope.ui.docks.panel import Panel
from gradscope.ui.inspector.check_view import CheckView
from gradscope.ui.inspector.closer_bar import CloserBar
from gradscope.ui.inspector.subject_header import SubjectHeader
from gradscope.ui.inspector.summary_view import SummaryView
from gradscope.ui.inspector.values_view import ValuesView
from gradscope.ui.inspector.why_view import WhyView
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.difference_chart import DifferenceChart
from gradscope.ui.plots.charts.histogram_chart import HistogramChart
from gradscope.ui.plots.charts.picture_chart import PictureChart
from gradscope.ui.plots.words.wording import what_to_press
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.widgets.room import Ahead, Room, RoomTabs
from gradscope.ui.words.capture import is_left_behind, why_left_behind
from gradscope.ui.words.pins import status_explanation
from gradscope.ui.words.shown_step import why_not_recorded

if TYPE_CHECKING:
    from gradscope.ui.actions.comparer import Comparer
    from gradscope.ui.actions.controller import Controller

_LEAST_TAB_LINES = 13


@guarded
class InspectorDock(Panel):
    """Numbers and a histogram while training runs; values are fetched when it rests and the panel is seen."""

    TOPICS = frozenset(
        {
            *(Topic.ENGINE, Topic.SESSION, Topic.SETTINGS, Topic.HISTORY, Topic.POSITION),
            *(Topic.SELECTION, Topic.PINS, Topic.SHOWN, Topic.TIMELINE),
        }
    )

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        parent: QWidget | None = None,
        *,
        comparer: Comparer | None = None,
    ) -> None:
        super().__init__(self.tr("Inspector"), name="inspectorDock", themes=themes, parent=parent)
        self._controller = controller
        self._is_dirty = True
        self._note = EmptyNote("")
        self.header = SubjectHeader(controller, themes)
        self.summary = SummaryView(themes)
        self.summary.menu_filling.connect(controller.menu_filling)
        self.closer = CloserBar(controller)
        self.tabs = RoomTabs()
        self.tabs.setObjectName("inspectorTabs")
        self.tabs.setDocumentMode(True)
        add = self.tabs.add_room
        self._histogram = add(lambda: HistogramChart(controller, themes), self.tr("Histogram"))
        self._picture = add(lambda: PictureChart(controller, themes), self.tr("Picture"))
        self._values = add(lambda: ValuesView(controller), self.tr("Values"))
        self._why = add(lambda: WhyView(controller, themes), self.tr("Why"))
        self._check = add(lambda: CheckView(controller, themes), self.tr("Check"))
        self.tabs.setTabToolTip(self.tabs.indexOf(self._why), self.tr("Why the newest step moved the parameter so"))
        self.tabs.setTabToolTip(
            self.tabs.indexOf(self._check), self.tr("Compare its gradient with differences of the loss")
        )
        self._difference: Room[DifferenceChart] | None = None
        self._comparer = comparer
        if comparer is not None:
            self._difference = add(lambda: DifferenceChart(controller, themes, comparer), self.tr("Difference"))
            self._difference_tab = self.tabs.indexOf(self._difference)
            self.tabs.setTabVisible(self._difference_tab, False)
            comparer.started.connect(self._on_comparison_started)
            comparer.changed.connect(self._on_comparison_changed)
        self._ahead = Ahead(self.tabs, self.tabs.visible_rooms, is_busy=lambda: self._controller.state.position.running)
        self.tabs.currentChanged.connect(self._on_tab_changed)
        self._missing = EmptyNote("")
        self._arrange()
        controller.panels_refreshed.connect(self._on_refreshed)

    def _arrange(self) -> None:
        self._numbers = QWidget()
        numbers = QVBoxLayout(self._numbers)
        numbers.setContentsMargins(0, 0, 0, 0)
        numbers.setSpacing(0)
        summary = QVBoxLayout()
        summary.setContentsMargins(4, 0, 8, 4)
        summary.addWidget(self.summary)
        numbers.addLayout(summary)
        numbers.addWidget(self.closer)
        numbers.addWidget(self.tabs, 1)
        # With large letters there is not room for everything at once.
        self.tabs.setMinimumHeight(_LEAST_TAB_LINES * self.fontMetrics().height())
        # Beside texts that wrap, a scroll area gives everything the height that it would like: the plot takes what is left.
        self.tabs.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        below = QWidget()
        self._below = QStackedLayout(below)
        self._below.addWidget(self._numbers)
        self._below.addWidget(self._missing)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.header)
        column.addWidget(below, 1)
        # In a narrow panel texts wrap and names are shortened; there is nothing to scroll sideways.
        page.setMinimumWidth(1)
        scroll.setWidget(page)
        self._page = scroll
        self._pages = QStackedLayout()
        # First: a stacked layout shows what it is given, and what has no parent then is a window for a moment.
        self.body.addLayout(self._pages, 1)
        self._pages.addWidget(self._note)
        self._pages.addWidget(scroll)

    @property
    def histogram(self) -> HistogramChart:
        return self._histogram.content

    @property
    def picture(self) -> PictureChart:
        return self._picture.content

    @property
    def values(self) -> ValuesView:
        return self._values.content

    @property
    def why(self) -> WhyView:
        return self._why.content

    @property
    def check(self) -> CheckView:
        return self._check.content

    @property
    def difference(self) -> DifferenceChart | None:
        """None where nothing can be compared."""
        return None if self._difference is None else self._difference.content

    @property
    def message(self) -> str:
        """The sentence that is shown instead of numbers, if any."""
        if self._pages.currentWidget() is self._note:
            return self._note.text()
        return self._missing.text() if self._below.currentWidget() is self._missing else ""

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.MODEL}:
            # Other weights, or others of them.
            for room in (self._histogram, self._picture, self._why, self._check, self._difference):
                view = None if room is None else room.known
                if view is not None:
                    view.forget()
        if topics & self.TOPICS:
            self._is_dirty = True
            if self.isVisible():
                self._refresh()

    @Slot()
    def _on_comparison_started(self) -> None:
        self._on_comparison_changed()
        self.tabs.setCurrentIndex(self._difference_tab)
        if self.isVisible():
            self._refresh()

    @Slot()
    def _on_comparison_changed(self) -> None:
        is_there = self._comparer is not None and self._comparer.comparison is not None
        if is_there != self.tabs.isTabVisible(self._difference_tab):
            self.tabs.setTabVisible(self._difference_tab, is_there)

    @Slot(int)
    def _on_tab_changed(self, _index: int) -> None:
        if self.isVisible():
            self._refresh()

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        self._draw()
        self._is_dirty = False

    def _draw(self) -> None:
        state = self._controller.state
        key = state.subject
        if key is None or state.session is None:
            self._note.setText(
                self.tr("Select a layer, a parameter or a buffer to see its numbers")
                if state.session is not None
                else self.tr("Open a recipe to begin")
            )
            self._pages.setCurrentWidget(self._note)
            return
        self._pages.setCurrentWidget(self._page)
        self.header.show_subject(state, key)
        latest = state.shown.latest(key)
        missing = _why_missing(state, key) if latest is None else _why_old(state, latest)
        if latest is None or missing:
            self._missing.setText(missing)
            self._below.setCurrentWidget(self._missing)
            return
        self._below.setCurrentIndex(0)
        latest = state.closer.formed(latest)
        self.closer.look_at(latest)
        self.summary.show_subject(state, latest)
        for of_parameters in (self._why, self._check):
            # Both need the engine, and its session.
            is_there = key.kind in PARAMETER_KINDS and state.snapshot is None
            self.tabs.setTabVisible(self.tabs.indexOf(of_parameters), is_there)
        view = self.tabs.content()
        assert isinstance(view, (HistogramChart, PictureChart, ValuesView, WhyView, CheckView))
        view.look_at(latest, _token(state, latest))
        self._ahead.start()

    # ------------------------------------------------------------------------------------------ Qt

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_dirty:
            self._refresh()


def _token(state: AppState, latest: Latest) -> object | None:
    """Changes whenever the values of a subject may have changed; None while the session runs, and for an earlier step whose
    values are not there."""
    position, again = state.position, state.closer.found(latest)
    if position.running or (isinstance(latest, Recorded) and again is None):
        return None
    if again is not None:
        return (id(state.history), id(again), latest.row, latest.step)
    return (
        id(state.history),
        latest.row,
        latest.step,
        latest.phase,
        position.step,
        position.rest,
        position.moment,
        state.revision,
    )


def _why_missing(state: AppState, key: SubjectKey) -> str:
    """Why there are no numbers of a subject: the engine's own reason where it gave one."""
    for report in reversed(list(state.shown.reports.values())):
        for absence in report.absent:
            if absence.name in (key.name, key.label()) and absence.kind == key.kind.value:
                return absence.reason
    if state.shown.step is not None:
        return why_not_recorded(state, key.kind)
    forward, session = state.reports.get(Phase.FORWARD), state.session
    status = PinStatus.THERE if state.tree is None else status_of(key, state.tree, state.history)
    if status is not PinStatus.THERE:
        return status_explanation(status)
    is_of_layer = key.kind in (SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD)
    if is_of_layer and forward is not None and forward.complete and session is not None and session.capture == "full":
        return QCoreApplication.translate(
            "InspectorDock", "It was not called in the newest forward: its parent uses what is in it, or it is not used"
        )
    return what_to_press(state, key.kind, key.name)


def _why_old(state: AppState, latest: Latest) -> str:
    """Why the newest pass had nothing of a subject, where somebody chose so or the engine gave a reason; "" otherwise.

    Then older numbers are not shown: values that are fetched would be of another moment.
    """
    newest, key = state.reports.get(latest.phase or Phase.STEP), latest.row.key
    if newest is None or not is_left_behind(state, latest):
        return ""
    names = (key.name, key.label())
    reasons = (a.reason for a in newest.absent if a.name in names and a.kind == key.kind.value)
    return next(reasons, "") or why_left_behind(state, latest)
