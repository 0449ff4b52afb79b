"""The window of `gradscope.watch()`: a process that runs already connects to it, and is never ended by it."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope.protocol.messages import FetchPage, Page
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.protocol.scripts import ScriptKind
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.ui.actions.door import Door
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.app import build
from gradscope.ui.look.settings import Setting, Settings
from tests.e2e.driver import App, is_alive, wait_until_gone
from tests.patience import patient

KERNEL = """
import sys
from gradscope.engine.watching import window

class Beside:
    "In the place of an app that is started: the window of the test, which says where it listens."
    def connect(self, secs):
        port, token = sys.stdin.readline().split()
        return window._through(int(port), token)

window._newest = Beside() if not sys.stdin.isatty() and "--own" not in sys.argv else None

import torch, gradscope
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
opt = torch.optim.SGD(net.parameters(), lr=0.1)
def train(steps=3):
    for _ in range(steps):
        opt.zero_grad()
        loss = net(torch.randn(5, 4)).pow(2).mean()
        loss.backward()
        opt.step()
def say(*words): print(*words, flush=True)
def final(): say("FINAL", sum(float(p.detach().double().sum()) for p in net.parameters()).hex())
"""


class Kernel:
    """A process that trains and calls `gradscope.watch()`."""

    def __init__(self, folder: Path, text: str, *arguments: str) -> None:
        path = folder / "cell.py"
        path.write_text(KERNEL + textwrap.dedent(text), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def output(self) -> str:
        """All that it has printed, when it has ended."""
        return self.process.communicate(timeout=patient(60))[0]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Beside(App):
    """The window, beside a kernel that it tells where it listens."""

    kernel: Kernel | None = None

    def begin(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.ends: list[str] = []
        self.controller.client.state_changed.connect(self._on_engine_state)
        self.door = Door(self.controller.client, kernel.tell, self.window)
        self.door.open()

    def _on_engine_state(self, engine: EngineState) -> None:
        # The next cell may connect at once.
        if engine.status is EngineStatus.DEAD:
            self.ends.append(engine.text)

    def wait_for_end(self) -> str:
        self.wait(lambda: bool(self.ends))
        return self.ends.pop()

    def wait_for_training(self) -> None:
        self.wait(lambda: self.state.position.rest is not Rest.EMPTY and not self.state.position.running)


@pytest.fixture
def beside(qapp: QApplication, qtbot: QtBot, tmp_path: Path) -> Iterator[Callable[[str], Beside]]:
    settings = Settings(tmp_path / "settings.ini")
    settings.override(Setting.SPARE_ENGINE, False)
    window = build(qapp, settings)
    window.show()
    app = Beside(window, qtbot)

    def begin(text: str) -> Beside:
        app.begin(Kernel(tmp_path, text))
        return app

    yield begin
    window.close()
    window.controller.client.shut_down()
    window.deleteLater()
    if app.kernel is not None:
        app.kernel.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the process says that trains three steps, and one more, without a window."""
    kernel = Kernel(tmp_path_factory.mktemp("plain"), "train()\nfinal()\ntrain(1)\nfinal()")
    try:
        return kernel.output()
    finally:
        kernel.close()


WATCHED = """
with gradscope.watch(net, opt):
    train()
    final()
train(1)
final()
say("taps", hasattr(torch.autograd._engine_run_backward, "__gradscope_tap__"))
"""


