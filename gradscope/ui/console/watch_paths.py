"""From a watched expression to its chart: a tab in the middle of the window, made when it is first wanted."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject, Slot

from gradscope.state.console import Watch
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.watch_chart import WatchChart
from gradscope.ui.widgets.closable_tabs import ClosableTabs

_LEAST_EMS = 12


class WatchPaths(QObject):
    def __init__(self, controller: Controller, themes: ThemeManager, tabs: ClosableTabs, parent: QObject) -> None:
        super().__init__(parent)
        self._controller, self._themes, self._tabs = controller, themes, tabs
        self.chart: WatchChart | None = None

    @Slot(object)
    def show(self, watch: Watch) -> None:
        """Its numbers over the steps, in the one tab that there is for all expressions."""
        if self.chart is None:
            self.chart = WatchChart(self._controller, self._themes)
            self.chart.setMinimumWidth(1)
            self.chart.setMinimumHeight(_LEAST_EMS * self.chart.fontMetrics().height())
            self._tabs.add_closable(self.chart, self.tr("Watched"), on_close=partial(self._tabs.hide_page, self.chart))
        self.chart.show_watch(watch.id)
        self._tabs.show_page(self.chart)
        self._tabs.go_to(self.chart)
