"""The life of the engine process: its own process group, the handshake, torch, then the server."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import platform
import signal
import socket
import sys
from typing import Any

from gradscope import __version__
from gradscope.protocol import PROTOCOL_VERSION
from gradscope.protocol.codec import Decoder, ProtocolError, encode
from gradscope.protocol.last_place import LastPlace
from gradscope.protocol.messages import EngineUnfit, Hello, Refused, Welcome

PORT_VARIABLE = "GRADSCOPE_PORT"
TOKEN_VARIABLE = "GRADSCOPE_TOKEN"
PARENT_VARIABLE = "GRADSCOPE_PARENT_PID"
HANDSHAKE_TIMEOUT_SECS = 20.0
EXIT_UNFIT = 3
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Connect, say Hello, import torch, serve. Returns the exit code."""
    try:
        port, token = int(os.environ.pop(PORT_VARIABLE)), os.environ.pop(TOKEN_VARIABLE)
    except (KeyError, ValueError):
        return _refuse(
            f"{PORT_VARIABLE} and {TOKEN_VARIABLE} are not set: the app starts the engine, people start the app"
        )
    # Before Hello: then the app takes its name away.
    last_place = LastPlace.of_environment()
    _stand_alone()
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=HANDSHAKE_TIMEOUT_SECS)
    except OSError as error:
        return _refuse(f"the app cannot be reached on port {port}: {error}")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    decoder = Decoder()
    try:
        answer = _greet(connection, decoder, token)
    except (OSError, ProtocolError) as error:
        return _refuse(f"the app did not answer: {error}")
    if not isinstance(answer, Welcome):
        return _refuse(answer.reason if isinstance(answer, Refused) else "the app did not say Welcome")
    connection.settimeout(None)
    missing = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        reason = (
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing in {sys.executable}; "
            f"install with: {sys.executable} -m pip install {' '.join(missing)}"
        )
        connection.sendall(encode(EngineUnfit(reason=reason)))
        return _refuse(reason)
    return _serve(connection, decoder, last_place)


def _serve(connection: socket.socket, decoder: Decoder, last_place: LastPlace | None) -> int:
    try:
        import numpy
        import torch

        from gradscope.engine.server import Server
    except Exception as error:
        # A broken installation of torch (a missing library, a wrong numpy) raises all sorts of errors.
        reason = f"torch cannot be imported in {sys.executable}: {type(error).__name__}: {error}"
        connection.sendall(encode(EngineUnfit(reason=reason)))
        return _refuse(reason)
    Server(connection, decoder, last_place).run(str(torch.__version__), numpy.__version__)
    # Taking torch down in order takes a second, and the app waits to close its window.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _greet(connection: socket.socket, decoder: Decoder, token: str) -> Any:
    hello = Hello(
        token=token,
        protocol_version=PROTOCOL_VERSION,
        gradscope_version=__version__,
        python_version=platform.python_version(),
        executable=sys.executable,
        pid=os.getpid(),
    )
    connection.sendall(encode(hello))
    while data := connection.recv(1 << 16):
        for frame in decoder.feed(data):
            return frame.message
    raise OSError("it has closed the connection")


def _stand_alone() -> None:
    """A session and process group of its own, so that Ctrl+C in the terminal does not reach the engine but ending the
    group reaches DataLoader workers; and on Linux, die with the app."""
    if hasattr(os, "setsid"):
        with contextlib.suppress(OSError):
            os.setsid()
    if sys.platform == "linux":
        # Also when the user's code holds the GIL for ever and the reader thread cannot see that the app is gone.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        parent = os.environ.pop(PARENT_VARIABLE, "")
        if parent.isdigit() and not _is_alive(int(parent)):
            # It has died before the line above took effect.
            os._exit(EXIT_UNFIT)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _refuse(sentence: str) -> int:
    print(f"gradscope engine: {sentence}", file=sys.stderr, flush=True)
    return EXIT_UNFIT