def test_phase_by_phase_to_its_end(beside: Callable[[str], Beside], plain: str) -> None:
    app = beside(WATCHED)
    app.wait_for_training()
    session, state = app.state.session, app.state
    assert session is not None and session.script is not None and session.script.kind is ScriptKind.ATTACHED
    assert session.name == "cell.py" and [group.optimizer for group in session.groups] == ["opt"]
    # It is told behind all that is known of the session.
    app.wait(lambda: bool(state.stack))
    assert state.stack[0].line.file.endswith("cell.py") and state.stack[0].line.function == "train"
    for verb, rest in ((Verb.FORWARD, Rest.FORWARD), (Verb.BACKWARD, Rest.BACKWARD), (Verb.STEP, Rest.READY)):
        app.go(verb)
        assert app.state.position.rest is rest
    replies: list[object] = []
    subject = next(row.key for row in app.state.history.rows if row.key.name == "net.0.weight")
    app.controller.fetch(FetchPage(subject=subject, rows=2, columns=2), replies.append)
    app.wait(lambda: bool(replies))
    assert isinstance(replies[0], Page)
    app.run()
    text = app.wait_for_death()
    assert text == "gradscope.watch() has ended; its process goes on. Its values are gone; the plots stay"
    assert app.window.failure_bar.isVisible() and not app.window.failure_bar.restart.isVisible()
    assert app.kernel is not None
    assert app.kernel.output() == plain + "taps False\n"
    assert app.kernel.process.returncode == 0


def test_what_is_not_the_window_s_to_do(beside: Callable[[str], Beside]) -> None:
    app = beside(WATCHED)
    app.wait_for_training()
    actions = app.window.actions_
    for action_id, words in (
        (ActionId.RESET, "gradscope.watch: run the cell again"),
        (ActionId.END_ENGINE, "this process is not the window's own"),
        (ActionId.RESTART_ENGINE, "this process is not the window's own"),
    ):
        assert not actions[action_id].isEnabled(), action_id
        assert words in actions[action_id].toolTip()
    assert app.kernel is not None
    app.controller.reset()
    app.controller.end_engine()
    app.controller.restart_engine()
    app.controller.interrupt()
    app.go(Verb.NEXT)
    assert app.state.engine.status is EngineStatus.READY and is_alive(app.kernel.process.pid)
    assert app.engine_pid == app.kernel.process.pid
    assert app.controller.settings.get(Setting.RECENT_FILES) == []


@pytest.mark.parametrize("when", ["it waits", "it runs", "in a layer"])
def test_the_window_is_closed_and_the_training_goes_on(beside: Callable[[str], Beside], plain: str, when: str) -> None:
    text = (
        WATCHED
        if when != "it runs"
        else WATCHED.replace("train()", "train(1)\n    import time\n    time.sleep(2)\n    train(2)")
    )
    app = beside(text)
    app.wait_for_training()
    if when == "it runs":
        app.run()
        app.wait(lambda: app.state.position.step >= 1)
    elif when == "in a layer":
        app.run(RunUntil.PAUSED)
        app.controller.pause()
        app.wait(lambda: not app.state.position.running)
    app.window.close()
    assert app.kernel is not None
    assert app.kernel.output() == plain + "taps False\n"
    assert app.kernel.process.returncode == 0


def test_another_file_is_opened_and_the_training_goes_on(
    beside: Callable[[str], Beside], plain: str, write_recipe: Callable[..., Path]
) -> None:
    app = beside(WATCHED)
    app.wait_for_training()
    app.open(write_recipe())
    assert app.kernel is not None
    assert app.kernel.output() == plain + "taps False\n"
    assert app.state.session is not None and app.state.session.name == "Little net"
    assert app.state.refusal(Verb.RESET) is None


def test_the_kernel_is_killed(beside: Callable[[str], Beside]) -> None:
    app = beside(WATCHED)
    app.wait_for_training()
    app.go(Verb.STEP)
    assert app.kernel is not None
    app.kernel.process.kill()
    text = app.wait_for_death()
    assert text == "The process in which gradscope.watch() was called has ended. Its values are gone; the plots stay"
    assert app.window.failure_bar.sentence.text() == text
    assert app.state.history.rows, "the plots stay"
    assert app.state.refusal(Verb.STEP) == "Nothing is connected any more. gradscope.watch: run the cell again"


