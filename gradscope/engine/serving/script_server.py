"""The engine as a server for an app that looks at a script: the script runs on the main thread, and waits in here.

There is no loop of phases: each end of a phase is a place where a goal may be met, and where the script is held until the
next Go. Nothing is unwound: an exception raised in the middle of a script would be caught by it.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from dataclasses import replace
from types import FrameType
from typing import Any

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.failures import failure_of_script
from gradscope.engine.script.launching.ending import ScriptEnd, leave_now
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.engine.serving.beside.evaluating import REQUESTS as EVALUATING
from gradscope.engine.serving.beside.weights import Weights
from gradscope.engine.serving.beside.what_ifs import TRIES
from gradscope.engine.serving.desk import Desk
from gradscope.engine.serving.exporter import ExportCancelled
from gradscope.engine.serving.goal import ScriptGoal
from gradscope.engine.serving.last_words import LastWords
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.reader import Parting, Reader
from gradscope.engine.serving.teller import Teller
from gradscope.engine.surroundings.blame import failure_of
from gradscope.engine.surroundings.devices import available_devices
from gradscope.engine.surroundings.source import stack_of_error, users_line
from gradscope.protocol import messages
from gradscope.protocol.capture import Capture
from gradscope.protocol.codec import Decoder, Frame
from gradscope.protocol.failure import BadInput, Failure, FailureKind
from gradscope.protocol.last_place import LastPlace
from gradscope.protocol.messages import Done, Failed, Go, Pong
from gradscope.protocol.messages.checkpoints import LoadCheckpoint, SaveCheckpoint
from gradscope.protocol.messages.edits import EDITS, Edited, ListChoices, UndoEdit
from gradscope.protocol.messages.why import CheckGradient
from gradscope.protocol.phases import Moment, Phase, Position, RunUntil, Verb, refusal
from gradscope.protocol.scripts import Ability, Script, ScriptKind

SHUTDOWN_GRACE_SECS = 2.0
INTERRUPT_SECS, PAUSE_SECS = 2.5, 0.9
"""After an Interrupt or a Pause without effect, until it is said where the script is: a little before the app says so."""
_NOTHING_OPEN = "The script has not come to a training step yet"


class ScriptServer:
    """One connection to one app, which has started this process for one script. A `Follower`."""

    lets_interrupts_through = False
    """Ctrl+C while a request is answered is for the script, and not for the answer."""
    no_other_session = "This engine runs a script: another session needs another engine"

    def __init__(
        self,
        script: Script,
        connection: socket.socket,
        decoder: Decoder,
        last_place: LastPlace | None = None,
        parting: Parting | None = None,
    ) -> None:
        self.script = script
        self.is_armed = self._is_over = False
        self._reader = Reader(
            connection, decoder, parting or LastWords(last_place), take=self._take, is_over=lambda: self._is_over
        )
        self._outbox = Outbox(connection, on_failure=self._reader.note_write_failed)
        self._teller = Teller(self._outbox)
        self._desk = Desk(self._outbox, self._teller, nothing_open=_NOTHING_OPEN)
        self._requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._session: ScriptSession | None = None
        self._last_place = last_place
        self._weights = Weights(self._outbox)
        self._opening = 0
        """The number of the request that began this."""
        self._wanted = messages.OpenScript(script=script)
        self._goal: ScriptGoal | None = None
        self._pause_wanted = False
        self._pause_number = 0
        self._is_waiting = False
        self._warnings: tuple[str, ...] = ()
        self._thread = threading.get_ident()
        """That trains."""

    def begin(self, torch_version: str, numpy_version: str) -> messages.OpenScript:
        """The script has imported torch, or has ended: say so, and wait for the request that tells how it is captured."""
        self._reader.start()
        self._outbox.put(
            messages.EngineReady(
                torch_version=torch_version,
                numpy_version=numpy_version,
                devices=available_devices(),
                script=self.script if self.script.kind is ScriptKind.ATTACHED else None,
            )
        )
        while not self._opening and not self._is_over:
            self._serve_next()
        return self._wanted

    # ------------------------------------------------------------------------------------------ the reader thread

    def _take(self, frame: Frame) -> None:
        """Control messages are acted on at once, whatever the script does."""
        match frame.message:
            case messages.Ping():
                self._outbox.put(Pong(), number=frame.number)
            case messages.Pause() | messages.Interrupt():
                self._pause_number = frame.number
                self._pause_wanted = self.is_armed = True
                self._outbox.put(Pong(), number=frame.number)
                if isinstance(frame.message, messages.Interrupt):
                    self._desk.cancel(frame.number)
                self._say_where_it_is_later(is_loud=isinstance(frame.message, messages.Interrupt))
            case messages.CancelExport():
                self._outbox.put(Pong(), number=frame.number)
                self._desk.exporter.cancel(frame.number)
            case messages.CancelCheckUp():
                self._outbox.put(Pong(), number=frame.number)
                self._desk.check_ups.cancel(frame.number)
            case messages.CancelWhatIf():
                self._outbox.put(Pong(), number=frame.number)
                self._desk.what_ifs.cancel(frame.number)
            case messages.Shutdown():
                self._desk.cancel(frame.number)
                self._shut_down(frame)
            case _:
                self._requests.put(frame)

    def _shut_down(self, frame: Frame) -> None:
        self._is_over = self.is_armed = True
        self._requests.put(frame)
        timer = threading.Timer(SHUTDOWN_GRACE_SECS, os._exit, args=(0,))
        timer.daemon = True
        timer.start()
        if not self._is_waiting:
            # Nobody asks a script whether it wants to end.
            timer.cancel()
            leave_now(0)

    def _say_where_it_is_later(self, *, is_loud: bool) -> None:
        """`is_loud`: in a note, too."""

        def work() -> None:
            if self._is_waiting or self._is_over or not self._pause_wanted:
                return
            frame = sys._current_frames().get(self._thread)
            if is_loud:
                line = users_line(frame)
                where = "in a library" if line is None else f"at {line.file}, line {line.line}, in {line.function}"
                self._outbox.put(messages.Note(text=f"The script is {where}", warning=True))
            self._teller.tell_whereabouts(frame)

        timer = threading.Timer(INTERRUPT_SECS if is_loud else PAUSE_SECS, work)
        timer.daemon = True
        timer.start()

    # ------------------------------------------------------------------------------------------ where the script waits

    def session_found(self, session: ScriptSession) -> None:
        self._session = session
        if self._wanted.findings:
            session.look_for_findings()
        self._desk.evaluating.adopt(session)
        session.leave_place_in(self._last_place)
        self._teller.forget(is_watching=self._wanted.findings)
        self._desk.stopping.follow(session)
        self._outbox.put(messages.Opened(session=session.info, position=self._position()), number=self._opening)
        self._teller.introduce(session, is_new=True)
        self._weights.begin(session, self._wanted.timeline_bytes)
        self._hold(sys._getframe(1))

    def session_changed(self, session: ScriptSession) -> None:
        self._outbox.put(messages.SessionChanged(session=session.info))
        told, self._warnings = self._warnings, session.info.warnings
        for warning in session.info.warnings:
            if warning not in told:
                self._outbox.put(messages.Note(text=warning, warning=True))

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        self._teller.tell_report(session, report)
        self._teller.tell_findings(session)
        if report.phase is Phase.STEP:
            self._weights.after_step()
        if self._desk.evaluating.tell_steps(session):
            self._pause_wanted = True
        goal = self._goal
        is_found = report.first_nonfinite is not None
        stops_here = self._desk.stopping.after(report)
        if goal is None or goal.is_met(report.phase, session.position):
            self._end_goal(paused=False)
        elif self._pause_wanted or stops_here or (goal.stops_at_nonfinite and is_found):
            self._pause_wanted = self.is_armed = False
            self._end_goal(paused=True)
        else:
            self._serve_waiting()
        if self._goal is None:
            self._hold(sys._getframe(1))
        else:
            self._go_on(session)

    def stop(self, moment: Moment) -> None:
        """Inside a phase: called at every moment while `is_armed`."""
        self.is_armed = self._desk.stopping.is_armed
        session = self._session
        if session is None or not (self._desk.stopping.at(moment, sys._getframe()) or self._pause_wanted):
            return
        self._pause_wanted = False
        so_far = session.partial_report()
        if so_far is not None:
            self._teller.tell_report(session, so_far)
        self._end_goal(paused=True)
        self._hold(sys._getframe(1))

    def _hold(self, frame: FrameType) -> None:
        """Answer requests until the script is to go on."""
        self._teller.tell_whereabouts(frame)
        self._weights.tell()
        if self._session is not None:
            self._teller.tell_findings(self._session, is_late=True)
        self._thread, self._is_waiting = threading.get_ident(), True
        try:
            if self._session is not None and self._goal is None:
                self._desk.evaluating.tell_stop(self._session)
            while self._goal is None and not self._is_over:
                self._serve_next()
        finally:
            self._is_waiting = False
            self._teller.tell_whereabouts(None)
        if self._is_over:
            self._leave()
        elif self._session is not None:
            self._go_on(self._session)

    def _go_on(self, session: ScriptSession) -> None:
        assert self._goal is not None
        self.is_armed = self.is_armed or self._desk.stopping.is_armed
        session.keeper.keeps_all = self._goal.ends_with_next_step(session.position) or self._desk.stopping.is_armed
        self._outbox.pass_by(messages.Moved(position=self._position()))

    def _leave(self) -> None:
        """The app wants no more of it."""
        self._outbox.close()
        leave_now(0)

    def script_ended(self, session: ScriptSession | None, end: ScriptEnd, rest: Passage) -> None:
        """The values stay to be looked at until the app says otherwise."""
        failure = failure_of_script(end, session)
        for line in end.left_out:
            self._outbox.put(messages.Note(text=f"Left out, since it is no Python: {line}", warning=True))
        if session is None:
            failure = failure or Failure(
                kind=FailureKind.BAD_INPUT,
                sentence=f"{self.script.title} has ended with exit code {end.code}, and no training step was seen in it"
                + "".join(f". {note}" for note in rest.notes),
            )
            self._outbox.put(Failed(failure=failure, position=Position()), number=self._opening)
        else:
            session.end()
            if session.unfinished is not None:
                self._teller.tell_report(session, session.unfinished)
            self._teller.tell_findings(session, is_late=True)
            self._outbox.put(messages.Moved(position=self._position()))
            self._outbox.put(messages.Note(text=f"The script has ended with exit code {end.code}"))
            goal, self._goal = self._goal, None
            number = 0 if goal is None else goal.number
            if failure is None:
                self._outbox.put(Done(position=self._position()), number=number)
            else:
                self._outbox.put(Failed(failure=failure, position=self._position()), number=number)
            if end.error is not None:
                self._teller.tell_stack(stack_of_error(end.error))
        self._goal, self._is_waiting = None, True
        while not self._is_over:
            self._serve_next()
        self._leave()

    # ------------------------------------------------------------------------------------------ requests

    def _serve_next(self) -> None:
        frame = self._requests.get()
        if isinstance(frame.message, messages.Shutdown):
            self._leave()
            return
        try:
            reply = self._answer(frame)
        except ExportCancelled:
            reply = messages.Cancelled()
        except BaseException as error:
            # BaseException: the user's code may have called sys.exit().
            reply = Failed(failure=failure_of(error), position=self._position())
            if self.lets_interrupts_through and isinstance(error, KeyboardInterrupt):
                self._outbox.put(reply, number=frame.number)
                raise
        if reply is not None:
            self._outbox.put(reply, number=frame.number)

    def _serve_waiting(self) -> None:
        while self._goal is not None and not self._requests.empty():
            self._serve_next()

    def _answer(self, frame: Frame) -> Any:
        match frame.message:
            case messages.OpenScript():
                if self._opening:
                    raise BadInput("A script is started once in the life of an engine: it needs another one")
                self._opening, self._wanted = frame.number, frame.message
                return None
            case messages.Open() | messages.Reset():
                raise BadInput(self.no_other_session)
            case Go():
                return self._go(frame.number, frame.message)
            case messages.SetCapture(capture=capture):
                session = self._need_paused()
                session.set_capture(Capture.parse(capture))
                self._outbox.put(messages.SessionChanged(session=session.info))
                return Pong()
            case message if isinstance(message, (messages.CheckUp, *TRIES)):
                reply = self._desk.beside(self._need_paused(), frame)
                self._teller.note_findings(reply)
                return reply
            case message if isinstance(message, EVALUATING):
                running = "" if self._goal is None else "The script is running: press Pause first"
                return self._desk.evaluating.answer(self._session, message, running=running)
            case messages.RestoreWeights():
                self._need_paused()
                return self._weights.restore(frame.message)
            case UndoEdit():
                return self._edit(frame.message)
            case message if isinstance(message, EDITS):
                return self._edit(message)
        for message, ability in _REFUSED.items():
            if isinstance(frame.message, message):
                raise BadInput(self._need_session().info.refused[ability.value])
        return self._desk.answer(self._session, frame)

    def _edit(self, edit: Any) -> Edited:
        session = self._need_paused()
        record, text = session.undo_edit() if isinstance(edit, UndoEdit) else (made := session.edit(edit), made.text)
        self._outbox.put(record.as_message())
        self._outbox.put(messages.SessionChanged(session=session.info))
        return Edited(text=text)

    def _go(self, number: int, go: Go) -> None:
        session = self._need_session()
        position = session.position
        reason = refusal(position.rest, go.verb, running=self._goal is not None, in_script=True)
        if reason is not None:
            raise BadInput(reason)
        if go.verb is Verb.RUN and go.until is RunUntil.EPOCH:
            raise BadInput(session.info.refused[Ability.RUN_EPOCH.value])
        if go.verb is Verb.RUN and go.until is RunUntil.STEPS and go.steps < 1:
            raise BadInput(f"A run of {go.steps} steps was asked for; expected at least one")
        self._desk.stopping.begin(go, session)
        self._goal = ScriptGoal.of(number, go, position)
        # A pause that was asked for after this Go is meant for it.
        self._pause_wanted = self._pause_wanted and self._pause_number > number

    def _need_session(self) -> ScriptSession:
        if self._session is None:
            raise BadInput(_NOTHING_OPEN)
        return self._session

    def _need_paused(self) -> ScriptSession:
        session = self._need_session()
        if self._goal is not None:
            raise BadInput("The script is running: press Pause first")
        return session

    def _end_goal(self, *, paused: bool) -> None:
        goal, self._goal = self._goal, None
        if goal is not None:
            self._teller.tell_findings(self._need_session(), is_late=True)
            self._desk.stopping.tell()
            self._outbox.put(Done(position=self._position(), paused=paused), number=goal.number)

    def _position(self) -> Position:
        if self._session is None:
            return Position()
        position = replace(self._session.position, running=self._goal is not None)
        if self._last_place is not None:
            self._last_place.write(position)
        return position


_REFUSED: dict[type, Ability] = {
    CheckGradient: Ability.CHECK_GRADIENT,
    SaveCheckpoint: Ability.SAVE_CHECKPOINT,
    LoadCheckpoint: Ability.LOAD_CHECKPOINT,
    ListChoices: Ability.EDIT_STEP,
    **dict.fromkeys(
        (messages.StepBack, messages.GoTo, messages.GoToLast, messages.Recompute, messages.SetTimeline), Ability.GO_BACK
    ),
}
