"""The real engine process at the border: what it is started with, what it leaves behind, what it says while it misbehaves.

The deaths and hangs of a session are in test_engine_deaths.py, the ends of the app in test_app_endings.py.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from pytestqt.qtbot import QtBot

from gradscope.client.engine_process import ENGINE_SCRIPT
from gradscope.client.link import Link
from gradscope.protocol import messages as m
from gradscope.protocol.failure import FailureKind
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.state.engine import EngineStatus
from gradscope.state.log import MAX_LINES
from tests.e2e.driver import App, AppProcess, is_alive, wait_until_gone
from tests.patience import patient

WriteRecipe = Callable[..., Path]
NOT_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def _wait_for_line(app: App, text: str) -> None:
    app.wait(lambda: any(line.text == text for line in app.state.log.lines))


def _printed_pid(app: App) -> int:
    def pids() -> list[int]:
        return [int(line.text.split()[1]) for line in app.state.log.lines if line.text.startswith("child ")]

    app.wait(lambda: bool(pids()))
    return pids()[0]


def _shell(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# ----------------------------------------------------------------------------------------------- how it starts


@NOT_LINUX
def test_the_token_is_on_no_command_line_and_not_left_to_children(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("print('seen', [k for k in os.environ if k.startswith('GRADSCOPE')])"))
    command = Path(f"/proc/{app.engine_pid}/cmdline").read_text().split("\0")
    assert command[1:] == ["-X", "faulthandler", "-u", str(ENGINE_SCRIPT), ""]
    app.go(Verb.FORWARD)
    _wait_for_line(app, "seen []")


@pytest.mark.skipif(os.name != "posix", reason="a shell script is the interpreter")
def test_an_interpreter_without_numpy_says_what_to_install(own_app: App, tmp_path: Path) -> None:
    python = _shell(tmp_path / "python", f'exec {sys.executable} -S "$@"')
    own_app.controller.start_engine(str(python))
    sentence = own_app.wait_for_death().splitlines()[0]
    assert sentence.startswith("numpy is missing in")
    assert "-m pip install numpy torch safetensors" in sentence


@pytest.mark.skipif(os.name != "posix", reason="a shell script is the interpreter")
def test_an_interpreter_without_torch_says_what_to_install(own_app: App, tmp_path: Path) -> None:
    import numpy

    packages = tmp_path / "packages"
    packages.mkdir()
    for package in Path(numpy.__file__).parents[1].glob("numpy*"):
        (packages / package.name).symlink_to(package)
    python = _shell(tmp_path / "python", f'PYTHONPATH={packages} exec {sys.executable} -S "$@"')
    own_app.controller.start_engine(str(python))
    sentence = own_app.wait_for_death().splitlines()[0]
    assert sentence.startswith("torch and safetensors are missing in")
    assert "-m pip install torch safetensors" in sentence


def test_something_that_is_no_python(own_app: App, tmp_path: Path) -> None:
    own_app.controller.start_engine(str(tmp_path / "nothing"))
    assert "cannot be started" in own_app.wait_for_death()
    own_app.controller.start_engine(sys.executable)
    own_app.wait(lambda: own_app.state.engine.status is EngineStatus.READY)


def test_an_engine_with_the_wrong_token_gives_up(qtbot: QtBot) -> None:
    link = Link()
    hellos: list[m.Hello] = []
    link.hello.connect(hellos.append)
    environment = {**os.environ, "GRADSCOPE_PORT": str(link.port), "GRADSCOPE_TOKEN": "wrong"}
    engine = subprocess.Popen([sys.executable, str(ENGINE_SCRIPT)], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        qtbot.waitUntil(lambda: engine.poll() is not None, timeout=20_000)
        assert engine.stderr is not None
        assert "gradscope engine: the app did not answer" in engine.stderr.read()
    finally:
        engine.kill()
        engine.communicate()
        link.close()
    assert engine.returncode == 3
    assert hellos == []


def test_the_engine_is_not_for_people() -> None:
    done = subprocess.run([sys.executable, str(ENGINE_SCRIPT)], capture_output=True, text=True, timeout=patient(30))
    assert done.returncode == 3
    assert "people start the app" in done.stderr


@NOT_LINUX
def test_the_app_listens_on_loopback_only(app: App) -> None:
    app.controller.restart_engine()
    link = app.controller.client._launch.link
    assert link is not None
    inode_lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = [line.split()[1] for line in inode_lines if line.split()[3] == "0A"]
    assert f"0100007F:{link.port:04X}" in listening
    assert f"00000000:{link.port:04X}" not in listening
    app.wait(lambda: app.state.engine.status is EngineStatus.READY)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", link.port or 1), timeout=1)


# ----------------------------------------------------------------------------------------------- while it runs


def test_the_window_answers_during_an_endless_flood(app: App, qtbot: QtBot, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("while True: print('flood', id(x)); print('error', file=sys.stderr)"))
    app.controller.go(Verb.FORWARD)
    _wait_for_line(app, "error")
    before = app.state.log.total
    # The GUI thread's own time between two beats: what other processes take of the processor is not its fault.
    times = [time.thread_time()]
    beat = QTimer()
    beat.timeout.connect(lambda: times.append(time.thread_time()))
    beat.start(5)
    qtbot.waitUntil(lambda: len(times) > 100 and app.state.log.total > before + 2 * MAX_LINES, timeout=30_000)
    beat.stop()
    busy_ms = sorted((after - before) * 1000 for before, after in pairwise(times))
    # Far more than it takes on a machine at rest: one that never lets go would be seconds.
    assert busy_ms[int(len(busy_ms) * 0.95)] <= 200
    assert len(app.state.log.lines) <= MAX_LINES
    app.controller.interrupt()
    app.wait_for_rest()
    assert app.state.failure is not None
    assert app.state.failure.kind is FailureKind.CANCELLED


def test_what_is_no_text_is_shown_anyhow(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe(r"os.write(1, b'caf\xc3\xa9 \xff\n')"))
    app.go(Verb.FORWARD)
    _wait_for_line(app, "café \ufffd")


def test_of_a_crash_the_users_line_is_told(app: App, write_recipe: WriteRecipe) -> None:
    path = write_recipe("ctypes.string_at(0)")
    app.open(path)
    app.controller.go(Verb.FORWARD)
    sentence, _, details = app.wait_for_death().partition("\n")
    line = 1 + next(i for i, text in enumerate(path.read_text().splitlines()) if "string_at" in text)
    assert f"in misbehave ({path}, line {line})" in sentence
    assert "most recent call first" in details
    app.wait(lambda: app.window.failure_bar.sentence.text() == sentence)


def test_a_process_that_holds_the_gil_is_told_of(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("print('holding', flush=True); ctypes.PyDLL(None).sleep(1000)"))
    app.controller.client._pings.setInterval(100)
    app.controller.go(Verb.FORWARD)
    _wait_for_line(app, "holding")
    app.wait(lambda: "has not answered" in app.state.engine.text)
    assert app.state.engine.status is EngineStatus.READY
    assert app.state.position.running


# ----------------------------------------------------------------------------------------------- what it leaves behind


@NOT_LINUX
@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_its_children_go_with_it(app: App, write_recipe: WriteRecipe, end: str) -> None:
    app.open(
        write_recipe(f"""
        import subprocess
        print('child', subprocess.Popen(['sleep', '600']).pid, flush=True)
        {end}
        """)
    )
    app.controller.go(Verb.FORWARD)
    app.wait_for_death()
    wait_until_gone(_printed_pid(app))


@NOT_LINUX
def test_its_children_go_with_the_window(own_app: App, write_recipe: WriteRecipe) -> None:
    own_app.open(write_recipe("import subprocess; print('child', subprocess.Popen(['sleep', '600']).pid, flush=True)"))
    own_app.go(Verb.FORWARD)
    child, engine = _printed_pid(own_app), own_app.engine_pid
    assert is_alive(child)
    own_app.window.close()
    own_app.controller.client.shut_down()
    wait_until_gone(engine)
    wait_until_gone(child)


def test_a_restart_in_mid_run_has_no_session_and_runs_nothing(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe())
    app.run(RunUntil.PAUSED)
    app.wait(lambda: app.state.position.step > 2)
    before = app.engine_pid
    app.controller.restart_engine()
    app.wait(lambda: app.state.engine.status is EngineStatus.READY)
    assert app.engine_pid != before
    stood = app.state.position
    assert (stood.rest, stood.running, stood.moment) == (Rest.EMPTY, False, None), "the numbers of where it stood stay"
    assert app.state.refusal(Verb.FORWARD) == "Open a script or a recipe first"
    assert len(app.state.history.loss) > 2, "the plots so far stay"
    app.controller.reset()
    app.wait(lambda: app.state.position.rest is Rest.READY)
    wait_until_gone(before)


@NOT_LINUX
def test_the_app_killed_in_mid_run_leaves_no_engine(
    start_app: Callable[..., AppProcess], write_recipe: WriteRecipe
) -> None:
    app = start_app(str(write_recipe("time.sleep(1000)")))
    engine = app.engine_pid()
    os.kill(app.process.pid, signal.SIGKILL)
    app.wait()
    wait_until_gone(engine)
