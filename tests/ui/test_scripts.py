"""A session that a script drives, in the window: what is called otherwise, what is greyed, and how it begins and ends."""

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages.edits import EditOption
from gradscope.protocol.phases import Moment, Position, Rest, RunUntil, SubStep, Verb
from gradscope.protocol.scripts import Ability, Script, ScriptKind
from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.engine import EngineState, EngineStatus, Unopened
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.actions import plain
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.words.moment_text import moment_of
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.window.main_window import MainWindow
from gradscope.ui.window.phase_steps import UNKNOWN_STEP, PhaseSteps, Station, stations
from gradscope.ui.words.script import name_of
from tests.ui.fakes import OWN_ORDER, REFUSED, SCRIPT, bare_training, script_training, small_training, switch_theme
from tests.ui.shell_fakes import ShellController

CRASH = Failure(
    kind=FailureKind.USER_CODE,
    sentence="ValueError in train.py, line 3, in layer net.1: no",
    traceback="Traceback ...",
    layer="net.1",
)
NAMED = (ActionId.FORWARD, ActionId.BACKWARD, ActionId.STEP, ActionId.NEXT_BATCH)


@pytest.fixture
def window(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> MainWindow:
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.resize(1440, 900)
    window.show()
    return window


def wait_for(
    controller: ShellController, script: Script = SCRIPT, status: EngineStatus = EngineStatus.STARTING
) -> None:
    """It is started, or runs, and has not come to a step."""
    controller.state.set_engine(EngineState(status=status, script=script))
    controller.state.awaited = script
    controller.state.set_opening(script.name)
    controller.flush()


def end(controller: ShellController, *messages_before: object) -> None:
    position = replace(controller.state.position, rest=Rest.ENDED, running=False)
    controller.play(iter([*messages_before, messages.Done(position=position)]))


def shown(widget: QWidget) -> bool:
    """In its own layout; the column of notices is laid out a moment later."""
    return not widget.isHidden()


# ----------------------------------------------------------------------------------------------- actions


def test_next_batch_is_next_in_a_script_and_only_there(window: MainWindow, controller: ShellController) -> None:
    actions, button = window.actions_, window.toolbar.buttons[ActionId.NEXT_BATCH]
    controller.start(script_training())
    assert plain(actions[ActionId.NEXT_BATCH].text()) == button.text() == button.accessibleName() == "Next"
    assert "forward, backward or step" in button.toolTip()
    actions[ActionId.NEXT_BATCH].trigger()
    controller.start(small_training())
    assert plain(actions[ActionId.NEXT_BATCH].text()) == button.text() == button.accessibleName() == "Next batch"
    actions[ActionId.NEXT_BATCH].trigger()
    assert controller.asked == [("go", Verb.NEXT), ("go", Verb.NEXT_BATCH)]


@pytest.mark.parametrize("rest", [Rest.READY, Rest.FORWARD, Rest.BACKWARD, Rest.IN_BACKWARD])
def test_the_phases_can_be_pressed_wherever_it_stands(
    window: MainWindow, controller: ShellController, rest: Rest
) -> None:
    controller.start(script_training())
    controller.rest_at(rest)
    assert all(window.actions_[action_id].isEnabled() for action_id in NAMED)
    emphasised = [action_id for action_id, button in window.toolbar.buttons.items() if button.is_emphasised()]
    assert emphasised == [ActionId.NEXT_BATCH], "which of them comes next is known to the script alone"
    assert "Let the script run on" in window.actions_[ActionId.FORWARD].toolTip()
    controller.rest_at(rest, running=True)
    assert not any(window.actions_[action_id].isEnabled() for action_id in NAMED)
    assert window.toolbar.buttons[ActionId.PAUSE].is_emphasised()


GREYED = {
    ActionId.VALIDATE: Ability.VALIDATE,
    ActionId.ZERO_GRAD: Ability.ZERO_GRAD,
    ActionId.RUN_EPOCH: Ability.RUN_EPOCH,
    ActionId.SAVE_CHECKPOINT: Ability.SAVE_CHECKPOINT,
    ActionId.SAVE_BEST: Ability.SAVE_CHECKPOINT,
    ActionId.LOAD_CHECKPOINT: Ability.LOAD_CHECKPOINT,
    ActionId.COPY_AS_SCRIPT: Ability.REPRODUCE,
    ActionId.SAVE_AS_SCRIPT: Ability.REPRODUCE,
}


@pytest.mark.parametrize("action_id", GREYED)
def test_what_it_cannot_is_greyed_with_its_sentence(
    window: MainWindow, controller: ShellController, action_id: ActionId
) -> None:
    controller.start(script_training(), steps=1)
    action, sentence = window.actions_[action_id], REFUSED[GREYED[action_id].value]
    for running in (False, True):
        controller.rest_at(Rest.READY, running=running)
        assert not action.isEnabled() and sentence in action.toolTip()
        for keys in action.shortcuts():
            assert window.actions_.refusal_of_key(keys) == f"{plain(action.text())}: {sentence}"


def test_interrupt_asks_where_it_is(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training(), steps=1)
    action = window.actions_[ActionId.INTERRUPT]
    controller.rest_at(Rest.READY)
    assert not action.isEnabled() and "Nothing is running" in action.toolTip()
    controller.rest_at(Rest.READY, running=True)
    assert action.isEnabled() and "say where it is" in action.toolTip() and "undo" not in action.toolTip()
    engine = replace(controller.state.engine, resistance="The script has not come to the next layer or phase for 3 s")
    controller.state.set_engine(engine)
    controller.flush()
    assert window.failure_bar.sentence.text() == engine.resistance and shown(window.failure_bar.end)
    line = SourceLine("/home/me/train.py", 12, "Net.forward")
    controller.play(iter([messages.Whereabouts(stack=(StackFrame(line),))]))
    assert window.failure_bar.sentence.text() == engine.resistance + ". It is at train.py, line 12, in Net.forward"


def test_the_seed_is_out_of_sight(qtbot: QtBot, window: MainWindow, controller: ShellController) -> None:
    seed = window.toolbar.seed
    controller.start(small_training())
    qtbot.waitUntil(seed.isVisible)
    wait_for(controller)
    qtbot.waitUntil(lambda: not seed.isVisible())
    controller.start(small_training())
    qtbot.waitUntil(seed.isVisible)
    controller.start(script_training())
    qtbot.waitUntil(lambda: not seed.isVisible())
    assert window.toolbar.device.isVisible()


def test_one_optimizer_is_nobody_s_turn(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training())
    position = replace(controller.state.position, optimizer="optimizer")
    controller.play(iter([messages.Moved(position=position)]))
    assert "turn" not in window.phase_strip.readout.accessibleName()
    session = controller.state.session
    assert session is not None
    several = replace(session, optimizers=("optimizer", "other"))
    controller.play(iter([messages.SessionChanged(session=several)]))
    assert "turn optimizer" in window.phase_strip.readout.accessibleName()


def test_what_it_can_stays(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training(), steps=1)
    can = (
        ActionId.RUN_STEPS,
        ActionId.RUN_UNTIL_PAUSED,
        ActionId.EXPORT,
        ActionId.EXPORT_TENSORBOARD,
        ActionId.COMPARE,
    )
    can += (
        ActionId.RESET,
        ActionId.RESTART_ENGINE,
        ActionId.END_ENGINE,
        ActionId.CAPTURE_NORMS,
        ActionId.EDIT_TRAINING,
    )
    assert [action_id for action_id in can if not window.actions_[action_id].isEnabled()] == []
    window.actions_[ActionId.RUN_UNTIL_PAUSED].trigger()
    window.actions_[ActionId.END_ENGINE].trigger()
    assert controller.asked == [("run", RunUntil.PAUSED, 1), ("end_engine",)]


def test_reset_says_that_it_is_another_process(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training())
    tip = window.actions_[ActionId.RESET].toolTip()
    assert "in a new process" in tip and REFUSED[Ability.RESET_IN_PLACE.value] in tip


def test_after_its_end_only_reset_and_looking_are_left(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training(), steps=1)
    end(controller)
    over = "The script has ended: Reset starts it again"
    for action_id in (*NAMED, ActionId.RUN_STEPS, ActionId.PAUSE, ActionId.CAPTURE_OFF):
        assert not window.actions_[action_id].isEnabled() and over in window.actions_[action_id].toolTip()
    for action_id in (ActionId.RESET, ActionId.EXPORT, ActionId.COMPARE, ActionId.EXPORT_TENSORBOARD):
        assert window.actions_[action_id].isEnabled()
    assert window.toolbar.buttons[ActionId.RESET].is_emphasised()
    assert REFUSED[Ability.VALIDATE.value] in window.actions_[ActionId.VALIDATE].toolTip()


@pytest.mark.parametrize(
    ("status", "script", "can_restart", "can_end"),
    [
        (EngineStatus.STARTING, None, False, True),
        (EngineStatus.STARTING, SCRIPT, True, True),
        (EngineStatus.READY, SCRIPT, True, True),
        (EngineStatus.DEAD, SCRIPT, True, False),
        (EngineStatus.STOPPED, None, True, False),
    ],
)
def test_its_engine_can_be_ended_at_any_time(
    window: MainWindow,
    controller: ShellController,
    status: EngineStatus,
    script: Script | None,
    can_restart: bool,
    can_end: bool,
) -> None:
    controller.state.set_engine(EngineState(status=status, script=script))
    controller.flush()
    assert window.actions_[ActionId.RESTART_ENGINE].isEnabled() is can_restart
    assert window.actions_[ActionId.END_ENGINE].isEnabled() is can_end


# ----------------------------------------------------------------------------------------------- the tool bar


def test_device_and_seed_are_the_script_s(window: MainWindow, controller: ShellController) -> None:
    toolbar = window.toolbar
    controller.settings.set(Setting.SEED, 41)
    controller.settings.set(Setting.DEVICE, "cuda:0")
    toolbar.seed.setFocus()
    controller.start(script_training())
    assert not toolbar.device.isEnabled() and toolbar.device.currentData() == "cpu"
    assert "The script chooses its own device" in toolbar.device.toolTip()
    assert not toolbar.seed.isEnabled() and toolbar.seed.text() == ""
    assert REFUSED[Ability.SEED.value] in toolbar.seed.toolTip()
    assert not toolbar.seed.property("differs") and not toolbar.device.property("differs")
    assert toolbar.steps.isEnabled()
    toolbar._on_seed_edited()
    assert controller.settings.get(Setting.SEED) == 41, "an empty field is no seed"
    controller.start(small_training())
    assert toolbar.device.isEnabled() and toolbar.device.currentData() == "cuda:0"
    assert toolbar.seed.isEnabled() and toolbar.seed.text() == "41"
    assert toolbar.seed.property("differs"), "the recipe's session has another one"


# ----------------------------------------------------------------------------------------------- the phase strip


ORDER = (SubStep.FORWARD, SubStep.LOSS, SubStep.ZERO_GRAD, SubStep.BACKWARD, SubStep.SCHEDULE, SubStep.STEP)
D, N, L, R, S = Station.DONE, Station.NEXT, Station.LATER, Station.RUNNING, Station.STOPPED


@pytest.mark.parametrize(
    ("position", "substeps", "expected"),
    [
        (Position(rest=Rest.READY), ORDER, [N, L, L, L, L, L]),
        (Position(rest=Rest.FORWARD), ORDER, [D, D, N, L, L, L]),
        (Position(rest=Rest.BACKWARD), ORDER, [D, D, D, D, N, L]),
        (Position(rest=Rest.ENDED), ORDER, [L] * 6),
        (Position(rest=Rest.EMPTY), ORDER, [L] * 6),
        (Position(rest=Rest.FORWARD), (SubStep.LOSS, SubStep.FORWARD, SubStep.STEP), [D, D, N]),
        (Position(rest=Rest.FORWARD), (SubStep.BATCH, SubStep.FORWARD), [D, D]),
        (Position(rest=Rest.BACKWARD), (SubStep.BATCH, SubStep.FORWARD), [N, L]),
        (Position(rest=Rest.FORWARD), (SubStep.STEP,), [N]),
        (Position(rest=Rest.READY), (), [N, L, L]),
        (Position(rest=Rest.IN_STEP), (SubStep.BATCH, SubStep.FORWARD), [N, L]),
        (Position(rest=Rest.IN_STEP), ORDER, [D, D, D, D, D, S]),
        (
            Position(rest=Rest.FORWARD, running=True, moment=Moment(step=0, substep=SubStep.ZERO_GRAD)),
            ORDER,
            [D, D, R, L, L, L],
        ),
        (Position(rest=Rest.ENDED, moment=Moment(step=0, substep=SubStep.BACKWARD)), ORDER, [D, D, D, S, L, L]),
        (Position(rest=Rest.READY), (SubStep.STEP, SubStep.FORWARD, SubStep.STEP), [N, L]),
    ],
)
def test_stations_in_any_order(position: Position, substeps: tuple[SubStep, ...], expected: list[Station]) -> None:
    found = stations(position, substeps)
    assert list(found) == (list(dict.fromkeys(substeps)) or list(UNKNOWN_STEP))
    assert list(found.values()) == expected


def test_the_strip_shows_the_script_s_own_order(window: MainWindow, controller: ShellController) -> None:
    steps = window.phase_strip.steps
    training = script_training()
    training.settings["substeps"] = ()
    controller.start(training)
    assert list(steps._stations) == list(UNKNOWN_STEP), "before it has made a step"
    steps.grab()
    session = controller.state.session
    assert session is not None
    for order in (OWN_ORDER, OWN_ORDER[::-1], (*OWN_ORDER, SubStep.EVALUATE), (SubStep.STEP,)):
        controller.play(iter([messages.SessionChanged(session=replace(session, substeps=order))]))
        assert list(steps._stations) == list(order)
        assert not steps.grab().isNull() and steps.minimumSizeHint().width() > 0
        assert "in its own order" in steps.toolTip() and "at the start of a window" not in steps.toolTip()
    controller.play(iter([messages.SessionChanged(session=replace(session, substeps=(SubStep.EVALUATE,)))]))
    assert "evaluate (the script calls a model without gradients)" in steps.toolTip()
    controller.start(small_training())
    assert "in its own order" not in steps.toolTip() and "at the start of a window" in steps.toolTip()


def test_a_name_for_every_sub_step(qtbot: QtBot, themes: ThemeManager) -> None:
    steps = PhaseSteps(themes)
    qtbot.addWidget(steps)
    steps.show_position(Position(rest=Rest.READY), tuple(SubStep))
    assert len(steps.toolTip().splitlines()) == len(SubStep)


def test_an_epoch_is_told_only_where_it_is_known(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training())
    readout = window.phase_strip.readout
    assert "epoch" not in readout.accessibleName() and "batch 0" in readout.accessibleName()
    training = script_training()
    training.batches_per_epoch = 12
    controller.start(training)
    assert "epoch 0, batch 0/12" in readout.accessibleName()


def test_a_single_optimizer_has_no_turn(window: MainWindow, controller: ShellController) -> None:
    key = SubjectKey(SubjectKind.GRAD, "net.0.weight")
    for optimizers, is_told in ((("optimizer",), False), (("optD", "optG"), True)):
        training = script_training()
        training.settings["optimizers"] = optimizers
        controller.start(training, steps=1)
        assert controller.state.position.optimizer
        assert ("turn" in window.phase_strip.readout.accessibleName()) is is_told
        latest = controller.state.history.latest(key)
        assert latest is not None
        assert ("turn of" in moment_of(controller.state, latest)) is is_told
        assert "epoch" not in moment_of(controller.state, latest) and "batch 0" in moment_of(controller.state, latest)


# ----------------------------------------------------------------------------------------------- the banner


def test_while_no_step_has_begun_that_is_said(window: MainWindow, controller: ShellController) -> None:
    bar = window.script_bar
    assert not shown(bar)
    wait_for(controller)
    assert shown(bar) and shown(bar.end) and not shown(bar.reset) and not shown(bar.dismiss)
    assert bar.sentence.text() == "train.py is running; no training step has begun yet. What it prints is in the log"
    assert window.status.activity.text() == "No training step yet"
    assert window.toolbar.buttons[ActionId.NEXT_BATCH].text() == "Next"
    assert list(window.phase_strip.steps._stations) == list(UNKNOWN_STEP)
    assert window.status.engine.text() == "Script running"
    bar.end.click()
    assert controller.asked == [("end_engine",)]
    wait_for(controller, status=EngineStatus.READY)
    assert shown(bar), "torch is imported, and that is no step"
    controller.start(script_training())
    assert not shown(bar) and window.status.activity.text() == ""


def test_what_takes_long_is_said_to_take_long(window: MainWindow, controller: ShellController) -> None:
    bar = window.script_bar
    wait_for(controller)
    assert bar._patience.isActive() and bar._patience.interval() == 30_000
    bar._patience.timeout.emit()
    assert "train.py has run for 30 s, and nothing of a training step has been seen" in bar.sentence.text()
    assert shown(bar.end) and bar.property("severity") == "warning"
    controller.state.touch(*_all_topics())
    controller.flush()
    assert "30 s" in bar.sentence.text()
    wait_for(controller)
    assert "no training step has begun yet" in bar.sentence.text(), "it was started again"
    controller.start(script_training())
    assert not bar._patience.isActive()


def test_its_output_is_seen_while_there_is_no_session(window: MainWindow, controller: ShellController) -> None:
    wait_for(controller)
    assert [panel for panel in window.panels if panel.isVisible()] == [window.log]
    assert window.dockWidgetArea(window.log).name == "BottomDockWidgetArea"
    window.log.close()
    controller.state.touch(*_all_topics())
    controller.flush()
    assert not window.log.isVisible(), "once"
    controller.start(script_training())
    assert window.layers.isVisible() and window.moments.isVisible()


def test_and_after_it_could_not_be_opened(window: MainWindow, controller: ShellController) -> None:
    wait_for(controller, status=EngineStatus.READY)
    state = controller.state
    state.apply(messages.Failed(failure=CRASH, position=Position(rest=Rest.ENDED)))
    state.set_opening(None)
    state.set_unopened(Unopened(path="/home/me/train.py", digest="", script=SCRIPT))
    controller.flush()
    assert window.log.isVisible() and not shown(window.script_bar)
    bar = window.failure_bar
    assert shown(bar) and bar.sentence.text() == CRASH.sentence and shown(bar.again)
    bar.again.click()
    assert controller.asked == [("open again",)]
    controller.state.unopened = None
    controller.state.dismiss_failure()
    controller.flush()
    assert not window.log.isVisible()


def test_its_failure_is_told_also_where_another_session_was_before(
    window: MainWindow, controller: ShellController
) -> None:
    controller.start(small_training(), steps=1)
    controller.play(iter([messages.Moved(position=Position(rest=Rest.EMPTY, step=1))]))
    wait_for(controller, status=EngineStatus.READY)
    assert shown(window.script_bar) and not shown(window.failure_bar)
    state = controller.state
    state.apply(messages.Failed(failure=CRASH, position=Position(rest=Rest.ENDED)))
    state.set_opening(None)
    state.set_unopened(Unopened(path="/home/me/train.py", digest="", script=SCRIPT))
    controller.flush()
    assert window.failure_bar.sentence.text() == CRASH.sentence
    assert not shown(window.script_bar), "what was there before is no script that has ended"
    state.dismiss_failure()
    controller.flush()
    assert "is no longer open" in window.failure_bar.sentence.text()


def test_one_that_was_ended_can_be_tried_again(window: MainWindow, controller: ShellController) -> None:
    wait_for(controller)
    controller.state.set_engine(EngineState(status=EngineStatus.DEAD, text="The engine was ended", script=SCRIPT))
    controller.state.set_unopened(Unopened(path="/home/me/train.py", digest="", script=SCRIPT))
    controller.flush()
    bar = window.failure_bar
    assert shown(bar.again) and shown(bar.restart)


@pytest.mark.parametrize("code", [0, 3, None])
def test_its_end_is_told(window: MainWindow, controller: ShellController, code: int | None) -> None:
    bar = window.script_bar
    controller.start(script_training(), steps=2)
    notes = [] if code is None else [messages.Note(text=f"The script has ended with exit code {code}")]
    end(controller, *notes)
    told = "" if code is None else f": exit code {code}"
    assert (
        bar.sentence.text() == f"The script has ended{told}. Its values can still be looked at. Reset starts it again"
    )
    assert shown(bar) and shown(bar.reset) and shown(bar.dismiss) and not shown(bar.end)
    assert window.status.activity.text() == "The script has ended"
    bar.reset.click()
    assert controller.asked == [("reset",)]
    bar.dismiss.click()
    controller.state.touch(*_all_topics())
    controller.flush()
    assert not shown(bar)
    controller.start(script_training(), steps=1)
    end(controller)
    assert shown(bar), "another end"


def test_an_exit_code_that_comes_after_the_end_is_told_too(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training())
    end(controller)
    controller.play(iter([messages.Note(text="The script has ended: exit code 5")]))
    assert "exit code 5" in window.script_bar.sentence.text()


def test_a_crash_is_told_with_its_layer_and_the_end(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training(), steps=1)
    position = replace(controller.state.position, rest=Rest.ENDED)
    controller.play(iter([messages.Failed(failure=CRASH, position=position)]))
    assert shown(window.failure_bar) and not shown(window.script_bar), "one of them is enough"
    assert shown(window.failure_bar.show_layer) and shown(window.failure_bar.toggle)
    assert shown(window.failure_bar.reset) and not shown(window.failure_bar.again)
    assert not shown(window.failure_bar.trace)
    window.failure_bar.dismiss.click()
    assert shown(window.script_bar)


def test_a_step_that_a_crash_has_broken_off_is_not_taken_back(window: MainWindow, controller: ShellController) -> None:
    training = script_training()
    controller.start(training, steps=1)
    controller.play(training.forward())
    controller.play(training.backward())
    for message in training.optimizer_step():
        if isinstance(message, messages.Report):
            controller.play(iter([replace(message, complete=False)]))
    end(controller)
    state = controller.state
    assert state.undone_step is None and state.history.lr.steps[-1] == 1


def test_a_pause_that_is_ignored_offers_what_there_is(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training(), steps=1)
    controller.rest_at(Rest.READY, running=True)
    engine = replace(controller.state.engine, pause_ignored="The engine has not answered Pause for 1 s")
    controller.state.set_engine(engine)
    controller.flush()
    bar = window.failure_bar
    assert shown(bar.end) and not shown(bar.interrupt)
    assert REFUSED[Ability.UNDO_PHASE.value] in bar.more.text()
    bar.where.click()
    assert controller.asked == [("where",)]
    controller.state.set_engine(replace(engine, pause_ignored="", resistance="The script has not come to ..."))
    controller.flush()
    assert shown(bar.end) and not shown(bar.where) and "Reset starts the script again" in bar.more.text()


def test_the_banner_restyles(window: MainWindow, controller: ShellController, themes: ThemeManager) -> None:
    wait_for(controller)
    switch_theme(themes, DARK)
    assert shown(window.script_bar)


def test_names_of_scripts_are_short_and_cannot_play_tricks() -> None:
    module = Script(kind=ScriptKind.MODULE, name="pkg.sub.train")
    assert name_of(SCRIPT) == "train.py" and name_of(module) == "pkg.sub.train"
    long = replace(module, name="a." * 100 + "train")
    assert len(name_of(long)) == 60 and name_of(long).endswith("train")
    assert "\n" not in name_of(replace(SCRIPT, name="/w/a\nb.py"))


# ----------------------------------------------------------------------------------------------- panels


def test_the_training_panel_edits_options_and_closes_the_rest(window: MainWindow, controller: ShellController) -> None:
    dock = window.training
    controller.start(small_training())
    dock.show()
    dock.raise_()
    assert dock.sections["step"].header.isChecked()
    controller.start(script_training(), steps=1)
    sentence = REFUSED[Ability.EDIT_STEP.value]
    for name, section in dock.sections.items():
        is_groups = name == "groups"
        assert section.header.isEnabled() is is_groups and section.body.isVisibleTo(section) is is_groups
        assert (sentence in section.header.toolTip()) is not is_groups
    assert dock._step_refusal.text() == sentence and not dock._refusal.isVisible()
    assert dock.sections["optimizer"].header.text() == "Optimizer: SGD"
    dock.groups.setData(dock.groups.index(0, 0), "0.5")
    assert controller.asked == [("edit", EditOption(group=0, option="lr", value="0.5"))]
    controller.start(small_training())
    assert all(section.header.isEnabled() for section in dock.sections.values())
    assert dock.sections["step"].header.isChecked(), "as it was before"
    assert not dock._step_refusal.isVisible()


def test_the_panel_asks_for_no_choices_that_there_are_not(
    window: MainWindow, controller: ShellController, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(controller, "list_choices", asked.append)
    window.training.show()
    controller.start(script_training())
    assert asked == []


def test_layers_cannot_be_edited_and_say_why(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training())
    controller.select(Selection.of_node("net.0", is_parameter=False))
    window.layer_menu.fill_for_selection()
    texts = {action.text().replace("&", ""): action for action in window.layer_menu.actions() if action.text()}
    for text in ("Freeze", "Train mode", "Eval mode"):
        assert not texts[text].isEnabled() and REFUSED[Ability.EDIT_LAYERS.value] in texts[text].toolTip()


def test_no_gradient_is_checked(window: MainWindow, controller: ShellController) -> None:
    training = script_training()
    controller.start(training, steps=1)
    controller.select(Selection.of_subject(SubjectKey(SubjectKind.GRAD, "net.0.weight")))
    inspector = window.inspector
    inspector.show()
    inspector.raise_()
    inspector.tabs.setCurrentWidget(inspector.check)
    assert not inspector.check.button.isEnabled() and not inspector.check._samples.isEnabled()
    assert inspector.check.message == REFUSED[Ability.CHECK_GRADIENT.value]
    controller.start(small_training(), steps=1)
    controller.select(Selection.of_subject(SubjectKey(SubjectKind.GRAD, "net.0.weight")))
    assert inspector.check.button.isEnabled()


def test_rates_to_come_are_not_promised(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> None:
    chart = RateChart(controller, themes, is_detailed=True)  # type: ignore[arg-type]
    qtbot.addWidget(chart)
    chart.show()
    training = script_training()
    controller.start(training, steps=1)
    sentence = REFUSED[Ability.SCHEDULE_AHEAD.value]
    assert chart._outlook_text(controller.state) == sentence
    session = controller.state.session
    assert session is not None
    controller.play(iter([messages.SessionChanged(session=replace(session, scheduler="StepLR"))]))
    assert chart._outlook_text(controller.state) == f"StepLR\n{sentence}"
    bare = replace(session, groups=(), parameters=())
    controller.play(iter([messages.Opened(session=bare, position=Position(rest=Rest.READY))]))
    assert chart.draw(controller.state) == "No optimizer of the script has been seen yet, so there is no learning rate"


def test_that_no_rates_are_promised_is_said_in_the_room_that_there_is(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager
) -> None:
    chart = RateChart(controller, themes, is_detailed=False)  # type: ignore[arg-type]
    qtbot.addWidget(chart)
    chart.show()
    controller.start(script_training(), steps=1)
    chart.draw(controller.state)
    label, sentence = chart._outlook, REFUSED[Ability.SCHEDULE_AHEAD.value]
    assert isinstance(label, ElidedLabel) and label.toolTip().endswith(sentence)
    label.resize(1000, label.height())
    assert label.seen_text == sentence
    label.resize(label.fontMetrics().horizontalAdvance(sentence) - 5, label.height())
    assert label.seen_text == sentence.partition(":")[0]


def test_a_model_that_is_found_later_joins_the_layers(window: MainWindow, controller: ShellController) -> None:
    controller.start(script_training(), steps=1)
    model, view = window.layers.model, window.layers.view
    # What is selected is brought into sight, whatever is folded.
    controller.select(Selection.of_node("net.1", is_parameter=False))
    view.collapse(model.index_of("net.2", is_parameter=False))
    session = controller.state.session
    assert session is not None
    new = (
        messages.ModuleInfo(name="critic", type="Critic", description=""),
        messages.ModuleInfo(name="critic.0", type="Linear", description=""),
    )
    grown = replace(session, modules=(*session.modules, *new))
    controller.play(iter([messages.SessionChanged(session=grown)]))
    assert model.index_of("critic.0", is_parameter=False).isValid()
    assert view.isExpanded(model.index_of("critic", is_parameter=False))
    assert not view.isExpanded(model.index_of("net.2", is_parameter=False)), "what was folded stays so"
    assert view.isExpanded(model.index_of("net.0", is_parameter=False))
    node = model.node(view.currentIndex())
    assert node is not None and node.name == "net.1"
    window.layers.filter.setText("critic")
    controller.play(iter([messages.SessionChanged(session=session)]))
    assert not model.index_of("critic.0", is_parameter=False).isValid() and model.matches() == 0


# ----------------------------------------------------------------------------------------------- the window


def test_a_script_is_the_newest_of_the_recent_files(
    window: MainWindow, controller: ShellController, tmp_path: Path
) -> None:
    controller.start(script_training())
    assert controller.settings.get(Setting.RECENT_FILES) == ["/home/me/train.py"]
    module = Script(kind=ScriptKind.MODULE, name="pkg.train", arguments=("-x",), folder=str(tmp_path))
    training = script_training()
    training.settings["script"] = module
    window.commands.open_script(module)
    controller.start(training)
    assert controller.settings.get(Setting.RECENT_FILES) == ["-m pkg.train", "/home/me/train.py"]
    menu = window.menus._recent
    menu.aboutToShow.emit()
    texts = [action.text().replace("&", "") for action in menu.actions()]
    assert texts == [f"-m pkg.train -x ({tmp_path})", "train.py (/home/me)"]
    controller.asked.clear()
    menu.actions()[0].trigger()
    assert controller.asked == [("open script", module)]


def test_the_line_at_which_a_script_stands_comes_to_the_front_once(
    qtbot: QtBot, window: MainWindow, controller: ShellController
) -> None:
    controller.start(script_training())
    qtbot.waitUntil(lambda: not window.source.visibleRegion().isEmpty())
    window.inspector.raise_()
    controller.start(script_training())
    qtbot.waitUntil(lambda: not window.inspector.visibleRegion().isEmpty())
    assert window.source.visibleRegion().isEmpty(), "somebody has chosen another panel"


def test_the_source_does_not_lie_before_the_layers(
    qtbot: QtBot, window: MainWindow, controller: ShellController
) -> None:
    controller.start(bare_training())
    window.tabifyDockWidget(window.layers, window.source)
    window.layers.raise_()
    controller.start(script_training())
    qtbot.waitUntil(lambda: not window.layers.visibleRegion().isEmpty())
    assert window.source.visibleRegion().isEmpty()


def test_the_file_of_a_module_is_not_watched(window: MainWindow, controller: ShellController, tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text("pass")
    training = script_training()
    controller.start(training)
    session = controller.state.session
    assert session is not None
    controller.play(iter([messages.SessionChanged(session=replace(session, path=str(file), sha256=""))]))
    window.file_bar._refresh()
    assert not shown(window.file_bar)
    controller.play(iter([messages.SessionChanged(session=replace(session, path=str(file), sha256="0" * 64))]))
    window.file_bar._refresh()
    assert shown(window.file_bar)
    assert "Opening it again ends the script, and starts it from its beginning" in window.file_bar.sentence.text()
    assert not shown(window.file_bar.go_on_button)


def _all_topics() -> list[Topic]:
    return [topic for topic in Topic if topic is not Topic.SESSION]
