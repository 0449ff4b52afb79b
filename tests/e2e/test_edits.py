"""Edits through the window and the real engine: what is changed is what the next step uses, and Undo puts it back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from gradscope.protocol.messages.edits import EditMode, EditRequiresGrad
from gradscope.protocol.phases import RunUntil, SubStep, Verb
from gradscope.protocol.subjects import L2, SubjectKey, SubjectKind
from gradscope.state.tree import walk
from gradscope.ui.actions.rows import ActionId
from tests.e2e.driver import App

WEIGHT = SubjectKey(SubjectKind.UPDATE, "linear.weight")


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def enter_rate(app: App, qtbot: QtBot, text: str) -> None:
    """Into the first cell of the table, as a person does."""
    dock = app.window.training
    app.window.actions_[ActionId.EDIT_TRAINING].trigger()
    app.wait(lambda: dock.groups.rowCount() > 0 and dock.groups.argument(dock.groups.index(0, 0)) is not None)
    index = dock.groups.index(0, 0)
    dock.table.setCurrentIndex(index)
    dock.table.edit(index)
    editor = dock.table.findChild(QLineEdit)
    assert editor is not None
    editor.setText(text)
    qtbot.keyClick(editor, Qt.Key.Key_Return)


def test_a_rate_is_edited_and_used_and_undone(app: App, qtbot: QtBot, write_recipe: Callable[..., Path]) -> None:
    app.open(write_recipe())
    undo = app.window.actions_[ActionId.UNDO_EDIT]
    assert not undo.isEnabled() and "no edit to undo" in undo.toolTip()
    app.go(Verb.NEXT_BATCH)
    enter_rate(app, qtbot, "0.5")
    app.wait(lambda: app.state.edits.undoable is not None)
    app.wait(lambda: app.window.training.groups.index(0, 0).data() == "0.5" and undo.isEnabled())
    assert undo.isEnabled() and undo.text() == "&Undo edit: Learning rate: 0.01 → 0.5"
    assert app.state.log.lines[-1].text == "Step 1: Learning rate: 0.01 → 0.5"
    app.go(Verb.NEXT_BATCH)
    undo.trigger()
    app.wait(lambda: app.state.edits.undoable is None)
    app.go(Verb.NEXT_BATCH)
    assert list(app.state.history.lr.values[:, 0]) == [0.01, 0.5, 0.01]
    grad = app.state.history.blocks[SubjectKind.GRAD].series(SubjectKey(SubjectKind.GRAD, "linear.weight"), L2)
    update = app.state.history.blocks[SubjectKind.UPDATE].series(WEIGHT, L2)
    assert [round(float(ratio), 4) for ratio in update / grad] == [0.01, 0.5, 0.01]
    loss = next(chart for chart in app.window.workspace.charts() if type(chart).__name__ == "LossChart")
    assert loss.plot.marks is not None and loss.plot.marks.steps == [1, 2]
    app.wait(lambda: not undo.isEnabled())
    # What is wrong changes nothing, and is told.
    enter_rate(app, qtbot, "-1")
    app.wait(lambda: app.state.failure is not None)
    assert app.state.failure is not None
    assert app.state.failure.sentence == "Learning rate is -1; expected a number from 0"
    app.wait(lambda: app.window.training.groups.index(0, 0).data() == "0.01")
    assert app.state.edits.undoable is None
    enter_rate(app, qtbot, "0.02")
    app.wait(lambda: app.state.edits.undoable is not None)
    app.wait(lambda: app.state.failure is None)
    app.controller.reset()
    app.wait(lambda: app.state.edits.made == [] and app.state.opening is None)


def test_clipping_an_optimizer_and_a_loss_by_their_forms(
    app: App, qtbot: QtBot, write_recipe: Callable[..., Path]
) -> None:
    app.open(write_recipe())
    app.run(RunUntil.STEPS, 3)
    app.wait(lambda: app.state.position.step == 3 and not app.state.position.running)
    dock = app.window.training
    app.window.actions_[ActionId.EDIT_TRAINING].trigger()
    app.wait(lambda: dock.optimizer.name == "SGD")
    dock.step.clip_norm.setText("0.001")
    qtbot.keyClick(dock.step.clip_norm, Qt.Key.Key_Return)
    app.wait(lambda: len(app.state.edits.made) == 1)
    assert app.state.session is not None and SubStep.CLIP in app.state.session.substeps
    dock.optimizer.chooser.setCurrentIndex(dock.optimizer.chooser.findData("Adam"))
    dock.optimizer.fields["lr"].set_text("0.25")
    dock.optimizer.apply.click()
    app.wait(lambda: len(app.state.edits.made) == 2)
    app.wait(lambda: dock.sections["optimizer"].header.text() == "Optimizer: Adam")
    dock.loss.chooser.setCurrentIndex(dock.loss.chooser.findData("SmoothL1Loss"))
    dock.loss.apply.click()
    app.wait(lambda: len(app.state.edits.made) == 3)
    app.go(Verb.NEXT_BATCH)
    assert app.state.failure is None
    assert app.state.session.optimizer == "Adam" and app.state.session.loss == "SmoothL1Loss"
    assert app.state.history.lr.values[-1, 0] == 0.25
    # The first step of Adam moves every element by about the rate.
    update = float(app.state.history.blocks[SubjectKind.UPDATE].series(WEIGHT, L2)[-1])
    assert 0.9 < update / (0.25 * 6**0.5) < 1.01
    for left in (2, 1, 0):
        app.window.actions_[ActionId.UNDO_EDIT].trigger()
        app.wait(lambda left=left: sum(edit.undone_at is None for edit in app.state.edits.made) == left)
    app.wait(lambda: dock.sections["optimizer"].header.text() == "Optimizer: SGD")
    app.wait(lambda: app.state.session is not None and app.state.session.clip_norm is None)
    assert app.state.session.loss == "MSELoss"
    # A frozen parameter, and a layer in eval mode.
    app.controller.edit(EditRequiresGrad(name="linear.bias", is_parameter=True, requires_grad=False))
    app.controller.edit(EditMode(layer="linear", training=False))
    app.wait(lambda: len(app.state.edits.made) == 5)
    assert app.state.tree is not None
    nodes = {node.name: node for node in walk(app.state.tree)}
    assert nodes["linear"].module is not None and not nodes["linear"].module.training
    app.go(Verb.NEXT_BATCH)
    updates = app.state.history.blocks[SubjectKind.UPDATE]
    assert not updates.series(SubjectKey(SubjectKind.UPDATE, "linear.bias"), L2)[-1] > 0
    assert updates.series(WEIGHT, L2)[-1] > 0
