"""Going back in the window: what can be pressed and why not, the picture of the branches, the dialog, progress."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import QByteArray, QEvent, QPoint, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QDialogButtonBox, QWidget
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.messages import Branch, GoTo, GoToLast, ReplayProgress, SetTimeline, StepBack, TimelineState
from gradscope.protocol.phases import Position, Rest
from gradscope.state.engine import EngineStatus
from gradscope.ui.actions.actions import Actions
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.go_to_step import GoToStepDialog
from gradscope.ui.docks.timeline import TimelineDock
from gradscope.ui.docks.timeline_picture import Lane, Moments, TimelinePicture
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.window.commands import Commands
from gradscope.ui.window.main_window import MainWindow
from gradscope.ui.window.status_bar import StatusBar
from tests.ui.fakes import FakeTraining, script_training, small_training
from tests.ui.shell_fakes import ShellController

STEPS = 12
MB = 1024 * 1024


def told(**given: object) -> TimelineState:
    usual: dict[str, object] = {
        "limit_bytes": 1024 * MB,
        "used_bytes": 214 * MB,
        "checkpoints": tuple(range(STEPS)),
        "earliest": 0,
        "branches": (Branch(id=0, parent=None, from_step=0, until_step=STEPS),),
    }
    return TimelineState(**{**usual, **given})  # type: ignore[arg-type]


def went(step: int, *, branch: int = 0, verified: bool | None = None) -> messages.WentTo:
    return messages.WentTo(position=Position(rest=Rest.READY, step=step), branch=branch, verified=verified)


@pytest.fixture
def training() -> FakeTraining:
    return small_training()


@pytest.fixture
def trained(controller: ShellController, training: FakeTraining) -> ShellController:
    controller.start(training, steps=STEPS)
    tell(controller, told())
    return controller


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


def tell(controller: ShellController, *told: object) -> None:
    for message in told:
        controller.state.apply(message)
    controller.flush()


def asked(controller: ShellController) -> list[object]:
    """The requests about time."""
    kinds = (StepBack, GoTo, GoToLast, SetTimeline)
    return [entry[0] for entry in controller.asked if isinstance(entry[0], kinds)]


# ------------------------------------------------------------------------------------------------ actions


@pytest.mark.parametrize(
    ("action_id", "request_"),
    [
        (ActionId.STEP_BACK, StepBack()),
        (ActionId.STEP_BACK_WHOLE, StepBack(whole_step=True)),
        (ActionId.GO_TO_SHOWN, GoTo(step=5)),
    ],
)
def test_an_action_asks_once_and_training_counts_as_running_until_it_is_answered(
    trained: ShellController, actions: Actions, action_id: ActionId, request_: object
) -> None:
    trained.show_step(5)
    actions[action_id].trigger()
    actions[action_id].trigger()
    assert asked(trained) == [request_]
    assert trained.state.position.running
    tell(trained, went(5))
    assert not trained.state.position.running
    assert trained.state.shown.step is None


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (told(limit_bytes=0, checkpoints=(), earliest=None), "Going back is off"),
        (told(reason="The model is too large for the limit"), "too large"),
        (told(earliest=None, checkpoints=()), "nothing to go back to"),
    ],
)
def test_what_cannot_be_gone_back_to_says_why(
    trained: ShellController, actions: Actions, state: TimelineState, reason: str
) -> None:
    tell(trained, state)
    for action_id in (ActionId.STEP_BACK, ActionId.STEP_BACK_WHOLE, ActionId.GO_TO_STEP):
        assert not actions[action_id].isEnabled()
        assert reason in actions[action_id].toolTip()
    assert actions[ActionId.SHOW_EARLIER].isEnabled(), "one can look all the same"


def test_a_step_before_the_earliest_is_only_looked_at(trained: ShellController, actions: Actions) -> None:
    tell(trained, told(earliest=6, checkpoints=(6, 8)))
    trained.show_step(3)
    assert not actions[ActionId.GO_TO_SHOWN].isEnabled()
    assert "6" in actions[ActionId.GO_TO_SHOWN].toolTip()
    trained.show_step(7)
    assert actions[ActionId.GO_TO_SHOWN].isEnabled()


def test_nothing_goes_back_while_training_runs_or_without_an_engine(trained: ShellController, actions: Actions) -> None:
    trained.rest_at(Rest.READY, running=True)
    assert not actions[ActionId.STEP_BACK].isEnabled()
    trained.rest_at(Rest.READY)
    assert actions[ActionId.STEP_BACK].isEnabled()
    trained.set_engine(EngineStatus.DEAD, "gone")
    assert not actions[ActionId.STEP_BACK].isEnabled()
    assert actions[ActionId.SHOW_EARLIER].isEnabled()


def test_a_limit_that_is_set_counts_at_once(trained: ShellController, commands: Commands) -> None:
    assert commands.time is not None
    trained.settings.set(Setting.TIMELINE_MB, 64)
    trained.settings.set(Setting.TIMELINE_MB, 0)
    assert asked(trained) == [SetTimeline(limit_bytes=64 * MB), SetTimeline(limit_bytes=0)]
    trained.rest_at(Rest.READY, running=True)
    trained.settings.set(Setting.TIMELINE_MB, 128)
    trained.settings.set(Setting.TIMELINE_MB, 256)
    assert len(asked(trained)) == 2, "nothing is asked of a session that runs"
    trained.rest_at(Rest.READY)
    trained.rest_at(Rest.READY)
    assert asked(trained)[2:] == [SetTimeline(limit_bytes=256 * MB)]


# ------------------------------------------------------------------------------------------------ progress


def test_a_replay_shows_how_far_it_is_and_can_be_interrupted(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager
) -> None:
    bar = StatusBar(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(bar)
    bar.show()
    assert not bar.interrupt.isVisible()
    trained.state.begin_going()
    tell(trained, ReplayProgress(step=4, start=2, until=12))
    assert bar.activity.text() == "Going back: replayed 3 of 10 steps"
    assert bar.interrupt.isVisible()
    bar.interrupt.click()
    assert ("interrupt",) in trained.asked
    tell(trained, went(5, verified=False))
    assert not bar.interrupt.isVisible()
    assert bar.activity.text() == ""
    assert "not the same as then" in bar.message.text()


# ------------------------------------------------------------------------------------------------ panel


def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> TimelineDock:
    dock = TimelineDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(900, 200)
    dock.show()
    controller.refresh_all()
    return dock


def test_the_panel_says_how_far_back_and_what_it_costs(
    qtbot: QtBot, trained: ShellController, themes: ThemeManager
) -> None:
    panel = dock(qtbot, trained, themes)
    assert panel.reach.text() == "Back to every step from 0 on, each of which is kept; 214 MiB of 1 GiB"
    tell(trained, told(checkpoints=(0, 4, 8, 10, 11)))
    assert "5 states are kept, and the steps between them are run again" in panel.reach.text()
    tell(trained, told(limit_bytes=0, checkpoints=(), earliest=None))
    assert panel.reach.text().startswith("Going back is off")


def test_branches_have_their_change_and_their_loss_and_where_they_part_is_said(
    qtbot: QtBot, trained: ShellController, training: FakeTraining, themes: ThemeManager
) -> None:
    panel = dock(qtbot, trained, themes)
    loss = LossChart(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(loss)
    loss.show()
    tell(trained, went(4))
    assert panel.parting.text() == "", "nothing differs so far"
    assert loss._left_steps.tolist() == list(range(3, STEPS))
    training.step = 4
    tell(trained, *training.steps(3))
    branches = (
        Branch(id=0, parent=None, from_step=0, until_step=STEPS),
        Branch(id=1, parent=0, from_step=4, until_step=7, change="group 0: lr 0.1 -> 0.01"),
    )
    tell(trained, told(branch=1, branches=branches))
    lanes = panel.picture._lanes
    assert [(lane.id, lane.from_step, lane.until_step, lane.is_current) for lane in lanes] == [
        (0, 0, STEPS, False),
        (1, 4, 7, True),
    ]
    assert lanes[1].label.startswith("Branch 1, from step 4: group 0: lr 0.1 -> 0.01, loss ")
    assert "Branches 1 and 0 part in step 4" in panel.parting.text()
    # It goes with the training, also where the next one runs at once.
    another = small_training()
    tell(trained, *another.opened(), *another.steps(2))
    trained.state.set_running()
    trained.refresh_all()
    assert trained.state.position.running
    assert not panel.parting.text() and panel.parting.isHidden()


def test_a_script_has_one_line_of_what_is_recorded(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager
) -> None:
    controller.start(script_training(), steps=3)
    panel = dock(qtbot, controller, themes)
    (lane,) = panel.picture._lanes
    assert lane.label.startswith("Steps so far")


@pytest.fixture
def picture(qtbot: QtBot, themes: ThemeManager) -> TimelinePicture:
    picture = TimelinePicture(themes)
    qtbot.addWidget(picture)
    picture.show_lanes(
        [
            Lane(id=0, parent=None, from_step=0, until_step=20, label="Branch 0", is_current=False),
            Lane(id=3, parent=0, from_step=8, until_step=15, label="Branch 3", is_current=True),
        ],
        Moments(now=16, shown=5, checkpoints=(0, 4, 9)),
    )
    picture.resize(800, 120)
    picture.show()
    return picture


def place(picture: TimelinePicture, step: int, lane: int) -> QPoint:
    return QPoint(round(picture.x_of(step)), round(picture.y_of(lane)))


def test_a_click_shows_the_step_a_drag_goes_on_and_a_double_click_goes_there(
    qtbot: QtBot, picture: TimelinePicture
) -> None:
    shown: list[int] = []
    gone: list[tuple[int, int]] = []
    picture.step_wanted.connect(shown.append)
    picture.go_wanted.connect(lambda step, branch: gone.append((step, branch)))
    qtbot.mousePress(picture, Qt.MouseButton.LeftButton, pos=place(picture, 7, 0))
    qtbot.mouseRelease(picture, Qt.MouseButton.LeftButton, pos=place(picture, 7, 0))
    qtbot.mouseClick(picture, Qt.MouseButton.LeftButton, pos=QPoint(20, 10))
    assert shown == [7], "names are no steps"
    qtbot.mouseDClick(picture, Qt.MouseButton.LeftButton, pos=place(picture, 12, 1))
    assert gone == [(12, 3)]
    for step in range(21):
        assert picture.step_at(picture.x_of(step)) == step


def test_the_keyboard_does_the_same(picture: TimelinePicture) -> None:
    shown: list[int] = []
    gone: list[tuple[int, int]] = []
    picture.step_wanted.connect(shown.append)
    picture.go_wanted.connect(lambda step, branch: gone.append((step, branch)))
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Return, Qt.Key.Key_Up, Qt.Key.Key_Return):
        picture.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier))
    assert shown == [4, 6]
    assert gone == [(5, 3), (20, 0)], "the step on the branch of now, the end of another one"


def test_marks_lie_on_the_way_that_training_has_taken(picture: TimelinePicture) -> None:
    own = picture._lanes[1]
    assert [picture._place_at(own, step) for step in (0, 4, 9)] == [0, 0, 1]


def test_lanes_that_make_no_sense_are_drawn_all_the_same(picture: TimelinePicture) -> None:
    lanes = [
        Lane(id=1, parent=1, from_step=9, until_step=3, label="x" * 500, is_current=True),
        Lane(id=2, parent=77, from_step=2**53 - 1, until_step=0, label="", is_current=False),
    ]
    picture.show_lanes(lanes, Moments(now=2**53 - 1, shown=0, checkpoints=(3, 3, 2**53 - 1)))
    assert not picture.grab().isNull()


# ------------------------------------------------------------------------------------------------ dialog


def test_the_dialog_asks_for_a_step_or_for_a_condition(
    qtbot: QtBot, trained: ShellController, commands: Commands, host: QWidget
) -> None:
    trained.show_step(4)
    commands.choose_step()
    (dialog,) = host.findChildren(GoToStepDialog)
    ok = dialog.buttons.button(QDialogButtonBox.StandardButton.Ok)
    assert dialog.step.value() == 4
    assert "214 MiB of 1 GiB" in dialog.hint.text()
    dialog.condition.setFocus()
    qtbot.keyClicks(dialog.condition, "grad.l2 >")
    assert dialog.by_condition.isChecked()
    assert not ok.isEnabled()
    assert "expected" in dialog.problem.text()
    qtbot.keyClicks(dialog.condition, " 1e30")
    qtbot.waitUntil(lambda: "Has not held" in dialog.problem.text())
    assert not ok.isEnabled()
    last = max(step for step in range(STEPS) if loss_of(trained, step) < loss_of(trained, 0))
    dialog.condition.clear()
    qtbot.keyClicks(dialog.condition, f"loss < {loss_of(trained, 0)!r}")
    qtbot.waitUntil(ok.isEnabled)
    assert dialog.problem.text().startswith(f"Step {last}: ")
    dialog.accept()
    assert asked(trained) == [GoTo(step=last)]


def loss_of(controller: ShellController, step: int) -> float:
    return float(controller.state.history.loss.values[step, 0])


def test_a_step_that_was_asked_for_can_just_be_looked_at(
    trained: ShellController, commands: Commands, host: QWidget
) -> None:
    commands.choose_step()
    (dialog,) = host.findChildren(GoToStepDialog)
    dialog.step.setValue(6)
    dialog.look.click()
    assert trained.state.shown.step == 6
    assert asked(trained) == []


def test_a_step_of_another_branch_can_be_chosen(
    qtbot: QtBot, trained: ShellController, commands: Commands, host: QWidget
) -> None:
    branches = (*told().branches, Branch(id=4, parent=0, from_step=3, until_step=9))
    tell(trained, told(branch=4, branches=branches))
    commands.choose_step()
    (dialog,) = host.findChildren(GoToStepDialog)
    assert dialog.branch.currentData() == 4
    dialog.branch.setCurrentIndex(dialog.branch.findData(0))
    dialog.step.setValue(10)
    dialog.accept()
    assert asked(trained) == [GoTo(step=10, branch=0)]


# ------------------------------------------------------------------------------------------------ window


def test_esc_leads_back_to_now(qtbot: QtBot, trained: ShellController, themes: ThemeManager) -> None:
    window = MainWindow(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    trained.show_step(3)
    escape = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Escape, Qt.KeyboardModifier.NoModifier)
    window.keyPressEvent(escape)
    assert trained.state.shown.step is None
    window.keyPressEvent(escape)
    assert "Back to now" not in window.status.message.text()


def test_a_layout_of_a_version_without_the_panel_gets_it(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager
) -> None:
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    controller.start(small_training())
    window.panel_layout.save()
    layout: QByteArray = controller.settings.get(Setting.LAYOUT)
    # As if there had been another panel in its place.
    name, other = (QByteArray(name.encode("utf-16-be")) for name in ("timelineDock", "anotherPanel"))
    assert layout.contains(name)
    controller.settings.set(Setting.LAYOUT, layout.replace(name, other))
    again = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(again)
    again.show()
    controller.refresh_all()
    assert not again.timeline.isHidden()
    assert again.timeline in again.tabifiedDockWidgets(again.moments)


def test_a_panel_that_was_closed_stays_closed(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> None:
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    controller.start(small_training())
    window.timeline.close()
    window.panel_layout.save()
    again = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(again)
    again.show()
    controller.refresh_all()
    assert again.timeline.isHidden()


def test_what_is_shown_of_a_position_in_a_phase(trained: ShellController, training: FakeTraining) -> None:
    """A step that is under way is the newest, and the one before it can be looked at."""
    tell(trained, *training.forward())
    assert trained.state.shown.newest == STEPS
    trained.show_step(STEPS - 1)
    assert trained.state.shown.step == STEPS - 1
    tell(trained, messages.Moved(position=replace(trained.state.position, running=False)))
    assert trained.state.shown.step == STEPS - 1
