"""Going back as the server serves it: progress while a training is replayed, and breaking that off."""

from __future__ import annotations

from collections.abc import Callable

from gradscope.engine.quantities.values import dtype_name
from gradscope.engine.serving.beside.interval import Interval
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.teller import Teller
from gradscope.engine.session import Session
from gradscope.engine.timeline.replay import Tick
from gradscope.engine.timeline.timeline import Went
from gradscope.protocol import messages
from gradscope.protocol.codec import Frame
from gradscope.protocol.messages.timeline import (
    GoTo,
    GoToLast,
    Recompute,
    Recomputed,
    ReplayProgress,
    SetTimeline,
    StepBack,
    WentTo,
)

MOST_SHARE = 0.05
"""Of the time of a training: checkpoints that take more are taken in some steps only."""


class GoingBack:
    """Of one connection."""

    def __init__(self, outbox: Outbox, teller: Teller) -> None:
        self._outbox, self._teller = outbox, teller
        self._was_inside = False

    def begin(self, session: Session, limit_bytes: int) -> None:
        """Of a session that was just opened. A run in the window is not to become much slower by it."""
        self._was_inside = False
        session.timeline.pace.share = MOST_SHARE
        session.timeline.set_limit(limit_bytes)

    def leaves_phase(self, message: object) -> bool:
        """Whether a request that has come inside a phase is one for which that phase is left first."""
        self._was_inside = isinstance(message, StepBack | GoTo | GoToLast)
        return self._was_inside

    def go(self, session: Session, frame: Frame, check: Callable[[], None]) -> WentTo | Recomputed:
        """Answer a StepBack, GoTo, GoToLast or Recompute. `check` raises where it is to be broken off. Raises what `Timeline`
        does; then the session is where it was, or is broken."""
        interval, was_inside = Interval(), self._was_inside
        self._was_inside = False

        def tick(step: int, start: int, until: int) -> None:
            check()
            if interval.is_due():
                self._outbox.put(ReplayProgress(step=step, start=start, until=until))

        timeline, request = session.timeline, frame.message
        if isinstance(request, Recompute):
            return self._recomputed(session, request, tick)
        if isinstance(request, GoToLast):
            return self._gone(session, timeline.go_to_last(request.condition, tick=tick))
        if isinstance(request, GoTo):
            return self._gone(session, timeline.go_to(request.step, request.branch, tick=tick))
        if was_inside and not request.whole_step:
            # The phase was undone: training stands before it, and is made so to the last bit.
            if timeline.reason:
                note = f"The phase was undone. {timeline.reason}"
                return self._gone(session, Went(position=session.position, branch=timeline.branch, notes=(note,)))
            return self._gone(session, timeline.stand_again(tick=tick))
        return self._gone(session, timeline.step_back(whole_step=request.whole_step, tick=tick))

    def set_limit(self, session: Session, request: SetTimeline) -> messages.Pong:
        session.timeline.set_limit(request.limit_bytes)
        self._teller.tell_timeline(session, is_late=True)
        return messages.Pong()

    def _recomputed(self, session: Session, request: Recompute, tick: Tick) -> Recomputed:
        found = session.timeline.values_at(request.step, request.subject, tick=tick)
        return Recomputed(
            step=request.step,
            subject=request.subject,
            shape=tuple(found.values.shape),
            dtype=dtype_name(found.values.dtype),
            verified=found.verified,
            notes=found.notes[:100],
        )

    def _gone(self, session: Session, went: Went) -> WentTo:
        session.stand_elsewhere(went)
        return WentTo(
            position=went.position,
            branch=went.branch,
            verified=went.verified,
            notes=went.notes[:100],
            edits=session.edits_made,
        )
