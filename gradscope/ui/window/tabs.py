"""The middle of the window: the plots, in tabs. App process, GUI thread.

A tab is built when it is first seen, or before, while nothing else is to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from PySide6.QtCore import QSize, Qt, QTimer, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QScrollArea, QTabBar, QTabWidget, QToolButton, QWidget

from gradscope.protocol.messages import Attachment
from gradscope.protocol.nonfinite import Stage
from gradscope.protocol.subjects import SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.pictures import pictures_of
from gradscope.ui.plots.tabs.chart_grid import ChartGrid
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from gradscope.ui.plots.tabs.kind_choices import Choices, activation_choices, gradient_choices, update_choices
from gradscope.ui.plots.tabs.overview_tab import GradientFlow, OverviewTab, UpdateRatio
from gradscope.ui.plots.tabs.step_tabs import (
    OptionalCharts,
    clipping_charts,
    clipping_tab_label,
    has_validations,
    validation_charts,
)
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.widgets.room import Ahead, Room
from gradscope.ui.widgets.tab_order import follow

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller


_TABS = {
    Stage.BUFFERS: 1,
    Stage.FORWARD: 1,
    Stage.BACKWARD: 2,
    Stage.CLIPPING: 2,
    Stage.PARAMETERS: 3,
    Stage.OPTIMIZER_STATE: 3,
    Stage.UPDATE: 3,
}
"""Where the values of a part of a step are; of those that have none, in the overview."""

_Page = Chart | ChartGrid | HistoryTab
_Content = TypeVar("_Content", bound=QWidget)


@guarded
class Workspace(QTabWidget):
    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self.setDocumentMode(True)
        self._close_buttons: list[QToolButton] = []
        themes.changed.connect(self._style_buttons)
        self._areas: dict[Room, QScrollArea] = {}
        """Each page, and what it scrolls in."""
        self._closable: list[Room] = []
        self._ahead = Ahead(self, self._rooms_to_go_to, is_busy=lambda: controller.state.position.running)
        for label, build in (
            (self.tr("Overview"), self._overview),
            (self.tr("Activations"), self._activations),
            (self.tr("Gradients"), self._gradients),
            (self.tr("Updates"), self._updates),
            (self.tr("Learning rate"), self._rate),
        ):
            self._add(label, build)
        self._clipping_index = self._add(self.tr("Clipping"), self._clipping)
        self._validation_index = self._add(self.tr("Validation"), self._validation)
        self._show_tabs()
        controller.refreshed.connect(self._on_refreshed)

    def add_closable(
        self, build: Callable[[], _Content], label: str, *, on_close: Callable[[], None] | None = None
    ) -> Room[_Content]:
        """A tab that is there only when it is wanted: `show_page`, `hide_page`. Without `on_close` it keeps what it shows."""
        room = self._add_room(label, build)
        self._closable.append(room)
        index = self._index_of(room)
        button = QToolButton(self)
        button.setProperty("flat", True)
        button.setAutoRaise(True)
        button.setToolTip(plain_tip(self.tr("Close {name}").format(name=label)))
        button.setAccessibleName(button.toolTip())
        button.clicked.connect(on_close or (lambda: self.hide_page(room)))
        self._close_buttons.append(button)
        self._style_buttons(self._themes.theme)
        self.tabBar().setTabButton(index, QTabBar.ButtonPosition.RightSide, button)
        self.setTabVisible(index, False)
        return room

    def show_page(self, page: Room) -> None:
        """Show a closable tab, and go to it if it was not there."""
        # What comes from now on is told there, also while the workspace is out of sight.
        page.build()
        index = self._index_of(page)
        if not self.isTabVisible(index):
            self.setTabVisible(index, True)
            self.setCurrentIndex(index)

    def go_to(self, page: Room) -> None:
        """To a closable tab that is shown."""
        self.setCurrentIndex(self._index_of(page))

    def hide_page(self, page: Room) -> None:
        index = self._index_of(page)
        if self.isTabVisible(index):
            if self.currentIndex() == index:
                self.setCurrentIndex(0)
            self.setTabVisible(index, False)

    def show_stage(self, stage: Stage, kind: SubjectKind | None, *, step: int | None) -> None:
        """Go to the tab of that part of a step, there to that kind of subject, and in the plots to a step; None: to all."""
        index = _TABS.get(stage, 0)
        if stage is Stage.CLIPPING and self.isTabVisible(self._clipping_index):
            index = self._clipping_index
        self.setCurrentIndex(index)
        tab = self._current_room().content
        if isinstance(tab, HistoryTab) and kind is not None:
            tab.show_kind(kind)
        if isinstance(tab, (HistoryTab, ChartGrid)):
            # Once it is laid out and drawn.
            QTimer.singleShot(0, tab, partial(tab.bring, step))

    def charts(self) -> list[Chart]:
        """Every chart that has been built so far."""
        return self.findChildren(Chart)

    def plot_images(self) -> list[Attachment]:
        """Every plot as a PNG and an SVG picture, as it would look now; also those that have never been seen."""
        return list(self.each_plot_image())

    def each_plot_image(self) -> Iterator[Attachment]:
        """The same one by one, about 0.1 s each, for a caller that wants to do something else in between."""
        builders: list[tuple[str, Callable[[], QWidget]]] = [
            ("loss", lambda: LossChart(self._controller, self._themes)),
            ("gradient_flow", lambda: GradientFlow(self._controller, self._themes)),
            ("update_ratio", lambda: UpdateRatio(self._controller, self._themes)),
            ("learning_rate", self._rate),
            ("activations", self._activations),
            ("activation_gradients", lambda: self._gradients_of(SubjectKind.ACTIVATION_GRAD)),
            ("gradients", self._gradients),
            ("updates", self._updates),
        ]
        builders += clipping_charts(self._controller, self._themes).items()
        builders += validation_charts(self._controller, self._themes).items()
        for name, build in builders:
            for suffix, data in pictures_of(build(), title=name.replace("_", " ")).items():
                yield Attachment(name=f"plots/{name}{suffix}", data=data)

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS, Topic.HISTORY}:
            self._show_tabs()

    @Slot(object)
    def _style_buttons(self, theme: Theme) -> None:
        side = round(0.8 * self.fontMetrics().height())
        for button in self._close_buttons:
            button.setIconSize(QSize(side, side))
            button.setIcon(icon("close", theme))

    def _add(self, label: str, build: Callable[[], _Page]) -> int:
        room = self._add_room(label, build)
        # A page that is too narrow gets shorter texts; one that is too low scrolls.
        room.setMinimumWidth(1)
        return self._index_of(room)

    def _add_room(self, label: str, build: Callable[[], _Content]) -> Room[_Content]:
        room = Room(build, behind=self.tabBar())
        self._areas[room] = _scrolled(room)
        self.addTab(self._areas[room], label)
        room.built.connect(partial(self._on_built, room))
        return room

    def _on_built(self, room: Room) -> None:
        page = room.content
        if isinstance(page, ChartGrid):
            page.built.connect(lambda: follow(self.tabBar(), page.tab_stops()))

    # ------------------------------------------------------------------------------------------ the tabs

    def _overview(self) -> _Page:
        return OverviewTab(self._controller, self._themes)

    def _activations(self) -> HistoryTab:
        return self._history_tab(self.tr("Activations"), activation_choices)

    def _gradients(self) -> HistoryTab:
        return self._history_tab(self.tr("Gradients"), gradient_choices)

    def _gradients_of(self, kind: SubjectKind) -> HistoryTab:
        tab = self._gradients()
        tab.show_kind(kind)
        return tab

    def _updates(self) -> HistoryTab:
        return self._history_tab(self.tr("Updates"), update_choices)

    def _history_tab(self, title: str, choices: Callable[[AppState], Choices]) -> HistoryTab:
        return HistoryTab(self._controller, self._themes, title=title, choices=choices)

    def _rate(self) -> _Page:
        return RateChart(self._controller, self._themes, is_detailed=True)

    def _clipping(self) -> _Page:
        return OptionalCharts(self._controller, self._themes, clipping_charts, max_columns=1)

    def _validation(self) -> _Page:
        return OptionalCharts(self._controller, self._themes, validation_charts, max_columns=2)

    # ------------------------------------------------------------------------------------------ private

    def _show_tabs(self) -> None:
        """Only the tabs that the recipe has something for."""
        state = self._controller.state
        label = clipping_tab_label(state)
        if self.tabText(self._clipping_index) != label:
            self.setTabText(self._clipping_index, label)
        self.setTabVisible(self._clipping_index, bool(label))
        self.setTabVisible(self._validation_index, has_validations(state))
        self._ahead.start()

    def _rooms_to_go_to(self) -> Iterator[Room]:
        """Tabs that are there, and then those that can be wanted."""
        yield from (room for room in self._areas if self.isTabVisible(self._index_of(room)))
        yield from self._closable

    def _index_of(self, room: Room) -> int:
        return self.indexOf(self._areas[room])

    def _current_room(self) -> Room:
        return next(room for room, area in self._areas.items() if area is self.currentWidget())

    # ------------------------------------------------------------------------------------------ Qt

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._ahead.start()


def _scrolled(page: QWidget) -> QScrollArea:
    """The page in an area of any height."""
    area = QScrollArea()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setWidget(page)
    return area
