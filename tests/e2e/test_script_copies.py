""" "Copy as script" in the real app: what is on the clipboard comes to the loss that the window shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PySide6.QtGui import QGuiApplication

from gradscope.assets import sample_path
from gradscope.protocol.messages.edits import EditOption
from gradscope.protocol.phases import Verb
from gradscope.ui.actions.rows import ActionId
from tests.e2e.driver import App
from tests.torch_python import ENGINE_VARIABLE


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def test_the_script_on_the_clipboard_prints_the_same_loss(app: App, tmp_path: Path) -> None:
    path = sample_path("digits_mlp")
    assert path is not None
    app.open(path)
    for verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP):
        app.go(verb)
    app.controller.edit(EditOption(group=0, option="lr", value="0.01"))
    for verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP, Verb.FORWARD):
        app.go(verb)
    QGuiApplication.clipboard().setText("")
    app.window.actions_[ActionId.COPY_AS_SCRIPT].trigger()
    app.wait(lambda: bool(QGuiApplication.clipboard().text()))
    script = tmp_path / "copied.py"
    script.write_text(QGuiApplication.clipboard().text(), encoding="utf-8")
    done = subprocess.run(
        [os.environ.get(ENGINE_VARIABLE, sys.executable), "-I", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert float(done.stdout) == app.state.history.loss.values[-1, 0]
    assert "lr" in script.read_text(encoding="utf-8")
