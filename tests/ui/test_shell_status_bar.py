"""The status bar: the engine in words, what runs, and the last message."""

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.phases import Moment, Rest, SubStep
from gradscope.state.app_state import EngineStatus, Topic
from gradscope.state.log import Source
from gradscope.ui.status_bar import StatusBar
from gradscope.ui.theme import ThemeManager
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def bar(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> StatusBar:
    bar = StatusBar(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(bar)
    return bar


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (EngineStatus.STOPPED, "Engine not started"),
        (EngineStatus.STARTING, "Engine starting"),
        (EngineStatus.READY, "Engine ready"),
        (EngineStatus.DEAD, "Engine ended"),
    ],
)
def test_the_engine_in_words(bar: StatusBar, controller: ShellController, status: EngineStatus, text: str) -> None:
    controller.set_engine(status, "why")
    assert bar.engine.text() == text
    assert bar.engine.toolTip() == "why"


def test_where_it_runs(bar: StatusBar, controller: ShellController) -> None:
    controller.start(small_training())
    assert bar.device.text() == "cpu"
    assert bar.interpreter.text() == "torch 2.13.0   …/env/bin/python"
    assert bar.interpreter.toolTip() == "/opt/env/bin/python"


def test_what_is_running(bar: StatusBar, controller: ShellController) -> None:
    controller.state.set_opening("/some/recipe.py")
    controller.flush()
    assert bar.activity.text() == "Opening recipe.py"
    controller.start(small_training())
    assert bar.activity.isHidden()
    moment = Moment(step=0, substep=SubStep.FORWARD, layer="net.0")
    position = replace(controller.state.position, rest=Rest.IN_FORWARD, running=True, moment=moment)
    controller.play(iter([messages.Moved(position=position)]))
    assert bar.activity.text() == "Running: forward net.0"


def test_the_last_message(bar: StatusBar, controller: ShellController) -> None:
    def log(text: str, source: Source) -> None:
        controller.state.log.add(text, source=source)
        controller.state.touch(Topic.LOG)
        controller.flush()

    log("noted", Source.GRADSCOPE)
    log("printed", Source.STDOUT)
    assert bar.message.text() == "noted"
    bar.tell("Exported to /x")
    log("printed again", Source.STDOUT)
    assert bar.message.text() == "Exported to /x"
    log("newer", Source.GRADSCOPE)
    assert bar.message.text() == "newer"


def test_reports_that_are_not_shown_are_counted(bar: StatusBar, controller: ShellController) -> None:
    controller.start(small_training())
    assert bar.skipped.isHidden()
    controller.play(iter([messages.Skipped(reports=12)]))
    assert bar.skipped.text() == "Reports not shown: 12"
    assert not bar.skipped.isHidden()
