"""The engine in a process of the user's: a notebook's kernel, a prompt, a script that was started as ever.

Nobody ends it. Without an app it goes on, unobserved; what it has to say when it is left is said in one message.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.launching.ending import ScriptEnd
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stack import Forked
from gradscope.engine.script.stations import Passage
from gradscope.engine.serving.script_server import ScriptServer
from gradscope.engine.surroundings.error_parts import wire_text
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.codec import Decoder, Frame
from gradscope.protocol.messages import Parted, Shutdown
from gradscope.protocol.phases import Moment
from gradscope.protocol.scripts import Script

_SECS_TO_SEND = 5.0
_GONE = "Its values are gone; the plots stay"


class KernelServer(ScriptServer):
    """`on_let_go` is called, in any thread, when the app is gone or wants no more."""

    lets_interrupts_through = True
    no_other_session = "gradscope.watch: run the cell again"

    def __init__(
        self, script: Script, connection: socket.socket, decoder: Decoder, *, on_let_go: Callable[[str], None]
    ) -> None:
        super().__init__(script, connection, decoder, parting=self)
        self._connection, self._on_let_go = connection, on_let_go
        # A worker would hold the connection, also when this process is no more.
        self._forked = Forked(connection.close)

    # ------------------------------------------------------------------------------------------ the app is gone

    def end(self, sentence: str, error: BaseException | None = None) -> None:
        """The training goes on, from where it waits too."""
        if self._is_over:
            return
        self._is_over, self.is_armed = True, False
        self._on_let_go(sentence)
        # Whoever waits for a request hears of it.
        self._requests.put(Frame(0, Shutdown()))

    def leave(self) -> None:
        """It is known already."""

    def _shut_down(self, frame: Frame) -> None:
        self.end("the window wants no more of it")

    def _leave(self) -> None:
        self._outbox.close(0.0)

    # ------------------------------------------------------------------------------------------ as a Follower

    def session_found(self, session: ScriptSession) -> None:
        if not self._is_over:
            super().session_found(session)

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        if not self._is_over:
            super().phase_ended(session, report, passage)

    def stop(self, moment: Moment) -> None:
        self.is_armed = False
        if not self._is_over:
            super().stop(moment)

    def script_ended(self, session: ScriptSession | None, end: ScriptEnd, rest: Passage) -> None:
        """It was left: the process goes on, so nothing can be looked at any more."""
        if not self._is_over:
            if session is not None:
                session.end()
                if session.unfinished is not None:
                    self._teller.tell_report(session, session.unfinished)
                self._end_goal(paused=False)
            self._outbox.put(Parted(reason=_reason(session, end)))
        self._is_over = True
        self.close()

    def close(self) -> None:
        """Send what is to be sent, and let the connection go."""
        self._is_over = True
        self._outbox.close(_SECS_TO_SEND)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _reason(session: ScriptSession | None, end: ScriptEnd) -> str:
    if end.error is None:
        what = "has ended" if session is not None else "has ended, and no training step was seen in it"
        return f"gradscope.watch() {what}; its process goes on. {_GONE}"
    layer = None if session is None else session.observer.innermost_layer(end.error)
    where = f" in layer {layer[0]}" if layer and layer[0] else ""
    return f"The training under gradscope.watch() has ended{where}: {wire_text(describe_error(end.error))}. {_GONE}"
