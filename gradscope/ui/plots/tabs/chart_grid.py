"""Charts side by side in two columns, or one below the other where there is no room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QWidget

from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.time_link import TimeLink
from gradscope.ui.widgets.guarded import guarded

_TWO_COLUMNS_FROM_EMS = 38
_LEAST_CHART_EMS = 15
_LEAST_OF_TWO_COLUMNS_EMS = 8


@guarded
class ChartGrid(QScrollArea):
    """Charts are built, and drawn, one at a time once it is seen, so that the window goes on answering in between."""

    built = Signal()
    """One more chart."""

    def __init__(self, parent: QWidget | None = None, *, max_columns: int = 2, scrolls: bool = True) -> None:
        """Without `scrolls` it is as high as its charts ask for: it is inside of what scrolls."""
        super().__init__(parent)
        self._scrolls = scrolls
        self.charts: list[Chart] = []
        self._to_build: list[Callable[[], Chart]] = []
        self._to_draw: deque[Chart] = deque()
        self._link = TimeLink(self)
        # A child, so that it ends with this widget.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._on_turn)
        self._max_columns = max_columns
        self._columns = max_columns
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        page = QWidget()
        self._grid = QGridLayout(page)
        self._grid.setContentsMargins(4, 4, 4, 4)
        self._grid.setSpacing(8)
        self.setWidget(page)
        if not scrolls:
            self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def show_charts(self, builders: list[Callable[[], Chart]]) -> None:
        """These charts and no others."""
        for chart in self.charts:
            self._grid.removeWidget(chart)
            chart.hide()
            chart.deleteLater()
        self.charts, self._to_build = [], list(builders)
        self._to_draw.clear()
        self._build_next()

    def bring(self, step: int | None) -> None:
        """See to it that the step can be made out in the first chart over steps; those beside it follow."""
        chart = next((chart for chart in self.charts if chart.plot.marks is not None), None)
        if chart is not None:
            if chart.is_owing:
                # Which steps there are it knows only then.
                chart.redraw()
            chart.plot.bring_step(step)

    def tab_stops(self) -> list[QWidget]:
        """What gets the keyboard, in the order in which it is seen."""
        return [stop for chart in self.charts for stop in chart.tab_stops()]

    @Slot()
    def _on_turn(self) -> None:
        """Of the event loop: draw one, or else build one."""
        while self._to_draw:
            chart = self._to_draw.popleft()
            if chart.is_owing:
                # First, since one that cannot be drawn keeps the others from nothing.
                self._timer.start()
                chart.redraw()
                return
        self._build_next()

    def _draw_later(self, chart: Chart) -> None:
        self._to_draw.append(chart)
        self._timer.start()

    def _build_next(self) -> None:
        if self.isVisible() and self._to_build:
            chart = self._to_build.pop(0)()
            chart.when_shown = partial(self._draw_later, chart)
            if chart.plot.marks is not None:
                # Only plots over steps have a place for marks of edits.
                self._link.add(chart.plot)
            self.charts.append(chart)
            self._arrange()
            self._fit_columns()
            self.built.emit()
            self._timer.start()

    def _fit_columns(self) -> None:
        """Side by side where each chart has room for its line of buttons: nothing is scrolled sideways."""
        room = self.viewport().width()
        needed = max((chart.minimumSizeHint().width() for chart in self.charts), default=0)
        around = self._grid.contentsMargins().left() + self._grid.contentsMargins().right() + self._grid.spacing()
        has_room = room >= max(_TWO_COLUMNS_FROM_EMS * self.fontMetrics().height(), 2 * needed + around)
        columns = self._max_columns if has_room else 1
        if columns != self._columns:
            self._columns = columns
            self._arrange()

    def _arrange(self) -> None:
        count = len(self.charts) + len(self._to_build)
        columns = 1 if count < 2 else self._columns
        em = self.fontMetrics().height()
        for i, chart in enumerate(self.charts):
            self._grid.removeWidget(chart)
            chart.setMinimumHeight((_LEAST_CHART_EMS if columns == 1 else _LEAST_OF_TWO_COLUMNS_EMS) * em)
            self._grid.addWidget(chart, i // columns, i % columns)
        rows = -(-count // columns)
        for column in range(self._max_columns):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)
        for row in range(max(rows, self._grid.rowCount())):
            self._grid.setRowStretch(row, 1 if row < rows else 0)
        if not self._scrolls:
            margins = self._grid.contentsMargins()
            around = margins.top() + margins.bottom() + (rows - 1) * self._grid.spacing()
            least = _LEAST_CHART_EMS if columns == 1 else _LEAST_OF_TWO_COLUMNS_EMS
            self.setMinimumHeight(rows * least * em + around)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit_columns()
        super().resizeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.charts:
            self._timer.start()
        else:
            self._build_next()
