"""The engine as a server: the main thread runs the model and answers requests, the reader thread takes frames in.

Everything that a person asks for while a phase runs goes through the gate: at the next moment the main thread stops inside
the model, answers requests there, and goes on when told to.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import torch

from gradscope.engine.recipe.loading import load_recipe
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.serving.answers import answer_check_gradient, answer_checkpoint, cancelled
from gradscope.engine.serving.beside.evaluating import REQUESTS as EVALUATING
from gradscope.engine.serving.beside.what_ifs import TRIES
from gradscope.engine.serving.desk import Desk
from gradscope.engine.serving.editing import answer_edit
from gradscope.engine.serving.exporter import ExportCancelled
from gradscope.engine.serving.goal import Goal
from gradscope.engine.serving.last_words import LastWords
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.reader import Reader, wake_main_thread
from gradscope.engine.serving.teller import Teller, check_showable
from gradscope.engine.session import Session
from gradscope.engine.surroundings import devices
from gradscope.engine.surroundings.blame import failure_of
from gradscope.engine.surroundings.devices import available_devices
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.torch_settings import TorchSettings
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.engine.surroundings.usercode import last_user_line
from gradscope.protocol import messages
from gradscope.protocol.codec import Decoder, Frame
from gradscope.protocol.failure import BadInput, Failure, UserCodeFailed
from gradscope.protocol.last_place import LastPlace
from gradscope.protocol.messages import Done, Failed, Go, Pong
from gradscope.protocol.messages.checkpoints import CheckpointLoaded, LoadCheckpoint, SaveCheckpoint
from gradscope.protocol.messages.edits import EDITS, EditFile, ListChoices, UndoEdit
from gradscope.protocol.messages.why import CheckGradient
from gradscope.protocol.phases import AT_REST, INSIDE, NEXT_PHASE, Moment, Position, Rest, RunUntil, Verb, refusal

SHUTDOWN_GRACE_SECS = 2.0


class Server:
    """One connection to one app. `run()` returns when the app says so; it never returns if the app vanishes."""

    def __init__(
        self,
        connection: socket.socket,
        decoder: Decoder,
        last_place: LastPlace | None = None,
        last_words: LastWords | None = None,
    ) -> None:
        self.is_armed = self._is_over = False
        self._reader = Reader(
            connection, decoder, last_words or LastWords(last_place), take=self._take, is_over=lambda: self._is_over
        )
        self._outbox = Outbox(connection, on_failure=self._reader.note_write_failed)
        self._teller = Teller(self._outbox)
        self._desk = Desk(self._outbox, self._teller, nothing_open="No recipe is open")
        self._requests: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._session: Session | None = None
        self._last_place = last_place
        self._lost = Position()
        """Where the session stood that was given up."""
        self._opened: messages.Open | None = None
        self._goal: Goal | None = None
        self._deferred: Frame | None = None
        self._pause_wanted = False
        self._pause_number = 0
        self._interrupt_wanted = False
        self._interrupt_number = 0
        self._is_interruptible = False
        self._is_opening = False
        self._settings = TorchSettings.capture()

    def run(self, torch_version: str, numpy_version: str) -> None:
        signal.signal(signal.SIGINT, self._on_interrupt_signal)
        self._reader.start()
        self._outbox.put(
            messages.EngineReady(torch_version=torch_version, numpy_version=numpy_version, devices=available_devices())
        )
        while not self._is_over:
            with self._interruptions_ignored():
                self._serve_next()
            while self._goal is not None and not self._is_over:
                self._advance()
        self._outbox.close()

    # ------------------------------------------------------------------------------------------ the reader thread

    def _take(self, frame: Frame) -> None:
        """Control messages are acted on at once, whatever the main thread does."""
        match frame.message:
            case messages.Ping():
                self._outbox.put(Pong(), number=frame.number)
            case messages.Pause():
                self._pause_number = frame.number
                self._pause_wanted = self.is_armed = True
                self._outbox.put(Pong(), number=frame.number)
            case messages.Interrupt():
                self._outbox.put(Pong(), number=frame.number)
                self._interrupt_number = frame.number
                self._desk.cancel(frame.number)
                self._interrupt_wanted = self.is_armed = True
                if self._is_interruptible:
                    wake_main_thread()
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
                self._is_over = self._interrupt_wanted = self.is_armed = True
                self._requests.put(frame)
                timer = threading.Timer(SHUTDOWN_GRACE_SECS, os._exit, args=(0,))
                timer.daemon = True
                timer.start()
            case _:
                self._requests.put(frame)

    def _on_interrupt_signal(self, signum: int, frame: FrameType | None) -> None:
        # Only out of the user's code: gradscope's own bookkeeping is left at the next moment, by the gate.
        in_user_code = self._is_opening or (self._session is not None and self._session.in_user_code)
        if self._is_interruptible and in_user_code and (self._interrupt_wanted or self._is_over):
            self._interrupt_wanted = False
            raise Unwind("interrupted")

    @contextlib.contextmanager
    def _interruptions_ignored(self) -> Any:
        before, self._is_interruptible = self._is_interruptible, False
        try:
            yield
        finally:
            self._is_interruptible = before

    # ------------------------------------------------------------------------------------------ the gate

    def stop(self, moment: Moment) -> None:
        """The one stopping place: called by the session at every moment while `is_armed`."""
        if self._interrupt_wanted or self._is_over:
            self._interrupt_wanted = False
            raise Unwind("interrupted")
        self.is_armed = self._desk.stopping.is_armed
        # Without a goal the phase runs for a request: it is no part of what was asked to stop.
        if not (self._goal and self._desk.stopping.at(moment, sys._getframe())) and not self._pause_wanted:
            return
        self._pause_wanted = False
        with self._interruptions_ignored():
            session = self._need_session()
            so_far = session.partial_report()
            if so_far is not None:
                self._teller.tell_report(session, so_far)
            self._teller.tell_whereabouts(sys._getframe())
            self._end_goal(paused=True)
            try:
                while self._goal is None:
                    if self._is_over:
                        raise Unwind("shutdown")
                    self._serve_next(inside=True)
            finally:
                self._teller.tell_whereabouts(None)
        self._pass_by(session, self._goal)

    # ------------------------------------------------------------------------------------------ requests

    def _serve_next(self, *, inside: bool = False) -> None:
        """Wait for one request and answer it. `inside` a phase, what needs a session at rest unwinds the phase first."""
        frame = self._deferred or self._requests.get()
        self._deferred = None
        if isinstance(frame.message, messages.Shutdown):
            if inside:
                raise Unwind("shutdown")
            return
        if inside and (_renews(frame.message) or self._desk.going_back.leaves_phase(frame.message)):
            self._deferred = frame
            raise Unwind("another place is wanted")
        try:
            reply = self._answer(frame)
        except ExportCancelled:
            # An Interrupt was meant for the export, not for the phase that the session may be stopped in.
            self._interrupt_wanted = False
            reply = messages.Cancelled()
        except Unwind:
            reply = Failed(failure=cancelled("It was interrupted"), position=self._position())
        except BaseException as error:
            # BaseException: the user's code may have called sys.exit().
            reply = Failed(failure=failure_of(error), position=self._position())
        if isinstance(reply, Failed):
            self._end_if_device_is_lost()
        if reply is not None:
            self._outbox.put(reply, number=frame.number)
            if isinstance(reply, messages.WentTo):
                self._teller.tell_return(self._need_session())
            if isinstance(reply, (messages.Opened, CheckpointLoaded)):
                self._desk.evaluating.adopt(self._need_session())
                self._teller.introduce(self._need_session(), is_new=isinstance(reply, messages.Opened))
                self._teller.tell_findings(self._need_session(), is_late=True)

    def _answer(self, frame: Frame) -> Any:
        match frame.message:
            case messages.Open():
                return self._open(frame.message)
            case messages.Reset():
                if self._opened is None:
                    raise BadInput("There is nothing to reset: open a recipe first")
                return self._open(self._opened)
            case Go():
                return self._go(frame.number, frame.message)
            case messages.SetCapture(capture=capture):
                return self._set_capture(capture)
            case CheckGradient():
                session = self._need_paused()
                with self._interruptible(frame.number):
                    return answer_check_gradient(session, frame.message, self._raise_if_interrupted)
            case message if isinstance(message, (messages.CheckUp, *TRIES)):
                reply = self._beside(frame, self._desk.beside)
                self._teller.note_findings(reply)
                return reply
            case messages.StepBack() | messages.GoTo() | messages.GoToLast() | messages.Recompute():
                return self._beside(frame, partial(self._desk.going_back.go, check=self._raise_if_interrupted))
            case messages.SetTimeline():
                return self._desk.going_back.set_limit(self._need_paused(), frame.message)
            case message if isinstance(message, EVALUATING):
                return self._evaluate(frame)
            case ListChoices():
                return self._need_session().choices()
            case message if isinstance(message, (UndoEdit, *EDITS)):
                work = partial(answer_edit, outbox=self._outbox, teller=self._teller, check=self._raise_if_interrupted)
                return self._beside(frame, work) if type(message) is EditFile else work(self._need_paused(), frame)
            case SaveCheckpoint() | LoadCheckpoint():
                return self._answer_checkpoint(frame.number, frame.message)
        return self._desk.answer(self._session, frame)

    @contextlib.contextmanager
    def _interruptible(self, number: int) -> Iterator[None]:
        """Inside, the user's code runs beside the training, for request `number`. An interruption from before is over."""
        self._interrupt_wanted = self._interrupt_wanted and self._interrupt_number > number
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = False

    def _beside(self, frame: Frame, work: Callable[[Session, Frame], Any]) -> Any:
        """What takes long, and can be broken off: then everything is put back, as after a phase."""
        session = self._need_paused()
        try:
            with self._interruptible(frame.number):
                return work(session, frame)
        except Unwind:
            return messages.Cancelled()
        finally:
            self._interrupt_wanted = False
            if session.is_broken:
                self._abandon_session()

    def _evaluate(self, frame: Frame) -> Any:
        running = "" if self._goal is None else "The session is running: press Pause first"
        with self._interruptible(frame.number):
            return self._desk.evaluating.answer(self._session, frame.message, running=running)

    def _raise_if_interrupted(self) -> None:
        if self._interrupt_wanted or self._is_over:
            self._interrupt_wanted = False
            raise Unwind("interrupted")

    def _answer_checkpoint(self, number: int, request: SaveCheckpoint | LoadCheckpoint) -> Any:
        session = self._need_paused()  # Going through the data to where the checkpoint stands may take long.
        with self._interruptible(number):
            reply = answer_checkpoint(session, request)
        self._teller.skip_validations(session)
        return reply

    def _set_capture(self, capture: str) -> Pong:
        session = self._need_paused()
        session.set_capture(capture)
        if self._opened is not None:
            self._opened = replace(self._opened, capture=capture)
        self._outbox.put(messages.SessionChanged(session=session.info))
        return Pong()

    def _need_session(self) -> Session:
        if self._session is None:
            raise BadInput("No recipe is open")
        return self._session

    def _need_paused(self) -> Session:
        session = self._need_session()
        if self._goal is not None:
            raise BadInput("The session is running: press Pause first")
        return session

    def _open(self, request: messages.Open) -> messages.Opened:
        states, settings = RandomStates.capture(), TorchSettings.capture()
        self._interrupt_wanted = False
        self._is_interruptible = self._is_opening = True
        session = None
        try:
            self._settings.restore()
            session = Session(
                load_recipe(request.path, request.seed),
                request.device,
                gate=self,
                budget_bytes=request.budget_bytes,
                capture=request.capture,
            )
            self._desk.going_back.begin(session, request.timeline_bytes)
            if request.findings:
                session.look_for_findings()
            check_showable(session)
        except BaseException:
            self._is_interruptible = False
            if session is not None:
                session.close()
            settings.restore()
            states.restore()
            raise
        finally:
            self._is_interruptible = self._is_opening = False
        if self._session is not None:
            self._session.close()
            self._session = None
            # Modules and graphs refer to each other in circles; the next model needs their memory.
            gc.collect()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()
        self._session, self._opened, self._lost = session, request, Position()
        if self._last_place is not None:
            session.observer.running.tell = self._last_place.layer
        self._teller.forget(is_watching=request.findings)
        self._desk.stopping.follow(session)
        return messages.Opened(session=session.info, position=self._position())

    def _go(self, number: int, go: Go) -> None:
        session = self._need_session()
        position = session.position
        reason = refusal(position.rest, go.verb, running=self._goal is not None)
        if reason is not None:
            raise BadInput(reason)
        if go.verb in (Verb.PAUSE, Verb.RESET):
            raise BadInput(f"{go.verb.value} is a request of its own, nothing that the session goes on with")
        if go.verb is Verb.ZERO_GRAD:
            session.zero_grad()
            self._outbox.put(messages.Note(text="The gradients were cleared"))
            self._outbox.put(Done(position=self._position()), number=number)
            return
        if go.verb is Verb.RUN and go.until is RunUntil.STEPS and go.steps < 1:
            raise BadInput(f"A run of {go.steps} steps was asked for; expected at least one")
        self._desk.stopping.begin(go, session)
        session.is_traced = go.traced
        self._goal = Goal.of(number, go, position, first_optimizer=session.training.turns[0].name)
        # A pause that was asked for after this Go is meant for it; one from before, like an old interruption, is over.
        self._pause_wanted = self._pause_wanted and self._pause_number > number
        self._interrupt_wanted = self._interrupt_wanted and self._interrupt_number > number

    # ------------------------------------------------------------------------------------------ training

    def _advance(self) -> None:
        """One phase towards the goal; then whatever has been asked meanwhile."""
        session, goal = self._need_session(), self._goal
        assert goal is not None
        if self._pause_wanted and session.position.rest in AT_REST:
            self._pause_wanted = self.is_armed = False
            return self._end_goal(paused=True)
        if self._interrupt_wanted:
            self._fail(cancelled("The run was interrupted between two phases"))
            return
        self._pass_by(session, goal)
        try:
            self._is_interruptible = True
            try:
                report = session.validate() if goal.verb is Verb.VALIDATE else session.advance()
            finally:
                self._is_interruptible = False
        except Unwind as unwound:
            place = last_user_line(unwound)
            where = f" in {place[0]}, line {place[1]}" if place is not None else ""
            self._fail(cancelled(f"The phase was broken off{where}", undone=session.undone))
            if session.is_broken:
                self._abandon_session()
        except BaseException as error:
            so_far = getattr(error, "report", None) if type(error) is UserCodeFailed else None
            if isinstance(so_far, PhaseReport):
                self._teller.tell_report(session, so_far)
            self._fail(failure_of(error))
            if not isinstance(error, BadInput):
                self._end_if_device_is_lost()
            if session.is_broken:
                self._abandon_session()
        else:
            if isinstance(report, PhaseReport):
                self._teller.tell_report(session, report)
            self._teller.tell_validations(session)
            self._teller.tell_findings(session)
            is_stopped = self._desk.stopping.after(report)
            is_stopped = self._desk.evaluating.tell_steps(session) or is_stopped
            if self._goal is not None and self._goal.is_met(session.position):
                self._end_goal(paused=False)
            elif self._goal is not None and (is_stopped or self._goal.stops_at(report)):
                self._end_goal(paused=True)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._goal is not None and not self._is_over and not self._requests.empty():
            frame = self._requests.get()
            if _renews(frame.message):
                self._end_goal(paused=True)
            self._deferred = frame
            if self._goal is not None:
                self._serve_next()

    def _end_goal(self, *, paused: bool) -> None:
        goal, self._goal = self._goal, None
        if goal is not None:
            self._teller.tell_schedule(self._need_session())
            self._teller.tell_findings(self._need_session(), is_late=True)
            self._desk.stopping.tell()
            self._outbox.put(Done(position=self._position(), paused=paused), number=goal.number)
            with self._interruptible(goal.number):
                self._desk.evaluating.tell_stop(self._need_session())

    def _fail(self, failure: Failure) -> None:
        goal, self._goal = self._goal, None
        self._interrupt_wanted = False
        if self._session is not None and not self._session.is_broken:
            # The steps before may have moved the rates; what the phase itself did to them is undone.
            self._teller.tell_schedule(self._session)
        # A goal that was paused inside the phase has been answered: the position is all there is to tell.
        if goal is not None:
            self._outbox.put(Failed(failure=failure, position=self._position()), number=goal.number)
        elif self._deferred is None:
            self._outbox.put(messages.Moved(position=self._position()))

    def _end_if_device_is_lost(self) -> None:
        """After a failure. A GPU may have lost what this process can do with it: only another process can use it again."""
        session = self._session
        if session is None or devices.still_answers(session.device):
            return
        reason = (
            f"{session.device} cannot be used any more by a process in which such an error has happened, so the engine has "
            "ended. It is started again: Reset loads the recipe"
        )
        self._outbox.put(messages.DeviceLost(reason=reason))
        self._is_over = True

    def _abandon_session(self) -> None:
        if self._session is not None:
            self._lost = replace(self._session.position, rest=Rest.EMPTY, moment=None)
            self._session.close()
        self._session = None
        self._outbox.put(messages.Moved(position=self._position()))

    # ------------------------------------------------------------------------------------------ telling the app

    def _position(self) -> Position:
        if self._session is None:
            return self._noted(self._lost)
        return self._noted(replace(self._session.position, running=self._goal is not None))

    def _pass_by(self, session: Session, goal: Goal) -> None:
        """A running session comes through here. The user's code may hang or die at any moment from now on."""
        self.is_armed = self.is_armed or self._desk.stopping.is_armed
        # Who is stopped inside wants to look at what there is so far.
        session.keeper.keeps_all = goal.ends_with_next_step(session.position) or self._desk.stopping.is_armed
        position = self._position()
        is_phase = self._goal is not None and self._goal.verb is not Verb.VALIDATE
        if is_phase and position.rest in NEXT_PHASE:
            # The phase begins now: a long one is not to look as if nothing happened.
            position = self._noted(replace(position, rest=INSIDE[NEXT_PHASE[position.rest]]))
        self._outbox.pass_by(messages.Moved(position=position))

    def _noted(self, position: Position) -> Position:
        if self._last_place is not None:
            self._last_place.write(position)
        return position


def _renews(request: object) -> bool:
    return isinstance(request, (messages.Open, messages.Reset))
