"""The tabs that only some recipes have: clipping and the loss scale; the validation's loss and metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.messages import VALIDATION_LOSS
from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.clipping_chart import ClippingChart
from gradscope.ui.plots.charts.scale_chart import ScaleChart
from gradscope.ui.plots.charts.validation_chart import ValidationChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.chart_grid import ChartGrid
from gradscope.ui.plots.tabs.kind_choices import has_clipping
from gradscope.ui.widgets.redraw import owing

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_CONTEXT = "StepTabs"
_MAX_CHARTS = 12

Builders = dict[str, Callable[[], Chart]]


def has_scale(state: AppState) -> bool:
    """Whether the loss is scaled, or has been in this session."""
    is_scaled = state.session is not None and state.session.precision == "fp16"
    return is_scaled or len(state.history.scale) > 0


def has_validations(state: AppState) -> bool:
    return bool(state.history.validations) or (state.session is not None and state.session.has_validation)


def clipping_tab_label(state: AppState) -> str:
    """What the tab with clipping and the loss scale is called; "" where there is neither."""
    translate = QCoreApplication.translate
    match has_clipping(state), has_scale(state):
        case True, True:
            return translate(_CONTEXT, "Clipping, scale")
        case True, False:
            return translate(_CONTEXT, "Clipping")
        case False, True:
            return translate(_CONTEXT, "Loss scale")
    return ""


def clipping_charts(controller: Controller, themes: ThemeManager) -> Builders:
    """By the name of their pictures."""
    charts: Builders = {}
    if has_clipping(controller.state):
        charts["clipping"] = lambda: ClippingChart(controller, themes)
    if has_scale(controller.state):
        charts["loss_scale"] = lambda: ScaleChart(controller, themes)
    return charts


def validation_charts(controller: Controller, themes: ThemeManager) -> Builders:
    """The loss first; by the name of their pictures."""
    state = controller.state
    if not has_validations(state):
        return {}
    metrics = () if state.session is None else state.session.metrics
    names = list(dict.fromkeys((VALIDATION_LOSS, *metrics, *state.history.validations)))[:_MAX_CHARTS]
    charts: Builders = {}
    for number, name in enumerate(names):
        picture = "validation_" + re.sub(r"\W+", "_", name)
        charts[f"{picture}_{number}" if picture in charts else picture] = _validation_chart(controller, themes, name)
    return charts


def _validation_chart(controller: Controller, themes: ThemeManager, metric: str) -> Callable[[], Chart]:
    return lambda: ValidationChart(controller, themes, metric=metric)


class OptionalCharts(ChartGrid):
    """Shows the charts that the session has something for; they are made anew when others are needed."""

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        wanted: Callable[[Controller, ThemeManager], Builders],
        *,
        max_columns: int,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent, max_columns=max_columns)
        self._controller = controller
        self._themes = themes
        self._wanted = wanted
        self._shown: list[str] | None = None
        self._show()
        controller.refreshed.connect(self._on_refreshed)

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS, Topic.HISTORY}:
            self._show()

    def _show(self) -> None:
        wanted = self._wanted(self._controller, self._themes)
        if list(wanted) != self._shown:
            self._shown = list(wanted)
            self.show_charts(list(wanted.values()))
