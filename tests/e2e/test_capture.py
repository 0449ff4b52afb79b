"""Levels of capture through the window and the real engine: changed between steps, by layer, from the command line."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.capture import Capture
from gradscope.protocol.parts import EVERYTHING
from gradscope.protocol.phases import Phase, Rest, Verb
from gradscope.protocol.subjects import L2, STD, ZERO, SubjectKey, SubjectKind
from gradscope.snapshots.format.saved_history import encode
from gradscope.state.records.event_export import event_source
from gradscope.state.selection import Selection
from gradscope.state.tree import walk
from gradscope.ui.actions.actions import plain
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.app import Options, build, start_engine
from gradscope.ui.look.settings import Setting, Settings
from gradscope.ui.models.layer_tree import Column
from tests.e2e.driver import App

K = SubjectKind
RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Sequential()
    for name, layer in (("first", nn.Linear(3, {wide})), ("relu", nn.ReLU()), ("last", nn.Linear({wide}, 2))):
        model.add_module(name, layer)
    data = [(torch.randn(3), torch.randn(2)) for _ in range(24)]
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), name="Three layers")
"""


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "three.py"
    path.write_text(RECIPE.format(wide=8), encoding="utf-8")
    return path


def press(app: App, action: ActionId) -> None:
    wanted = app.window.actions_[action]
    app.wait(wanted.isEnabled)
    wanted.trigger()


def choose(app: App, action: ActionId, text: str) -> None:
    """A level from the menu, and wait until the tool bar says it."""
    press(app, action)
    app.wait(lambda: app.window.toolbar.capture.text().endswith(text))


def step(app: App) -> None:
    press(app, ActionId.NEXT_BATCH)
    app.wait_for_rest()


def kinds(app: App) -> set[SubjectKind]:
    """Of the newest step."""
    rows = app.state.history.rows
    return {rows[number].key.kind for report in app.state.reports.values() for number in report.subjects.tolist()}


def column(app: App, name: str, wanted: Column, *, is_parameter: bool = False) -> str:
    index = app.window.layers.model.index_of(name, is_parameter=is_parameter)
    return str(index.siblingAtColumn(wanted).data())


def test_numbers_go_and_come_with_the_level(app: App, recipe: Path) -> None:
    app.open(recipe)
    app.controller.select(Selection.of_node("first", is_parameter=False))
    step(app)
    inspector = app.window.inspector
    assert "±" in column(app, "first", Column.VALUE)
    assert K.OPTIMIZER_STATE in kinds(app)
    choose(app, ActionId.CAPTURE_NORMS, "Norms only")
    assert app.state.session is not None and app.state.session.capture == "norms"
    step(app)
    summary = app.state.reports[Phase.FORWARD].summaries
    assert np.isnan(summary[:, ZERO : STD + 1]).all() and (summary[:, L2] >= 0).all()
    assert column(app, "first", Column.VALUE) == "–" and float(column(app, "first", Column.GRADIENT)) > 0
    assert K.OPTIMIZER_STATE not in kinds(app)
    assert {entry.text for entry in inspector.summary._model.entries if entry.name in ("zeros", "min", "mean")} == {"–"}
    choose(app, ActionId.CAPTURE_OFF, "Off")
    step(app)
    assert kinds(app) == set()
    assert column(app, "first", Column.GRADIENT) == ""
    assert inspector.message.startswith("Capture is off")
    assert app.state.history.loss.steps.tolist() == [0, 1, 2], "the loss is always known"
    choose(app, ActionId.CAPTURE_FULL, "Full")
    step(app)
    assert "±" in column(app, "first", Column.VALUE) and inspector.message == ""
    levels = [line.text for line in app.state.log.lines if "capture" in line.text]
    assert levels == [f"From step {i + 1} on: capture {level}" for i, level in enumerate(("norms", "off", "full"))]


def test_inside_a_step_it_waits_and_the_engine_says_the_same(app: App, recipe: Path) -> None:
    app.open(recipe)
    app.go(Verb.FORWARD)
    action = app.window.actions_[ActionId.CAPTURE_OFF]
    assert not action.isEnabled() and "Only between two steps" in action.toolTip()
    assert not app.window.toolbar.capture.isEnabled()
    replies: list[object] = []
    app.controller.client.request(m.SetCapture(capture="off"), on_reply=replies.append)
    app.wait(lambda: bool(replies))
    assert isinstance(replies[0], m.Failed)
    assert app.window.failure_bar.isVisible() and "between two steps" in app.window.failure_bar.sentence.text()
    assert app.state.session is not None and app.state.session.capture == "full"
    step(app)
    assert app.window.toolbar.capture.isEnabled()


def layer_action(app: App, name: str, text: str) -> None:
    assert app.state.tree is not None
    node = next(node for node in walk(app.state.tree) if node.name == name)
    menu = app.window.layers.menu
    menu.fill(node)
    next(action for action in menu.actions() if plain(action.text()) == text).trigger()


