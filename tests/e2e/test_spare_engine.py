"""The spare engine with torch in it: it takes over at once, and knows nothing of the engine before."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope.client import spare as spare_module
from gradscope.protocol.phases import Rest, Verb
from gradscope.state.engine import EngineStatus
from tests.e2e.driver import App, AppProcess, children_of, is_alive, wait_until_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")


def test_it_takes_over_and_is_fresh(
    app: App, write_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare_module, "DELAY_SECS", 0.1)
    wreck = "import builtins; builtins.round = lambda *a: 'wrecked'; os.environ['WRECKED'] = 'yes'"
    say = "print('seen', round(1.4), os.environ.get('WRECKED'), [k for k in os.environ if k.startswith('GRADSCOPE')])"
    app.open(write_recipe(f"{wreck}; {say}"))
    app.go(Verb.FORWARD)
    app.controller.client.spare.want(True)
    app.wait(lambda: app.controller.client.spare.is_waiting)
    spare = app.controller.client.spare.pid
    os.kill(app.engine_pid, signal.SIGKILL)
    app.wait_for_death()
    app.controller.restart_engine()
    app.wait(lambda: app.state.engine.status is EngineStatus.READY)
    app.controller.client.spare.want(False)
    assert app.engine_pid == spare
    assert app.state.engine.torch_version
    app.open(write_recipe(say, name="fresh.py"))
    app.go(Verb.FORWARD)
    assert app.state.position.rest is not Rest.EMPTY
    app.wait(lambda: any(line.text == "seen 1 None []" for line in app.state.log.lines))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_app(start_app: Callable[..., AppProcess], number: signal.Signals) -> None:
    app = start_app(spare=True)
    first = app.engine_pid()

    def below() -> set[int]:
        guards = children_of(app.process.pid)
        return {*guards, *(child for guard in guards for child in children_of(guard))}

    app.wait_for(lambda: len(below()) == 4, timeout_secs=120)
    both = below()
    assert first in both
    os.kill(app.process.pid, number)
    app.wait()
    for pid in both:
        wait_until_gone(pid)
        assert not is_alive(pid)
