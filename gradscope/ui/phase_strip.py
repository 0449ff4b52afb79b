"""The line below the tool bar: the stations of the training step, and where the session stands in numbers."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolBar, QWidget

from gradscope.state.app_state import Topic
from gradscope.ui import text
from gradscope.ui.controller import Controller
from gradscope.ui.phase_steps import PLAIN_STEP, PhaseSteps
from gradscope.ui.theme import Theme, ThemeManager


class PhaseStrip(QToolBar):
    """A tool bar only by its place in the window: it has nothing to press."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self.setObjectName("phaseStrip")
        self.setWindowTitle(self.tr("Phase strip"))
        self.setMovable(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self.steps = PhaseSteps(themes, self)
        self.readout = QLabel(self)
        self.readout.setTextFormat(Qt.TextFormat.RichText)
        self.readout.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.readout.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.readout.setToolTip(
            self.tr("Steps, epochs and batches are counted from 0; the loss is that of the newest forward")
        )
        line = QWidget(self)
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.steps)
        layout.addWidget(self.readout, 1)
        self.addWidget(line)
        self._refresh()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    @Slot(object)
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS, Topic.POSITION, Topic.HISTORY}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._refresh()

    def _refresh(self) -> None:
        state = self._controller.state
        substeps = state.session.substeps if state.session is not None else PLAIN_STEP
        self.steps.show_position(state.position, substeps)
        self.readout.setVisible(state.session is not None)
        pairs = self._pairs()
        muted = self._themes.theme.muted
        cells = [
            f'<span style="color:{muted}">{escape(name)}</span>&nbsp;<b>{escape(value)}</b>' for name, value in pairs
        ]
        self.readout.setText("&nbsp;&nbsp; ".join(cells))
        self.readout.setAccessibleName(", ".join(f"{name} {value}" for name, value in pairs))

    def _pairs(self) -> list[tuple[str, str]]:
        state = self._controller.state
        position, loss = state.position, state.history.loss
        batches = position.batches_per_epoch
        return [
            (self.tr("step"), str(position.step)),
            (self.tr("epoch"), str(position.epoch)),
            (self.tr("batch"), f"{position.batch}/{batches}" if batches else str(position.batch)),
            (self.tr("loss"), text.number(float(loss.values[-1, 0]), digits=4) if len(loss) else "–"),
        ]
