"""The Probe tab: the pinned batch over the steps, and what is done with it."""

from __future__ import annotations

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from gradscope.protocol.what_if.tried import Mode
from gradscope.state.topics import Topic
from gradscope.state.what_if.trials import Tried
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.what_ifs import WhatIfs
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.probe_charts import ProbeLayers, ProbeLoss, ProbeOutputs
from gradscope.ui.plots.tabs.chart_grid import ChartGrid
from gradscope.ui.what_if.held import held, row_of
from gradscope.ui.what_if.words import mode_text, probe_text, refused_text, tr
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.fields import ComboBox, SpinBox
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.widgets.tab_order import follow

_MOST_EVERY = 10_000


@guarded
class ProbeTab(QWidget):
    def __init__(
        self, controller: Controller, what_ifs: WhatIfs, themes: ThemeManager, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller, self._what_ifs = controller, what_ifs
        self.setMinimumWidth(1)
        self.about = ElidedLabel()
        self.pin = QPushButton(tr("Pin this batch"))
        self.pin.clicked.connect(self._on_pin_clicked)
        self.every = SpinBox()
        self.every.setRange(0, _MOST_EVERY)
        self.every.setValue(1)
        self.every.setSpecialValueText(tr("when asked"))
        self.every.setPrefix(tr("every "))
        self.every.setAccessibleName(tr("Steps between two runs"))
        self.mode = ComboBox()
        for mode in (Mode.EVAL, Mode.TRAIN):
            self.mode.addItem(tr("{mode} mode").format(mode=mode_text(mode)), mode)
        self.mode.setAccessibleName(tr("Mode of the probe"))
        self.run = QPushButton(tr("Run now"))
        self.run.clicked.connect(what_ifs.run_probe)
        self.unpin = QPushButton(tr("Unpin"))
        self.unpin.clicked.connect(what_ifs.unpin)
        self.refused = WrappedLabel(parent=self)
        self.refused.setProperty("role", "warning")
        self.status = PlainLabel(parent=self)
        self.status.setWordWrap(True)
        # The tab scrolls as a whole.
        self.charts = ChartGrid(self, scrolls=False)
        self.charts.show_charts(
            [
                lambda: ProbeLoss(controller, themes),
                lambda: ProbeOutputs(controller, themes),
                lambda: ProbeLayers(controller, themes),
            ]
        )
        self.charts.built.connect(lambda: follow(self.unpin, self.charts.tab_stops()))
        when = held(self.every, PlainLabel(tr("steps, in")))
        row = row_of(self, held(self.pin), when, held(self.mode), held(self.run), held(self.unpin))
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 4)
        column.setSpacing(6)
        for part in (self.refused, self.about, row, self.status):
            column.addWidget(part)
        column.addWidget(self.charts, 1)
        controller.refreshed.connect(self._on_refreshed)
        what_ifs.ended.connect(self._on_ended)
        self.refresh()

    def refresh(self) -> None:
        """Show what is known now."""
        state = self._controller.state
        known = state.what_if
        if known.probe is None:
            self.about.show_text(tr("No batch is pinned"))
        else:
            self.about.show_text(probe_text(known.probe, error=known.probe_history.error))
        self.status.setVisible(bool(self.status.text()))
        refusal = state.trial_refusal(probes=True)
        self.refused.setText("" if refusal is None else refused_text(state, refusal))
        # While training goes on the probe is run along the way: nothing is amiss.
        self.refused.setVisible(refusal is not None and not state.position.running)
        tips = {
            self.pin: tr("The newest batch, in the place of the one before"),
            self.run: tr("The pinned batch once more, with the parameters as they are"),
            self.unpin: tr("The pinned batch is not run any more; its curves go with it"),
        }
        for button, tip in tips.items():
            reason = refusal
            if reason is None and button is not self.pin and known.probe is None:
                reason = tr("No batch is pinned")
            button.setEnabled(reason is None)
            button.setToolTip(plain_tip(reason or tip))

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.PROBE, Topic.WHAT_IF, Topic.POSITION, Topic.ENGINE}:
            if Topic.SESSION in topics:
                self.status.setText("")
            self.refresh()

    @Slot(object, str)
    def _on_ended(self, what: Tried, told: str) -> None:
        if what is Tried.PROBE:
            self.status.setText(told)
            self.status.setVisible(bool(told))

    @Slot()
    def _on_pin_clicked(self) -> None:
        self._what_ifs.pin(every=self.every.value(), mode=self.mode.currentData())
