"""The status bar: the engine in words, what runs, and the last message."""

from dataclasses import replace

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.nonfinite import FirstNonFinite, Stage
from gradscope.protocol.phases import Moment, Rest, RunUntil, SubStep
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineStatus
from gradscope.state.log import Source
from gradscope.state.run_progress import RunProgress
from gradscope.state.topics import Topic
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.status_bar import StatusBar
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


def test_how_far_a_run_is(bar: StatusBar, controller: ShellController) -> None:
    controller.start(small_training())
    controller.state.set_running()
    run = controller.state.run = RunProgress.begin(controller.state.position, RunUntil.STEPS, 100, now=0.0)
    controller.flush()
    assert bar.activity.text() == "Run: 0 of 100"
    run.see(replace(controller.state.position, step=66), now=6.0)
    controller.refresh_all()
    assert bar.activity.text() == "Run: 66 of 100, 11 steps/s, 4 s left"
    controller.rest_at(Rest.READY)
    assert bar.activity.isHidden() and controller.state.run is None


def test_how_far_the_reading_of_a_snapshot_is(bar: StatusBar, controller: ShellController, qtbot: QtBot) -> None:
    assert bar.cancel.isHidden()
    controller.reading_progress = ("session.json", 0.0)
    controller.state.set_opening("/some/shot.zip")
    controller.flush()
    assert bar.activity.text() == "Opening shot.zip: session.json" and not bar.cancel.isHidden()
    controller.reading_progress = ("history.csv", 0.42)
    qtbot.waitUntil(lambda: bar.activity.text() == "Opening shot.zip: history.csv 42%")
    bar.cancel.click()
    assert controller.asked == [("cancel_snapshot",)]
    controller.reading_progress = None
    controller.state.set_opening(None)
    controller.flush()
    assert bar.cancel.isHidden() and bar.activity.isHidden()


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
    log("newest", Source.GRADSCOPE)
    assert bar.message.text() == "Exported to /x  ·  newest", "an answer stays before what is noted after it"
    assert bar.message.toolTip() == "Exported to /x  ·  newest"


def test_what_was_said_of_something_that_is_over_is_gone(bar: StatusBar, controller: ShellController) -> None:
    controller.start(small_training())
    state = controller.state
    failure = Failure(kind=FailureKind.USER_CODE, sentence="The forward of step 39 failed")
    state.set_running()
    state.apply(messages.Failed(failure=failure, position=state.position))
    controller.flush()
    assert bar.message.text() == "The forward of step 39 failed"
    # Begun and done between two redraws.
    state.set_running()
    state.apply(messages.Done(position=replace(state.position, running=False)))
    controller.flush()
    assert bar.message.text() == ""
    state.set_running()
    state.apply(messages.Note(text="The gradients were cleared"))
    state.apply(messages.Done(position=replace(state.position, running=False)))
    controller.flush()
    assert bar.message.text() == "The gradients were cleared"
    bar.tell("Checkpoint written")
    controller.flush()
    assert bar.message.text() == "Checkpoint written"
    state.set_running()
    controller.flush()
    assert bar.message.text() == ""


def test_what_was_said_of_a_dead_engine_is_gone_when_another_starts(
    bar: StatusBar, controller: ShellController
) -> None:
    controller.set_engine(EngineStatus.DEAD, "It died")
    controller.state.log.add("It died", is_warning=True)
    controller.state.touch(Topic.LOG)
    controller.flush()
    assert bar.message.text() == "It died"
    controller.set_engine(EngineStatus.STARTING)
    controller.set_engine(EngineStatus.READY)
    assert bar.message.text() == ""


def test_a_snapshot_s_message_is_not_the_session_s(bar: StatusBar, controller: ShellController) -> None:
    controller.start(small_training())
    session, snapshot = controller.state, AppState()
    snapshot.log.add("Snapshot /x of Net")
    bar.tell("Saved")
    controller.state = snapshot
    snapshot.touch(*Topic)
    controller.flush()
    assert bar.message.text() == "Snapshot /x of Net"
    controller.state = session
    session.touch(*Topic)
    controller.flush()
    assert bar.message.text() == "Saved"


def test_reports_that_are_not_shown_are_counted(bar: StatusBar, controller: ShellController) -> None:
    controller.start(small_training())
    assert bar.skipped.isHidden()
    controller.play(iter([messages.Skipped(reports=12)]))
    assert bar.skipped.text() == "Reports not shown: 12"
    assert not bar.skipped.isHidden()


def test_the_layer_of_a_first_nan_is_whole_however_narrow_the_bar_is(
    bar: StatusBar, controller: ShellController
) -> None:
    controller.start(small_training(), steps=1)
    name = "encoder.layers.11.feed_forward.intermediate.dense (Linear)"
    first = FirstNonFinite(
        step=4,
        stage=Stage.FORWARD,
        place=name,
        nan=0,
        inf=3,
        count=9,
        sentence=f"First Inf: step 4, forward, {name}: 3 Inf",
    )
    controller.state.first_nonfinite = first
    controller.state.touch(Topic.NONFINITE)
    bar.resize(1600, 30)
    bar.show()
    controller.flush()
    assert bar.nonfinite.go.text() == first.title and not bar.interpreter.isHidden()
    for width in (1024, 800, 700):
        bar.resize(width, 30)
        controller.flush()
        assert name in bar.nonfinite.go.text() and first.sentence in bar.nonfinite.go.toolTip()
        assert bar.nonfinite.sizeHint().width() <= width
    assert bar.interpreter.isHidden()
    controller.dismiss_nonfinite()
    assert not bar.interpreter.isHidden()
