"""Going back through the window, with the real engine: looking at a step that is done, standing there again, going on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradscope.protocol.messages import GoTo
from gradscope.protocol.messages.edits import EditOption
from gradscope.protocol.numbers import number
from gradscope.protocol.phases import Phase, Rest, RunUntil, Verb
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.protocol.subjects import L2, SubjectKey, SubjectKind
from gradscope.state.engine import EngineStatus
from gradscope.state.selection import Selection
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.look.settings import Setting
from gradscope.ui.models.layer_tree import Column
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.loss_chart import LossChart
from tests.e2e.driver import App
from tests.e2e.test_snapshots import export

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "linear.weight")


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def run(app: App, steps: int) -> None:
    wanted = app.state.position.step + steps
    app.run(RunUntil.STEPS, steps)
    app.wait(lambda: app.state.position.step == wanted and not app.state.position.running)


def press(app: App, action: ActionId) -> None:
    app.wait(app.window.actions_[action].isEnabled)
    app.window.actions_[action].trigger()
    app.wait_for_rest()


def norms(app: App) -> list[float]:
    return app.state.history.blocks[SubjectKind.PARAMETER].series(WEIGHT, L2).tolist()


def test_a_step_back_and_on_again_is_the_same_training(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    run(app, 8)
    losses, weights = app.state.history.loss.values.copy(), norms(app)
    app.wait(lambda: app.state.timeline.told is not None and app.state.timeline.told.earliest == 0)

    press(app, ActionId.STEP_BACK_WHOLE)
    assert (app.state.position.step, app.state.position.rest) == (7, Rest.READY)
    assert app.state.history.loss.steps.tolist() == list(range(7))
    assert norms(app) == weights[:7]
    newest = app.state.history.latest(WEIGHT)
    # Where the reports of a fast run were joined, step 6 is told by the weights that step 7 begins with.
    assert newest is not None and (newest.step, newest.phase) in {(6, Phase.STEP), (7, None)}
    assert np.float32(newest.summary[L2]) == np.float32(weights[6]), "the weights are those after step 6"

    app.go(Verb.FORWARD)
    app.go(Verb.BACKWARD)
    press(app, ActionId.STEP_BACK)
    assert (app.state.position.step, app.state.position.rest) == (7, Rest.FORWARD)
    app.go(Verb.BACKWARD)
    app.go(Verb.STEP)
    np.testing.assert_array_equal(app.state.history.loss.values, losses)
    assert norms(app) == weights
    assert any("Training stands before step 7" in line.text for line in app.state.log.lines)


def test_a_step_that_is_looked_at_is_the_same_everywhere_and_can_be_stood_at_again(
    app: App, write_recipe: Callable[..., Path]
) -> None:
    app.open(write_recipe())
    run(app, 12)
    app.controller.select(Selection.of_subject(WEIGHT))
    app.window.inspector.raise_()
    app.window.workspace.setCurrentIndex(3)
    app.wait(lambda: bool(app.window.workspace.findChildren(HeatMap)))
    weights = norms(app)
    app.controller.show_step(4)
    app.wait(lambda: app.window.phase_strip.readout.accessibleName().startswith("shown step 4"))
    latest = app.state.shown.latest(WEIGHT)
    assert latest is not None and np.float32(latest.summary[L2]) == np.float32(weights[4])
    exact = dict(line.split("\t") for line in app.window.inspector.summary.all_as_text().splitlines())
    assert float(exact["L2"]) == latest.summary[L2]
    index = app.window.layers.model.index_of(WEIGHT.name, is_parameter=True).siblingAtColumn(Column.VALUE)
    assert index.data().startswith(number(float(latest.summary[6]), digits=2))
    playheads = [chart.plot.playhead for chart in app.window.workspace.charts() if chart.plot.playhead is not None]
    assert playheads and all((one.step, one.is_earlier) == (4, True) for one in playheads)
    assert app.state.position.step == 12, "training has not moved"

    press(app, ActionId.GO_TO_SHOWN)
    assert app.state.position.step == 4
    assert app.state.shown.step is None
    run(app, 8)
    assert norms(app) == weights


def test_values_of_an_earlier_step_are_computed_again_and_training_stands_where_it_stood(
    app: App, write_recipe: Callable[..., Path]
) -> None:
    app.open(write_recipe())
    run(app, 4)
    gradient = SubjectKey(SubjectKind.GRAD, "linear.weight")
    app.controller.select(Selection.of_subject(gradient))
    inspector = app.window.inspector
    inspector.raise_()
    inspector.tabs.setCurrentWidget(inspector.values)

    def first_row() -> list[str]:
        model = inspector.values.model
        return [str(model.index(0, column).data()) for column in range(model.columnCount())]

    def values() -> list[str]:
        app.wait(lambda: inspector.values.message == "" and bool(first_row()) and "…" not in first_row())
        return first_row()

    then = values()
    run(app, 5)
    losses, now = app.state.history.loss.values.copy(), values()
    assert now != then
    app.controller.show_step(3)
    app.wait(inspector.closer.button.isEnabled)
    inspector.closer.button.click()
    app.wait(lambda: inspector.closer.said.text() == "Computed again: the same step, verified")
    assert values() == then
    assert (app.state.position.step, app.state.position.rest, app.state.shown.step) == (9, Rest.READY, 3)
    np.testing.assert_array_equal(app.state.history.loss.values, losses)
    app.controller.show_step(None)
    app.wait(lambda: first_row() == now)
    run(app, 2)
    losses = app.state.history.loss.values.copy()
    app.open(write_recipe())
    run(app, 11)
    np.testing.assert_array_equal(app.state.history.loss.values, losses)


def test_another_way_is_a_branch_beside_the_first_and_both_can_be_seen(
    app: App, write_recipe: Callable[..., Path]
) -> None:
    app.open(write_recipe())
    run(app, 10)
    first = app.state.history.loss.values[:, 0].copy()
    app.window.commands.time.go(GoTo(step=5))
    app.wait_for_rest()
    app.controller.edit(EditOption(group=0, option="lr", value="0.5"))
    app.wait(lambda: bool(app.state.edits.marks()))
    run(app, 5)
    app.wait(lambda: len(app.state.timeline.branches) == 2)
    timeline = app.state.timeline
    assert timeline.branches[timeline.branch].from_step == 5
    other = timeline.other_history()
    assert other is not None
    np.testing.assert_array_equal(other[1].loss.values[:, 0], first)
    app.window.timeline.raise_()
    app.wait(lambda: "part in step 5" in app.window.timeline.parting.text())
    app.window.workspace.setCurrentIndex(0)
    app.wait(lambda: bool(app.window.workspace.findChildren(LossChart)))
    (chart,) = app.window.workspace.findChildren(LossChart)
    app.wait(lambda: len(chart._left_steps) > 0)
    assert chart._left_steps.tolist() == [4, 5, 6, 7, 8, 9], "from the last step in common"

    app.window.commands.time.go(GoTo(step=10, branch=0))
    app.wait_for_rest()
    assert (app.state.position.step, app.state.timeline.branch) == (10, 0)
    np.testing.assert_array_equal(app.state.history.loss.values[:, 0], first)
    assert not app.state.edits.marks()


def test_what_was_recorded_stays_when_the_engine_is_gone(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    run(app, 6)
    told = app.state.history.loss.values[:, 0].copy()
    app.controller.end_engine()
    app.wait(lambda: app.state.engine.status is EngineStatus.DEAD)
    app.controller.show_step(2)
    app.wait(lambda: app.window.phase_strip.readout.accessibleName().startswith("shown step 2"))
    assert app.state.shown.number_of(app.state.history.loss) == told[2]
    assert app.state.shown.latest(WEIGHT) is not None
    assert not app.window.actions_[ActionId.GO_TO_SHOWN].isEnabled()
    assert not app.window.actions_[ActionId.STEP_BACK].isEnabled()


def test_going_back_can_be_turned_off(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    run(app, 3)
    app.wait(app.window.actions_[ActionId.STEP_BACK].isEnabled)
    before = app.controller.settings.get(Setting.TIMELINE_MB)
    try:
        app.controller.settings.set(Setting.TIMELINE_MB, 0)
        app.wait(lambda: not app.window.actions_[ActionId.STEP_BACK].isEnabled())
        assert "off" in app.window.actions_[ActionId.STEP_BACK].toolTip()
    finally:
        app.controller.settings.set(Setting.TIMELINE_MB, before)


def test_far_back_the_weights_are_those_of_then_although_no_report_is_kept(
    app: App, write_recipe: Callable[..., Path]
) -> None:
    app.open(write_recipe())
    run(app, 6)
    weights = norms(app)
    app.state.history.kept.cut(0)
    app.window.commands.time.go(GoTo(step=3))
    app.wait_for_rest()
    app.wait(lambda: app.state.history.latest(WEIGHT) is not None)
    latest = app.state.history.latest(WEIGHT)
    assert latest is not None and latest.phase is None
    assert np.float32(latest.summary[L2]) == np.float32(weights[2])
    index = app.window.layers.model.index_of(WEIGHT.name, is_parameter=True).siblingAtColumn(Column.VALUE)
    assert index.data()


def test_steps_of_a_script_are_looked_at_and_it_is_offered_to_run_it_again_to_there(app: App, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\n"
        "model = torch.nn.Sequential(torch.nn.Linear(3, 2))\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for _ in range(9):\n"
        "    optimizer.zero_grad()\n"
        "    loss = model(torch.randn(4, 3)).square().mean()\n"
        "    loss.backward()\n"
        "    optimizer.step()\n",
        "utf-8",
    )
    app.window.commands.open_script(Script(kind=ScriptKind.FILE, name=str(script), folder=str(tmp_path)))
    app.wait(lambda: app.state.session is not None and app.state.in_script and not app.state.position.running)
    app.controller.run(RunUntil.PAUSED)
    app.wait(lambda: app.state.position.rest is Rest.ENDED)
    told = app.state.history.loss.values[:, 0].copy()
    assert len(told) == 9
    app.controller.show_step(3)
    app.wait(lambda: app.window.phase_strip.readout.accessibleName().startswith("shown step 3"))
    assert app.state.shown.number_of(app.state.history.loss) == told[3]
    band = app.window.phase_strip._band
    assert band is not None and band.isVisible()
    assert band.buttons[ActionId.GO_TO_SHOWN].text() == "Run again to step 3"
    assert not app.window.actions_[ActionId.STEP_BACK].isEnabled()


def test_steps_of_a_snapshot_are_looked_at(app: App, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    app.open(write_recipe())
    run(app, 7)
    weights = norms(app)
    file = export(app, tmp_path / "s.zip")
    app.window.commands.open_file(str(file))
    app.wait(lambda: app.state.snapshot is not None and app.state.opening is None)
    app.controller.select(Selection.of_subject(WEIGHT))
    app.window.inspector.raise_()
    app.window.inspector.tabs.setCurrentWidget(app.window.inspector.values)
    app.controller.show_step(2)
    app.wait(lambda: app.window.phase_strip.readout.accessibleName().startswith("shown step 2"))
    latest = app.state.shown.latest(WEIGHT)
    assert latest is not None and np.float32(latest.summary[L2]) == np.float32(weights[2])
    assert "the snapshot is of step 7" in app.window.phase_strip._band.label.text()  # type: ignore[union-attr]
    assert "the values of its own moment" in app.window.inspector.values.message
    app.window.actions_[ActionId.SHOW_NOW].trigger()
    app.wait(lambda: app.window.inspector.values.message == "")


def test_an_engine_that_dies_on_the_way_back_leaves_what_was_recorded(
    app: App, write_recipe: Callable[..., Path]
) -> None:
    app.open(write_recipe())
    run(app, 9)
    told = app.state.history.loss.values[:, 0].copy()
    app.window.commands.time.go(GoTo(step=2))
    app.controller.end_engine()
    app.wait(lambda: app.state.engine.status is EngineStatus.DEAD)
    assert not app.state.position.running
    known = app.state.history.loss.values[:, 0]
    assert known.tolist() in (told.tolist(), told[:2].tolist()), "before it was answered, or after"
    assert not app.window.status.interrupt.isVisible()
    app.reopen()
    run(app, 2)
    app.wait(app.window.actions_[ActionId.STEP_BACK].isEnabled)


def test_going_back_leaves_the_window_as_it_was_arranged(app: App, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    run(app, 5)
    app.window.layers.filter.setText("bias")
    app.window.workspace.setCurrentIndex(0)
    app.wait(lambda: bool(app.window.workspace.findChildren(LossChart)))
    (chart,) = app.window.workspace.findChildren(LossChart)
    chart.plot.zoom(0.5)
    press(app, ActionId.STEP_BACK_WHOLE)
    assert app.window.layers.filter.text() == "bias"
    assert app.window.layers.model.matches() == 1
    assert not chart.plot.is_following
    index = app.window.layers.model.index_of("linear.bias", is_parameter=True).siblingAtColumn(Column.VALUE)
    latest = app.state.history.latest(SubjectKey(SubjectKind.PARAMETER, "linear.bias"))
    assert latest is not None and latest.step == 3
    assert index.data().startswith(number(float(latest.summary[6]), digits=2)), "of the step that is the newest now"
