"""The life of the engine process: the handshake, torch, then the server.

In reserve it imports torch first, and waits until the app has a use for it: the app's Welcome is late then.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import platform
import socket
import sys
from typing import Any

from gradscope.engine.script.launching.running import ScriptRun
from gradscope.engine.serving.freshness import Freshness
from gradscope.engine.serving.last_words import LastWords
from gradscope.engine.surroundings.allocator import keep_large_blocks
from gradscope.protocol import PROTOCOL_VERSION
from gradscope.protocol.capture import FULL, Capture
from gradscope.protocol.codec import Decoder, ProtocolError, encode, from_json
from gradscope.protocol.failure import BadInput
from gradscope.protocol.last_place import LastPlace
from gradscope.protocol.messages import EngineUnfit, Hello, Refused, Welcome
from gradscope.protocol.scripts import SCRIPT_VARIABLE, Script
from gradscope.version import __version__

PORT_VARIABLE = "GRADSCOPE_PORT"
TOKEN_VARIABLE = "GRADSCOPE_TOKEN"
RESERVE_VARIABLE = "GRADSCOPE_RESERVE"
HANDSHAKE_TIMEOUT_SECS = 20.0
_IMPORTED_BY_OPTIMIZERS = (
    "sympy",
    "torch._numpy",
    "torch.fx.experimental.symbolic_shapes",
    "torch.distributed.tensor",
    "torch.onnx.operators",
    "cProfile",
)
"""The first optimizer that is made imports torch._dynamo, and with it these, which take half of that time. The rest reads
TORCHDYNAMO_..., TORCH_COMPILE_... and the like when it is imported: a recipe may set them, so that is not done before."""
EXIT_UNFIT = 3


def main(last_place: LastPlace | None) -> int:
    """Connect, say Hello, import torch, serve. Returns the exit code."""
    is_reserve = os.environ.pop(RESERVE_VARIABLE, "") == "1"
    script = os.environ.pop(SCRIPT_VARIABLE, "")
    try:
        port, token = int(os.environ.pop(PORT_VARIABLE)), os.environ.pop(TOKEN_VARIABLE)
    except (KeyError, ValueError):
        return _refuse(
            f"{PORT_VARIABLE} and {TOKEN_VARIABLE} are not set: the app starts the engine, people start the app"
        )
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=HANDSHAKE_TIMEOUT_SECS)
    except OSError as error:
        return _refuse(f"the app cannot be reached on port {port}: {error}")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    decoder = Decoder()
    try:
        connection.sendall(encode(hello(token)))
        freshness = None
        if is_reserve:
            if (reason := _import_torch()) is not None:
                return _refuse(reason)
            _import_more()
            freshness = Freshness()
            connection.settimeout(None)
        answer = answer_of(connection, decoder)
    except (OSError, ProtocolError) as error:
        return _refuse(f"the app did not answer: {error}")
    if not isinstance(answer, Welcome):
        return _refuse(answer.reason if isinstance(answer, Refused) else "the app did not say Welcome")
    connection.settimeout(None)
    if freshness is not None and not freshness.holds():
        return _refuse("what this engine has imported has been changed since")
    # A script imports torch by itself, when it wants to.
    if (reason := _missing() if script else _import_torch()) is not None:
        connection.sendall(encode(EngineUnfit(reason=reason)))
        return _refuse(reason)
    if script:
        return _serve_script(connection, decoder, last_place, from_json(Script, json.loads(script), [], "the script"))
    return _serve(connection, decoder, last_place)


def _missing() -> str | None:
    missing = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing in {sys.executable}; "
            f"install with: {sys.executable} -m pip install {' '.join(missing)}"
        )
    return None


def _import_torch() -> str | None:
    """Everything that the server needs. Returns what is wrong with it, in one sentence."""
    if (reason := _missing()) is not None:
        return reason
    try:
        import numpy  # noqa: F401
        import torch  # noqa: F401

        from gradscope.engine.serving import server  # noqa: F401
    except Exception as error:
        # A broken installation of torch (a missing library, a wrong numpy) raises all sorts of errors.
        return f"torch cannot be imported in {sys.executable}: {type(error).__name__}: {error}"
    return None


def _import_more() -> None:
    """In reserve there is time for it."""
    for name in _IMPORTED_BY_OPTIMIZERS:
        # Versions of torch differ in what they have and need.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _serve(connection: socket.socket, decoder: Decoder, last_place: LastPlace | None) -> int:
    import numpy
    import torch

    from gradscope.engine.serving.server import Server

    # With hooks there are more calls between a module and the one inside it: what is nested as deeply as torch allows by
    # itself has to work here, too.
    sys.setrecursionlimit(2 * sys.getrecursionlimit())
    keep_large_blocks()
    last_words = LastWords(last_place)
    try:
        Server(connection, decoder, last_place, last_words).run(str(torch.__version__), numpy.__version__)
    except BaseException as error:
        # What a session's code raises is told by the server: it is the engine itself that cannot go on.
        last_words.end("the engine itself has failed and cannot go on", error)
    # Taking torch down in order takes a second, and the app waits to close its window.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _serve_script(connection: socket.socket, decoder: Decoder, last_place: LastPlace | None, script: Script) -> int:
    """Run a script, and serve the app from when it has imported torch, or has ended."""
    last_words = LastWords(last_place)

    def make_follower() -> Any:
        import numpy
        import torch

        from gradscope.engine.serving.script_server import ScriptServer

        server = ScriptServer(script, connection, decoder, last_place, last_words)
        wanted = server.begin(str(torch.__version__), numpy.__version__)
        run.capture, run.budget_bytes = Capture.parse(wanted.capture), wanted.budget_bytes
        return server

    run = ScriptRun(script, make_follower, capture=FULL, budget_bytes=0)
    try:
        run.run()
    except BadInput as error:
        run.refuse(error)
    except BaseException as error:
        last_words.end("the engine itself has failed and cannot go on", error)
    return 0


def hello(token: str) -> Hello:
    """What this process says of itself."""
    return Hello(
        token=token,
        protocol_version=PROTOCOL_VERSION,
        gradscope_version=__version__,
        python_version=platform.python_version(),
        executable=sys.executable,
        pid=os.getpid(),
    )


def answer_of(connection: socket.socket, decoder: Decoder) -> Any:
    """What the app says to that. Raises OSError where it says nothing."""
    while data := connection.recv(1 << 16):
        for frame in decoder.feed(data):
            return frame.message
    raise OSError("it has closed the connection")


def _refuse(sentence: str) -> int:
    print(f"gradscope engine: {sentence}", file=sys.stderr, flush=True)
    return EXIT_UNFIT
