"""`gradscope.watch()` in a real kernel of Jupyter's, with the window of the test beside it."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope.protocol.messages import FetchSource, SourceText
from gradscope.protocol.phases import Rest, Verb
from gradscope.ui.actions.door import Door
from gradscope.ui.app import build
from gradscope.ui.look.settings import Setting, Settings
from tests.e2e.driver import App
from tests.patience import patient

pytest.importorskip("ipykernel")
manager_of = pytest.importorskip("jupyter_client.manager")

FIRST = """
import pathlib, time
from gradscope.engine.watching import window
class Beside:
    def connect(self, secs):
        path = pathlib.Path("door")
        while not path.exists(): time.sleep(0.05)
        line = path.read_text()
        path.unlink()
        port, token = line.split()
        return window._through(int(port), token)
window._newest = Beside()
import torch, gradscope
from torch import nn
net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.1)
"""
TRAIN = """
def train(steps):
    for _ in range(steps):
        opt.zero_grad()
        loss = net(torch.randn(5, 4)).pow(2).mean()
        loss.backward()
        opt.step()
"""


class Notebook:
    def __init__(self, folder: Path) -> None:
        self._manager = manager_of.KernelManager()
        self._manager.kernel_spec.argv[0] = sys.executable
        self._manager.start_kernel(
            cwd=str(folder), env={**os.environ, "JPY_SESSION_NAME": str(folder / "lesson.ipynb")}
        )
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=patient(60))

    def begin(self, cell: str) -> str:
        return str(self._client.execute(cell))

    def has_ended(self, number: str) -> dict[str, Any] | None:
        """What a cell has come to, once it has."""
        while self._client.shell_channel.msg_ready():
            message = self._client.get_shell_msg(timeout=1)
            if message["parent_header"].get("msg_id") == number:
                return dict(message["content"])
        return None

    def run(self, cell: str) -> dict[str, Any]:
        number, until = self.begin(cell), time.monotonic() + patient(60)
        while (content := self.has_ended(number)) is None:
            assert time.monotonic() < until
            time.sleep(0.05)
        return content

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = Notebook(tmp_path)
    yield notebook
    notebook.close()


@pytest.fixture
def beside(qapp: QApplication, qtbot: QtBot, tmp_path: Path) -> Iterator[App]:
    settings = Settings(tmp_path / "settings.ini")
    settings.override(Setting.SPARE_ENGINE, False)
    window = build(qapp, settings)
    window.show()

    def tell(line: str) -> None:
        (tmp_path / "told").write_text(line)
        (tmp_path / "told").rename(tmp_path / "door")

    Door(window.controller.client, tell, window).open()
    yield App(window, qtbot)
    window.close()
    window.controller.client.shut_down()
    window.deleteLater()


def wait_for(condition: Callable[[], Any]) -> Any:
    """Also the window's events are worked off."""
    until = time.monotonic() + patient(60)
    while (found := condition()) is None:
        assert time.monotonic() < until
        QCoreApplication.processEvents()
        time.sleep(0.01)
    return found


def test_cells_that_wait_are_interrupted_and_run_again(notebook: Notebook, beside: App, tmp_path: Path) -> None:
    assert notebook.run(FIRST)["status"] == "ok"
    assert notebook.run(TRAIN)["status"] == "ok"
    for _ in range(2):
        cell = notebook.begin("with gradscope.watch(net, opt):\n    train(3)")
        beside.wait(lambda: beside.state.position.rest is Rest.READY and beside.state.opening is None)
        session = beside.state.session
        assert session is not None and session.name == "lesson.ipynb"
        assert [group.optimizer for group in session.groups] == ["opt"]
        # Where it stands is told after that it is open.
        beside.wait(lambda: bool(beside.state.stack))
        stack = [(entry.line.function, entry.line.line) for entry in beside.state.stack]
        assert stack == [("train", 4), ("<module>", 2)]
        beside.go(Verb.STEP)
        assert beside.state.position.step == 1
        assert {row.key.name for row in beside.state.history.rows} >= {"net", "net.0", "net.0.weight"}
        sources: list[Any] = []
        beside.controller.ask(FetchSource(file=beside.state.stack[0].line.file), sources.append)
        beside.wait(lambda answers=sources: bool(answers))
        assert isinstance(sources[0], SourceText) and sources[0].text.strip() == TRAIN.strip()
        notebook.interrupt()
        ended = wait_for(lambda number=cell: notebook.has_ended(number))
        assert ended["status"] == "error" and ended["ename"] == "KeyboardInterrupt"
        assert beside.wait_for_death().startswith("The training under gradscope.watch() has ended: KeyboardInterrupt")
    # Into a file, from the same kernel.
    assert notebook.run("with gradscope.watch(net, opt, jsonl='out'):\n    train(2)")["status"] == "ok"
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["forward", "backward", "step"] * 2 + ["end"]
    assert lines[0]["loss_name"] == "loss" and lines[0]["line"]["line"] == 5 and lines[0]["calls"] == ["net"]
