"""The overview: four charts that say at a glance how training goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Slot
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QComboBox, QFrame, QGridLayout, QScrollArea, QSizePolicy, QWidget

from gradscope.protocol.subjects import SubjectKind
from gradscope.ui.plots.chart import Chart
from gradscope.ui.plots.layer_bars import LayerBars
from gradscope.ui.plots.loss_chart import LossChart
from gradscope.ui.plots.quantities import Quantity
from gradscope.ui.plots.rate_chart import RateChart
from gradscope.ui.theme import ThemeManager

if TYPE_CHECKING:
    from gradscope.ui.controller import Controller

_TWO_COLUMNS_FROM_EMS = 36
_LEAST_CHART_EMS = 15


class GradientFlow(LayerBars):
    """The size of the gradient at each parameter, or behind each layer."""

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        super().__init__(
            controller,
            themes,
            kind=SubjectKind.GRAD,
            quantity=Quantity.L2,
            title=self.tr("Gradient flow"),
            explanation=self.tr(
                "The L2 norm of the newest gradient of the loss, from the model's input at the top to its output. "
                "Bars that shrink by powers of ten towards the top are a vanishing gradient; a hollow circle is a "
                "gradient of exactly zero, a red cross one with NaN or Inf."
            ),
            parent=parent,
        )
        self._choice = QComboBox()
        self._choice.addItem(self.tr("Gradient flow (.grad)"), SubjectKind.GRAD)
        self._choice.addItem(self.tr("Gradient flow (activations)"), SubjectKind.ACTIVATION_GRAD)
        self._choice.setAccessibleName(self.tr("Which gradients"))
        self._choice.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self._choice.setMinimumContentsLength(8)
        self._choice.currentIndexChanged.connect(self._on_choice_changed)
        self.replace_title(self._choice)

    @Slot(int)
    def _on_choice_changed(self, _index: int) -> None:
        self.show_kind(SubjectKind(self._choice.currentData()))


class UpdateRatio(LayerBars):
    """How much the newest step changed each parameter, relative to its size."""

    def __init__(self, controller: Controller, themes: ThemeManager, *, parent: QWidget | None = None) -> None:
        super().__init__(
            controller,
            themes,
            kind=SubjectKind.UPDATE,
            quantity=Quantity.RATIO,
            title=self.tr("Update ratio"),
            explanation=self.tr(
                "The length of the newest change of each parameter, divided by the length of the parameter itself. "
                "Inside the band a parameter learns at a healthy pace; left of it hardly, right of it too fast."
            ),
            parent=parent,
        )


class OverviewTab(QScrollArea):
    """Two by two, or one below the other where there is no room."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.charts: list[Chart] = []
        self._to_build: list[Callable[[], Chart]] = [
            lambda: LossChart(controller, themes),
            lambda: GradientFlow(controller, themes),
            lambda: RateChart(controller, themes, is_detailed=False),
            lambda: UpdateRatio(controller, themes),
        ]
        # A child, so that it ends with this widget.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._build_next)
        self._columns = 2
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        page = QWidget()
        self._grid = QGridLayout(page)
        self._grid.setContentsMargins(4, 4, 4, 4)
        self._grid.setSpacing(8)
        self.setWidget(page)

    @Slot()
    def _build_next(self) -> None:
        """One chart at a time, so that the window goes on answering in between."""
        if self.isVisible() and self._to_build:
            self.charts.append(self._to_build.pop(0)())
            self._arrange()
            self._timer.start()

    def _arrange(self) -> None:
        columns = self._columns
        em = self.fontMetrics().height()
        for i, chart in enumerate(self.charts):
            self._grid.removeWidget(chart)
            chart.setMinimumHeight(_LEAST_CHART_EMS * em if columns == 1 else 8 * em)
            self._grid.addWidget(chart, i // columns, i % columns)
        for column in range(2):
            self._grid.setColumnStretch(column, 1 if column < columns else 0)
        for row in range(4):
            self._grid.setRowStretch(row, 1 if row < 4 // columns else 0)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        em = self.fontMetrics().height()
        columns = 2 if self.viewport().width() >= _TWO_COLUMNS_FROM_EMS * em else 1
        if columns != self._columns:
            self._columns = columns
            self._arrange()
        super().resizeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._build_next()
