"""Stops in the real app: set, hit, stepped through, run to, kept with the file."""

from pathlib import Path

import pytest

from gradscope.assets import sample_path
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.state.selection import Selection
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.stop import StopDialog
from tests.e2e.driver import App


@pytest.fixture
def app(shared_app: App) -> App:
    app = shared_app
    app.open(sample("digits_mlp"))
    app.window.stops.remove_all()
    app.window.stops_dock.raise_()
    return app


def sample(name: str) -> Path:
    path = sample_path(name)
    assert path is not None
    return path


def do(app: App, action_id: ActionId) -> None:
    action = app.window.actions_[action_id]
    assert action.isEnabled(), action.toolTip()
    action.trigger()
    app.wait_for_rest()


def where(app: App) -> tuple[str, str]:
    moment = app.state.position.moment
    return ("", "") if moment is None else (moment.event, moment.layer)


def a_layer(app: App) -> str:
    session = app.state.session
    assert session is not None
    return [module.name for module in session.modules if module.name][-1]


def test_a_condition_is_hit_and_told(app: App) -> None:
    app.window.actions_[ActionId.ADD_STOP].trigger()
    dialog = app.window.findChild(StopDialog)
    assert dialog is not None
    dialog.text.setText("loss > 0")
    dialog.ok.click()
    app.run(RunUntil.STEPS, 5)
    app.wait_for_rest()
    (hit,) = app.state.stops.now
    assert hit.sentence.startswith("loss is ") and hit.sentence.endswith(", above 0") and hit.step == 0
    dock = app.window.stops_dock
    assert dock.model.is_now(0) and hit.sentence in str(dock.model.index(0, 3).data())
    assert app.window.status.stopped.isVisible()
    assert any(hit.sentence in line.text for line in app.state.log.lines)
    app.run(RunUntil.STEPS, 5)
    app.wait_for_rest()
    assert app.state.stops.now[0].hits == 2 and app.state.position.step == 1


def test_one_that_is_set_while_it_runs_stops_it(app: App) -> None:
    app.run(RunUntil.PAUSED)
    app.wait(lambda: app.state.position.step > 2)
    app.window.stops.add("every 5 steps")
    app.wait_for_rest()
    assert app.state.position.step % 5 == 0 and len(app.state.stops.now) == 1


def test_what_is_off_does_not_stop(app: App) -> None:
    app.window.stops.add("loss > 0")
    app.window.stops.enable_all(False)
    app.run(RunUntil.STEPS, 3)
    app.wait_for_rest()
    assert app.state.position.step == 3 and app.state.stops.now == ()


def test_a_layer_is_entered_stepped_through_and_left(app: App) -> None:
    layer = a_layer(app)
    app.window.stops.add(f"enter {layer}")
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.rest is Rest.IN_FORWARD and where(app) == ("enter", layer)
    index = app.window.layers.model.index_of(layer, is_parameter=False)
    assert app.window.layers.model.stopped_at == (layer, False) and index.isValid()
    assert f"entering {layer}" in app.window.status.stopped.toolTip()
    do(app, ActionId.STEP_OVER)
    assert where(app) != ("enter", layer) and app.state.position.rest is Rest.IN_FORWARD
    app.window.stops.remove_all()
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.rest is Rest.READY and app.state.position.step == 1
    assert not app.window.status.stopped.isVisible()


def test_into_out_and_on_to_a_layer(app: App) -> None:
    do(app, ActionId.STEP_INTO)
    assert app.state.position.rest is Rest.IN_FORWARD
    layer = a_layer(app)
    app.controller.select(Selection.of_node(layer, is_parameter=False))
    app.controller.flush()
    do(app, ActionId.RUN_TO_LAYER)
    assert where(app) == ("enter", layer)
    do(app, ActionId.STEP_OUT)
    assert where(app)[0] == "leave"
    app.go(Verb.FORWARD)
    do(app, ActionId.STEP_INTO)
    assert app.state.position.rest is Rest.IN_BACKWARD and where(app)[0] == "gradient"
    app.go(Verb.BACKWARD)
    assert app.state.position.rest is Rest.BACKWARD


def test_they_are_set_again_when_the_file_is_opened_again(app: App) -> None:
    app.window.stops.add("at step 2")
    app.open(sample("digits_cnn"))
    assert app.state.stops.points == ()
    app.open(sample("digits_mlp"))
    assert [point.text for point in app.state.stops.points] == ["at step 2"]
    app.run(RunUntil.STEPS, 5)
    app.wait_for_rest()
    assert app.state.position.step == 2 and app.window.status.stopped.isVisible()
    app.controller.restart_engine()
    app.wait(lambda: app.window.actions_[ActionId.RESET].isEnabled())
    app.controller.reset()
    app.wait(lambda: app.state.position.rest is Rest.READY and app.state.opening is None)
    app.run(RunUntil.STEPS, 5)
    app.wait_for_rest()
    assert app.state.position.step == 2 and app.state.stops.now[0].hits == 1


def test_what_cannot_be_here_is_said_in_the_log(app: App) -> None:
    app.window.stops.add("enter no.such.layer")
    app.wait(lambda: any("no.such.layer" in line.text for line in app.state.log.lines))
    app.run(RunUntil.STEPS, 2)
    app.wait_for_rest()
    assert app.state.position.step == 2
