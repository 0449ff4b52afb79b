"""One axis of steps for charts under each other: what is moved or fitted in one is so in all. GUI thread."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QObject

from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.widgets.redraw import Held


class TimeLink(QObject):
    """While nobody moves them, each plot shows the steps that it has something of."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._plots: list[PlotView] = []
        self._is_telling = Held()

    def add(self, plot: PlotView) -> None:
        """A plot over steps, until it is destroyed."""
        self._plots.append(plot)
        plot.following_changed.connect(partial(self._on_following_changed, plot))
        plot.destroyed.connect(partial(self._forget, plot))

    def _on_following_changed(self, plot: PlotView, is_following: bool) -> None:
        if self._is_telling:
            return
        low, high = plot.box.viewRange()[0]
        with self._is_telling:
            for other in self._plots:
                if other is not plot and is_following:
                    other.fit()
                elif other is not plot:
                    other.hold_steps((low, high))

    def _forget(self, plot: PlotView, *_object: object) -> None:
        self._plots = [other for other in self._plots if other is not plot]
