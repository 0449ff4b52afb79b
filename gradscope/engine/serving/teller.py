"""Telling the app what a session has come to: each row of a table once, each report as it is made, the rates to come."""

from __future__ import annotations

import time
from types import FrameType

import numpy as np

from gradscope.engine.book.turns import rates_of
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.shown import Shown
from gradscope.engine.serving.sources import Sources
from gradscope.engine.surroundings.blame import failure_of
from gradscope.engine.surroundings.source import users_stack
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol import messages
from gradscope.protocol.codec import Decoder, ProtocolError, encode
from gradscope.protocol.failure import BadInput
from gradscope.protocol.findings import Findings
from gradscope.protocol.limits import MAX_COUNT
from gradscope.protocol.messages.timeline import TimelineState
from gradscope.protocol.phases import Rest
from gradscope.protocol.source import StackFrame

SCHEDULE_INTERVAL_SECS = 2.0
FEWEST_STEPS_AHEAD, USUAL_STEPS_AHEAD, MOST_STEPS_AHEAD = 300, 2000, 20_000
"""How far rates are foretold of a schedule without an end: three epochs, between the first two; of another to its end."""
MOST_RATES_AHEAD = 500_000
"""Of all parameter groups together: they and the momenta fit a frame."""
FINDINGS_INTERVAL_SECS, LEAST_PAUSE = 0.5, 50
"""While training goes on, what is found is looked at so often, and less where that takes more than a fiftieth of the time."""
TIMELINE_INTERVAL_SECS = 0.5
"""While training goes on, it is told so often how far back one can go."""
ROWS_AT_ONCE = 5000
"""Of a table in one message."""


