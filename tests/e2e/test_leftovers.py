"""Whatever the user's code has started, and however it hides: with its engine it ends, and is counted."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradscope.protocol.phases import Verb
from tests.e2e.driver import App, AppProcess, is_alive, wait_until_gone

WriteRecipe = Callable[..., Path]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard is Linux's")

START_THEM = """
# A line in one write: print() into what is not buffered makes several, and those of several processes get mixed.
import signal, subprocess
def start(*, session, forks, ignores, environment):
    code = "import os, signal, time\\n"
    code += "os.fork() and os._exit(0)\\n" * forks
    code += "os.setsid()\\n" if session and forks else ""
    code += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n" if ignores else ""
    code += "os.write(1, b'child %d' % os.getpid() + bytes([10]))\\ntime.sleep(600)\\n"
    subprocess.Popen([sys.executable, "-S", "-c", code], env=environment, start_new_session=session and not forks)
start(session=False, forks=0, ignores=False, environment=None)
start(session=False, forks=0, ignores=True, environment=None)
start(session=True, forks=0, ignores=True, environment=None)
start(session=True, forks=2, ignores=True, environment={})
"""
ENDS = {
    "exit": "os._exit(0)",
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "SIGSEGV": "ctypes.string_at(0)",
    "lives": "pass",
}


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process that is somebody else's."""
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def start_children(app: App, recipe: Path, count: int = 4) -> list[int]:
    app.open(recipe)
    app.go(Verb.NEXT_BATCH)

    def pids() -> list[int]:
        return [int(line.text.split()[1]) for line in app.state.log.lines if line.text.startswith("child ")]

    app.wait(lambda: len(pids()) == count)
    assert all(is_alive(pid) for pid in pids())
    return pids()


def recipe_of(write_recipe: WriteRecipe, end: str) -> Path:
    return write_recipe(f"if self.calls == 1:\n    {START_THEM.replace(chr(10), chr(10) + '    ')}\nelse:\n    {end}")


@pytest.mark.parametrize("end", ["exit", "SIGKILL", "SIGSEGV"])
def test_they_end_when_the_engine_dies(app: App, write_recipe: WriteRecipe, bystander: int, end: str) -> None:
    children = start_children(app, recipe_of(write_recipe, ENDS[end]))
    app.controller.go(Verb.FORWARD)
    sentence = app.wait_for_death().splitlines()[0]
    assert "4 processes that it had started were ended with it" in sentence
    assert not any(is_alive(child) for child in children)
    assert is_alive(bystander)


def test_without_its_guard_there_is_no_engine(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe())
    launch, engine = app.controller.client._launch, app.engine_pid
    assert launch is not None and launch.process.pid != engine
    os.kill(launch.process.pid, signal.SIGKILL)
    assert "SIGKILL" in app.wait_for_death()
    wait_until_gone(engine)


def test_they_end_at_a_restart_and_the_log_says_so(app: App, write_recipe: WriteRecipe) -> None:
    children = start_children(app, recipe_of(write_recipe, ENDS["lives"]))
    app.controller.restart_engine()
    app.wait(lambda: any("4 processes that it had started were ended" in line.text for line in app.state.log.lines))
    for child in children:
        wait_until_gone(child)


def test_they_end_when_the_window_is_closed(own_app: App, write_recipe: WriteRecipe) -> None:
    children = start_children(own_app, recipe_of(write_recipe, ENDS["lives"]))
    own_app.window.close()
    assert not any(is_alive(child) for child in children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_they_end_when_the_app_is_ended(
    start_app: Callable[..., AppProcess], tmp_path: Path, number: signal.Signals
) -> None:
    told = tmp_path / "pids"
    recipe = tmp_path / "starts.py"
    note = f"open({str(told)!r}, 'a').write(str(os.getpid()) + ' ')"
    starts = START_THEM.replace("os.write(1, b'child %d' % os.getpid() + bytes([10]))", note)
    recipe.write_text(f"import sys{starts}")
    app = start_app(str(recipe))
    app.engine_pid()
    app.wait_for(lambda: told.exists() and len(told.read_text().split()) == 4)
    os.kill(app.process.pid, number)
    app.wait()
    for child in told.read_text().split():
        wait_until_gone(int(child))
