"""What the end-to-end tests do to the app: in this process, offscreen, or as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QEvent
from pytestqt.qtbot import QtBot

from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineStatus
from gradscope.ui.window.main_window import MainWindow
from tests.patience import patient
from tests.torch_python import engine_python, has_torch

ENGINE_TIMEOUT_MS = 60_000

RECIPE = """
import os, sys, time, ctypes, threading
import torch
from torch import nn
from gradscope import Recipe

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.misbehave(x)
        return self.linear(x)

    def misbehave(self, x):
        {misbehave}

def recipe():
    model = Net()
    data = [(torch.randn(3), torch.randn(2)) for _ in range(24)]
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.01), name="Little net")
"""


class App:
    """The window under test, and words for what a person does with it."""

    def __init__(self, window: MainWindow, qtbot: QtBot) -> None:
        self.window = window
        self.controller = window.controller
        self._qtbot = qtbot

    @property
    def state(self) -> AppState:
        return self.controller.state

    @property
    def engine_pid(self) -> int:
        return self.controller.client.pid

    def wait(self, condition: Callable[[], bool], timeout_ms: int = ENGINE_TIMEOUT_MS) -> None:
        self._qtbot.waitUntil(condition, timeout=timeout_ms)
        self.controller.flush()
        # What is shown only once it has been laid out.
        QCoreApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)

    def open(self, path: Path) -> None:
        self.window.commands.open_file(str(path))
        self.wait(lambda: self.state.opening is None and self.state.engine.status is not EngineStatus.STARTING)

    def go(self, verb: Verb) -> None:
        self.controller.go(verb)
        self.wait(lambda: not self.state.position.running)

    def run(self, until: RunUntil = RunUntil.PAUSED, steps: int = 1) -> None:
        self.controller.run(until, steps)

    def wait_for_rest(self) -> None:
        self.wait(lambda: not self.state.position.running)

    def wait_for_death(self) -> str:
        self.wait(lambda: self.state.engine.status is EngineStatus.DEAD)
        return self.state.engine.text

    def reopen(self) -> None:
        """Restart engine, then Reset, as a person would."""
        self.controller.restart_engine()
        self.wait(lambda: self.state.engine.status is EngineStatus.READY)
        self.controller.reset()
        self.wait(lambda: self.state.position.rest is Rest.READY and self.state.opening is None)


class AppProcess:
    """The app as its own process, as a person starts it."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gradscope.cli", *_engine_option(), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )

    def engine_pid(self, timeout_secs: float = 60) -> int:
        """Of the engine, when it has made itself a process group."""
        deadline = time.monotonic() + patient(timeout_secs)
        while time.monotonic() < deadline:
            for pid in children_of(self.process.pid):
                if "engine" in _command(pid) and _leads_its_group(pid):
                    return pid
            assert self.process.poll() is None, self.process.stdout.read().decode() if self.process.stdout else ""
            time.sleep(0.05)
        raise AssertionError("no engine was started")

    def wait_for(self, condition: Callable[[], bool], timeout_secs: float = 60) -> None:
        deadline = time.monotonic() + patient(timeout_secs)
        while not condition():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.05)

    def wait(self, timeout_secs: float = 20) -> int:
        return self.process.wait(timeout_secs)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(patient(10))
        if self.process.stdout:
            self.process.stdout.close()


def _engine_option() -> list[str]:
    return [] if has_torch() else ["--python", engine_python()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int, timeout_secs: float = 10) -> None:
    deadline = time.monotonic() + patient(timeout_secs)
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""


def _leads_its_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False