class Teller:
    """Of one connection; `forget` before the first message of another session."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.forget()

    def forget(self, *, is_watching: bool = False) -> None:
        """`is_watching`: the monitors ride along in the session that follows."""
        self._sent_subjects = 0
        self._sent_places = 0
        self._sent_validations = 0
        self._told_errors = 0
        self._scheduled_at = 0.0
        self._schedule: messages.Schedule | None = None
        """What was told, of a schedule that is long."""
        self._told_of_schedule = ""
        self._has_told_whereabouts = False
        self._is_watching = is_watching
        self._told_findings: Findings | None = None
        self._told_of_findings = ""
        self._findings_due = 0.0
        self._timeline: TimelineState | None = None
        self._timeline_at = 0.0
        self.sources = Sources()
        """The user's files that the app has been told of."""

    def introduce(self, session: Shown, *, is_new: bool) -> None:
        """What follows a new session: its parameters, its rates, what looks wrong. After a checkpoint: its settings, too."""
        try:
            if not is_new:
                self._outbox.put(messages.SessionChanged(session=session.info))
            self.sources.note(session.info.path)
            initial = session.initial_parameters()
            self._tell_tables(session)
            self._outbox.put(initial)
            self.tell_schedule(session)
            for warning in session.info.warnings:
                self._outbox.put(messages.Note(text=warning, warning=True))
        except BaseException as error:
            if is_interruption(error):
                raise
            text = f"The parameters and buffers of the model could not be looked at: {describe_error(error)}"
            self._outbox.put(messages.Note(text=text, warning=True))

    def tell_report(self, session: Shown, report: PhaseReport) -> None:
        self._tell_tables(session)
        if report.raw.line is not None:
            self.sources.note(report.raw.line.file)
        self._outbox.put(report.raw)
        for record in session.take_untold_of_probe():
            self._outbox.put(messages.ProbeRecorded(record=record))
        self._tell_capture_errors(session)
        self.tell_timeline(session)
        is_due = time.monotonic() - self._scheduled_at > SCHEDULE_INTERVAL_SECS
        if is_due and session.position.rest is Rest.READY and not self._goes_as_told(session):
            self.tell_schedule(session)

    def tell_findings(self, session: Shown, *, is_late: bool = False) -> None:
        """Where they are others than before. While training goes on now and then only; `is_late`: it stands still now."""
        started = time.monotonic()
        if not is_late and (started < self._findings_due or session.position.rest is not Rest.READY):
            return
        try:
            findings = session.findings()
        except BaseException as error:
            if is_interruption(error):
                raise
            # Each time the same, most likely: told once.
            text = f"What was found cannot be told. {failure_of(error).sentence}"
            if text != self._told_of_findings:
                self._outbox.put(messages.Note(text=text, warning=True))
            self._told_of_findings = text
        else:
            if findings != self._told_findings:
                self._told_findings = findings
                self._outbox.put(messages.FoundNow(findings=findings, is_watching=self._is_watching))
        now = time.monotonic()
        self._findings_due = now + max(FINDINGS_INTERVAL_SECS, LEAST_PAUSE * (now - started))

    def note_findings(self, reply: messages.CheckUpDone | messages.Cancelled) -> None:
        """A check-up was answered with what is known now: it need not be told once more."""
        if isinstance(reply, messages.CheckUpDone):
            self._told_findings = reply.findings

    def tell_whereabouts(self, frame: FrameType | None) -> None:
        """Training stands still in a call that `frame` has made; None: it goes on."""
        self.tell_stack(users_stack(frame))

    def tell_stack(self, stack: tuple[StackFrame, ...]) -> None:
        """The lines of the user's at which training stands, the innermost first; () where it goes on."""
        for called in stack:
            self.sources.note(called.line.file)
        if stack or self._has_told_whereabouts:
            self._outbox.put(messages.Whereabouts(stack=stack))
        self._has_told_whereabouts = bool(stack)

    def tell_validations(self, session: Shown) -> None:
        """Those that are new."""
        for validation in session.validations[self._sent_validations :]:
            self._outbox.put(validation)
        self.skip_validations(session)

    def skip_validations(self, session: Shown) -> None:
        """Those so far are known, or gone."""
        self._sent_validations = len(session.validations)

    def tell_schedule(self, session: Shown) -> None:
        """The rates to come, where they can be foretold: a script sets its own."""
        if isinstance(session, ScriptSession):
            return
        self.tell_timeline(session, is_late=True)
        self._scheduled_at = time.monotonic()
        three_epochs = 3 * (session.info.batches_per_epoch or 0)
        room = max(1, MOST_RATES_AHEAD // max(1, len(session.info.groups)))
        usual = min(USUAL_STEPS_AHEAD, max(FEWEST_STEPS_AHEAD, three_epochs))
        self._schedule = None
        try:
            left = session.steps_to_schedule_end or 0
            ahead = min(max(usual, left), MOST_STEPS_AHEAD, room)
            schedule = session.schedule(ahead)
            self._outbox.put(schedule)
            # A long one is not simulated again and again.
            self._schedule = schedule if left > USUAL_STEPS_AHEAD else None
        except BaseException as error:
            if is_interruption(error):
                raise
            # Each time the same, most likely: told once.
            text = f"The rates to come cannot be told. {failure_of(error).sentence}"
            if text != self._told_of_schedule:
                self._outbox.put(messages.Note(text=text, warning=True))
            self._told_of_schedule = text

    def tell_return(self, session: Shown) -> None:
        """Training stands where it has been before."""
        self.skip_validations(session)
        self._outbox.put(messages.SessionChanged(session=session.info))
        if session.position.rest is Rest.READY:
            # The app may have let go of the reports of the step before.
            initial = session.initial_parameters()
            self._tell_tables(session)
            self._outbox.put(initial)
        self.tell_schedule(session)
        self.tell_findings(session, is_late=True)

    def tell_timeline(self, session: Shown, *, is_late: bool = False) -> None:
        """How far back one can go, where that is something else than before. While training goes on now and then only;
        `is_late`: it stands still now."""
        now = time.monotonic()
        if isinstance(session, ScriptSession) or (not is_late and now - self._timeline_at < TIMELINE_INTERVAL_SECS):
            return
        timeline = session.timeline.describe()
        if timeline != self._timeline and (self._timeline is not None or timeline.limit_bytes):
            self._timeline, self._timeline_at = timeline, now
            self._outbox.put(timeline)

    def _goes_as_told(self, session: Shown) -> bool:
        """Whether the rates are those that were foretold, and much of what was told is still to come."""
        if self._schedule is None or isinstance(session, ScriptSession):
            return False
        ahead = self._schedule.from_step(session.position.step)
        if ahead.rates.shape[1] < max(1, self._schedule.rates.shape[1] // 2):
            return False
        return bool(np.array_equal(ahead.rates[:, 0], rates_of(session.training.optimizers), equal_nan=True))

    def _tell_tables(self, session: Shown) -> None:
        tables = session.observer.tables
        while len(tables.subjects.rows) > self._sent_subjects:
            new = tuple(tables.subjects.rows[self._sent_subjects : self._sent_subjects + ROWS_AT_ONCE])
            self._outbox.put(messages.Subjects(first=self._sent_subjects, rows=new))
            self._sent_subjects += len(new)
        while len(tables.places.rows) > self._sent_places:
            places = tuple(tables.places.rows[self._sent_places : self._sent_places + ROWS_AT_ONCE])
            self._outbox.put(messages.Places(first=self._sent_places, rows=places))
            for place in places:
                if place.line is not None:
                    self.sources.note(place.line.file)
            self._sent_places += len(places)

    def _tell_capture_errors(self, session: Shown) -> None:
        for text in session.observer.errors[self._told_errors :]:
            self._outbox.put(messages.Note(text=text, warning=True))
        self._told_errors = len(session.observer.errors)


def check_showable(session: Shown) -> None:
    """The app takes in what it is told of a session. Raises BadInput where it would not, by its own rules."""
    try:
        frame = encode(messages.Opened(session=session.info, position=session.position), number=MAX_COUNT)
        for _ in Decoder().feed(frame):
            pass
    except ProtocolError as reason:
        raise BadInput(f"The app cannot show this recipe: {reason}") from None
