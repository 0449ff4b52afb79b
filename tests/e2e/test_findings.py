"""Findings in the real app: a sample that goes wrong, its finding clicked; a check-up that is cancelled and run again."""

from pathlib import Path

import pytest

from gradscope.assets import sample_path
from gradscope.protocol.findings import Finding
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.check_up import CheckUpDialog
from tests.e2e.driver import App


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def open_sample(app: App, name: str) -> None:
    path = sample_path(name)
    assert path is not None
    app.open(path)


def found(app: App, name: str) -> Finding:
    return next(finding for finding in app.state.findings.shown if finding.id == name)


def check_up(app: App) -> CheckUpDialog:
    app.window.actions_[ActionId.CHECK_UP].trigger()
    dialog = app.window.findChild(CheckUpDialog)
    assert dialog is not None
    app.wait(lambda: dialog.start.isEnabled())
    return dialog


def is_over(app: App) -> bool:
    return not app.state.findings.is_checking


def test_a_dead_relu_is_found_and_leads_to_its_layer(app: App) -> None:
    open_sample(app, "dead_relu")
    app.wait(lambda: app.state.findings.is_watching)
    app.run(RunUntil.STEPS, 60)
    app.wait_for_rest()
    app.window.status.findings.click()
    app.controller.flush()
    dock = app.window.findings
    dead = found(app, "dead-units")
    assert dead.where == "relu2" and "relu2" in dock.detail.meta.text()
    dock.select(dead)
    app.controller.flush()
    assert dock.detail.evidence.text() and dock.detail.do.text()
    dock.detail.show_button.click()
    app.controller.flush()
    assert app.state.selection.name == "relu2"
    index = app.window.layers.model.index_of("relu2", is_parameter=False)
    assert "dead units" in str(index.siblingAtColumn(5).data())
    assert [finding.id for finding in app.state.findings.shown if finding.severity.counts] == ["dead-units"]


def test_a_check_up_is_cancelled_and_run_again_and_training_goes_on(app: App) -> None:
    open_sample(app, "digits_mlp")
    app.run(RunUntil.STEPS, 5)
    app.wait_for_rest()
    before = app.state.position
    dialog = check_up(app)
    dialog.start.click()
    dialog.reject()
    app.wait(lambda: is_over(app))
    assert "Training is as it was" in dialog.status.text() or "training is as it was" in dialog.status.text()
    assert app.state.position == before
    dialog.reject()
    app.wait(lambda: app.window.findChild(CheckUpDialog) is None)
    dialog = check_up(app)
    dialog.start.click()
    assert app.state.position.running
    app.wait(lambda: is_over(app))
    assert dialog.status.text().startswith("Done") and app.state.position == before
    assert app.state.findings.known.forward > 0
    dialog.reject()
    app.go(Verb.NEXT_BATCH)
    assert (app.state.position.step, app.state.position.rest) == (6, Rest.READY)


def test_what_was_found_is_in_a_snapshot(app: App, tmp_path: Path) -> None:
    open_sample(app, "dead_relu")
    app.run(RunUntil.STEPS, 60)
    app.wait_for_rest()
    dead, written = found(app, "dead-units"), []
    app.controller.export_snapshot(str(tmp_path / "shot.zip"), frozenset(), [], written.append)
    app.wait(lambda: bool(written))
    app.controller.open_snapshot(str(tmp_path / "shot.zip"))
    app.wait(lambda: app.state.snapshot is not None)
    assert found(app, "dead-units") == dead and not app.window.actions_[ActionId.CHECK_UP].isEnabled()
    app.window.findings.raise_()
    app.controller.flush()
    assert "relu2" in app.window.findings.detail.meta.text()
    app.controller.close_snapshot()
