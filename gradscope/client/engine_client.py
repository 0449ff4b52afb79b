"""The engine as the app sees it: started, asked, and told of in words. App process, GUI thread; never waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from gradscope.client.attached import AttachedLaunch
from gradscope.client.endings import in_its_own_words, with_ended, with_place
from gradscope.client.launch import Launch
from gradscope.client.link import Link, LinkError
from gradscope.client.spare import Spare
from gradscope.protocol import messages
from gradscope.protocol.answers import check_answer
from gradscope.protocol.codec import Frame, ProtocolError
from gradscope.protocol.limits import Unfit
from gradscope.protocol.scripts import Script
from gradscope.state.engine import EngineState, EngineStatus

PING_INTERVAL_SECS = 2.0
SILENT_PINGS = 5
"""After so many Pings in a row without any answer, the engine is said to hang. Counted, not measured: the app's own
hold-ups delay the Pings as well."""
EXIT_WAIT_SECS = 1.0
INTERRUPT_SECS = 3.0
"""An Interrupt that has had no effect for so long is told of."""
PAUSE_SECS = 1.0
"""A Pause likewise; it waits for the next moment, and an Interrupt does not."""
Reply = Callable[[Any], None]


class EngineClient(QObject):
    """Owns at most one engine, and a spare where one is wanted.

    Replies reach the request's callback and `message_received`, in order. A reply to a request of an engine that is gone, or
    that was made void by another session, is dropped. An answer that cannot be one ends the engine.
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
        self._launch: Launch | None = None
        self._retired: list[Launch] = []
        self._door: AttachedLaunch | None = None
        """A process may come through it that was not started here."""
        self.spare = Spare(lambda: bool(self._waiting), self)
        self._number = 0
        self._waiting: dict[int, tuple[object, Reply | None]] = {}
        """(request, where its reply goes), by number."""
        self._unanswered_pings = 0
        self._unfit: str | None = None
        self._is_to_restart = False
        self._is_held = False
        """The engine is not started before those that are retired have ended."""
        self._interrupt_number = 0
        """Of the Interrupt that has not been answered yet; 0 when it has."""
        self._contested: frozenset[int] = frozenset()
        """What was asked for when it was sent, and is to be broken off."""
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.timeout.connect(self._on_patience_over)
        self._paused: frozenset[int] = frozenset()
        """What was asked for when a Pause was sent."""
        self._pause_patience = QTimer(self)
        self._pause_patience.setSingleShot(True)
        self._pause_patience.timeout.connect(self._on_pause_patience_over)
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
        return self._launch.pid if self._launch is not None else 0

    def start(self, executable: str, script: Script | None = None) -> None:
        """Start an engine in this interpreter ("" is the app's own), or take the spare; one that runs is ended first.

        With a `script`, a fresh one that runs it. It waits until the engines before have ended: they may hold what the script
        needs, as a port, a lock, a card's memory.
        """
        self._executable = executable or sys.executable
        self.close_door()
        self._retire()
        launch = None if script is not None else self.spare.take(self._executable)
        try:
            launch = launch or Launch(self._executable, script=script, parent=self)
        except LinkError as error:
            self._set(EngineState(status=EngineStatus.DEAD, text=str(error), executable=self._executable))
            return
        self._take(launch)
        launch.hello.connect(self._on_hello)
        self._is_held = script is not None and bool(self._retired)
        text = self.tr("Waiting for the engine before to end") if self._is_held else self.tr("Starting the engine")
        self._set(
            EngineState(status=EngineStatus.STARTING, text=text, executable=self._executable, script=script),
        )
        if self._is_held:
            return
        if not launch.was_reserve:
            launch.start()
            return
        launch.release_output()
        if launch.said_hello is not None:
            self._on_hello(launch.said_hello)

    def open_door(self) -> str:
        """Let a process in that runs already, beside the engine that there is; when it comes, it takes that one's place.

        Returns what it must know for that, in one line. Raises LinkError.
        """
        self.close_door()
        self._door = AttachedLaunch(self)
        self._door.hello.connect(self._on_came)
        return self._door.door

    def close_door(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            door.dispose()

    def restart(self) -> None:
        """End the engine, if there is one, and start another in the same interpreter."""
        self.start(self._executable)

    def end(self) -> None:
        """End the engine at once, whatever it does; it is dead then."""
        if self._launch is not None and not self._launch.is_attached:
            self._unfit = self.tr("The engine was ended, as you wished")
            if self._is_held:
                self._retire()
                self._set(
                    replace(self._state, status=EngineStatus.DEAD, text=self.tr("The engine was ended, as you wished"))
                )
            else:
                self._launch.process.kill()

    def request(self, message: object, *, on_reply: Reply | None = None) -> int:
        """Send a numbered request; `on_reply` gets the reply. Raises ProtocolError if it is too large for a frame."""
        self._number += 1
        link = self._link
        if link is not None and link.is_connected:
            link.send(message, number=self._number)
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
            if isinstance(message, messages.Interrupt) and self._waiting:
                self._interrupt_number, self._contested = self._number, frozenset(self._waiting)
                self._set_pause_ignored("")
                self._patience.start(int(INTERRUPT_SECS * 1000))
            elif isinstance(message, messages.Pause) and self._waiting and not self._contested:
                self._paused = frozenset(self._waiting)
                self._pause_patience.start(int(PAUSE_SECS * 1000))

    def distrust(self, error: ProtocolError) -> None:
        """What the engine has sent cannot be true: it is ended, and nothing more of it is heard."""
        if self._link is not None:
            self._link.break_off(error)

    def shut_down(self) -> None:
        """The app ends: ask the engine to end, wait shortly, and leave nothing behind."""
        self._pings.stop()
        self.close_door()
        self._retire()
        launches = [*self.spare.shut_down(), *self._retired]
        deadline = time.monotonic() + EXIT_WAIT_SECS
        for launch in launches:
            launch.process.kill_and_wait(max(0.0, deadline - time.monotonic()))

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    def _on_came(self, hello: messages.Hello) -> None:
        """Through the door."""
        launch, self._door = self._door, None
        assert launch is not None
        self._retire()
        self._take(launch)
        self._on_hello(hello)
        if self._unfit is not None:
            launch.kill()

    @Slot(object)
    def _on_hello(self, hello: messages.Hello) -> None:
        assert self._launch is not None
        self._unfit = self._launch.answer_hello()
        if self._unfit is None:
            script = self._launch.script
            text = self.tr("Importing torch") if script is None else self.tr("The script is running")
            is_attached = self._launch.is_attached
            if is_attached:
                text = self.tr("The process that has called gradscope.watch() has connected")
            self._set(
                EngineState(
                    status=EngineStatus.STARTING,
                    text=text,
                    executable=hello.executable,
                    script=script,
                    is_attached=is_attached,
                )
            )

    @Slot(object)
    def _on_frame(self, frame: Frame) -> None:
        message = frame.message
        self._unanswered_pings = 0
        if frame.number == self._interrupt_number:
            self._interrupt_number = 0
        if self._state.status is EngineStatus.READY and self._state.text:
            self._set(replace(self._state, text="", last_place=None))
        if isinstance(message, messages.EngineReady):
            is_attached = self._launch is not None and self._launch.is_attached
            script = None if self._launch is None else message.script if is_attached else self._launch.script
            if self._launch is not None:
                self._launch.process.set_ready(of_script=script is not None)
            self._set(
                EngineState(
                    status=EngineStatus.READY,
                    torch_version=message.torch_version,
                    executable=self._state.executable,
                    devices=message.devices,
                    script=script,
                    is_attached=is_attached,
                )
            )
            if script is None and not is_attached:
                # A script needs none, and has the machine to itself.
                self.spare.prepare(self._executable)
        elif isinstance(message, (messages.EngineUnfit, messages.Parted)):
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
        if self._contested and not self._contested & self._waiting.keys():
            self._end_contest()
        if self._paused and not self._paused & self._waiting.keys():
            self._set_pause_ignored("")

    @Slot(str)
    def _on_broken(self, sentence: str) -> None:
        self._unfit = sentence
        if self._launch is not None:
            self._launch.kill()

    @Slot(str)
    def _on_ended(self, sentence: str) -> None:
        launch = self.sender()
        assert isinstance(launch, Launch)
        is_current = launch is self._launch
        ended_with_it = launch.ended_with_it()
        words, place = launch.last_words(), launch.last_position()
        if is_current:
            self._launch = None
            self._forget_requests()
        elif launch in self._retired:
            self._retired.remove(launch)
        launch.dispose()
        if not is_current:
            if ended_with_it:
                text = self.tr("The engine before has ended")
                self.message_received.emit(messages.Note(text=with_ended(text, ended_with_it)))
            self._start_held()
            return
        if launch.was_reserve and self._state.status is EngineStatus.STARTING:
            # It was of no use any more, or had died unseen. An engine that is started now says itself what is wrong.
            self.restart()
            return
        text = self._unfit or with_place(in_its_own_words(words, sentence), place)
        text = with_ended(text, ended_with_it)
        before = self._state
        self._set(
            EngineState(
                status=EngineStatus.DEAD,
                text=text,
                executable=before.executable,
                last_place=place,
                script=before.script,
                is_attached=launch.is_attached,
            )
        )
        if self._is_to_restart:
            # None of the user's code is run by it.
            self.restart()

    @Slot()
    def _on_ping_due(self) -> None:
        if self._unanswered_pings >= SILENT_PINGS and self._state.status is EngineStatus.READY:
            if self._state.is_attached:
                text = self.tr(
                    "The process has not answered for %1 s: your code may hold the GIL. Interrupt the kernel"
                )
            else:
                text = self.tr(
                    "The engine has not answered for %1 s: your code may hang or hold the GIL. Interrupt or restart it"
                )
            text = text.replace("%1", f"{self._unanswered_pings * PING_INTERVAL_SECS:.0f}")
            place = self._launch.last_position() if self._launch is not None else None
            self._set(replace(self._state, text=text, last_place=place))
        self._unanswered_pings += 1
        self.send(messages.Ping())

    @Slot()
    def _on_patience_over(self) -> None:
        secs = f"{INTERRUPT_SECS:.0f}"
        if self._interrupt_number:
            text = self.tr(
                "Interrupt has had no effect for %1 s: the engine has not heard it. It runs code that holds Python's lock "
                "(the GIL), or its process is stopped"
            )
        elif self._state.script is not None:
            text = self.tr(
                "The script has not come to the next layer or phase for %1 s. It cannot be broken off, but its engine can be "
                "ended; the log says where it is"
            )
        else:
            text = self.tr(
                "Interrupt has had no effect for %1 s: the engine has heard it, and the code in it goes on. It may catch the "
                "interruption, or be in a long call of compiled code"
            )
        self._set(replace(self._state, resistance=text.replace("%1", secs)))

    @Slot()
    def _on_pause_patience_over(self) -> None:
        text = self.tr("The engine has not answered Pause for %1 s: your code has not come to the next layer or phase")
        self._set_pause_ignored(text.replace("%1", f"{PAUSE_SECS:.0f}"))

    # ------------------------------------------------------------------------------------------ private

    def _set_pause_ignored(self, text: str) -> None:
        """Say what is known of a Pause; "" where there is nothing to say any more."""
        if not text:
            self._paused = frozenset()
            self._pause_patience.stop()
        if text != self._state.pause_ignored:
            self._set(replace(self._state, pause_ignored=text))

    @property
    def _link(self) -> Link | None:
        return None if self._launch is None else self._launch.link

    def _take(self, launch: Launch) -> None:
        """It is the current engine from now on."""
        assert launch.link is not None
        launch.setParent(self)
        launch.link.received.connect(self._on_frame)
        launch.link.broken.connect(self._on_broken)
        launch.output.connect(self.output_received)
        launch.ended.connect(self._on_ended)
        self._launch, self._unfit, self._is_to_restart = launch, None, False

    def _end_contest(self) -> None:
        """What was to be interrupted has ended, one way or the other."""
        self._contested, self._interrupt_number = frozenset(), 0
        self._patience.stop()
        if self._state.resistance:
            self._set(replace(self._state, resistance=""))

    def _set(self, state: EngineState) -> None:
        self._state = state
        self.state_changed.emit(state)

    def _retire(self) -> None:
        """Let go of the current engine; it is asked to end, and made to if it does not."""
        launch, self._launch = self._launch, None
        self._is_held = False
        self._forget_requests()
        if launch is None:
            return
        if launch.script is not None:
            # What it prints while it is ended would be taken for the next one's.
            launch.output.disconnect(self.output_received)
        launch.retire()
        if launch.process.is_running:
            self._retired.append(launch)
        else:
            launch.dispose()

    def _start_held(self) -> None:
        """What was waited for has ended."""
        if self._is_held and not self._retired and self._launch is not None:
            self._is_held = False
            self._set(replace(self._state, text=self.tr("Starting the engine")))
            self._launch.start()

    def _forget_requests(self) -> None:
        self._waiting.clear()
        self._pings.stop()
        self._patience.stop()
        self._pause_patience.stop()
        self._contested, self._paused, self._interrupt_number = frozenset(), frozenset(), 0
