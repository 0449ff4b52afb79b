"""Where a session that is served stops by itself: at the points that the app has set, and one by one through its layers."""

from __future__ import annotations

from types import FrameType

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.shown import Shown
from gradscope.engine.stops.refusals import OF_A_SCRIPT
from gradscope.engine.stops.stops import Stops
from gradscope.engine.stops.stride import STRIDES, Stride
from gradscope.protocol import messages
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Go, Pong
from gradscope.protocol.phases import Moment, Verb
from gradscope.protocol.stops.point import MAX_STOPS, StopHit


class Stopping:
    """Of one connection. Who trains asks `at` at every moment while `is_armed`, and `after` every phase; `tell` comes before
    the Done."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._stops = Stops()
        self._stride: Stride | None = None
        self._session: Shown | None = None
        self._hits: list[StopHit] = []
        self._told: set[str] = set()
        """What cannot hold, as the training is captured now."""

    @property
    def is_armed(self) -> bool:
        """Whether a moment inside a phase can be one to stop at."""
        return self._stride is not None or self._stops.is_armed

    def follow(self, session: Shown | None) -> None:
        """Another session, or none: the points stay."""
        self._session, self._stride, self._hits = session, None, []
        self._told.clear()
        if session is None:
            self._stops.follow(None)
        else:
            substeps = OF_A_SCRIPT if isinstance(session, ScriptSession) else None
            self._stops.follow(
                session.book,
                None if session.verdicts is None else session.findings,
                lambda: session.info.substeps if substeps is None else substeps,
            )

    def set(self, request: messages.SetStops) -> Pong:
        """Raises BadInput where a text says nothing; then the points before stay."""
        self._note(self._stops.set(request.stops))
        return Pong()

    def _note(self, sentences: list[str]) -> None:
        for sentence in sentences:
            if sentence not in self._told:
                self._outbox.put(messages.Note(text=sentence, warning=True))
        self._told = set(sentences)

    def begin(self, go: Go, session: Shown) -> None:
        """Training goes on from where it stands. Raises BadInput for a place to run to that cannot be."""
        if go.to and go.verb is not Verb.RUN:
            raise BadInput(f"'{go.to}' is a place to run to; expected the verb {Verb.RUN.value}, not {go.verb.value}")
        self._stops.clear_once()
        self._stride = None
        self._hits.clear()
        if go.to:
            self._stops.set_once(go.to)
        # Capture may be another since they were set, and layers may have come.
        self._note(self._stops.never())
        if go.verb in STRIDES:
            self._stride = Stride(go.verb, session.position.moment, session.observer.running)

    def at(self, moment: Moment, frame: FrameType) -> bool:
        """Whether to stop at a moment inside a phase, in a script also between two; `frame` is where the call comes from."""
        # What a script does between two phases is passed over by single steps: Into begins the next phase.
        is_inside = self._session is not None and self._session.book.inside is not None
        stops_here = self._stride is not None and is_inside and self._stride.stops_at(moment)
        if self._session is not None:
            self._session.observer.guarded(lambda: self._hits.extend(self._stops.at(moment, frame)))
        return stops_here or self._has_hit

    def after(self, report: object) -> bool:
        """Whether to stop between two phases, when one is complete."""
        if self._session is not None and isinstance(report, PhaseReport):
            self._session.observer.guarded(lambda: self._hits.extend(self._stops.after(report)))
        return self._has_hit

    @property
    def _has_hit(self) -> bool:
        return bool(self._hits or self._stops.once_told)

    def tell(self) -> None:
        """Why training has stopped, where a point is the reason."""
        if self._stops.once_told:
            self._outbox.put(messages.Note(text=f"Stopped at {self._stops.once_told}"))
            self._stops.once_told = ""
        self._stops.clear_once()
        self._stride = None
        if self._hits:
            self._outbox.put(messages.Stopped(hits=tuple(self._hits[:MAX_STOPS])))
            self._hits.clear()
