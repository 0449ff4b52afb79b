"""Save checkpoint and Load checkpoint through the window, with the real engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.protocol.subjects import L2, SubjectKey, SubjectKind
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.checkpoint_files import LoadCheckpointDialog, SaveCheckpointDialog
from gradscope.ui.dialogs.mismatch import MismatchDialog
from tests.e2e.driver import App


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def choose(
    app: App, action: ActionId, kind: type[SaveCheckpointDialog] | type[LoadCheckpointDialog], path: Path
) -> None:
    """As a person: the action, the file dialog, a name."""
    app.wait(app.window.actions_[action].isEnabled)
    app.window.actions_[action].trigger()
    (dialog,) = [dialog for dialog in app.window.findChildren(kind) if dialog.isVisible()]
    dialog.fileSelected.emit(str(path))
    dialog.close()
    app.wait_for_rest()


def run(app: App, steps: int) -> None:
    wanted = app.state.position.step + steps
    app.run(RunUntil.STEPS, steps)
    app.wait(lambda: app.state.position.step == wanted and not app.state.position.running)


def test_saved_gone_on_and_loaded_in_a_new_session(app: App, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "c.pt"
    app.open(write_recipe())
    run(app, 4)
    choose(app, ActionId.SAVE_CHECKPOINT, SaveCheckpointDialog, file)
    app.wait(lambda: any("Checkpoint written to" in line.text for line in app.state.log.lines))
    assert torch.load(file, weights_only=True)["step"] == 4
    run(app, 5)
    expected = app.state.history.loss.values.copy()

    # Back in the same session.
    choose(app, ActionId.LOAD_CHECKPOINT, LoadCheckpointDialog, file)
    app.wait(lambda: app.state.position.step == 4)
    assert list(app.state.history.loss.steps) == [0, 1, 2, 3] and app.state.reports == {}
    run(app, 5)
    np.testing.assert_array_equal(app.state.history.loss.values, expected)

    # And in a new one: what was seen begins there.
    app.controller.reset()
    app.wait(lambda: app.state.opening is None and app.state.position.step == 0)
    choose(app, ActionId.LOAD_CHECKPOINT, LoadCheckpointDialog, file)
    app.wait(lambda: app.state.position.step == 4)
    weight = SubjectKey(SubjectKind.PARAMETER, "linear.weight")
    app.wait(lambda: app.state.history.latest(weight) is not None)
    latest = app.state.history.latest(weight)
    saved = torch.load(file, weights_only=True)["state_dict"]["linear.weight"]
    assert latest is not None and latest.step == 4
    np.testing.assert_allclose(latest.summary[L2], float(saved.norm()), rtol=1e-6)
    run(app, 5)
    assert list(app.state.history.loss.steps) == [4, 5, 6, 7, 8]
    np.testing.assert_array_equal(app.state.history.loss.values, expected[4:])
    assert not [line.text for line in app.state.log.lines if line.is_warning]


def test_what_does_not_fit_is_asked_about(app: App, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    weight = torch.full((2, 3), 0.25)
    torch.save({"state_dict": {"linear.weight": weight, "head.weight": torch.zeros(3)}}, file)
    app.open(write_recipe())
    app.go(Verb.NEXT_BATCH)
    choose(app, ActionId.LOAD_CHECKPOINT, LoadCheckpointDialog, file)
    app.wait(lambda: bool(app.window.findChildren(MismatchDialog)))
    (dialog,) = app.window.findChildren(MismatchDialog)
    assert "linear.bias" in dialog.text.toPlainText() and "head.weight" in dialog.text.toPlainText()
    assert app.state.position.rest is Rest.READY and app.state.failure is None
    dialog.load.click()
    app.wait_for_rest()
    app.wait(lambda: any("Weights loaded from" in line.text for line in app.state.log.lines))
    latest = None

    def is_told() -> bool:
        nonlocal latest
        latest = app.state.history.latest(SubjectKey(SubjectKind.PARAMETER, "linear.weight"))
        return latest is not None

    app.wait(is_told)
    np.testing.assert_allclose(latest.summary[L2], float(weight.norm()), rtol=1e-6)  # type: ignore[attr-defined]
    assert app.state.position.step == 1
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 2


def test_a_file_that_is_no_checkpoint(app: App, write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe()
    app.open(recipe)
    choose(app, ActionId.LOAD_CHECKPOINT, LoadCheckpointDialog, recipe)
    app.wait(lambda: app.state.failure is not None)
    assert app.state.failure is not None and "is no checkpoint; expected one written by" in app.state.failure.sentence
    app.go(Verb.NEXT_BATCH)
    assert app.state.failure is None
