"""An engine that does what a test tells it: real process, real socket, no torch."""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import gradscope

_PREAMBLE = """
import ctypes, faulthandler, os, signal, socket, sys, time
sys.path.insert(0, {root!r})
from gradscope import __version__
from gradscope.protocol import PROTOCOL_VERSION, messages as m
from gradscope.protocol.codec import Decoder, encode

def connect():
    return socket.create_connection(("127.0.0.1", int(os.environ["GRADSCOPE_PORT"])))

def hello(**changed):
    values = dict(token=os.environ["GRADSCOPE_TOKEN"], protocol_version=PROTOCOL_VERSION, gradscope_version=__version__,
                  python_version="3", executable=sys.executable, pid=os.getpid())
    return encode(m.Hello(**(values | changed)))

def ready(connection):
    connection.sendall(encode(m.EngineReady(torch_version="0", numpy_version="0", devices=())))

def frames(connection):
    decoder = Decoder()
    while data := connection.recv(65536):
        yield from decoder.feed(data)
"""


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Make the client start this script instead of the engine; returns the interpreter to start it with."""

    def make(body: str) -> str:
        script = tmp_path / "fake_engine.py"
        root = str(Path(gradscope.__file__).parents[1])
        script.write_text(_PREAMBLE.format(root=root) + textwrap.dedent(body), encoding="utf-8")
        monkeypatch.setattr("gradscope.client.engine_process.ENGINE_SCRIPT", script)
        return sys.executable

    return make
