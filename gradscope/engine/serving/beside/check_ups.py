"""Check-ups as the server serves them: what would be run, progress, and cancelling while the main thread runs them."""

from __future__ import annotations

from gradscope.engine.findings.bench import CheckUpCancelled
from gradscope.engine.serving.beside.interval import Interval
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.shown import Shown
from gradscope.protocol import messages
from gradscope.protocol.codec import Frame
from gradscope.protocol.findings import Progress


class CheckUps:
    """Everything but `cancel` is called by the main thread."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._cancelled_before = 0
        """Check-ups with a smaller request number than this are not wanted any more."""

    def cancel(self, number: int) -> None:
        """By the reader thread: request `number` wants no check-up that was asked for before it."""
        self._cancelled_before = number

    def plan(self, session: Shown, request: messages.PlanCheckUp) -> messages.CheckUpPlanned:
        return messages.CheckUpPlanned(planned=tuple(session.planned_check_up(request.only or None)))

    def run(self, session: Shown, frame: Frame) -> messages.CheckUpDone | messages.Cancelled:
        """Answer a CheckUp. Raises BadInput where none can be made now, and what the user's code raises."""
        request: messages.CheckUp = frame.message
        interval = Interval()

        def progress(now: Progress) -> bool:
            if interval.is_due(now.title):
                self._outbox.put(messages.CheckUpProgress(progress=now))
            return self._cancelled_before <= frame.number

        try:
            return messages.CheckUpDone(findings=session.check_up(request.only or None, progress))
        except CheckUpCancelled:
            return messages.Cancelled()
