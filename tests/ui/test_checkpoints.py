"""Checkpoints in the window: where the actions can be used, what is asked of the engine, what is said of its answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QMainWindow, QPlainTextEdit
from pytestqt.qtbot import QtBot

from gradscope.protocol.messages.checkpoints import (
    CheckpointLoaded,
    CheckpointMismatch,
    CheckpointSaved,
    LoadCheckpoint,
    SaveCheckpoint,
)
from gradscope.protocol.phases import Position, Rest
from gradscope.protocol.subjects import SubjectKind
from gradscope.ui.actions.actions import Actions
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.checkpoint_files import LoadCheckpointDialog, SaveCheckpointDialog
from gradscope.ui.dialogs.checkpoints import Checkpoints
from gradscope.ui.dialogs.mismatch import MismatchDialog
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.words.moment_text import newest_moment
from gradscope.ui.window.commands import Commands
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController

MISMATCH = CheckpointMismatch(
    path="/far/away/c.pt",
    missing=("head.bias",),
    unexpected=("old.weight", "old.bias"),
    wrong_shape=("head.weight: (5, 8) in the file, (3, 8) in the model",),
    other=("optimizer: the file has a SGD, and the session has a Adam",),
    fitting=7,
    total=9,
)


@pytest.fixture
def window(qtbot: QtBot) -> QMainWindow:
    window = QMainWindow()
    qtbot.addWidget(window)
    window.show()
    return window


@pytest.fixture
def checkpoints(controller: ShellController, window: QMainWindow) -> Checkpoints:
    return Checkpoints(controller, window=window, parent=window)  # type: ignore[arg-type]


@pytest.fixture
def actions(controller: ShellController, themes: ThemeManager, window: QMainWindow) -> Actions:
    commands = Commands(controller, window=window, plot_images=lambda: iter(()))  # type: ignore[arg-type]
    return Actions(controller, themes, commands.handlers(), window)  # type: ignore[arg-type]


def lines(controller: ShellController) -> list[tuple[str, bool]]:
    return [(line.text, line.is_warning) for line in controller.state.log.lines]


def test_saving_asks_where_and_says_where(
    checkpoints: Checkpoints, controller: ShellController, window: QMainWindow, tmp_path: Path
) -> None:
    controller.settings.set(Setting.CHECKPOINT_FOLDER, str(tmp_path))
    controller.start(small_training(), steps=3)
    told: list[str] = []
    checkpoints.told.connect(told.append)
    checkpoints.save()
    (dialog,) = window.findChildren(SaveCheckpointDialog)
    assert dialog.acceptMode() is QFileDialog.AcceptMode.AcceptSave and dialog.defaultSuffix() == "pt"
    assert dialog.selectedFiles() == [str(tmp_path / "Small-step3.pt")]
    path = str(tmp_path / "sub" / "c.pt")
    dialog.fileSelected.emit(path)
    dialog.reject()
    assert controller.asked == [("checkpoint", SaveCheckpoint(path=path))]
    assert controller.settings.get(Setting.CHECKPOINT_FOLDER) == str(tmp_path / "sub")
    controller.checkpoint_replies[0](CheckpointSaved(path=path, size_bytes=2048, left_out=("optimizer.rule",)))
    assert told == [f"Checkpoint written to {path} (2 KiB)"]
    assert lines(controller)[-2:] == [
        (told[0], False),
        ("Not in the checkpoint, since it is no plain value: optimizer.rule", True),
    ]


def test_the_best_weights(checkpoints: Checkpoints, controller: ShellController, window: QMainWindow) -> None:
    controller.start(small_training())
    checkpoints.save_best()
    (dialog,) = window.findChildren(SaveCheckpointDialog)
    assert dialog.windowTitle() == "Save best weights" and dialog.selectedFiles()[0].endswith("Small-best.pt")
    dialog.fileSelected.emit("/b.pt")
    dialog.reject()
    assert controller.asked == [("checkpoint", SaveCheckpoint(path="/b.pt", best=True))]


def load(checkpoints: Checkpoints, controller: ShellController, window: QMainWindow, reply: object) -> None:
    controller.start(small_training(), steps=2)
    checkpoints.load()
    (dialog,) = window.findChildren(LoadCheckpointDialog)
    dialog.fileSelected.emit("/far/away/c.pt")
    dialog.reject()
    assert controller.asked[-1] == ("checkpoint", LoadCheckpoint(path="/far/away/c.pt"))
    controller.checkpoint_replies[-1](reply)


def test_loading_says_where_it_stands(
    checkpoints: Checkpoints, controller: ShellController, window: QMainWindow
) -> None:
    reply = CheckpointLoaded(
        path="/far/away/c.pt",
        loaded=("weights", "optimizer"),
        position=Position(rest=Rest.READY, step=40, epoch=2, batch=3),
        is_continued=True,
    )
    load(checkpoints, controller, window, reply)
    assert lines(controller)[-1] == (
        "/far/away/c.pt loaded: training goes on bit for bit before step 40 (epoch 2, batch 3)",
        False,
    )


def test_a_mismatch_is_shown_and_what_fits_can_be_loaded(
    checkpoints: Checkpoints, controller: ShellController, window: QMainWindow, qtbot: QtBot
) -> None:
    load(checkpoints, controller, window, MISMATCH)
    (dialog,) = window.findChildren(MismatchDialog)
    assert dialog.label.text() == "7 of 9 tensors of the model would be loaded from c.pt. Nothing was changed."
    expected = (
        "Missing in the file (1)\n    head.bias\n\nUnexpected in the file (2)\n    old.weight\n    old.bias\n\n"
        "Wrong shape (1)\n    head.weight: (5, 8) in the file, (3, 8) in the model\n\n"
        "Optimizer and scheduler (1)\n    optimizer: the file has a SGD, and the session has a Adam"
    )
    assert dialog.text.toPlainText() == expected and dialog.text.isReadOnly()
    assert dialog.text.lineWrapMode() is QPlainTextEdit.LineWrapMode.NoWrap
    qtbot.mouseClick(dialog.copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == expected
    qtbot.mouseClick(dialog.load, Qt.MouseButton.LeftButton)
    assert controller.asked[-1] == ("checkpoint", LoadCheckpoint(path="/far/away/c.pt", strict=False))
    loaded = CheckpointLoaded(
        path="/far/away/c.pt",
        loaded=("weights",),
        position=Position(rest=Rest.READY, step=2, epoch=0, batch=2),
        is_continued=False,
        notes=("The file has no scheduler: the scheduler's state stays as it is",),
        left=MISMATCH,
    )
    controller.checkpoint_replies[-1](loaded)
    assert lines(controller)[-3:] == [
        ("Weights loaded from /far/away/c.pt: before step 2 (epoch 0, batch 2)", False),
        (f"Not loaded: 1 missing, 2 unexpected, 1 of another shape; {MISMATCH.other[0]}", True),
        (loaded.notes[0], True),
    ]


def test_nothing_fits(checkpoints: Checkpoints, controller: ShellController, window: QMainWindow) -> None:
    load(checkpoints, controller, window, CheckpointMismatch(path="/c.pt", missing=("a",), total=1))
    (dialog,) = window.findChildren(MismatchDialog)
    assert not dialog.load.isEnabled() and "No tensor of c.pt fits this model" in dialog.label.text()
    asked = len(controller.asked)
    dialog.reject()
    assert len(controller.asked) == asked


def test_where_the_actions_can_be_used(actions: Actions, controller: ShellController) -> None:
    both = (ActionId.SAVE_CHECKPOINT, ActionId.LOAD_CHECKPOINT)
    for action_id in (*both, ActionId.SAVE_BEST):
        assert not actions[action_id].isEnabled() and "Open a script or a recipe first" in actions[action_id].toolTip()
    training = small_training(settings={"has_validation": True})
    controller.start(training)
    assert all(actions[action_id].isEnabled() for action_id in both)
    assert not actions[ActionId.SAVE_BEST].isEnabled()
    assert "There are no best weights" in actions[ActionId.SAVE_BEST].toolTip()
    controller.play(training.forward())
    for action_id in both:
        assert not actions[action_id].isEnabled()
        assert "Only between two steps: press Next batch" in actions[action_id].toolTip()
    controller.state.apply(training.validated(is_best=True))
    controller.rest_at(Rest.FORWARD)
    assert actions[ActionId.SAVE_BEST].isEnabled()


def test_old_bars_say_of_which_step_they_are(controller: ShellController) -> None:
    controller.start(small_training(), steps=5)
    controller.state.apply(
        CheckpointLoaded(path="/c.pt", loaded=(), position=Position(rest=Rest.READY, step=3), is_continued=True)
    )
    assert "2" in newest_moment(controller.state, SubjectKind.UPDATE)
    assert "batch" not in newest_moment(controller.state, SubjectKind.UPDATE)
