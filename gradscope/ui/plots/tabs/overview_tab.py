"""The overview: four charts that say at a glance how training goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.protocol.subjects import SubjectKind
from gradscope.state.topics import Topic
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.layer_bars import LayerBars
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.tabs.chart_grid import ChartGrid
from gradscope.ui.plots.tabs.kind_choices import has_clipping, refill
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.words.quantities import Quantity

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller


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
        self._choice = ComboBox()
        self._fill_choice()
        self._choice.setAccessibleName(self.tr("Which gradients"))
        self._choice.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self._choice.currentIndexChanged.connect(self._on_choice_changed)
        self.replace_title(self._choice)

    @Slot(int)
    def _on_choice_changed(self, _index: int) -> None:
        self.show_kind(SubjectKind(self._choice.currentData()))

    @Slot(object)
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS}:
            self._fill_choice()
        super()._on_refreshed(topics)

    def _fill_choice(self) -> None:
        """Gradients after clipping are only offered where there is clipping."""
        choices = [
            (self.tr("Gradient flow (.grad)"), SubjectKind.GRAD),
            (self.tr("Gradient flow (activations)"), SubjectKind.ACTIVATION_GRAD),
        ]
        # These too say that it is a gradient: beside bars, "Activations" would be taken for the size of those.
        shorter = [self.tr("Gradients"), self.tr("Layer grad")]
        if has_clipping(self.controller.state):
            choices.append((self.tr("Gradient flow (after clipping)"), SubjectKind.CLIPPED_GRAD))
            shorter.append(self.tr("Clipped"))
        refill(self._choice, choices)
        self._choice.set_shorter(shorter)


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


class OverviewTab(ChartGrid):
    """Loss, gradient flow, learning rate and update ratio."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.show_charts(
            [
                lambda: LossChart(controller, themes),
                lambda: GradientFlow(controller, themes),
                lambda: RateChart(controller, themes, is_detailed=False),
                lambda: UpdateRatio(controller, themes),
            ]
        )
