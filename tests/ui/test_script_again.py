"""A script that is run again to an earlier step: what can be pressed, what is asked of the engine, what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtWidgets import QDialogButtonBox, QWidget
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.messages.edits import EditMade
from gradscope.protocol.phases import Rest
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.state.engine import EngineStatus
from gradscope.state.going_back.again import Stage
from gradscope.ui.actions.actions import Actions
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.go_to_step import GoToStepDialog
from gradscope.ui.docks.timeline import TimelineDock
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.commands import Commands
from gradscope.ui.window.shown_step_band import ShownStepBand
from tests.ui.fakes import SCRIPT, FakeTraining, script_training, small_training
from tests.ui.shell_fakes import ShellController

STEPS = 8
SAME = "are the same as in the run before, bit for bit in every number that was recorded"


@pytest.fixture
def trained(controller: ShellController) -> ShellController:
    return controller.start(script_training(), steps=STEPS)


@pytest.fixture
def host(qtbot: QtBot) -> QWidget:
    host = QWidget()
    qtbot.addWidget(host)
    return host


@pytest.fixture
def commands(trained: ShellController, host: QWidget) -> Commands:
    return Commands(trained, window=host, plot_images=lambda: iter(()))  # type: ignore[arg-type]


@pytest.fixture
def actions(trained: ShellController, themes: ThemeManager, commands: Commands, host: QWidget) -> Actions:
    return Actions(trained, themes, commands.handlers(), host)  # type: ignore[arg-type]


class Other:
    """The run that is started for it: what its engine would say."""

    def __init__(self, controller: ShellController, training: FakeTraining | None = None) -> None:
        self.controller, self.training = controller, training or script_training()

    def opens(self) -> Other:
        self.controller.state.set_opening("train.py")
        self.controller.flush()
        self.controller.play(self.training.opened())
        return self

    def stands_after(self, steps: int, rest: Rest = Rest.READY) -> None:
        self.controller.play(self._running(steps))
        self.controller.rest_at(rest)

    def _running(self, steps: int) -> Iterator[object]:
        for message in self.training.steps(steps):
            if isinstance(message, messages.Moved):
                message = replace(message, position=replace(message.position, running=True))
            yield message


def said(qtbot: QtBot, controller: ShellController) -> list[str]:
    qtbot.waitUntil(lambda: controller.state.again.stage is Stage.NONE)
    return [line.text for line in controller.state.log.lines]


def begin(controller: ShellController, actions: Actions, step: int) -> None:
    controller.show_step(step)
    actions[ActionId.GO_TO_SHOWN].trigger()


# ------------------------------------------------------------------------------------------------ actions


def test_the_script_is_started_again_runs_to_the_step_and_is_the_same(
    qtbot: QtBot, trained: ShellController, actions: Actions, themes: ThemeManager
) -> None:
    panel = TimelineDock(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(panel)
    panel.resize(900, 200)
    panel.show()
    begin(trained, actions, 5)
    assert trained.asked == [("reset",)]
    other = Other(trained).opens()
    assert trained.asked[1:] == [("run to", "at step 5")]
    other.stands_after(5)
    assert said(qtbot, trained)[-2:] == ["Run again, the script stands at step 5", f"Steps 0 to 4 {SAME}"]
    trained.refresh_all()
    assert panel.parting.text() == f"Steps 0 to 4 {SAME}"
    other.stands_after(2)
    qtbot.waitUntil(lambda: panel.parting.text() == f"Steps 0 to 6 {SAME}")
    assert trained.asked[2:] == [], "it has arrived, and runs no further by itself"


def test_where_it_is_not_the_same_is_said_with_its_step(
    qtbot: QtBot, trained: ShellController, actions: Actions
) -> None:
    begin(trained, actions, 5)
    other = Other(trained).opens()
    other.stands_after(3)
    other.training.random = np.random.default_rng(99)
    trained.state.again.stage = Stage.RUNNING
    other.stands_after(2)
    told = said(qtbot, trained)[-1]
    assert told.startswith("Not the same as in the run before, from step 3, forward: the output of net.0: ")
    assert "seed" not in told, "the beginning was the same"


def test_the_first_step_is_stood_at_at_once(qtbot: QtBot, trained: ShellController, actions: Actions) -> None:
    begin(trained, actions, 0)
    Other(trained).opens()
    assert said(qtbot, trained)[-1] == "Run again, the script stands at step 0"
    assert trained.asked == [("reset",)]


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        (Rest.ENDED, "Run again, the script has ended before step 5: it came to step 3"),
        (Rest.READY, "Run again, the script stands at step 3, not yet at step 5: going on leads there"),
    ],
)
def test_a_run_that_does_not_come_so_far_says_so_and_is_compared(
    qtbot: QtBot, trained: ShellController, actions: Actions, rest: Rest, sentence: str
) -> None:
    begin(trained, actions, 5)
    Other(trained).opens().stands_after(3, rest)
    assert said(qtbot, trained)[-2:] == [sentence, f"Steps 0 to 2 {SAME}"]


def test_a_run_that_never_begins_leaves_what_was_recorded(
    qtbot: QtBot, trained: ShellController, actions: Actions
) -> None:
    begin(trained, actions, 5)
    trained.state.set_opening("train.py")
    trained.flush()
    assert trained.state.again.stage is Stage.WAITING
    trained.state.set_opening(None)
    trained.flush()
    assert "has not come to a training step" in said(qtbot, trained)[-1]
    assert len(trained.state.history.loss) == STEPS
    Other(trained).opens()
    assert trained.state.again.parting is None, "opened for another reason"
    assert trained.asked == [("reset",)]


def test_what_is_known_to_be_different_is_said_before(qtbot: QtBot, trained: ShellController, actions: Actions) -> None:
    edit = EditMade(number=0, step=2, text="group 0: lr 0.1 -> 0.01", undone_at=None)
    trained.play(iter([edit]))
    begin(trained, actions, 1)
    trained.state.set_opening("train.py")
    first, *rest = Other(trained).training.opened()
    assert isinstance(first, messages.Opened)
    changed = replace(first, session=replace(first.session, sha256="1" * 64))
    trained.play(iter([changed, *rest]))
    told = "\n".join(line.text for line in trained.state.log.lines)
    assert "has been saved since the run before began" in told
    assert "the training was changed by hand (1 edit)" in told


def test_another_script_that_is_opened_meanwhile_is_not_run_to_anywhere(
    qtbot: QtBot, trained: ShellController, actions: Actions
) -> None:
    begin(trained, actions, 5)
    training = script_training()
    training.settings["script"] = replace(SCRIPT, name="/home/me/other.py")
    Other(trained, training).opens()
    assert trained.asked == [("reset",)]
    assert trained.state.again.stage is Stage.NONE


def test_it_can_be_run_again_also_when_it_has_ended_or_its_engine_has_died(
    trained: ShellController, actions: Actions
) -> None:
    assert "Show an earlier step first" in actions[ActionId.GO_TO_SHOWN].toolTip()
    trained.show_step(3)
    assert actions[ActionId.GO_TO_SHOWN].text().replace("&", "") == "Run the script again to step 3"
    for rest in (Rest.READY, Rest.ENDED):
        trained.rest_at(rest)
        assert actions[ActionId.GO_TO_SHOWN].isEnabled() and actions[ActionId.GO_TO_STEP].isEnabled()
    trained.set_engine(EngineStatus.DEAD, "gone")
    assert actions[ActionId.GO_TO_SHOWN].isEnabled()
    trained.set_engine(EngineStatus.STARTING)
    assert not actions[ActionId.GO_TO_SHOWN].isEnabled()
    assert "The engine is starting" in actions[ActionId.GO_TO_SHOWN].toolTip()


def test_an_attached_process_is_not_run_again(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager, host: QWidget
) -> None:
    training = script_training()
    training.settings["script"] = Script(kind=ScriptKind.ATTACHED, name="notebook")
    controller.start(training, steps=4)
    commands = Commands(controller, window=host, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    actions = Actions(controller, themes, commands.handlers(), host)  # type: ignore[arg-type]
    controller.show_step(2)
    for action_id in (ActionId.GO_TO_SHOWN, ActionId.GO_TO_STEP):
        assert not actions[action_id].isEnabled()
        assert "run the cell again" in actions[action_id].toolTip()
    band = ShownStepBand(controller, themes, actions=actions, parent=host)  # type: ignore[arg-type]
    band.refresh(900)
    assert band.buttons[ActionId.GO_TO_SHOWN].isHidden()


def test_the_band_names_the_step(
    trained: ShellController, actions: Actions, themes: ThemeManager, host: QWidget
) -> None:
    band = ShownStepBand(trained, themes, actions=actions, parent=host)  # type: ignore[arg-type]
    trained.show_step(4)
    band.refresh(2000)
    button = band.buttons[ActionId.GO_TO_SHOWN]
    assert not button.isHidden() and button.text() == "Run again to step 4"


# ------------------------------------------------------------------------------------------------ weights


def kept(**given: object) -> messages.TimelineState:
    usual: dict[str, object] = {"limit_bytes": 2**30, "used_bytes": 2**20, "checkpoints": (0, 2, 5), "earliest": 0}
    return messages.TimelineState(**{**usual, **given})  # type: ignore[arg-type]


def test_weights_that_are_kept_are_put_back_and_it_is_said_what_is_not(
    trained: ShellController, actions: Actions
) -> None:
    action = actions[ActionId.RESTORE_WEIGHTS]
    trained.show_step(5)
    assert not action.isEnabled() and "are not kept" in action.toolTip()
    trained.play(iter([kept()]))
    assert action.isEnabled() and action.text().replace("&", "") == "Restore the weights of step 5"
    action.trigger()
    action.trigger()
    assert [entry[0] for entry in trained.asked] == [messages.RestoreWeights(step=5)]
    assert trained.state.position.running
    trained.play(iter([messages.WeightsRestored(step=5, notes=("head had another form",))]))
    assert not trained.state.position.running and trained.state.position.step == STEPS
    told = [line.text for line in trained.state.log.lines]
    assert "as they were before step 5" in told[-2] and "own variables are left alone" in told[-2]
    assert told[-1] == "head had another form"


@pytest.mark.parametrize(
    ("told", "rest", "reason"),
    [
        (kept(), Rest.READY, "The weights of step 4 are not kept: the nearest is 5"),
        (kept(checkpoints=(), earliest=None, reason="They take too much"), Rest.READY, "They take too much"),
        (kept(checkpoints=(4,)), Rest.FORWARD, "Only between two steps"),
        (kept(checkpoints=(4,)), Rest.ENDED, "The script has ended"),
    ],
)
def test_why_weights_cannot_be_put_back(
    trained: ShellController, actions: Actions, told: messages.TimelineState, rest: Rest, reason: str
) -> None:
    trained.play(iter([told]))
    trained.rest_at(rest)
    trained.show_step(4)
    action = actions[ActionId.RESTORE_WEIGHTS]
    assert not action.isEnabled() and reason in action.toolTip()


def test_the_panel_says_how_many_are_kept_and_what_they_cost(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager
) -> None:
    panel = TimelineDock(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(panel)
    panel.show()
    trained.refresh_all()
    assert panel.reach.text().endswith("it can be run again to one of them")
    trained.play(iter([kept()]))
    assert panel.reach.text().endswith("The weights of the marked steps (3) can be restored; 1 MiB of 1 GiB")
    trained.play(iter([kept(checkpoints=(), earliest=None, reason="They take too much")]))
    assert panel.reach.text().endswith("They take too much")


def test_a_recipe_is_taken_back_as_a_whole(controller: ShellController, themes: ThemeManager, host: QWidget) -> None:
    controller.start(small_training(), steps=4)
    commands = Commands(controller, window=host, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    actions = Actions(controller, themes, commands.handlers(), host)  # type: ignore[arg-type]
    controller.show_step(2)
    assert "take the training there" in actions[ActionId.RESTORE_WEIGHTS].toolTip()


# ------------------------------------------------------------------------------------------------ dialog


@pytest.mark.parametrize(("in_backward", "place"), [(False, "at step 6"), (True, "backward if step == 6")])
def test_the_dialog_asks_for_a_step_and_whether_to_stop_in_its_backward(
    trained: ShellController, commands: Commands, host: QWidget, in_backward: bool, place: str
) -> None:
    commands.choose_step()
    (dialog,) = host.findChildren(GoToStepDialog)
    assert dialog.buttons.button(QDialogButtonBox.StandardButton.Ok).text() == "&Run again to it"
    assert "started again in a new process" in dialog.hint.text()
    dialog.step.setValue(6)
    dialog.in_backward.setChecked(in_backward)
    dialog.accept()
    Other(trained).opens()
    assert trained.asked == [("reset",), ("run to", place)]
