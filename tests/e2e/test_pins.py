"""Pinned subjects through the window, against the real engine: after a run their values are there, and no others."""

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.protocol.subjects import COUNT, L2, SubjectKey, SubjectKind
from gradscope.state.pins import PinStatus, status_of
from gradscope.state.selection import Selection
from gradscope.ui.look.settings import Setting
from tests.e2e.driver import App

K = SubjectKind
RECIPE = """
import time
import torch
from torch import nn
from gradscope import Recipe

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, {wide})
        self.{second} = nn.Linear({wide}, 4)
        self.rnn = nn.LSTM(4, 2, batch_first=True)

    def forward(self, x):
        return self.rnn(self.{second}(self.first(x)).unsqueeze(1))[0].squeeze(1)

class SlowSGD(torch.optim.SGD):
    def step(self, closure=None):
        time.sleep(0.02)
        return super().step(closure)

def recipe():
    model = Net()
    data = [(torch.randn(3), torch.randn(2)) for _ in range(24)]
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                  optimizer=SlowSGD(model.parameters(), lr=0.01))
"""
FIRST, SECOND = SubjectKey(K.ACTIVATION, "first"), SubjectKey(K.ACTIVATION, "second")
FIRST_GRAD, RNN = SubjectKey(K.ACTIVATION_GRAD, "first"), SubjectKey(K.ACTIVATION, "rnn")
WHY = "A run keeps only the values of what was selected or pinned"


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def write(folder: Path, *, wide: int = 8, second: str = "second", name: str = "net.py") -> Path:
    path = folder / name
    path.write_text(RECIPE.format(wide=wide, second=second), encoding="utf-8")
    return path


def run_and_pause(app: App) -> None:
    """Run, and pause where the newest backward is done. A run that ends by itself keeps everything of its last step."""
    app.run(RunUntil.PAUSED)
    app.wait(lambda: app.state.position.step > 6)
    pause(app)


def pause(app: App) -> None:
    app.controller.pause()
    app.wait_for_rest()
    while app.state.position.rest not in (Rest.BACKWARD, Rest.IN_STEP, Rest.READY):
        # Seldom: most of the time the optimizer is at work.
        step = app.state.position.step
        app.run(RunUntil.PAUSED)
        app.wait(lambda step=step: app.state.position.step > step)
        app.controller.pause()
        app.wait_for_rest()


def look(app: App, key: SubjectKey) -> str:
    """Select it, wait for its values, and say what is shown instead of them, if anything."""
    app.controller.select(Selection.of_subject(key))
    app.controller.flush()
    view = app.window.inspector.values
    # Only what can be seen is asked for.
    app.window.resize(1440, 900)
    app.window.inspector.tabs.setCurrentWidget(view)
    replies: list[object] = []
    app.controller.fetch(m.FetchPage(subject=key), replies.append)
    app.wait(lambda: bool(replies))
    (page,) = replies
    # The inspector asks for itself, perhaps a little later.
    app.wait(lambda: bool(view.message) == isinstance(page, m.Unavailable))
    if not view.message:
        latest = app.state.history.latest(key)
        assert isinstance(page, m.Page) and latest is not None
        if page.values.size == latest.summary[COUNT]:
            np.testing.assert_allclose(np.linalg.norm(page.values), latest.summary[L2], rtol=1e-5)
    return view.message


def test_after_a_run_the_values_of_pinned_subjects_are_there(app: App, tmp_path: Path) -> None:
    app.open(write(tmp_path))
    # Also what is pinned before anything is known of it: the LSTM puts out a tuple.
    for key in (FIRST, FIRST_GRAD, RNN):
        app.controller.toggle_pin(key)
    app.controller.select(Selection.of_node("first.weight", is_parameter=True))
    run_and_pause(app)
    output = SubjectKey(K.ACTIVATION, "rnn", leaf="[0]")
    assert list(app.state.pins) == [FIRST, FIRST_GRAD, output]
    for key in app.state.pins:
        assert look(app, key) == "", key.label()
    for key in (SECOND, SubjectKey(K.ACTIVATION_GRAD, "second"), SubjectKey(K.ACTIVATION, "rnn", leaf="[1][0]")):
        assert WHY in look(app, key), key.label()
    # Whole steps keep everything again.
    app.go(Verb.NEXT_BATCH)
    app.go(Verb.NEXT_BATCH)
    assert look(app, SECOND) == ""


def test_what_is_unpinned_in_a_run_is_kept_no_longer(own_app: App, tmp_path: Path, qtbot: QtBot) -> None:
    app = own_app
    app.open(write(tmp_path))
    app.go(Verb.NEXT_BATCH)
    app.controller.select(Selection.of_subject(FIRST))
    app.controller.flush()
    for key in (FIRST, SECOND):
        app.controller.select(Selection.of_subject(key))
        qtbot.keyClick(app.window, Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier)
    assert list(app.state.pins) == [FIRST, SECOND]
    app.run(RunUntil.PAUSED)
    app.wait(lambda: app.state.position.step > 3)
    app.controller.toggle_pin(FIRST)
    app.controller.select(Selection.of_subject(SECOND))
    run_from = app.state.position.step
    app.wait(lambda: app.state.position.step > run_from + 3)
    pause(app)
    assert look(app, SECOND) == ""
    assert WHY in look(app, FIRST)


def test_pins_go_on_in_a_new_engine_with_the_same_recipe(app: App, tmp_path: Path) -> None:
    path = write(tmp_path)
    app.open(path)
    for key in (FIRST, SECOND):
        app.controller.toggle_pin(key)
    app.reopen()
    run_and_pause(app)
    assert look(app, FIRST) == "" and look(app, SECOND) == ""
    # The file has changed: one of them is no more.
    write(tmp_path, second="middle")
    app.controller.reset()
    app.wait(lambda: app.state.position.step == 0 and app.state.opening is None)
    assert list(app.state.pins) == [FIRST, SECOND] and app.state.tree is not None
    statuses = [status_of(key, app.state.tree, app.state.history) for key in app.state.pins]
    assert statuses == [PinStatus.THERE, PinStatus.GONE]
    run_and_pause(app)
    assert look(app, FIRST) == ""
    app.controller.select(Selection.of_subject(SECOND))
    app.controller.flush()
    assert "nothing of this name" in app.window.inspector.message
    assert app.state.failure is None
    app.open(write(tmp_path, name="other.py"))
    assert list(app.state.pins) == []


def test_of_pins_that_do_not_fit_the_earlier_are_kept(app: App, tmp_path: Path) -> None:
    app.controller.settings.set(Setting.BUDGET_MB, 1)
    # 4 x 40,000 floats are 640 kB.
    app.open(write(tmp_path, wide=40_000))
    gradient = SubjectKey(K.ACTIVATION_GRAD, "first")
    for key in (gradient, FIRST):
        app.controller.toggle_pin(key)
    run_and_pause(app)
    assert "not kept: the 1 MB kept for looking at went to what is selected or was pinned earlier" in look(app, FIRST)
    assert look(app, gradient) == ""
