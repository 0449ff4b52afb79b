"""Buffers in the window, against the real engine: in the tree, the inspector, the plots, the menus and a snapshot."""

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QModelIndex, Qt
from pytestqt.qtbot import QtBot

from gradscope.protocol.capture import Capture
from gradscope.protocol.nonfinite import Stage
from gradscope.protocol.parts import EVERYTHING
from gradscope.protocol.phases import Phase, RunUntil, Verb
from gradscope.protocol.subjects import COUNT, MAX, SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot
from gradscope.state.reopened import state_of
from gradscope.state.tree import find
from gradscope.ui.models.layer_tree import Column
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from gradscope.ui.plots.words.moment_text import moment_of
from gradscope.ui.words.quantities import Quantity
from tests.e2e.driver import App

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 2)
        self.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1), persistent=False)
        self.register_buffer("places", torch.arange(5))

    def forward(self, x):
        return self.last(self.norm(self.first(x)))

def recipe():
    model = Net()
    data = [(torch.randn(3), torch.randn(2)) for _ in range(24)]
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.01))
"""
NAMES = ["mask", "places", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


@pytest.fixture
def app(shared_app: App, tmp_path: Path) -> App:
    path = tmp_path / "net.py"
    path.write_text(RECIPE, encoding="utf-8")
    shared_app.open(path)
    return shared_app


def key_of(name: str) -> SubjectKey:
    return SubjectKey(SubjectKind.BUFFER, name)


def row_of(app: App, name: str) -> QModelIndex:
    return app.window.layers.model.index_of(name, is_parameter=False)


def cell(app: App, name: str, column: Column, role: Qt.ItemDataRole = Qt.ItemDataRole.DisplayRole) -> str:
    return str(row_of(app, name).siblingAtColumn(column).data(role) or "")


def test_the_tree_has_them_from_the_start(app: App) -> None:
    assert app.state.session is not None and [buffer.name for buffer in app.state.session.buffers] == NAMES
    root = app.state.tree
    assert root is not None
    norm = find(root, "norm", is_parameter=False)
    assert norm is not None
    labels = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert [child.label for child in norm.children] == labels
    assert cell(app, "norm.running_mean", Column.FORM) == "4"
    assert cell(app, "norm.running_var", Column.VALUE) == "1 ± 0"
    assert cell(app, "norm.num_batches_tracked", Column.VALUE) == "0"
    assert cell(app, "places", Column.VALUE) == "0 to 4"
    assert cell(app, "norm.running_mean", Column.NAME, Qt.ItemDataRole.ToolTipRole) == (
        "norm.running_mean\nBuffer: 4, float32\n0 ± 0"
    )
    for column in (Column.GRADIENT, Column.UPDATE):
        assert cell(app, "norm.running_mean", column) == ""


def test_after_a_forward_the_tree_and_the_inspector_have_the_new_numbers(app: App, qtbot: QtBot) -> None:
    inspector = app.window.inspector
    app.window.layers.view.setCurrentIndex(row_of(app, "norm.running_var"))
    assert app.state.subject == key_of("norm.running_var")
    app.go(Verb.FORWARD)
    assert cell(app, "norm.num_batches_tracked", Column.VALUE) == "1"
    latest = app.state.history.latest(key_of("norm.running_var"))
    assert latest is not None and latest.phase is Phase.FORWARD and latest.summary[COUNT] == 4
    inspector.raise_()
    app.wait(lambda: inspector.message == "")
    shown = [button for button in inspector.header._buttons.values() if not button.isHidden()]
    assert [button.text() for button in shown] == ["Buffer"]
    assert not inspector.tabs.isTabVisible(inspector.tabs.indexOf(inspector.why))
    inspector.tabs.setCurrentWidget(inspector.values)
    app.wait(lambda: inspector.values.table.model().rowCount() > 0)
    # A layer selected after it has its own kinds again.
    app.window.layers.view.setCurrentIndex(row_of(app, "norm"))
    assert app.state.subject == SubjectKey(SubjectKind.ACTIVATION, "norm")


def test_a_mask_is_no_alarm_and_what_is_not_saved_says_so(app: App) -> None:
    app.go(Verb.FORWARD)
    assert cell(app, "mask", Column.VALUE) == "0, Inf"
    assert cell(app, "mask", Column.FLAGS) == "not saved"
    assert cell(app, "", Column.FLAGS) == ""


def test_the_activations_tab_offers_them_by_name(app: App) -> None:
    app.run(RunUntil.STEPS, 4)
    app.wait_for_rest()
    workspace = app.window.workspace
    workspace.show_stage(Stage.BUFFERS, SubjectKind.BUFFER, step=None)
    tab = workspace.currentWidget().findChild(HistoryTab)
    assert tab is not None
    texts = [tab._kind.itemText(i) for i in range(tab._kind.count())]
    assert texts[:2] == ["Activations", "Buffers"] and "Buffers: running_var" in texts
    assert tab.heat_map.accessibleName() == "Buffers"
    tab._kind.setCurrentIndex(texts.index("Buffers: running_var"))
    app.controller.flush()
    assert tab.heat_map._keys == [key_of("norm.running_var")]
    tab._kind.setCurrentIndex(texts.index("Buffers: num_batches_tracked"))
    tab.show_quantity(Quantity.STD)
    assert "whole numbers" in tab.heat_map.draw(app.state)
    tab.show_quantity(Quantity.LARGEST)
    assert tab.heat_map.draw(app.state) == ""
    series = app.state.history.blocks[SubjectKind.BUFFER].series(key_of("norm.num_batches_tracked"), MAX)
    assert series.tolist() == [1, 2, 3, 4]
    tab._kind.setCurrentIndex(0)
    assert tab.heat_map.accessibleName() == "Activations"


def test_it_can_be_pinned_and_captured_alone(app: App) -> None:
    app.window.layers.view.setCurrentIndex(row_of(app, "norm.running_mean"))
    app.controller.toggle_pin(key_of("norm.running_mean"))
    app.controller.flush()
    assert "Pinned: buffer" in cell(app, "norm.running_mean", Column.FLAGS, Qt.ItemDataRole.ToolTipRole)
    menu = app.window.layers.menu
    menu.fill_for_selection()
    texts = [action.text().replace("&", "") for action in menu.actions()]
    assert "Pin buffer" in texts and "Capture only this buffer" in texts
    assert not [text for text in texts if "reeze" in text or "group" in text]
    app.controller.set_capture(Capture.parse("layers:norm.running_mean"))
    app.wait(lambda: app.state.session is not None and app.state.session.capture == "layers:norm.running_mean")
    app.go(Verb.FORWARD)
    newest = app.state.reports[Phase.FORWARD]
    assert [app.state.history.rows[number].key for number in newest.subjects] == [key_of("norm.running_mean")]


def test_a_snapshot_has_them(app: App, tmp_path: Path) -> None:
    app.run(RunUntil.STEPS, 2)
    app.wait_for_rest()
    done: list[object] = []
    app.controller.export_snapshot(str(tmp_path / "shot"), EVERYTHING, (), done.append)
    app.wait(lambda: bool(done))
    snapshot = open_snapshot(tmp_path / "shot")
    assert snapshot.values(key_of("norm.num_batches_tracked")).item() == 2
    opened = state_of(snapshot)
    for name in NAMES:
        latest, live = opened.history.latest(key_of(name)), app.state.history.latest(key_of(name))
        assert latest is not None and live is not None
        np.testing.assert_array_equal(latest.summary, live.summary)
    assert "Buffers" in (tmp_path / "shot/report.html").read_text("utf-8")


def test_a_forward_that_was_undone_leaves_the_numbers_of_before(app: App, tmp_path: Path) -> None:
    path = tmp_path / "fails.py"
    last = "return self.last(self.norm(self.first(x)))"
    fails = "if self.norm.num_batches_tracked == 2: raise RuntimeError('on purpose')"
    source = RECIPE.replace(last, f"{last.replace('return', 'x =')}\n        {fails}\n        return x")
    path.write_text(source, encoding="utf-8")
    app.open(path)
    app.run(RunUntil.STEPS, 1)
    app.wait_for_rest()
    app.controller.go(Verb.FORWARD)
    app.wait_for_rest()
    assert not app.state.reports[Phase.FORWARD].complete
    assert cell(app, "norm.num_batches_tracked", Column.VALUE) == "1"
    latest = app.state.history.latest(key_of("norm.num_batches_tracked"))
    assert latest is not None
    assert moment_of(app.state, latest).startswith("As before the forward of step 1, which was undone")