def test_layers_are_chosen_in_the_tree(app: App, recipe: Path) -> None:
    app.open(recipe)
    step(app)
    layer_action(app, "first", "Capture only this layer")
    app.wait(lambda: app.state.capture == Capture.parse("layers:first"))
    step(app)
    assert column(app, "first", Column.VALUE) and column(app, "first.weight", Column.UPDATE, is_parameter=True)
    assert column(app, "last", Column.VALUE) == "" and column(app, "last", Column.FLAGS) == "not captured"
    app.controller.select(Selection.of_node("last.weight", is_parameter=True))
    app.controller.flush()
    assert app.window.inspector.message.startswith("Not captured: only chosen layers are (first)")
    layer_action(app, "last", "Capture this layer too")
    app.wait(lambda: app.state.capture == Capture.parse("layers:first,last"))
    step(app)
    assert column(app, "last", Column.VALUE) and app.window.inspector.message == ""
    assert column(app, "relu", Column.VALUE) == ""
    app.controller.reset()
    app.wait(lambda: app.state.opening is None and app.state.position.step == 0)
    assert str(app.state.capture) == "layers:first,last", "Reset keeps it"
    layer_action(app, "relu", "Capture everything")
    app.wait(lambda: str(app.state.capture) == "full")


@pytest.mark.parametrize("level", ["norms", "off", "layers:first"])
def test_plots_and_panels_stand_every_level(app: App, recipe: Path, level: str) -> None:
    app.controller.settings.set(Setting.CAPTURE, "full")
    app.open(recipe)
    app.controller.set_capture(Capture.parse(level))
    app.wait(lambda: str(app.state.capture) == level)
    for _ in range(2):
        step(app)
    assert app.state.tree is not None
    for index in range(app.window.workspace.count()):
        app.window.workspace.setCurrentIndex(index)
    for node in walk(app.state.tree):
        for kind in SubjectKind:
            app.controller.select(Selection.of_node(node.name, is_parameter=node.is_parameter, kind=kind))
            app.controller.flush()
    pictures = app.window.workspace.plot_images()
    assert pictures and all(len(picture.data) for picture in pictures)
    assert app.state.failure is None
    look_at_a_snapshot(app, recipe.with_name("shot"))
    assert str(app.state.capture) == level
    source = event_source(app.state.history)
    assert (source.histograms == 0) == (level != "layers:first")


def look_at_a_snapshot(app: App, path: Path) -> None:
    """Export with the whole history, and show it again."""
    replies: list[object] = []
    files = [
        m.Attachment(name=name, data=np.frombuffer(data, dtype=np.uint8))
        for name, data in encode(app.state.history.saved()).items()
    ]
    app.controller.export_snapshot(str(path), EVERYTHING, files, replies.append)
    app.wait(lambda: bool(replies))
    assert isinstance(replies[0], m.Exported), replies
    app.controller.open_snapshot(str(path))
    app.wait(lambda: app.state.opening is None)
    assert app.state.snapshot is not None and app.state.failure is None
    for index in range(app.window.workspace.count()):
        app.window.workspace.setCurrentIndex(index)
    assert "snapshot" in app.window.toolbar.capture.toolTip()


def test_a_value_that_the_budget_has_no_room_for_says_so(app: App, tmp_path: Path) -> None:
    app.controller.settings.set(Setting.BUDGET_MB, 1)
    path = tmp_path / "wide.py"
    path.write_text(RECIPE.format(wide=100_000), encoding="utf-8")
    app.open(path)
    app.controller.select(Selection.of_node("first", is_parameter=False))
    step(app)
    # 4 x 100,000 floats are 1.6 MB.
    replies: list[object] = []
    for name in ("first", "last"):
        app.controller.fetch(m.FetchPage(subject=SubjectKey(K.ACTIVATION, name)), replies.append)
    app.wait(lambda: len(replies) == 2)
    assert isinstance(replies[0], m.Unavailable) and "1 MB" in replies[0].reason and "not kept" in replies[0].reason
    assert isinstance(replies[1], m.Page)


# ----------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def launch(qapp: QApplication, qtbot: QtBot, no_spare: None) -> Iterator[Callable[[Options], App]]:
    windows = []

    def start(options: Options) -> App:
        window = build(qapp, Settings())
        windows.append(window)
        window.show()
        start_engine(window, options)
        return App(window, qtbot)

    yield start
    for window in windows:
        window.close()
        window.controller.client.shut_down()
        window.deleteLater()


def test_the_command_line_s_level_is_that_of_its_file(launch: Callable[[Options], App], recipe: Path) -> None:
    app = launch(Options(file=str(recipe), capture="layers:last"))
    app.wait(lambda: app.state.position.rest is Rest.READY and app.state.opening is None)
    assert str(app.state.capture) == "layers:last"
    step(app)
    rows = app.state.history.rows
    assert {row.key.name.partition(".")[0] for row in rows} == {"last"}
    other = recipe.with_name("other.py")
    other.write_text(recipe.read_text("utf-8"), encoding="utf-8")
    app.open(other)
    assert str(app.state.capture) == "full"


def test_layers_that_the_model_has_not_are_told_as_every_failure(
    launch: Callable[[Options], App], recipe: Path
) -> None:
    app = launch(Options(file=str(recipe), capture="layers:fist"))
    app.wait(lambda: app.state.failure is not None)
    assert app.window.failure_bar.isVisible()
    assert "no layer 'fist' (is it first?)" in app.window.failure_bar.sentence.text()
    assert app.state.session is None
