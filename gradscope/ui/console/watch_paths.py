"""From a watched expression to its chart: a tab in the middle of the window, made when it is first wanted."""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot

from gradscope.state.console import Watch
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.watch_chart import WatchChart
from gradscope.ui.widgets.closable_tabs import ClosableTabs
from gradscope.ui.widgets.room import Room

_LEAST_EMS = 12


class WatchPaths(QObject):
    def __init__(self, controller: Controller, themes: ThemeManager, tabs: ClosableTabs, parent: QObject) -> None:
        super().__init__(parent)
        self._controller, self._themes, self._tabs = controller, themes, tabs
        self._room: Room[WatchChart] | None = None

    @property
    def chart(self) -> WatchChart | None:
        """Where there has been one."""
        return None if self._room is None else self._room.known

    @Slot(object)
    def show(self, watch: Watch) -> None:
        """Its numbers over the steps, in the one tab that there is for all expressions."""
        if self._room is None:
            self._room = self._tabs.add_closable(self._make, self.tr("Watched"))
        self._room.content.show_watch(watch.id)
        self._tabs.show_page(self._room)
        self._tabs.go_to(self._room)

    def _make(self) -> WatchChart:
        chart = WatchChart(self._controller, self._themes)
        chart.setMinimumWidth(1)
        chart.setMinimumHeight(_LEAST_EMS * chart.fontMetrics().height())
        return chart
