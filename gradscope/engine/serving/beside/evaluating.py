"""Evaluating as the servers serve it: in the thread that trains, where it waits; broken off by an Interrupt."""

from __future__ import annotations

import _thread
import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gradscope.engine.evaluate.evaluator import Evaluation
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.reader import wake_main_thread
from gradscope.engine.serving.shown import Shown
from gradscope.engine.surroundings.frames import calling_frames
from gradscope.engine.surroundings.unwinding import Unwind, interruptible_by_signal
from gradscope.protocol import messages
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Pong
from gradscope.protocol.messages.evaluate import Complete, Completions, Evaluate, Evaluated, SetWatches
from gradscope.protocol.phases import Rest

REQUESTS = (Evaluate, Complete, SetWatches)
_KEPT = "What it had changed up to there stays, since effects are kept"
_PUT_BACK = "Training is as before"


class Evaluating:
    """Of one connection. Everything but `cancel` is called by the thread that trains."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._thread: int | None = None
        """That evaluates code of a person's in a script, whose own handler of SIGINT is put aside meanwhile."""
        self._signalling = threading.Lock()
        self._is_in_code: Callable[[], bool] = lambda: False
        self._watches: SetWatches | None = None
        """As they were set, for the session that comes next."""

    def cancel(self) -> None:
        """By the reader thread: break off what is evaluated in a script."""
        with self._signalling:
            thread = self._thread
            if thread is None:
                return
            if thread == threading.main_thread().ident:
                wake_main_thread()
            elif self._is_in_code():
                # Only the main thread hears of signals.
                _raise_in(thread, Unwind)

    def answer(self, session: Shown | None, request: Any, *, running: str) -> Evaluated | Completions | Pong:
        """The reply to one of REQUESTS. `running`: why nothing can be evaluated now, where a session runs. Raises BadInput
        where nothing can be evaluated."""
        refusal = running if session is not None else "Nothing is open yet: there is nothing to evaluate in"
        match request:
            case SetWatches():
                return self._watch(session, request, is_running=bool(running))
            case Evaluate():
                return Evaluated(error=refusal) if refusal or session is None else self._evaluate(session, request)
            case Complete(text=text, cursor=cursor):
                if refusal or session is None:
                    return Completions(start=min(cursor, len(text)), names=())
                return session.complete(text, cursor, frame=_frame_of(session))
        raise BadInput(f"{type(request).__name__} is nothing that can be evaluated")

    def _watch(self, session: Shown | None, request: SetWatches, *, is_running: bool) -> Pong:
        self._watches = request
        if session is not None:
            session.watches.set(request.watches)
            if not is_running:
                self.tell_stop(session)
        return Pong()

    def adopt(self, session: Shown) -> None:
        """A new session: what is watched is watched there too."""
        if self._watches is not None:
            session.watches.set(self._watches.watches)

    def tell_stop(self, session: Shown) -> None:
        """The training stands still: the values of what is watched."""
        if not session.watches.watched:
            return
        try:
            with self._lent_signals(session):
                values = session.watches.values_now(_frame_of(session))
        except Unwind:
            self._outbox.put(messages.Note(text="Taking the watched values was interrupted", warning=True))
            return
        except BaseException as error:
            self._outbox.put(messages.Note(text=f"The watched values cannot be taken: {error!r:.300}", warning=True))
            return
        if values is not None:
            self._outbox.put(values)

    def tell_steps(self, session: Shown) -> bool:
        """What was taken after steps since. Whether a person has broken off one of them, and wants to stop."""
        for values in session.watches.take_waiting():
            self._outbox.put(values)
        was_interrupted, session.watches.was_interrupted = session.watches.was_interrupted, False
        return was_interrupted

    def _evaluate(self, session: Shown, request: Evaluate) -> Evaluated:
        try:
            with self._lent_signals(session):
                evaluation: Evaluation = session.evaluate(request.text, keep=request.keep, frame=_frame_of(session))
        except Unwind:
            rest = _KEPT if request.keep else _PUT_BACK
            return Evaluated(error=f"It was interrupted. {rest}", is_cancelled=True)
        except BadInput as refused:
            # It belongs beside the code, and is no failure of the training.
            return Evaluated(error=refused.failure.sentence)
        told = evaluation.told
        if request.keep and told.moved:
            names = ", ".join(told.moved[:5]) + (" ..." if len(told.moved) > 5 else "")
            line = " ".join(request.text.split())
            shown = line if len(line) <= 80 else f"{line[:80]} ..."
            text = f"Kept of what was evaluated ({shown}): it has changed {names}"
            self._outbox.put(messages.Note(text=text, warning=True))
            if isinstance(session, ScriptSession):
                session.renew()
            self._outbox.put(messages.SessionChanged(session=session.info))
        elif told.moved:
            for note in told.moved:
                self._outbox.put(messages.Note(text=note, warning=True))
        return told

    @contextmanager
    def _lent_signals(self, session: Shown) -> Iterator[None]:
        """In a script: an Interrupt breaks off what is evaluated, and not the script."""
        if not isinstance(session, ScriptSession):
            yield
            return
        code = session.evaluator.place.user_code
        self._is_in_code = lambda: code.is_on
        with interruptible_by_signal(lambda: code.is_on):
            thread = self._thread = _thread.get_ident()
            try:
                yield
            finally:
                self._thread = None
                with self._signalling:
                    # What is being sent has been sent now: it must not reach the script.
                    _raise_in(thread, None)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """At its next line of Python; None takes back what it has not come to."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


def _frame_of(session: Shown) -> FrameType | None:
    """Where the user's code stands: in a script anywhere, in a recipe inside a phase."""
    if not isinstance(session, ScriptSession) and session.book.inside is None:
        return None
    return None if session.position.rest is Rest.ENDED else next(calling_frames(), None)
