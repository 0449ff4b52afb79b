"""The action table, and what it makes of menus and buttons."""

from itertools import product

import pytest
from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QMenu, QWidget
from pytestqt.qtbot import QtBot

from gradscope.assets import sample_paths
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.state.engine import EngineStatus
from gradscope.ui.actions.actions import Actions, plain, translated
from gradscope.ui.actions.rows import ActionId, Menu
from gradscope.ui.actions.table import TABLE
from gradscope.ui.look.settings import Setting, ThemeChoice
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.commands import Commands
from gradscope.ui.window.menus import Menus
from tests.ui.fakes import full_training, small_training
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    return window


@pytest.fixture
def actions(controller: ShellController, themes: ThemeManager, window: QMainWindow) -> Actions:
    commands = Commands(controller, window=window, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    return Actions(controller, themes, commands.handlers(), window)  # type: ignore[arg-type]


def test_every_action_has_a_row_and_a_handler(controller: ShellController, window: QWidget) -> None:
    commands = Commands(controller, window=window, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    assert set(TABLE) == set(ActionId) == set(commands.handlers())


def test_no_shortcut_is_given_twice() -> None:
    shortcuts = [QKeySequence(key).toString() for row in TABLE.values() for key in row.shortcuts]
    assert len(shortcuts) == len(set(shortcuts))
    assert all(shortcuts)


def test_texts_are_sentence_case_and_have_no_full_stop() -> None:
    for row in TABLE.values():
        text = plain(row.text)
        assert text[0].isupper()
        assert not row.tooltip.endswith(".")
        assert text.removesuffix("...").count(".") == 0


@pytest.mark.parametrize(("rest", "running"), list(product(Rest, (False, True))), ids=str)
def test_verbs_are_enabled_exactly_as_the_phase_table_says(
    actions: Actions, controller: ShellController, rest: Rest, running: bool
) -> None:
    controller.start(small_training())
    controller.rest_at(rest, running=running)
    for action_id, row in TABLE.items():
        if row.verb is None:
            continue
        reason = controller.state.refusal(row.verb)
        assert actions[action_id].isEnabled() == (reason is None)
        if reason is not None:
            assert reason in actions[action_id].toolTip()
        for key in row.shortcuts[:1]:
            assert QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText) in actions[action_id].toolTip()


@pytest.mark.parametrize("status", [EngineStatus.STARTING, EngineStatus.DEAD])
def test_nothing_can_be_run_without_an_engine(
    actions: Actions, controller: ShellController, status: EngineStatus
) -> None:
    controller.start(small_training())
    controller.set_engine(status, "gone")
    for action_id in (ActionId.FORWARD, ActionId.RUN_STEPS, ActionId.EXPORT):
        assert not actions[action_id].isEnabled()
    assert actions[ActionId.OPEN].isEnabled()
    assert actions[ActionId.RESTART_ENGINE].isEnabled() == (status is EngineStatus.DEAD)


def test_triggering_asks_the_controller(actions: Actions, controller: ShellController) -> None:
    controller.start(small_training())
    controller.settings.set(Setting.RUN_STEPS, 25)
    for action_id in (ActionId.FORWARD, ActionId.NEXT_BATCH, ActionId.RUN_STEPS, ActionId.RUN_EPOCH):
        actions[action_id].trigger()
    controller.rest_at(Rest.IN_FORWARD, running=True)
    for action_id in (ActionId.PAUSE, ActionId.INTERRUPT):
        actions[action_id].trigger()
    assert controller.asked == [
        ("go", Verb.FORWARD),
        ("go", Verb.NEXT_BATCH),
        ("run", RunUntil.STEPS, 25),
        ("run", RunUntil.EPOCH, 1),
        ("pause",),
        ("interrupt",),
    ]


def test_the_run_says_how_many_steps(actions: Actions, controller: ShellController) -> None:
    controller.settings.set(Setting.RUN_STEPS, 12)
    assert plain(actions[ActionId.RUN_STEPS].text()) == "Run 12 steps"
    assert "12 training steps" in actions[ActionId.RUN_STEPS].toolTip()
    assert translated("Make %1 training steps", steps=3) == "Make 3 training steps"


def test_the_theme_actions_show_and_set_the_choice(actions: Actions, controller: ShellController) -> None:
    assert actions[ActionId.THEME_SYSTEM].isChecked()
    actions[ActionId.THEME_DARK].trigger()
    assert controller.settings.get(Setting.THEME) is ThemeChoice.DARK
    assert [actions[i].isChecked() for i in (ActionId.THEME_SYSTEM, ActionId.THEME_DARK)] == [False, True]


def test_menus_hold_every_action_samples_and_recent_files(
    actions: Actions, controller: ShellController, window: QMainWindow
) -> None:
    opened: list[str] = []
    panel = QAction("A panel", window)
    layer_menu = QMenu("Layer", window)
    menus = Menus(
        window.menuBar(),
        actions,
        controller.settings,
        layer_menu=layer_menu,
        panels=[panel],
        open_file=opened.append,
        parent=window,
    )
    assert layer_menu.menuAction() in window.menuBar().actions()
    shown = [action for menu in menus._menus.values() for action in menu.actions()]
    assert all(actions[action_id] in shown for action_id in ActionId)
    assert panel in menus._menus[Menu.VIEW].actions()
    menus._samples.aboutToShow.emit()
    assert [plain(action.text()) for action in menus._samples.actions()] == [path.stem for path in sample_paths()]
    menus._samples.actions()[0].trigger()
    menus._recent.aboutToShow.emit()
    assert not menus._recent.actions()[0].isEnabled()
    controller.settings.add_recent_file("/some/where/mine & yours.py")
    menus._recent.aboutToShow.emit()
    assert "&&" in menus._recent.actions()[0].text()
    menus._recent.actions()[0].trigger()
    assert opened == [str(sample_paths()[0]), "/some/where/mine & yours.py"]


def test_actions_are_children_of_what_they_were_given(actions: Actions, window: QObject) -> None:
    assert actions.parent() is window


def test_zero_grad_says_whether_it_is_needed(actions: Actions, controller: ShellController) -> None:
    zero_grad = actions[ActionId.ZERO_GRAD]
    for settings, words in (
        ({}, "at the start of every step anyway"),
        ({"accumulate": 4}, "at the start of every window anyway"),
        ({"zero_grad": "manual"}, "add up from step to step until this is pressed"),
    ):
        controller.start(small_training(settings=settings))
        assert words in zero_grad.toolTip()
    zero_grad.trigger()
    assert controller.asked == [("go", Verb.ZERO_GRAD)]


def test_validate_needs_data(actions: Actions, controller: ShellController) -> None:
    validate = actions[ActionId.VALIDATE]
    controller.start(small_training())
    assert not validate.isEnabled() and "This recipe has no validation data" in validate.toolTip()
    controller.start(full_training())
    assert validate.isEnabled()
    validate.trigger()
    assert controller.asked == [("go", Verb.VALIDATE)]
    controller.rest_at(Rest.IN_FORWARD)
    assert not validate.isEnabled() and "finish that phase first" in validate.toolTip()


def test_tooltips_tell_windows_and_turns(actions: Actions, controller: ShellController) -> None:
    controller.start(full_training())
    assert "the next one is 1 of 2" in actions[ActionId.FORWARD].toolTip()
    assert "divides the gradients by the loss scale and clips them" in actions[ActionId.STEP].toolTip()
    assert "a window of 2 micro-batches" in actions[ActionId.NEXT_BATCH].toolTip()
    training = small_training(settings={"optimizers": ("discriminator", "generator")})
    controller.start(training, steps=1)
    assert "one step of each optimizer: discriminator, generator" in actions[ActionId.NEXT_BATCH].toolTip()
    assert "the turn of the optimizer generator" in actions[ActionId.STEP].toolTip()
    assert "each batch takes 2 of them" in actions[ActionId.RUN_STEPS].toolTip()


def test_a_run_past_the_end_of_the_schedule_is_foreseen(actions: Actions, controller: ShellController) -> None:
    controller.settings.set(Setting.RUN_STEPS, 50)
    controller.start(small_training(horizon=60, scheduler="OneCycleLR"), steps=10)
    assert "ends after" not in actions[ActionId.RUN_STEPS].toolTip()
    assert "The schedule (OneCycleLR) ends after step 59" in actions[ActionId.RUN_UNTIL_PAUSED].toolTip()
    controller.settings.set(Setting.RUN_STEPS, 51)
    assert "ends after step 59: 51 steps go beyond that" in actions[ActionId.RUN_STEPS].toolTip()