def test_interrupted_while_it_waits_and_run_again(beside: Callable[[str], Beside]) -> None:
    app = beside("""
    try:
        with gradscope.watch(net, opt): train()
    except KeyboardInterrupt: say("interrupted")
    say("taps", hasattr(torch.autograd._engine_run_backward, "__gradscope_tap__"))
    # So that the end of the first is seen before the second connects.
    import time; time.sleep(3)
    with gradscope.watch(net, opt): train(1)
    say("done")
    """)
    assert app.kernel is not None
    door = app.door
    app.wait_for_training()
    app.go(Verb.FORWARD)
    app.kernel.process.send_signal(signal.SIGINT)
    text = app.wait_for_end()
    assert text.startswith("The training under gradscope.watch() has ended: KeyboardInterrupt"), text
    # The same window, for the same cell.
    app.wait(lambda: app.state.engine.status is EngineStatus.READY and app.state.awaited is None)
    app.wait_for_training()
    assert app.state.position.step == 0 and door is app.door
    app.go(Verb.FORWARD)
    assert {row.key.name for row in app.state.history.rows} >= {"net.0", "net.1", "net.2", "net"}
    app.run()
    app.wait_for_end()
    assert app.kernel.output().split("\n") == ["interrupted", "taps False", "done", ""]


def test_an_exception_is_told(beside: Callable[[str], Beside]) -> None:
    app = beside("""
    try:
        with gradscope.watch(net, opt):
            train(1)
            net(torch.randn(2, 3))
    except RuntimeError: say("raised")
    """)
    app.wait_for_training()
    app.run()
    text = app.wait_for_death()
    assert text.startswith("The training under gradscope.watch() has ended in layer net.0: RuntimeError: mat1"), text
    assert app.kernel is not None and app.kernel.output() == "raised\n"


def test_attached_in_one_thread_and_trained_in_another(beside: Callable[[str], Beside]) -> None:
    app = beside("""
    import threading
    handle = gradscope.attach()
    worker = threading.Thread(target=train)
    worker.start()
    worker.join()
    handle.detach()
    final()
    """)
    app.wait_for_training()
    app.go(Verb.STEP)
    assert app.state.position.step == 1
    app.run()
    app.wait_for_death()


def test_files_beside_the_window(beside: Callable[[str], Beside], tmp_path: Path) -> None:
    app = beside("""
    with gradscope.watch(net, opt, jsonl="lines", window=True): train()
    """)
    app.wait_for_training()
    app.go(Verb.STEP)
    app.window.close()
    assert app.kernel is not None and app.kernel.output() == ""
    assert len((tmp_path / "lines").read_text().splitlines()) == 3 * 3 + 1, "they go on when the window is closed"


def test_it_starts_the_app_which_outlives_it(tmp_path: Path) -> None:
    kernel = Kernel(
        tmp_path,
        """
        handle = gradscope.attach(net, opt)
        say(window._newest._process.pid)
        sys.stdin.readline()
        """,
        "--own",
    )
    try:
        pid = int(kernel.line())
        assert os.getsid(pid) == pid, "Ctrl+C in the kernel's terminal is not for it"
        kernel.process.send_signal(signal.SIGINT)
        kernel.process.wait(patient(20))
        time.sleep(0.5)
        assert is_alive(pid), "the plots stay"
        os.kill(pid, signal.SIGTERM)
        wait_until_gone(pid)
    finally:
        kernel.close()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"QT_QPA_PLATFORM": ""}, "there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set"),
        ({"QT_QPA_PLATFORM": "nonsense"}, "has not come up: Qt cannot start with QT_QPA_PLATFORM=nonsense"),
    ],
)
def test_without_a_display(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], sentence: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    kernel = Kernel(tmp_path, "with gradscope.watch(net, opt): train()", "--own")
    try:
        last = kernel.output().strip().splitlines()[-1]
    finally:
        kernel.close()
    assert last.startswith("gradscope.protocol.failure.BadInput: ") and sentence in last
    assert last.endswith("gradscope.watch(jsonl=...) needs no window")
