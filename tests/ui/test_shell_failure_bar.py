"""The banner: failures told once, with what can be done about them."""

from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from gradscope.client.file_watch import FileWatch
from gradscope.protocol import messages
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.phases import Moment, Phase, Position, Rest, SubStep
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.failure_bar import FailureBar
from tests.ui.fakes import small_training, switch_theme
from tests.ui.shell_fakes import ShellController

FAILURE = Failure(
    kind=FailureKind.USER_CODE,
    sentence="The forward of step 3 failed in layer net.1: ValueError: no",
    traceback="Traceback (most recent call last):\n  File 'x.py', line 3\nValueError: no",
    phase=Phase.FORWARD,
    layer="net.1",
    undone="The forward was undone",
)


@pytest.fixture
def bar(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> FailureBar:
    controller.start(small_training(), steps=1)
    bar = FailureBar(controller, themes, watch=FileWatch())  # type: ignore[arg-type]
    qtbot.addWidget(bar)
    return bar


def fail(controller: ShellController, failure: Failure = FAILURE) -> None:
    controller.play(iter([messages.Failed(failure=failure, position=controller.state.position)]))


def test_nothing_to_tell(bar: FailureBar) -> None:
    assert bar.isHidden()


def test_a_failure_is_told_with_its_traceback(bar: FailureBar, controller: ShellController) -> None:
    fail(controller)
    assert not bar.isHidden()
    assert bar.sentence.text() == FAILURE.sentence
    assert bar.more.text() == "The forward was undone"
    assert bar.details.isHidden()
    bar.show()
    bar.toggle.click()
    assert bar.details.isVisible()
    assert bar.details.toPlainText() == FAILURE.traceback
    assert bar.restart.isHidden()
    bar.toggle.click()
    assert bar.details.isHidden()


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        (FailureKind.USER_CODE, "bad"),
        (FailureKind.BAD_INPUT, "warning"),
        (FailureKind.CANCELLED, "info"),
        (FailureKind.OUR_BUG, "bad"),
    ],
)
def test_severity(bar: FailureBar, controller: ShellController, kind: FailureKind, severity: str) -> None:
    fail(controller, Failure(kind=kind, sentence="Something"))
    assert bar.property("severity") == severity
    assert bar.toggle.isHidden()
    assert bar.show_layer.isHidden()


def test_the_layer_can_be_shown_and_the_text_copied(bar: FailureBar, controller: ShellController) -> None:
    fail(controller)
    bar.show_layer.click()
    assert controller.state.selection.name == "net.1"
    bar.copy.click()
    copied = QGuiApplication.clipboard().text()
    assert FAILURE.sentence in copied
    assert FAILURE.traceback in copied


def test_a_failed_backward_can_be_traced(bar: FailureBar, controller: ShellController) -> None:
    fail(controller)
    assert bar.trace.isHidden()
    fail(controller, replace(FAILURE, phase=Phase.BACKWARD, can_be_traced=True))
    assert not bar.trace.isHidden()
    bar.trace.click()
    assert controller.asked[-1] == ("go_traced",)


def test_dismissing_hides_it_until_the_next_failure(bar: FailureBar, controller: ShellController) -> None:
    fail(controller)
    bar.dismiss.click()
    assert bar.isHidden()
    assert controller.state.failure is None
    fail(controller)
    assert not bar.isHidden()


def test_it_goes_when_something_succeeds(bar: FailureBar, controller: ShellController) -> None:
    fail(controller)
    controller.play(iter([messages.Done(position=controller.state.position)]))
    assert bar.isHidden()


def test_the_engines_death_offers_a_restart(bar: FailureBar, controller: ShellController) -> None:
    controller.set_engine(EngineStatus.DEAD, "The engine was killed by SIGKILL\nlast words")
    assert bar.sentence.text() == "The engine was killed by SIGKILL"
    assert bar.details.toPlainText() == "last words"
    assert not bar.restart.isHidden()
    bar.restart.click()
    assert controller.asked == [("restart",)]
    controller.set_engine(EngineStatus.STARTING, "Importing torch")
    assert bar.isHidden()


def test_a_death_can_be_dismissed_and_stays_dismissed(bar: FailureBar, controller: ShellController) -> None:
    controller.set_engine(EngineStatus.DEAD, "gone")
    bar.dismiss.click()
    controller.refresh_all()
    assert bar.isHidden()


def test_a_restarted_engine_offers_to_open_the_recipe_again(bar: FailureBar, controller: ShellController) -> None:
    controller.set_engine(EngineStatus.DEAD, "gone")
    controller.set_engine(EngineStatus.READY)
    assert "Small" in bar.sentence.text()
    bar.reopen.click()
    assert controller.asked == [("reset",)]
    controller.play(iter([messages.Moved(position=Position(rest=Rest.READY))]))
    assert bar.isHidden()


def test_html_in_a_message_is_shown_as_it_is(bar: FailureBar, controller: ShellController) -> None:
    fail(controller, Failure(kind=FailureKind.USER_CODE, sentence="got <b>bold</b>"))
    assert bar.sentence.textFormat() is Qt.TextFormat.PlainText


def test_it_restyles(bar: FailureBar, controller: ShellController, themes: ThemeManager) -> None:
    fail(controller)
    switch_theme(themes, DARK)
    assert not bar.grab().isNull()


def test_an_interrupt_without_effect_offers_to_end_the_engine(bar: FailureBar, controller: ShellController) -> None:
    resisting = EngineState(status=EngineStatus.READY, resistance="Interrupt has had no effect for 3 s")
    controller.state.set_engine(resisting)
    controller.flush()
    assert bar.sentence.text() == "Interrupt has had no effect for 3 s"
    assert not bar.end.isHidden() and bar.restart.isHidden()
    assert controller.asked == [], "it is never ended by itself"
    bar.end.click()
    assert controller.asked == [("end_engine",)]
    controller.set_engine(EngineStatus.READY)
    assert bar.isHidden(), "it has had an effect"


def test_a_pause_without_effect_offers_to_interrupt(bar: FailureBar, controller: ShellController) -> None:
    moment = Moment(step=1, substep=SubStep.FORWARD, layer="net.0")
    position = replace(controller.state.position, rest=Rest.IN_FORWARD, running=True, moment=moment)
    controller.play(iter([messages.Moved(position=position)]))
    controller.state.set_engine(EngineState(status=EngineStatus.READY, pause_ignored="No answer"))
    controller.flush()
    assert bar.sentence.text() == "No answer (forward net.0)"
    assert not bar.interrupt.isHidden() and bar.end.isHidden()
    bar.interrupt.click()
    assert controller.asked == [("interrupt",)]
    controller.set_engine(EngineStatus.READY)
    assert bar.isHidden(), "it has had an effect"
