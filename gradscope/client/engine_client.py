"""The engine as the app sees it: started, asked, and told of in words. App process, GUI thread; never waits."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from gradscope import __version__
from gradscope.client.engine_process import EngineProcess
from gradscope.client.link import Link, LinkError
from gradscope.protocol import PROTOCOL_VERSION, messages
from gradscope.protocol.answers import check_answer
from gradscope.protocol.codec import Frame, ProtocolError
from gradscope.protocol.last_place import PLACE_VARIABLE, LastPlace
from gradscope.protocol.limits import Unfit
from gradscope.protocol.phases import Position
from gradscope.state.app_state import EngineState, EngineStatus

PING_INTERVAL_SECS = 2.0
SILENT_PINGS = 5
"""After so many Pings in a row without any answer, the engine is said to hang. Counted, not measured: the app's own
hold-ups delay the Pings as well."""
EXIT_WAIT_SECS = 1.0
Reply = Callable[[Any], None]


class EngineClient(QObject):
    """Owns at most one engine process. Replies reach the request's callback and `message_received`, in order.

    A reply to a request of an engine that is gone, or that was made void by another session, is dropped.
    """

    message_received = Signal(object)
    state_changed = Signal(object)
    """EngineState."""
    output_received = Signal(str, object)
    """(text, Source)."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._executable = sys.executable
        self._state = EngineState()
        self._process: EngineProcess | None = None
        self._link: Link | None = None
        self._retired: list[EngineProcess] = []
        self._number = 0
        self._waiting: dict[int, tuple[object, Reply | None]] = {}
        """(request, where its reply goes), by number."""
        self._unanswered_pings = 0
        self._unfit: str | None = None
        self._is_to_restart = False
        self._place: LastPlace | None = None
        self._pings = QTimer(self)
        self._pings.setInterval(int(PING_INTERVAL_SECS * 1000))
        self._pings.timeout.connect(self._on_ping_due)

    # ------------------------------------------------------------------------------------------ public

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def pid(self) -> int:
        """The engine's process id; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self, executable: str) -> None:
        """Start an engine in this interpreter ("" is the app's own); one that runs is ended first."""
        self._executable = executable or sys.executable
        self._retire()
        try:
            link = Link(self)
        except LinkError as error:
            self._set(EngineState(status=EngineStatus.DEAD, text=str(error), executable=self._executable))
            return
        link.hello.connect(self._on_hello)
        link.received.connect(self._on_frame)
        link.broken.connect(self._on_broken)
        process = EngineProcess(self)
        process.output.connect(self.output_received)
        process.ended.connect(self._on_ended)
        self._link, self._process, self._unfit, self._is_to_restart = link, process, None, False
        self._place = LastPlace.made()
        self._set(
            EngineState(status=EngineStatus.STARTING, text=self.tr("Starting the engine"), executable=self._executable)
        )
        process.start(
            self._executable,
            {
                "GRADSCOPE_PORT": str(link.port),
                "GRADSCOPE_TOKEN": link.token,
                "GRADSCOPE_PARENT_PID": str(os.getpid()),
                "PYTHONIOENCODING": "utf-8",
                **({} if self._place is None else {PLACE_VARIABLE: self._place.path}),
            },
        )

    def restart(self) -> None:
        """End the engine, if there is one, and start another in the same interpreter."""
        self.start(self._executable)

    def request(self, message: object, *, on_reply: Reply | None = None) -> int:
        """Send a numbered request; `on_reply` gets the reply. Raises ProtocolError if it is too large for a frame."""
        self._number += 1
        if self._link is not None and self._link.is_connected:
            self._link.send(message, number=self._number)
            self._waiting[self._number] = (message, on_reply)
            if not self._pings.isActive():
                self._unanswered_pings = 0
                self._pings.start()
        return self._number

    def send(self, message: object) -> None:
        """Send a control message (Pause, Interrupt, Ping); the engine acts on it at once."""
        if self._link is not None:
            self._number += 1
            self._link.send(message, number=self._number)

    def distrust(self, error: ProtocolError) -> None:
        """What the engine has sent cannot be true: it is ended, and nothing more of it is heard."""
        if self._link is not None:
            self._link.break_off(error)

    def shut_down(self) -> None:
        """The app ends: ask the engine to end, wait shortly, and leave nothing behind."""
        self._pings.stop()
        processes = [*self._retired, *([self._process] if self._process is not None else [])]
        self._retire()
        deadline = time.monotonic() + EXIT_WAIT_SECS
        for process in processes:
            process.kill_and_wait(max(0.0, deadline - time.monotonic()))

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    def _on_hello(self, hello: messages.Hello) -> None:
        if self._place is not None:
            self._place.forget_name()
        problem = _mismatch(hello)
        if problem is not None and self._link is not None:
            self._unfit = problem
            self._link.send(messages.Refused(reason=problem))
            return
        if self._link is not None:
            self._link.send(messages.Welcome(app_version=__version__))
        text = self.tr("Importing torch")
        self._set(EngineState(status=EngineStatus.STARTING, text=text, executable=hello.executable))

    @Slot(object)
    def _on_frame(self, frame: Frame) -> None:
        message = frame.message
        self._unanswered_pings = 0
        if self._state.status is EngineStatus.READY and self._state.text:
            self._set(replace(self._state, text="", last_place=None))
        if isinstance(message, messages.EngineReady):
            if self._process is not None:
                self._process.set_ready()
            self._set(
                EngineState(
                    status=EngineStatus.READY,
                    torch_version=message.torch_version,
                    executable=self._state.executable,
                    devices=message.devices,
                )
            )
        elif isinstance(message, messages.EngineUnfit):
            self._unfit = message.reason
        elif isinstance(message, messages.DeviceLost):
            self._unfit, self._is_to_restart = message.reason, True
        if isinstance(message, messages.Opened):
            # What was asked of the session before is void; the Open itself is still to be answered.
            self._waiting = {number: asked for number, asked in self._waiting.items() if number >= frame.number}
        if frame.number == 0:
            self.message_received.emit(message)
        elif frame.number in self._waiting:
            request, on_reply = self._waiting.pop(frame.number)
            try:
                check_answer(request, message)
            except Unfit as unfit:
                self.distrust(ProtocolError(f"{type(message).__name__} {unfit}"))
                return
            self.message_received.emit(message)
            if on_reply is not None and self._link is not None and self._link.is_connected:
                on_reply(message)
        if not self._waiting:
            self._pings.stop()

    @Slot(str)
    def _on_broken(self, sentence: str) -> None:
        self._unfit = sentence
        if self._process is not None:
            self._process.kill()

    @Slot(str)
    def _on_ended(self, sentence: str) -> None:
        process = self.sender()
        if process in self._retired:
            self._retired.remove(process)
            process.deleteLater()
            return
        if process is self._process and self._link is not None:
            # It may have said why it ends.
            self._link.drain()
        if process is not self._process:
            return
        self._process = None
        dead = EngineState(
            status=EngineStatus.DEAD,
            text=self._unfit or sentence,
            executable=self._state.executable,
            last_place=self._read_place(),
        )
        self._forget_link()
        process.deleteLater()
        self._set(dead)
        if self._is_to_restart:
            # None of the user's code is run by it.
            self.restart()

    @Slot()
    def _on_ping_due(self) -> None:
        if self._unanswered_pings >= SILENT_PINGS and self._state.status is EngineStatus.READY:
            text = self.tr(
                "The engine has not answered for %1 s: your code may hang or hold the GIL. Interrupt or restart it"
            ).replace("%1", f"{self._unanswered_pings * PING_INTERVAL_SECS:.0f}")
            self._set(replace(self._state, text=text, last_place=self._read_place()))
        self._unanswered_pings += 1
        self.send(messages.Ping())

    # ------------------------------------------------------------------------------------------ private

    def _set(self, state: EngineState) -> None:
        self._state = state
        self.state_changed.emit(state)

    def _retire(self) -> None:
        """Let go of the current engine; it is asked to end, and made to if it does not."""
        process, self._process = self._process, None
        if self._link is not None and process is not None:
            self._link.send(messages.Shutdown())
        self._forget_link()
        if process is not None and process.is_running:
            self._retired.append(process)
            process.stop()

    def _forget_link(self) -> None:
        self._waiting.clear()
        self._pings.stop()
        if self._link is not None:
            link, self._link = self._link, None
            link.close()
            link.deleteLater()
        if self._place is not None:
            place, self._place = self._place, None
            place.close()

    def _read_place(self) -> Position | None:
        return None if self._place is None else self._place.read()


def _mismatch(hello: messages.Hello) -> str | None:
    if hello.protocol_version == PROTOCOL_VERSION and hello.gradscope_version == __version__:
        return None
    return (
        f"The engine in {hello.executable} is gradscope {hello.gradscope_version} (protocol {hello.protocol_version}), "
        f"the app is {__version__} (protocol {PROTOCOL_VERSION}); bring both to the same version with: "
        f"{hello.executable} -m pip install gradscope-debugger=={__version__}"
    )
