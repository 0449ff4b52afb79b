"""One engine from its start to its end: its process, the link to it, and the file that says where it stands.

App process, GUI thread; nothing here waits, but for `kill_and_wait`.
"""

from __future__ import annotations

import json
import os

from PySide6.QtCore import QObject, Signal, Slot

from gradscope.client.engine_process import EngineProcess
from gradscope.client.link import Link
from gradscope.protocol import PROTOCOL_VERSION, messages
from gradscope.protocol.codec import to_json
from gradscope.protocol.last_place import PLACE_VARIABLE, LastPlace
from gradscope.protocol.phases import Position
from gradscope.protocol.scripts import SCRIPT_VARIABLE, Script
from gradscope.state.log import Source
from gradscope.version import __version__

_MAX_HELD_CHARACTERS = 20_000


class Launch(QObject):
    """Raises LinkError where the app cannot listen. In reserve, the engine imports torch and waits to be welcomed.

    With a `script`, the engine runs that once it is welcomed, and nothing else in its life.
    """

    hello = Signal(object)
    """Hello."""
    output = Signal(str, object)
    """(text, Source)."""
    ended = Signal(str)
    """In words. Comes once, when everything that it had sent has been received."""

    is_attached = False
    """It is a process that was there already, and connects by itself."""

    def __init__(
        self,
        executable: str,
        *,
        in_reserve: bool = False,
        script: Script | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.executable = executable
        self.script = script
        self.said_hello: messages.Hello | None = None
        self.was_reserve = in_reserve
        self._held: list[tuple[str, Source]] | None = [] if in_reserve else None
        self.link: Link | None = Link(self)
        """None once it is closed."""
        self.link.hello.connect(self._on_hello)
        self.process = EngineProcess(self)
        self.process.output.connect(self._on_output)
        self.process.ended.connect(self._on_ended)
        self._place = LastPlace.made()

    # ------------------------------------------------------------------------------------------ public

    def start(self) -> None:
        assert self.link is not None
        environment = {
            "GRADSCOPE_PORT": str(self.link.port),
            "GRADSCOPE_TOKEN": self.link.token,
            "GRADSCOPE_PARENT_PID": str(os.getpid()),
            "GRADSCOPE_GUARD": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        if self._place is not None:
            environment[PLACE_VARIABLE] = self._place.path
        if self.was_reserve:
            environment["GRADSCOPE_RESERVE"] = "1"
        if self.script is not None:
            environment[SCRIPT_VARIABLE] = json.dumps(to_json(self.script, []))
        self.process.start(self.executable, environment, folder="" if self.script is None else self.script.folder)

    @property
    def pid(self) -> int:
        """The engine's process id, as far as it has told it; 0 when it does not run."""
        if not self.process.is_running:
            return 0
        return self.said_hello.pid if self.said_hello is not None else self.process.pid

    def answer_hello(self) -> str | None:
        """Welcome the engine that has said Hello, or refuse it: why, in one sentence."""
        assert self.said_hello is not None and self.link is not None
        reason = _mismatch(self.said_hello)
        if reason is None:
            self.link.send(messages.Welcome(app_version=__version__))
            if self.script is not None:
                # It begins to run at once; torch is imported when the script does that.
                self.process.set_ready(of_script=True)
        else:
            self.link.send(messages.Refused(reason=reason))
        return reason

    def release_output(self) -> None:
        """Whoever listens now hears what it has printed while it was in reserve."""
        held, self._held = self._held, None
        for text, source in held or ():
            self.output.emit(text, source)

    def last_position(self) -> Position | None:
        """Where it stood, if that is known."""
        return None if self._place is None else self._place.read()

    def last_words(self) -> str:
        """Why it has ended by itself, as it has said; "" if it has not."""
        return "" if self._place is None else self._place.words()

    def ended_with_it(self) -> int:
        """How many processes that it had left behind were ended, as far as is known."""
        return 0 if self._place is None else self._place.ended()

    def retire(self) -> None:
        """Ask it to end, and make it if it does not. Of what it sends, nothing is heard any more."""
        if self.link is not None:
            self.link.send(messages.Shutdown())
        self.close_link()
        self.process.stop()

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self.process.kill()

    def close_link(self) -> None:
        if self.link is not None:
            link, self.link = self.link, None
            link.close()
            link.deleteLater()

    def dispose(self) -> None:
        """It has ended, and nothing more is asked of it."""
        self.close_link()
        if self._place is not None:
            place, self._place = self._place, None
            place.close()
        self.deleteLater()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    def _on_hello(self, hello: messages.Hello) -> None:
        self.said_hello = hello
        if self._place is not None:
            self._place.forget_name()
        self.hello.emit(hello)

    @Slot(str, object)
    def _on_output(self, text: str, source: Source) -> None:
        if self._held is None:
            self.output.emit(text, source)
        elif sum(len(held) for held, _ in self._held) < _MAX_HELD_CHARACTERS:
            self._held.append((text, source))

    @Slot(str)
    def _on_ended(self, sentence: str) -> None:
        if self.link is not None:
            # It may have said why it ends.
            self.link.drain()
        self.ended.emit(sentence)


def _mismatch(hello: messages.Hello) -> str | None:
    if hello.protocol_version == PROTOCOL_VERSION and hello.gradscope_version == __version__:
        return None
    return (
        f"The engine in {hello.executable} is gradscope {hello.gradscope_version} (protocol {hello.protocol_version}), "
        f"the app is {__version__} (protocol {PROTOCOL_VERSION}); bring both to the same version with: "
        f"{hello.executable} -m pip install gradscope-debugger=={__version__}"
    )
