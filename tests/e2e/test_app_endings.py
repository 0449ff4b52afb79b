"""However the app ends, no engine stays behind."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope.protocol.phases import RunUntil
from tests.e2e.driver import App, AppProcess, wait_until_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both(start_app: Callable[..., AppProcess], number: signal.Signals) -> None:
    app = start_app("linear_regression")
    engine = app.engine_pid()
    os.kill(app.process.pid, number)
    assert app.wait() == (-number if number == signal.SIGKILL else 0)
    wait_until_gone(engine)


def test_a_killed_app_takes_along_an_engine_that_holds_the_gil(
    start_app: Callable[..., AppProcess], tmp_path: Path
) -> None:
    recipe = tmp_path / "holds.py"
    recipe.write_text("import ctypes\nctypes.PyDLL(None).sleep(600)\n")
    app = start_app(str(recipe))
    engine = app.engine_pid()
    os.kill(app.process.pid, signal.SIGKILL)
    app.wait()
    wait_until_gone(engine)


def test_closing_the_window_in_mid_run(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    app.run(RunUntil.PAUSED)
    app.wait(lambda: app.state.position.step > 2)
    engine = app.engine_pid
    app.window.close()
    app.controller.client.shut_down()
    wait_until_gone(engine)
