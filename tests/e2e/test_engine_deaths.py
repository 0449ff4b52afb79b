"""Whatever the user's code does to its process, the app stays, says what happened, and goes on with a new engine."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope.protocol.failure import FailureKind
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.state.engine import EngineStatus
from gradscope.state.log import Source
from gradscope.ui.actions.rows import ActionId
from tests.e2e.driver import App, wait_until_gone

WriteRecipe = Callable[..., Path]


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


@pytest.mark.parametrize(
    ("misbehave", "said"),
    [
        ("os._exit(5)", "exit code 5"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("os.abort()", "SIGABRT"),
    ],
)
def test_deaths_are_told_and_survived(app: App, write_recipe: WriteRecipe, misbehave: str, said: str) -> None:
    app.open(write_recipe(f"if self.calls == 3: {misbehave}"))
    app.go(Verb.NEXT_BATCH)
    app.go(Verb.NEXT_BATCH)
    app.run(RunUntil.PAUSED)
    death = app.wait_for_death()
    assert said in death and "It was in the forward of step 2, in layer (model)" in death
    assert len(app.state.history.loss) == 2, "the plots so far stay"
    assert app.state.session is not None
    assert app.window.isVisible()
    stood = app.state.position
    assert (stood.rest, stood.step, stood.batch, stood.batches_per_epoch) == (Rest.EMPTY, 2, 2, 6)
    app.reopen()
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 1


def test_reset_brings_a_dead_engine_back(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("if self.calls == 3: os._exit(5)"))
    app.run(RunUntil.PAUSED)
    app.wait_for_death()
    reset = app.window.actions_[ActionId.RESET]
    assert reset.isEnabled() and not app.window.actions_[ActionId.FORWARD].isEnabled()
    reset.trigger()
    app.wait(lambda: app.state.engine.status is EngineStatus.READY and app.state.position.rest is Rest.READY)
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 1


@pytest.mark.parametrize("death", ["os._exit(5)", "ctypes.string_at(0)"])
def test_where_it_died_is_told_also_where_no_message_came_through(
    app: App, write_recipe: WriteRecipe, death: str
) -> None:
    app.open(write_recipe(f"if self.calls == 15: {death}"))
    app.run(RunUntil.PAUSED)
    app.wait_for_death()
    stood = app.state.position
    assert (stood.step, stood.epoch, stood.batch, stood.running) == (14, 2, 2, False)
    readout = app.window.phase_strip.readout.accessibleName()
    assert "step 14" in readout and "batch 2/6" in readout


def test_where_it_hangs_is_told(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("if self.calls == 15: time.sleep(1000)"))
    app.run(RunUntil.PAUSED)
    app.wait(lambda: (app.state.position.step, app.state.position.rest) == (14, Rest.IN_FORWARD))
    stood = app.state.position
    assert (stood.epoch, stood.batch, stood.running) == (2, 2, True)
    app.controller.interrupt()
    app.wait_for_rest()


def test_where_it_hangs_with_the_gil_is_told(
    app: App, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.controller.client._pings.setInterval(50)
    app.open(write_recipe("if self.calls == 15: ctypes.PyDLL(None).sleep(1000)"))
    app.run(RunUntil.PAUSED)
    # A machine that is busy is silent for so long before it comes there.
    app.wait(lambda: app.state.position.step == 14 and "has not answered" in app.state.engine.text)
    assert app.state.position.running


def test_the_last_error_output_is_told(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe('print("out of cheese", file=sys.stderr); os._exit(1)'))
    app.controller.go(Verb.FORWARD)
    assert "out of cheese" in app.wait_for_death()


@pytest.mark.parametrize(
    ("misbehave", "said"),
    [
        ("os.closerange(3, 1000)", "The engine has ended: its connection to the app was closed or replaced within"),
        ("import json; json.loads = None", "The engine has ended: it cannot read any more what the app says"),
        ("import json; json.dumps = None", "The engine has ended: "),
    ],
    ids=["closed files", "reading broken", "writing broken"],
)
def test_an_engine_whose_tools_were_taken_away_says_so(
    app: App, write_recipe: WriteRecipe, misbehave: str, said: str
) -> None:
    app.open(write_recipe(f"{misbehave}; time.sleep(1)"))
    app.controller.client._pings.setInterval(200)
    app.controller.go(Verb.FORWARD)
    sentence = app.wait_for_death()
    assert sentence.startswith(said)
    assert "os._exit" not in sentence


def test_code_that_catches_the_interrupt_is_ended_on_request(
    app: App, write_recipe: WriteRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradscope.client.engine_client.INTERRUPT_SECS", 0.5)
    stubborn = """
        print("on and on", flush=True)
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                pass
    """
    app.open(write_recipe(stubborn))
    app.controller.go(Verb.FORWARD)
    app.wait(lambda: any(line.text == "on and on" for line in app.state.log.lines))
    app.controller.interrupt()
    bar = app.window.failure_bar
    app.wait(lambda: bar.end.isVisible())
    assert "has heard it" in bar.sentence.text()
    assert app.state.position.running, "it is left alone until somebody decides"
    bar.end.click()
    assert app.wait_for_death() == "The engine was ended, as you wished"
    assert bar.restart.isVisible() and not bar.end.isVisible()


def test_an_engine_that_has_lost_its_gpu_is_started_again(app: App, write_recipe: WriteRecipe) -> None:
    lose = """
        import gradscope.engine.surroundings.devices as devices
        if self.calls == 3:
            devices.still_answers = lambda device: False
            raise torch.AcceleratorError('CUDA error: device-side assert triggered')
    """
    app.open(write_recipe(lose))
    first = app.engine_pid
    app.run(RunUntil.PAUSED)
    app.wait(lambda: app.engine_pid not in (0, first) and app.state.engine.status is EngineStatus.READY)
    lines = [line.text for line in app.state.log.lines]
    assert any("device-side assert" in line for line in lines)
    assert any("cannot be used any more" in line for line in lines)
    assert len(app.state.history.loss) == 2, "the plots so far stay"
    assert app.state.failure is not None and "device-side assert" in app.state.failure.sentence
    app.controller.reset()
    app.wait(lambda: app.state.position.rest is Rest.READY and app.state.opening is None)
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 1


def test_kill_minus_nine_from_outside(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe())
    app.go(Verb.FORWARD)
    os.kill(app.engine_pid, signal.SIGKILL)
    assert "SIGKILL" in app.wait_for_death()
    assert app.state.refusal(Verb.BACKWARD) is not None
    app.reopen()
    assert app.state.position.rest is Rest.READY


@pytest.mark.parametrize("hang", ["time.sleep(1000)", "while True: pass"])
def test_a_hang_can_be_interrupted_and_the_session_goes_on(app: App, write_recipe: WriteRecipe, hang: str) -> None:
    path = write_recipe(f"if self.calls == 1:\n    print('hanging')\n    {hang}")
    app.open(path)
    app.controller.go(Verb.FORWARD)
    app.wait(lambda: any(line.text == "hanging" for line in app.state.log.lines))
    app.controller.pause()
    bar = app.window.failure_bar
    app.wait(lambda: "has not answered Pause for 1 s" in bar.sentence.text() and bar.interrupt.isVisible())
    bar.interrupt.click()
    app.wait_for_rest()
    assert app.state.failure is not None
    assert app.state.failure.kind is FailureKind.CANCELLED
    line = 1 + next(i for i, text in enumerate(path.read_text().splitlines()) if hang in text)
    assert app.state.failure.sentence == f"The phase was broken off in little.py, line {line}"
    assert bar.interrupt.isHidden()
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 1


def test_a_hang_that_holds_the_gil_is_ended_by_a_restart(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("print('holding', flush=True); ctypes.PyDLL(None).sleep(1000)"))
    app.controller.go(Verb.FORWARD)
    app.wait(lambda: any(line.text == "holding" for line in app.state.log.lines))
    hanging = app.engine_pid
    app.reopen()
    assert app.engine_pid != hanging
    app.wait(lambda: not Path(f"/proc/{hanging}").exists(), 10_000)
    wait_until_gone(hanging)


def test_a_print_flood_reaches_the_log_and_not_the_protocol(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("for i in range(3000): print('line', i)\nprint('to stderr', file=sys.stderr)"))
    app.go(Verb.NEXT_BATCH)
    app.wait(lambda: any(line.text == "line 2999" for line in app.state.log.lines))
    app.wait(lambda: any(line.source is Source.STDERR and line.text == "to stderr" for line in app.state.log.lines))
    assert app.state.position.step == 1


def test_a_failure_is_told_with_its_layer_and_undone(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("if self.calls == 2: raise ValueError('on purpose')"))
    app.go(Verb.NEXT_BATCH)
    app.go(Verb.FORWARD)
    failure = app.state.failure
    assert failure is not None
    assert failure.kind is FailureKind.USER_CODE
    assert failure.layer == ""
    assert "on purpose" in failure.sentence
    assert "little.py" in failure.traceback
    assert "site-packages" not in failure.traceback
    app.wait(app.window.failure_bar.isVisible)
    assert app.state.position.rest is Rest.READY
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 2
    app.wait(app.window.failure_bar.isHidden)
