"""The window beside a process that trains: gradscope's app, started by it, and the connection to that.

The app says on its standard output where it listens, and the token: nobody else reads that pipe. It has a session of its
own, so that Ctrl+C in the kernel is not for it; it outlives the kernel, and is used again by the next `watch()`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from gradscope.engine.serving.process import HANDSHAKE_TIMEOUT_SECS, answer_of, hello
from gradscope.protocol.codec import Decoder, ProtocolError, encode
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Refused, Welcome
from gradscope.protocol.visible import visible

START_SECS = 60.0
"""For the window to come up."""
AGAIN_SECS = 2.0
"""For one that is there to say where it listens now."""
_ROOT = str(Path(__file__).resolve().parents[3])
# As `python -m gradscope`, but for what lies in the working directory of the notebook, which might have the name of a module.
_COMMAND = f"import sys; sys.path.append({_ROOT!r}); from gradscope.cli import main; sys.exit(main())"
_OWN_WORDS = "gradscope: "
_INSTEAD = "gradscope.watch(jsonl=...) needs no window"


def check() -> None:
    """Raises BadInput where there can be no window."""
    if importlib.util.find_spec("PySide6") is None:
        raise BadInput(f"gradscope.watch() opens a window, and PySide6 is missing in {sys.executable}; {_INSTEAD}")
    names = "DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in names):
        raise BadInput(
            "gradscope.watch() opens a window, and there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set; "
            + _INSTEAD
        )


def connect() -> tuple[socket.socket, Decoder]:
    """To the window of the watch before, if it is there still, or to another one. Raises BadInput with what is wrong."""
    global _newest
    if _newest is not None:
        found = _newest.connect(AGAIN_SECS)
        if found is not None:
            return found
    _newest = _App()
    found = _newest.connect(START_SECS)
    if found is None:
        raise BadInput(f"The window of gradscope.watch() has not come up: {_newest.last_words()}; {_INSTEAD}")
    return found


class _App:
    """One process of the app."""

    def __init__(self) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (it is the app's as well)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _COMMAND, "--connect"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise BadInput(f"The window of gradscope.watch() cannot be started: {error}; {_INSTEAD}") from error
        self._doors: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Where it listens, each for one connection; "" when it is no more."""
        threading.Thread(target=self._listen, name="gradscope-window", daemon=True).start()

    def connect(self, timeout_secs: float) -> tuple[socket.socket, Decoder] | None:
        """None where it is gone, or says nothing."""
        try:
            door = self._doors.get(timeout=timeout_secs)
        except queue.Empty:
            return None
        port, _, token = door.partition(" ")
        return _through(int(port), token) if port.isdigit() and token else None

    def last_words(self) -> str:
        """In one sentence."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        own = [line.removeprefix(_OWN_WORDS) for line in lines if line.startswith(_OWN_WORDS)]
        if own or lines:
            return visible((own or lines)[-1].rstrip("."))
        code = self._process.poll()
        return f"it says nothing for {START_SECS:.0f} s" if code is None else f"it has ended with exit code {code}"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said:
            for line in said:
                self._doors.put(line.decode("ascii", "replace").strip())
        self._doors.put("")


_newest: _App | None = None
"""It is used again by the watch that follows."""


def _through(port: int, token: str) -> tuple[socket.socket, Decoder] | None:
    decoder = Decoder()
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=HANDSHAKE_TIMEOUT_SECS)
    except OSError:
        return None
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(encode(hello(token)))
        answer = answer_of(connection, decoder)
        connection.settimeout(None)
    except (OSError, ProtocolError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    if isinstance(answer, Welcome):
        return connection, decoder
    connection.close()
    reason = answer.reason if isinstance(answer, Refused) else "the app did not say Welcome"
    raise BadInput(f"The window of gradscope.watch() cannot be used: {reason}; {_INSTEAD}")
