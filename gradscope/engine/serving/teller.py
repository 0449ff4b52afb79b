"""Telling the app what a session has come to: each row of a table once, each report as it is made, the rates to come."""

from __future__ import annotations

import time

import numpy as np

from gradscope.engine.book.turns import rates_of
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.session import Session
from gradscope.engine.surroundings.blame import failure_of
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol import messages
from gradscope.protocol.codec import Decoder, ProtocolError, encode
from gradscope.protocol.failure import BadInput
from gradscope.protocol.limits import MAX_COUNT
from gradscope.protocol.phases import Rest

SCHEDULE_INTERVAL_SECS = 2.0
FEWEST_STEPS_AHEAD, USUAL_STEPS_AHEAD, MOST_STEPS_AHEAD = 300, 2000, 20_000
"""How far rates are foretold of a schedule without an end: three epochs, between the first two; of another to its end."""
MOST_RATES_AHEAD = 500_000
"""Of all parameter groups together: they and the momenta fit a frame."""
ROWS_AT_ONCE = 5000
"""Of a table in one message."""


class Teller:
    """Of one connection; `forget` before the first message of another session."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.forget()

    def forget(self) -> None:
        self._sent_subjects = 0
        self._sent_places = 0
        self._sent_validations = 0
        self._told_errors = 0
        self._scheduled_at = 0.0
        self._schedule: messages.Schedule | None = None
        """What was told, of a schedule that is long."""
        self._told_of_schedule = ""

    def introduce(self, session: Session, *, is_new: bool) -> None:
        """What follows a new session: its parameters, its rates, what looks wrong. After a checkpoint: its settings, too."""
        try:
            if not is_new:
                self._outbox.put(messages.SessionChanged(session=session.info))
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

    def tell_report(self, session: Session, report: PhaseReport) -> None:
        self._tell_tables(session)
        self._outbox.put(report.raw)
        self._tell_capture_errors(session)
        is_due = time.monotonic() - self._scheduled_at > SCHEDULE_INTERVAL_SECS
        if is_due and session.position.rest is Rest.READY and not self._goes_as_told(session):
            self.tell_schedule(session)

    def tell_validations(self, session: Session) -> None:
        """Those that are new."""
        for validation in session.validations[self._sent_validations :]:
            self._outbox.put(validation)
        self.skip_validations(session)

    def skip_validations(self, session: Session) -> None:
        """Those so far are known, or gone."""
        self._sent_validations = len(session.validations)

    def tell_schedule(self, session: Session) -> None:
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

    def _goes_as_told(self, session: Session) -> bool:
        """Whether the rates are those that were foretold, and much of what was told is still to come."""
        if self._schedule is None:
            return False
        ahead = self._schedule.from_step(session.position.step)
        if ahead.rates.shape[1] < max(1, self._schedule.rates.shape[1] // 2):
            return False
        return bool(np.array_equal(ahead.rates[:, 0], rates_of(session.training.optimizers), equal_nan=True))

    def _tell_tables(self, session: Session) -> None:
        tables = session.observer.tables
        while len(tables.subjects.rows) > self._sent_subjects:
            new = tuple(tables.subjects.rows[self._sent_subjects : self._sent_subjects + ROWS_AT_ONCE])
            self._outbox.put(messages.Subjects(first=self._sent_subjects, rows=new))
            self._sent_subjects += len(new)
        while len(tables.places.rows) > self._sent_places:
            places = tuple(tables.places.rows[self._sent_places : self._sent_places + ROWS_AT_ONCE])
            self._outbox.put(messages.Places(first=self._sent_places, rows=places))
            self._sent_places += len(places)

    def _tell_capture_errors(self, session: Session) -> None:
        for text in session.observer.errors[self._told_errors :]:
            self._outbox.put(messages.Note(text=text, warning=True))
        self._told_errors = len(session.observer.errors)


def check_showable(session: Session) -> None:
    """The app takes in what it is told of a session. Raises BadInput where it would not, by its own rules."""
    try:
        frame = encode(messages.Opened(session=session.info, position=session.position), number=MAX_COUNT)
        for _ in Decoder().feed(frame):
            pass
    except ProtocolError as reason:
        raise BadInput(f"The app cannot show this recipe: {reason}") from None
