"""Has the values of an earlier step computed again, which only their summary was kept of, and says what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from gradscope.protocol.messages import Cancelled, Failed, Recompute
from gradscope.state.records.newest import Latest
from gradscope.state.shown_step import Recorded
from gradscope.ui.inspector.sentence import Sentence
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.words import closer as words

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller


class CloserBar(QWidget):
    """Hidden while the newest of everything is shown, and for a snapshot."""

    def __init__(self, controller: Controller, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._wanted: Recompute | None = None
        self._problem: tuple[Recompute, str] | None = None
        """What came of the newest one that has failed."""
        self.said = Sentence()
        # Short: with large letters the inspector has room for no more.
        self.button = QPushButton(self.tr("Compute again"))
        self.button.setAccessibleName(self.tr("Compute the values of this step again"))
        self.button.clicked.connect(self._on_clicked)
        self.interrupt = QPushButton(self.tr("Interrupt"))
        self.interrupt.setToolTip(self.tr("Training stays where it stands"))
        self.interrupt.clicked.connect(self._on_interrupt)
        self._row = FlowRow(spacing=6)
        self._row.add(self.button)
        self._row.add(self.interrupt)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 0, 8, 4)
        column.setSpacing(4)
        column.addWidget(self.said)
        column.addWidget(self._row)
        self.hide()

    def look_at(self, latest: Latest) -> None:
        """The subject that is shown, in the step that is shown."""
        state = self._controller.state
        is_earlier = isinstance(latest, Recorded) and state.snapshot is None
        self._wanted = Recompute(step=latest.step, subject=latest.row.key) if is_earlier else None
        self.setVisible(self._wanted is not None)
        if self._wanted is None:
            return
        found, is_running = state.closer.found(latest), state.position.running
        is_own = is_running and state.closer.under_way is not None
        reason = None if is_own else state.recomputing_refusal(latest.step)
        if is_own:
            self.said.say(words.under_way(state.timeline.progress), role="muted")
        elif found is not None:
            self.said.say(words.proved(found), role="warning" if found.verified is False else "good")
        elif self._problem is not None and self._problem[0] == self._wanted:
            self.said.say(self._problem[1], role="warning")
        else:
            self.said.say(reason or "", role="muted")
        self.interrupt.setVisible(is_own)
        self.button.setVisible(not is_own)
        self._row.setVisible(is_own or found is None)
        self.button.setEnabled(reason is None)
        self.button.setToolTip(
            plain_tip(
                reason
                or self.tr(
                    "The step is replayed for its values; training stands where it stands now, to the last bit, afterwards"
                )
            )
        )
        self._row.updateGeometry()

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_clicked(self) -> None:
        request, state = self._wanted, self._controller.state
        if request is None or state.recomputing_refusal(request.step) is not None:
            return

        def on_reply(reply: Any) -> None:
            self._problem = None
            if isinstance(reply, Failed):
                self._problem = request, reply.failure.sentence
            elif isinstance(reply, Cancelled):
                self._problem = request, self.tr("It was interrupted; training stands where it stood")
            self._controller.flush()

        self._problem = None
        state.begin_recomputing(request)
        self._controller.ask(request, on_reply)
        self._controller.flush()

    @Slot()
    def _on_interrupt(self) -> None:
        self._controller.interrupt()
