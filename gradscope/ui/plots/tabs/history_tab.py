"""One kind of subject over all steps: what to look at, the heat map, and the selected rows as lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Slot
from PySide6.QtGui import QPalette, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QComboBox, QSizePolicy, QSplitter, QVBoxLayout, QWidget

from gradscope.protocol.subjects import SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.tabs.kind_choices import Choices, refill
from gradscope.ui.plots.tabs.time_link import TimeLink
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.quantities import CHOICES, QUANTITIES, Quantity, text

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_ROOM_FOR_MEANING_EMS = 40
_LEAST_LETTERS = 8
_AROUND_BAR = (8, 6, 8, 2)


@guarded
class HistoryTab(QWidget):
    """`choices` says which subjects there are to choose from; the first ones are shown first."""

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        *,
        title: str,
        choices: Callable[[AppState], Choices],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setBackgroundRole(QPalette.ColorRole.Base)
        self.setAutoFillBackground(True)
        self.heat_map = HeatMap(controller, themes, title=title)
        self.lines = LinesChart(controller, themes)
        self.charts = (self.heat_map, self.lines)
        self.heat_map.names_width_changed.connect(self.lines.set_axis_width)
        self._link = TimeLink(self)
        for chart in self.charts:
            self._link.add(chart.plot)
        self._controller = controller
        self._title = title
        self._choices = choices
        # With a parent from the beginning: what is shown without one is a window of its own for a moment.
        self._kind = ComboBox(self)
        self._kind.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self._kind.setAccessibleName(self.tr("Of what"))
        self._fill_kinds()
        self._quantity = ComboBox(self)
        for box in (self._kind, self._quantity):
            box.setMinimumContentsLength(_LEAST_LETTERS)
        self._quantity.setAccessibleName(self.tr("Quantity"))
        self._fill_quantities()
        self._kind.currentIndexChanged.connect(self._on_kind_changed)
        self._quantity.currentIndexChanged.connect(self._on_quantity_changed)
        controller.refreshed.connect(self._on_refreshed)
        self._arrange()
        self._is_arranged_by_hand = False
        self._show()

    def _arrange(self) -> None:
        self._caption = caption = PlainLabel(self.tr("Show"))
        caption.setProperty("role", "muted")
        caption.setMinimumHeight(self._quantity.sizeHint().height())
        # Where there is no room for both beside each other, one goes below. Its height is set, and not found by the layout:
        # beside what does that, a scroll area gives plots the height that they would like, and not what is left.
        self._bar = FlowRow(self, spacing=6)
        self._bar.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        for widget in (caption, self._quantity, self._kind):
            self._bar.add(widget)
        around = QVBoxLayout()
        around.setContentsMargins(*_AROUND_BAR)
        around.addWidget(self._bar)
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self.heat_map)
        splitter.addWidget(self.lines)
        splitter.setStretchFactor(0, 3)
        splitter.setStretchFactor(1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(around)
        layout.addWidget(splitter, 1)
        self._splitter = splitter
        splitter.splitterMoved.connect(self._on_splitter_moved)

    def tab_stops(self) -> list[QWidget]:
        """What gets the keyboard, in the order in which it is seen."""
        return [self._quantity, self._kind, *self.heat_map.tab_stops(), *self.lines.tab_stops()]

    def show_kind(self, kind: SubjectKind) -> None:
        """The first choice of a kind, where there is one."""
        kinds = [self._kind.itemData(i).kind for i in range(self._kind.count())]
        if kind in kinds:
            self._kind.setCurrentIndex(kinds.index(kind))

    def bring(self, step: int | None) -> None:
        """See to it that the step, and what is selected, can be made out. The lines follow the map."""
        self.heat_map.bring(step)

    def show_quantity(self, quantity: Quantity) -> None:
        self._quantity.setCurrentIndex(self._quantity.findData(quantity))

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS, Topic.HISTORY}:
            self._fill_kinds()
            self._fit_bar()

    @Slot(int)
    def _on_kind_changed(self, _index: int) -> None:
        self._fill_quantities()
        self._show()

    @Slot(int)
    def _on_quantity_changed(self, _index: int) -> None:
        self._show()

    @Slot()
    def _on_splitter_moved(self) -> None:
        self._is_arranged_by_hand = True

    def _give_room(self) -> None:
        """The map is at least a third of the height, its names and colours not counted: where that is little, the lines
        are left without their words, and with as little as they can be."""
        least = self.height() // 3
        around = self.heat_map.height() - round(self.heat_map.plot.box.height())
        self.lines.show_words(self.height() >= _ROOM_FOR_MEANING_EMS * self.fontMetrics().height())
        if self._is_arranged_by_hand or not 0 < around < self.height():
            return
        room = sum(self._splitter.sizes())
        upper = max(3 * room // 5, min(least + around, room - self.lines.minimumSizeHint().height()))
        self._splitter.setSizes([upper, room - upper])

    def _fit_bar(self) -> None:
        left, _, right, _ = _AROUND_BAR
        room = self.width() - left - right
        # It is worth no line of its own.
        self._caption.setVisible(self._caption.sizeHint().width() + self._quantity.sizeHint().width() < room - left)
        height = self._bar.heightForWidth(room)
        if height != self._bar.minimumHeight():
            self._bar.setFixedHeight(height)

    def _fill_kinds(self) -> None:
        refill(self._kind, self._choices(self._controller.state))
        self._kind.setVisible(self._kind.count() > 1)

    def _fill_quantities(self) -> None:
        """The quantities of the kind; the one that was chosen stays chosen where it can."""
        chosen = self._quantity.currentData()
        with QSignalBlocker(self._quantity):
            self._quantity.clear()
            for quantity in CHOICES[self._kind.currentData().kind]:
                self._quantity.addItem(text(QUANTITIES[quantity].label), quantity)
            self._quantity.setCurrentIndex(max(0, self._quantity.findData(chosen)))

    def _show(self) -> None:
        choice, quantity = self._kind.currentData(), Quantity(self._quantity.currentData())
        self._quantity.setToolTip(plain_tip(text(QUANTITIES[quantity].meaning)))
        self.heat_map.set_title(choice.title or self._title)
        self._fit_bar()
        for chart in self.charts:
            chart.show_quantity(choice.kind, quantity, leaf=choice.leaf)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_bar()
        self._give_room()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._give_room()
