"""The app's end of the connection, without Qt: a real engine process over a real socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradscope.protocol import codec, messages
from gradscope.protocol.phases import Position, RunUntil, Verb
from gradscope.protocol.stacks import unstacked
from tests.patience import patient

ENGINE = Path(__file__).parents[2] / "gradscope/engine/__main__.py"
TOKEN = "a token of this test"
PATIENCE_SECS = patient(30.0)
"""For an engine that starts and imports torch."""
ANSWER_SECS = patient(30.0)


def _apart(frame: codec.Frame) -> list[codec.Frame]:
    """Reports that had to wait come together; here each is one message, as if none had waited."""
    if not isinstance(frame.message, messages.Reports):
        return [frame]
    return [codec.Frame(frame.number, report) for report in unstacked(frame.message)]


class Peer:
    def __init__(self, *, welcome: bool = True) -> None:
        self.frames: list[codec.Frame] = []
        """Everything that the engine has sent, in order."""
        self._waiting: list[codec.Frame] = []
        self._decoder = codec.Decoder()
        self._number = 0
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            server.settimeout(PATIENCE_SECS)
            environment = {
                **os.environ,
                "GRADSCOPE_PORT": str(server.getsockname()[1]),
                "GRADSCOPE_TOKEN": TOKEN,
                "GRADSCOPE_PARENT_PID": str(os.getpid()),
            }
            self.process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-u", str(ENGINE)],
                env=environment,
                cwd="/",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self.connection, _ = server.accept()
        self.hello = self.next().message
        if welcome:
            self.send(messages.Welcome(app_version="0"))
            self.ready = self.next().message

    def close(self) -> None:
        self.connection.close()
        try:
            self.process.wait(patient(10))
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def next(self, timeout_secs: float = PATIENCE_SECS) -> codec.Frame:
        deadline = time.monotonic() + timeout_secs
        while not self._waiting:
            self.connection.settimeout(max(deadline - time.monotonic(), 0.01))
            data = self.connection.recv(1 << 20)
            if not data:
                raise EOFError("the engine has closed the connection")
            for frame in self._decoder.feed(data):
                self._waiting += _apart(frame)
        frame = self._waiting.pop(0)
        self.frames.append(frame)
        return frame

    def send(self, *several: Any) -> int:
        """In one write; returns the number of the last."""
        data = b""
        for message in several:
            self._number += 1
            data += codec.encode(message, number=self._number)
        self.connection.sendall(data)
        return self._number

    def reply(self, number: int) -> Any:
        return self.until(lambda frame: frame.number == number).message

    def until(self, wanted: Callable[[codec.Frame], bool]) -> codec.Frame:
        deadline = time.monotonic() + ANSWER_SECS
        while not wanted(frame := self.next(max(deadline - time.monotonic(), 0.01))):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {ANSWER_SECS} s")
        return frame

    def event(self, kind: type) -> Any:
        return self.until(lambda frame: isinstance(frame.message, kind)).message

    def ask(self, message: Any) -> Any:
        return self.reply(self.send(message))

    def open(self, path: Path, **options: Any) -> Any:
        return self.ask(messages.Open(path=str(path), **options))

    def go(self, verb: Verb, **options: Any) -> Any:
        return self.ask(messages.Go(verb=verb, **options))

    def run_steps(self, steps: int) -> Any:
        return self.go(Verb.RUN, until=RunUntil.STEPS, steps=steps)

    def drain(self) -> list[Any]:
        """The messages since the last time, once the engine has nothing more to say."""
        self.ask(messages.Watch(subjects=()))
        seen, self.frames = [frame.message for frame in self.frames], []
        return seen

    def position_when(self, wanted: Callable[[Position], bool]) -> Position:
        return self.until(
            lambda frame: isinstance(frame.message, messages.Moved) and wanted(frame.message.position)
        ).message.position
