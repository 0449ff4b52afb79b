"""Scripts that fail, hang, never train or end otherwise: each says what happened, and the window goes on."""

from pathlib import Path

import pytest

from gradscope.protocol import messages
from gradscope.protocol.failure import FailureKind
from gradscope.protocol.phases import Phase, Rest, RunUntil, Verb
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.engine import EngineStatus
from gradscope.state.log import Source
from gradscope.ui.actions.rows import ActionId
from tests.e2e.driver import is_alive, wait_until_gone
from tests.e2e.scripts.conftest import ScriptApp


def errors(scripts: ScriptApp) -> str:
    return "\n".join(line.text for line in scripts.app.state.log.lines if line.source is Source.STDERR)


def test_a_crash_in_a_layer_names_it_and_its_values_stay(scripts: ScriptApp) -> None:
    app, state = scripts.app, scripts.app.state
    scripts.start_case("raises_in_layer")
    app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    failure = state.failure
    assert failure is not None and failure.kind is FailureKind.USER_CODE
    assert failure.layer == "model.3" and failure.phase is Phase.FORWARD
    app.wait(lambda: bool(state.stack))
    assert [(frame.line.function, frame.line.line) for frame in state.stack] == [
        ("Attention.forward", 16),
        ("train_one", 21),
        ("<module>", 31),
    ]
    for part in ("in layer model.3", "raises_in_layer.py, line 16", "can still be looked at"):
        assert part in failure.sentence, failure.sentence
    assert "gradscope/engine" not in failure.traceback and "raises_in_layer.py" in failure.traceback
    assert state.position.step == 5
    replies: list[object] = []
    key = SubjectKey(SubjectKind.PARAMETER, "model.0.weight")
    app.controller.fetch(messages.FetchPage(subject=key), replies.append)
    app.wait(lambda: bool(replies))
    assert isinstance(replies[0], messages.Page)
    app.wait(app.window.failure_bar.isVisible)
    assert app.window.failure_bar.show_layer.isVisible()


@pytest.mark.parametrize("hang", ["while True: pass", "time.sleep(1000)"])
def test_a_hang_says_where_it_is_and_can_be_ended(scripts: ScriptApp, hang: str) -> None:
    app = scripts.app
    scripts.run_loop(f"if self.calls == 2:\n    print('hanging', flush=True)\n    {hang}")
    line = 1 + next(i for i, text in enumerate((scripts.folder / "train.py").read_text().splitlines()) if hang in text)
    app.run(RunUntil.PAUSED)
    app.wait(lambda: "hanging" in scripts.log)
    interrupt = app.window.actions_[ActionId.INTERRUPT]
    app.wait(interrupt.isEnabled)
    interrupt.trigger()
    bar = app.window.failure_bar
    app.wait(lambda: f"train.py, line {line}" in scripts.sentence)
    assert bar.end.isVisible() and not bar.interrupt.isVisible()
    hanging = app.engine_pid
    bar.end.click()
    app.wait(lambda: scripts.is_dead)
    wait_until_gone(hanging)
    assert "The engine was ended, as you wished" in scripts.sentence
    assert len(app.state.history.loss) == 1, "the plots stay"


def test_wrong_arguments_are_told_as_the_script_tells_them(scripts: ScriptApp) -> None:
    scripts.run_text(
        """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float, required=True)
        args = parser.parse_args()
        import torch
        """,
        "--lr",
        "fast",
    )
    scripts.app.wait(lambda: "invalid float value" in errors(scripts))
    assert "train.py: error: argument --lr: invalid float value: 'fast'" in errors(scripts)
    assert "Traceback" not in errors(scripts) + "".join(scripts.log)
    scripts.app.wait(lambda: "exit code 2" in scripts.sentence)
    assert "no training step was seen" in scripts.sentence
    assert scripts.app.window.failure_bar.again.isVisible()


@pytest.mark.parametrize("head", ["import torch", "pass"])
def test_one_that_never_trains(scripts: ScriptApp, head: str) -> None:
    scripts.run_text(f"{head}\nprint('nothing to do')\n")
    scripts.app.wait(lambda: "nothing to do" in scripts.log)
    scripts.app.wait(lambda: "exit code 0" in scripts.sentence)
    assert "no training step was seen" in scripts.sentence
    assert scripts.app.state.session is None or scripts.app.state.position.rest is Rest.EMPTY


def test_one_that_asks_for_input(scripts: ScriptApp) -> None:
    scripts.run_text("import torch\nname = input('Your name? ')\n")
    scripts.app.wait(lambda: "EOFError" in scripts.sentence)
    assert "train.py, line 2" in scripts.sentence
    assert "Its stdin is closed" in scripts.sentence


def test_one_that_is_no_python(scripts: ScriptApp) -> None:
    scripts.run_text("import torch\ndef f(:\n")
    scripts.app.wait(lambda: "SyntaxError" in scripts.sentence)
    assert "train.py, line 2" in scripts.sentence


