"""A script that is run again to an earlier step, in a new process, and compared with the run before."""

from __future__ import annotations

from gradscope.protocol.messages import GoTo
from gradscope.protocol.phases import Rest, RunUntil
from gradscope.state.going_back.again import Stage
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.look.settings import Setting
from tests.e2e.scripts.conftest import ScriptApp

SEED = "torch.manual_seed(3)"


def run_whole(scripts: ScriptApp) -> None:
    app = scripts.app
    app.window.stops.remove_all()
    app.run(RunUntil.PAUSED)
    scripts.wait_for_end()


def wait_for_arrival(scripts: ScriptApp) -> None:
    app = scripts.app
    app.wait(lambda: app.state.again.stage is Stage.NONE and app.state.opening is None)


def told(scripts: ScriptApp) -> str:
    """What was said of the other run."""
    words = ("Run again", "the run before", "saved since", "changed by hand")
    return "\n".join(line for line in scripts.log if any(word in line for word in words))


def test_a_script_is_run_again_to_the_shown_step_and_comes_to_the_same(scripts: ScriptApp) -> None:
    app, state = scripts.app, scripts.app.state
    scripts.run_loop(before=SEED, steps=8)
    run_whole(scripts)
    pid, losses = app.engine_pid, state.history.loss.values[:, 0].copy()
    app.controller.show_step(5)
    action = app.window.actions_[ActionId.GO_TO_SHOWN]
    app.wait(action.isEnabled)
    assert action.text().replace("&", "") == "Run the script again to step 5"
    action.trigger()
    wait_for_arrival(scripts)
    assert app.engine_pid != pid
    assert (state.position.step, state.position.rest) == (5, Rest.READY)
    assert state.history.loss.values[:, 0].tolist() == losses[:5].tolist()
    same = "Steps 0 to 4 are the same as in the run before, bit for bit in every number that was recorded"
    assert same in told(scripts)
    app.window.timeline.show()
    app.window.timeline.raise_()
    app.wait(lambda: app.window.timeline.parting.text() == same)
    app.run(RunUntil.PAUSED)
    scripts.wait_for_end()
    app.wait(lambda: "Steps 0 to 7" in app.window.timeline.parting.text())


def test_it_stops_when_the_backward_of_the_step_is_done(scripts: ScriptApp) -> None:
    app, state = scripts.app, scripts.app.state
    scripts.run_loop(before=SEED, steps=5)
    run_whole(scripts)
    app.window.commands.time.script_again.start(3, in_backward=True)
    wait_for_arrival(scripts)
    assert state.position.step == 3
    assert state.position.rest in (Rest.BACKWARD, Rest.IN_BACKWARD)
    assert "Steps 0 to 3 are the same" in told(scripts)


def test_a_script_without_a_seed_is_not_the_same_from_its_first_forward_on(scripts: ScriptApp) -> None:
    scripts.run_loop(steps=4)
    run_whole(scripts)
    scripts.app.window.commands.time.go(GoTo(step=2))
    wait_for_arrival(scripts)
    assert "Not the same as in the run before, from step 0, forward: " in told(scripts)
    assert "torch.manual_seed" in scripts.log[-1]


def test_a_script_that_was_saved_meanwhile_fails_earlier_or_never_begins(scripts: ScriptApp) -> None:
    app, state = scripts.app, scripts.app.state
    scripts.run_loop(before=SEED, steps=6)
    run_whole(scripts)
    scripts.write_loop("assert self.calls < 4, 'too often'", before=SEED, steps=6)
    app.window.commands.time.go(GoTo(step=5))
    wait_for_arrival(scripts)
    assert "has been saved since the run before began" in told(scripts)
    assert "Run again, the script has ended before step 5: it came to step 3" in told(scripts)
    assert "Steps 0 to 2 are the same" in told(scripts)
    assert "too often" in scripts.sentence
    scripts.write_loop(before="raise SystemExit(1)")
    app.window.commands.time.go(GoTo(step=2))
    wait_for_arrival(scripts)
    assert "Run again, the script has not come to a training step" in told(scripts)
    assert len(state.history.loss) == 3, "what was recorded stays"


def test_weights_of_an_earlier_step_are_put_back_and_the_script_goes_on_where_it_is(scripts: ScriptApp) -> None:
    app, state = scripts.app, scripts.app.state
    app.controller.settings.set(Setting.TIMELINE_MB, 64)
    scripts.run_loop(before=SEED, steps=9)
    app.window.stops.remove_all()
    for _ in range(5):
        app.run(RunUntil.STEPS, 1)
        app.wait_for_rest()
    app.wait(lambda: state.timeline.told is not None and 2 in state.timeline.told.checkpoints)
    losses = state.history.loss.values[:, 0].tolist()
    app.controller.show_step(2)
    action = app.window.actions_[ActionId.RESTORE_WEIGHTS]
    app.wait(action.isEnabled)
    action.trigger()
    app.wait_for_rest()
    assert (state.position.step, state.position.rest) == (5, Rest.READY)
    assert any("as they were before step 2" in line and "left alone" in line for line in scripts.log)
    app.run(RunUntil.STEPS, 2)
    app.wait_for_rest()
    assert state.history.loss.values[5:7, 0].tolist() == losses[2:4]


def test_nothing_is_kept_where_it_is_off(scripts: ScriptApp) -> None:
    app, state = scripts.app, scripts.app.state
    app.controller.settings.set(Setting.TIMELINE_MB, 0)
    scripts.run_loop(before=SEED, steps=4)
    app.run(RunUntil.STEPS, 3)
    app.wait_for_rest()
    assert state.timeline.told is None
    app.controller.show_step(1)
    action = app.window.actions_[ActionId.RESTORE_WEIGHTS]
    app.wait(lambda: "give them memory in the settings" in action.toolTip())
    assert not action.isEnabled()
