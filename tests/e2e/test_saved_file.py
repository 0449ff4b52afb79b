"""A recipe that is saved while it is open is noticed, and opened again at one press; so is one that could not be opened."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gradscope.client.file_watch import digest_of
from gradscope.protocol.messages import GoTo
from gradscope.protocol.phases import RunUntil, Verb
from gradscope.state.engine import EngineStatus
from tests.e2e.driver import App

WriteRecipe = Callable[..., Path]


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def press(app: App, qtbot: QtBot, button: object) -> None:
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)  # type: ignore[arg-type]
    app.wait(lambda: app.state.opening is None)


def rename(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def test_a_saved_file_is_opened_again_at_one_press(app: App, qtbot: QtBot, write_recipe: WriteRecipe) -> None:
    path, bar = write_recipe(), app.window.file_bar
    app.open(path)
    assert not bar.isVisible()
    rename(path, "Little net", "Little net, mended")
    app.wait(bar.isVisible)
    assert bar.sentence.text() == "little.py has changed since it was opened."
    app.go(Verb.NEXT_BATCH)
    assert "goes back to step 0: save a checkpoint to keep the 1 steps so far" in bar.sentence.text()
    assert app.state.position.step == 1, "nothing is opened by itself"
    press(app, qtbot, bar.open_button)
    assert app.state.session is not None and app.state.session.name == "Little net, mended"
    assert app.state.position.step == 0
    assert not bar.isVisible()


def test_training_goes_on_with_a_saved_file_as_another_branch(
    app: App, qtbot: QtBot, write_recipe: WriteRecipe
) -> None:
    path, bar = write_recipe(), app.window.file_bar
    app.open(path)
    app.run(RunUntil.STEPS, 6)
    app.wait(lambda: app.state.position.step == 6 and not app.state.position.running)
    first = app.state.history.loss.values[:, 0].copy()
    app.window.commands.time.go(GoTo(step=3))
    app.wait_for_rest()
    rename(path, "lr=0.01", "lr=0.05")
    app.wait(bar.isVisible)
    assert "Going on with it keeps them" in bar.sentence.text()
    end = bar.go_on_button.rect().bottomLeft()
    app.wait(lambda: bar.go_on_button.mapTo(bar, end).y() < bar.height() <= app.window.centre.notices.height())
    app.go(Verb.FORWARD)
    app.wait(lambda: not bar.go_on_button.isEnabled())
    assert "finish the step first" in bar.go_on_button.toolTip()
    app.go(Verb.BACKWARD)
    app.window.commands.time.go(GoTo(step=3))
    app.wait_for_rest()
    qtbot.mouseClick(bar.go_on_button, Qt.MouseButton.LeftButton)
    app.wait(lambda: app.state.session is not None and app.state.session.groups[0].options["lr"] == "0.05")
    app.wait(lambda: not bar.isVisible())
    assert app.state.position.step == 3
    said = "Step 3: Edited little.py: Learning rate: 0.01 → 0.05"
    app.wait(lambda: said in [line.text for line in app.state.log.lines])
    app.run(RunUntil.STEPS, 3)
    app.wait(lambda: app.state.position.step == 6 and not app.state.position.running)
    app.wait(lambda: len(app.state.timeline.branches) == 2)
    other = app.state.timeline.other_history()
    assert other is not None
    np.testing.assert_array_equal(other[1].loss.values[:, 0], first)
    assert (app.state.history.loss.values[:4, 0] == first[:4]).all() and app.state.history.loss.values[4, 0] != first[4]
    # Before the edit the file is another one again.
    app.window.commands.time.go(GoTo(step=5, branch=0))
    app.wait_for_rest()
    app.wait(bar.isVisible)
    assert app.state.session is not None and app.state.session.groups[0].options["lr"] == "0.01"


def test_a_saved_file_that_cannot_be_gone_on_with_leaves_the_session(
    app: App, qtbot: QtBot, write_recipe: WriteRecipe
) -> None:
    path, bar = write_recipe(), app.window.file_bar
    app.open(path)
    app.go(Verb.NEXT_BATCH)
    for old, new, words in (
        ("import torch\n", "import torch (\n", "cannot be compiled: SyntaxError"),
        ("import torch (\n", "import torch\n", ""),
        ("nn.Linear(3, 2)", "nn.Linear(3, 2, bias=False)", "parameters that are gone: linear.bias"),
    ):
        rename(path, old, new)
        app.wait(lambda: bar.watch.seen == digest_of(str(path)))
        if words:
            app.wait(bar.isVisible)
            qtbot.mouseClick(bar.go_on_button, Qt.MouseButton.LeftButton)
            app.wait(lambda words=words: app.state.failure is not None and words in app.state.failure.sentence)
            assert app.state.position.step == 1 and not app.state.position.running
            assert bar.isVisible()
    rename(path, "import torch\n", "import torch, time\ntime.sleep(600)\n")
    app.wait(lambda: bar.watch.seen == digest_of(str(path)))
    qtbot.mouseClick(bar.go_on_button, Qt.MouseButton.LeftButton)
    app.wait(lambda: app.state.position.running)
    app.controller.interrupt()
    app.wait_for_rest()
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 2 and not app.state.edits.made


def test_a_run_is_not_ended_without_a_word(app: App, qtbot: QtBot, write_recipe: WriteRecipe) -> None:
    path, bar = write_recipe("time.sleep(0.01)"), app.window.file_bar
    app.open(path)
    app.run()
    rename(path, "Little net", "Mended")
    app.wait(bar.isVisible)
    assert app.state.position.running
    app.wait(lambda: "ends what runs" in bar.sentence.text())
    press(app, qtbot, bar.open_button)
    app.wait(lambda: app.state.session is not None and app.state.session.name == "Mended")


def test_what_was_dismissed_comes_back_with_the_next_save(app: App, qtbot: QtBot, write_recipe: WriteRecipe) -> None:
    path, bar = write_recipe(), app.window.file_bar
    app.open(path)
    rename(path, "Little net", "One")
    app.wait(bar.isVisible)
    qtbot.mouseClick(bar.dismiss, Qt.MouseButton.LeftButton)
    assert not bar.isVisible()
    app.go(Verb.NEXT_BATCH)
    assert not bar.isVisible()
    rename(path, "One", "Two")
    app.wait(bar.isVisible)


def test_a_syntax_error_is_tried_again(app: App, qtbot: QtBot, write_recipe: WriteRecipe, tmp_path: Path) -> None:
    good = write_recipe()
    app.open(good)
    app.go(Verb.NEXT_BATCH)
    broken = tmp_path / "broken.py"
    broken.write_text(good.read_text() + "\ndef f(:\n")
    app.open(broken)
    failure, bar = app.window.failure_bar, app.window.file_bar
    assert failure.again.isVisible()
    assert "broken.py" in failure.sentence.text()
    press(app, qtbot, failure.again)
    assert failure.again.isVisible(), "it is as broken as before"
    assert app.state.session is not None and app.state.session.path == str(good), "the session has stayed"
    assert app.state.position.step == 1
    assert not bar.isVisible()
    broken.write_text(good.read_text())
    app.wait(lambda: bool(failure.more.text()))
    assert "broken.py has changed since it could not be opened." in failure.more.text()
    assert not bar.isVisible(), "one bar is enough"
    press(app, qtbot, failure.again)
    assert app.state.session is not None and app.state.session.path == str(broken)
    assert not bar.isVisible()
    assert not failure.isVisible()


def test_a_session_whose_file_was_broken_is_mended(app: App, qtbot: QtBot, write_recipe: WriteRecipe) -> None:
    path = write_recipe()
    whole = path.read_text()
    app.open(path)
    path.write_text(whole + "\ndef f(:\n")
    app.wait(app.window.file_bar.isVisible)
    press(app, qtbot, app.window.file_bar.open_button)
    failure = app.window.failure_bar
    assert failure.again.isVisible()
    path.write_text(whole)
    app.wait(lambda: bool(failure.more.text()))
    press(app, qtbot, failure.again)
    assert app.state.failure is None
    assert app.state.unopened is None


def test_a_file_that_kills_the_engine(app: App, qtbot: QtBot, write_recipe: WriteRecipe) -> None:
    path = write_recipe()
    whole = path.read_text()
    path.write_text("import os\nos._exit(7)\ndef recipe(): ...\n")
    app.window.commands.open_file(str(path))
    app.wait(lambda: app.state.engine.status is EngineStatus.DEAD)
    path.write_text(whole)
    app.wait(app.window.file_bar.isVisible)
    press(app, qtbot, app.window.file_bar.open_button)
    app.wait(lambda: app.state.session is not None)
    assert not app.window.file_bar.isVisible()


def test_the_session_goes_on_behind_the_start_page(app: App, write_recipe: WriteRecipe) -> None:
    app.open(write_recipe("time.sleep(0.005)"))
    app.run()
    app.window.home.click()
    assert app.window.start_page.isVisible()
    step = app.state.position.step
    app.wait(lambda: app.state.position.step > step + 3)
    assert app.window.start_page.isVisible()
    app.window.home.click()
    assert app.window.workspace.isVisible()
    app.controller.pause()
    app.wait_for_rest()
    assert app.state.session is not None and app.state.session.name == "Little net"