def test_one_that_leaves_by_os_exit(scripts: ScriptApp) -> None:
    scripts.run_loop(after="os._exit(3)", steps=2)
    scripts.app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert scripts.app.state.exit_code == 3 and scripts.app.state.position.step == 2
    assert "exit code 3" in scripts.app.window.script_bar.sentence.text()


def test_one_that_leaves_with_words(scripts: ScriptApp) -> None:
    scripts.run_loop(after="sys.exit('no more data')", steps=2)
    scripts.app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert scripts.app.state.exit_code == 1
    assert "no more data" in scripts.sentence
    assert scripts.app.state.failure is not None and scripts.app.state.failure.traceback == ""


def test_a_hundred_thousand_lines(scripts: ScriptApp) -> None:
    scripts.run_loop(before="for i in range(100_000): print('line', i)", steps=2)
    scripts.app.wait(lambda: "line 99999" in scripts.log)
    scripts.app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    assert scripts.app.state.exit_code == 0


def test_closing_the_window_in_mid_run(own_app, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    scripts = ScriptApp(own_app, tmp_path)
    child = """
        if self.calls == 3:
            child = os.fork()
            if not child:
                time.sleep(1000)
            with open('child', 'w') as file:
                file.write(str(child))
    """
    scripts.run_loop(child, steps=1_000_000)
    own_app.run(RunUntil.PAUSED)
    own_app.wait(lambda: own_app.state.position.step > 4)
    engine, child_pid = own_app.engine_pid, int((tmp_path / "child").read_text())
    assert is_alive(engine) and is_alive(child_pid)
    own_app.window.close()
    own_app.controller.client.shut_down()
    wait_until_gone(engine)
    wait_until_gone(child_pid)


def test_a_recipe_after_a_script_and_a_script_after_a_recipe(scripts: ScriptApp, write_recipe) -> None:  # type: ignore[no-untyped-def]
    app, state = scripts.app, scripts.app.state
    recipe = write_recipe()
    app.open(recipe)
    app.go(Verb.NEXT_BATCH)
    assert state.session is not None and state.session.script is None
    first = app.engine_pid
    scripts.run_loop()
    assert state.in_script and app.engine_pid != first and state.position.step == 0
    scripts.press(Verb.STEP)
    wait_until_gone(first)
    second = app.engine_pid
    app.open(recipe)
    assert not state.in_script and state.position.rest is Rest.READY and app.engine_pid != second
    app.go(Verb.NEXT_BATCH)
    assert state.position.step == 1 and state.engine.status is EngineStatus.READY
    wait_until_gone(second)
    scripts.run_loop()
    assert state.in_script
    # In the middle of its run.
    app.run(RunUntil.PAUSED)
    app.open(recipe)
    app.go(Verb.NEXT_BATCH)
    assert state.position.step == 1


@pytest.mark.parametrize("head", ["import torch", "import time"])
def test_a_hang_before_the_first_step_can_be_ended_and_tried_again(scripts: ScriptApp, head: str) -> None:
    app, bar = scripts.app, scripts.app.window.script_bar
    script = scripts.write(f"{head}\nprint('loading', flush=True)\nwhile True: pass\n")
    app.window.commands.open_script(Script(kind=ScriptKind.FILE, name=script.name, folder=str(scripts.folder)))
    app.wait(lambda: "loading" in scripts.log)
    app.wait(lambda: "no training step has begun yet" in bar.sentence.text() and bar.end.isVisible())
    assert not app.window.actions_[ActionId.FORWARD].isEnabled()
    hanging = app.engine_pid
    bar.end.click()
    app.wait(lambda: scripts.is_dead)
    wait_until_gone(hanging)
    assert bar.isHidden() and "The engine was ended, as you wished" in scripts.sentence
    scripts.write_loop()
    app.window.failure_bar.again.click()
    scripts.wait_for_begin()
    assert app.state.in_script and scripts.press(Verb.STEP) is Rest.READY


def test_reset_in_mid_run_begins_again(scripts: ScriptApp) -> None:
    app = scripts.app
    scripts.run_loop(steps=1_000_000)
    app.run(RunUntil.PAUSED)
    app.wait(lambda: app.state.position.step > 4)
    first = app.engine_pid
    app.window.actions_[ActionId.RESET].trigger()
    scripts.wait_for_begin()
    wait_until_gone(first)
    assert app.state.position.step == 0 and app.state.position.rest is Rest.READY
    assert len(app.state.history.loss) == 0


def test_one_that_fails_before_it_trains(scripts: ScriptApp) -> None:
    scripts.run_text(
        """
        import torch

        def load(path):
            return torch.load(path)

        data = load("missing.pt")
        """
    )
    failure = scripts.app.state.failure
    assert failure is not None and "FileNotFoundError" in failure.sentence and "train.py, line 4" in failure.sentence
    assert "No training step was seen" in failure.sentence
    assert "gradscope/engine" not in failure.traceback and "load" in failure.traceback
