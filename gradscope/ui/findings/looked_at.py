"""What was looked at, and found in order; what could not be judged, and why; and what can be looked at besides."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QPushButton, QToolButton, QVBoxLayout, QWidget

from gradscope.protocol.findings import Check, Verdict
from gradscope.protocol.phases import Rest
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.ui.findings.scrolled_page import ScrolledPage
from gradscope.ui.inspector.sentence import Sentence
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.plain import WrappedLabel, plain_tip
from gradscope.ui.words.findings import looked_at, not_judged, passes_text, seconds_text


class LookedAt(QWidget):
    """`check_up` is the action that opens the dialog."""

    def __init__(self, check_up: QAction, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._left: list[Check] = []
        self.headline = WrappedLabel(parent=self)
        font = self.headline.font()
        font.setBold(True)
        self.headline.setFont(font)
        self.remark = Sentence(role="muted", parent=self)
        self.button = QPushButton(self)
        self.button.setAutoDefault(False)
        self.button.clicked.connect(check_up.trigger)
        self.toggle = QToolButton(self)
        self.toggle.setCheckable(True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setArrowType(Qt.ArrowType.RightArrow)
        self.toggle.setProperty("flat", True)
        self.toggle.toggled.connect(self._on_toggled)
        self.reasons = Sentence(role="muted", parent=self)
        row = FlowRow(self, spacing=8)
        row.add(self.button)
        row.add(self.toggle)
        page = QVBoxLayout()
        page.setContentsMargins(12, 8, 12, 8)
        page.setSpacing(6)
        for widget in (self.headline, self.remark, row, self.reasons):
            page.addWidget(widget)
        page.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(ScrolledPage(page, self))

    def show_state(self, state: AppState) -> None:
        found = state.findings
        self.headline.setText(looked_at(found) if state.session is not None else self.tr("No session is open"))
        self.remark.say(self._remark(state))
        is_before = state.session is not None and state.position.step == 0 and state.position.rest is Rest.READY
        self.button.setText(self.tr("Check before the first step...") if is_before else self.tr("Check-up..."))
        self.button.setVisible(state.session is not None and state.snapshot is None)
        reason = state.check_up_refusal()
        self.button.setEnabled(reason is None)
        about = self.tr("Try out what may be wrong with this training; everything is put back, bit for bit")
        self.button.setToolTip(plain_tip(reason or about))
        left = found.checks(Verdict.NOT_JUDGED)
        self.toggle.setVisible(bool(left))
        self.toggle.setText(not_judged(len(left)))
        self._show_reasons(left)

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_toggled(self) -> None:
        arrow = Qt.ArrowType.DownArrow if self.toggle.isChecked() else Qt.ArrowType.RightArrow
        self.toggle.setArrowType(arrow)
        self._show_reasons(self._left)

    # ------------------------------------------------------------------------------------------ private

    def _show_reasons(self, left: list[Check]) -> None:
        """One line for each reason: many checks have the same."""
        self._left = left
        checks: dict[str, list[str]] = {}
        for check in left:
            checks.setdefault(check.reason or self.tr("No reason was told"), []).append(check.id)
        lines = [f"•  {visible(reason)}: {visible(', '.join(ids))}" for reason, ids in checks.items()]
        self.reasons.say("\n".join(lines) if self.toggle.isChecked() else "")

    def _remark(self, state: AppState) -> str:
        found, known = state.findings, state.findings.known
        if state.session is None:
            return ""
        if known.forward:
            took = ", ".join(
                part for part in (passes_text(known.forward, known.backward), seconds_text(known.seconds)) if part
            )
            return self.tr("With a check-up of {passes}").format(passes=took)
        if state.snapshot is not None:
            return "" if known.checks else self.tr("Nobody looked for findings in this session")
        if not found.is_watching:
            return self.tr(
                "Findings are not looked for along the way: File, Settings turns that on, from the next Reset on"
            )
        if not known.checks:
            return self.tr("What goes wrong along the way is told here, from the first steps on")
        return self.tr("A check-up tries out more, on this training's own state, and puts everything back")
