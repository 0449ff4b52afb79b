"""Stops in a script that trains: at a line, in a layer, at a condition; stepped through from there."""

from gradscope.protocol.phases import Rest, RunUntil
from gradscope.ui.actions.rows import ActionId
from tests.e2e.scripts.conftest import ScriptApp


def test_a_script_is_stopped_at_a_line_and_stepped_through(scripts: ScriptApp) -> None:
    app, state = scripts.app, scripts.app.state
    path = scripts.write_loop(steps=6)
    scripts.start(path.name)
    line = next(i for i, text in enumerate(path.read_text("utf-8").splitlines(), 1) if "self.linear(x)" in text)
    app.window.stops.remove_all()
    app.window.stops.add(f"line {path.name}:{line}")
    app.run(RunUntil.PAUSED)
    app.wait_for_rest()
    assert state.position.rest is Rest.IN_FORWARD and state.position.moment is not None
    assert (state.position.moment.event, state.position.moment.layer) == ("enter", "model.linear")
    assert state.stops.now[0].hits == 1 and app.window.layers.model.stopped_at == ("model.linear", False)
    app.window.source.raise_()
    app.wait(lambda: app.window.source.view.marked == line)
    assert app.window.source.view._stops == {line: True}
    app.window.actions_[ActionId.STEP_OVER].trigger()
    app.wait_for_rest()
    assert state.position.moment is not None and state.position.moment.event == "leave"
    app.window.source.margin_clicked.emit(app.window.source.file, line)
    assert state.stops.points == ()
    app.window.stops.add("at step 2")
    app.run(RunUntil.PAUSED)
    app.wait_for_rest()
    assert state.position.step == 2 and state.position.rest is not Rest.ENDED
    app.window.stops.remove_all()
