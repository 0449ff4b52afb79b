"""A training in float64 that grows from next to nothing until its loss is infinite: every view of it, all the way."""

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPointF

from gradscope.protocol.phases import RunUntil
from gradscope.protocol.subjects import INF, L2, NAN, SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.look.settings import Setting
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from gradscope.ui.words.quantities import Quantity, newest_values
from tests.e2e.driver import App

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1e-170)
    x, y = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    data = torch.utils.data.TensorDataset(x, y)
    sgd = torch.optim.SGD(model.parameters(), lr=5e13)
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=sgd, batch_size=1, {more})
"""
WEIGHT = SubjectKey(SubjectKind.PARAMETER, "weight")


def look_everywhere(app: App) -> None:
    """Every tab and panel, every quantity, every table, and what stands under the mouse."""
    workspace = app.window.workspace
    for number in range(workspace.count()):
        if not workspace.isTabVisible(number):
            continue
        workspace.setCurrentIndex(number)
        page = workspace.widget(number)
        for tab in page.findChildren(HistoryTab):
            for kind in range(tab._kind.count()):
                tab._kind.setCurrentIndex(kind)
                for quantity in range(tab._quantity.count()):
                    tab._quantity.setCurrentIndex(quantity)
                    look_at(tab.findChildren(Chart))
        look_at(page.findChildren(Chart))
    workspace.setCurrentIndex(0)
    tabs = app.window.inspector.tabs
    for kind in SubjectKind:
        for key in app.state.history.subjects(kind)[:1]:
            app.controller.select(Selection.of_subject(key))
            app.controller.flush()
            for number in range(tabs.count()):
                if tabs.isTabVisible(number):
                    tabs.setCurrentIndex(number)
                    app._qtbot.wait(120)
                    look_at(tabs.widget(number).findChildren(Chart) or [tabs.widget(number)])
            tabs.setCurrentIndex(0)


def look_at(widgets: list) -> None:
    for widget in widgets:
        widget.grab()
        if not isinstance(widget, Chart) or widget.message:
            continue
        inside = widget.plot.box.sceneBoundingRect()
        for x in (0.02, 0.5, 0.98):
            widget.plot._on_mouse_moved(inside.topLeft() + QPointF(x * inside.width(), 0.5 * inside.height()))
        table = widget.table(widget.controller.state)
        assert all(str(table.cell(row, 0)) for row in range(table.rows))


@pytest.mark.slow
def test_every_view_of_a_training_that_diverges(app: App, tmp_path: Path) -> None:
    path = tmp_path / "diverging.py"
    path.write_text(RECIPE.format(more="clip_norm=1e300, validation=data"), encoding="utf-8")
    app.controller.settings.set(Setting.STOP_AT_NONFINITE, False)
    app.open(path)
    app.window.resize(1440, 900)
    for steps in (23, 8):
        app.run(RunUntil.STEPS, steps)
        app.wait_for_rest()
        look_everywhere(app)
    losses = app.state.history.loss.values[:, 0]
    assert len(losses) == 31 and 0 < losses[1] < 1e-300 and not np.isfinite(losses[-1])
    chart = app.window.workspace.findChild(LossChart)
    low, high = chart.plot.box.viewRange()[1]
    assert np.isfinite([low, high]).all()
    assert chart.plot.getAxis("left").tickStrings([1.0], 1.0, 1.0)[0].startswith("1e3"), "the largest finite loss"


def test_the_history_says_what_it_does_not_hold(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "diverging.py"
    path.write_text(RECIPE.format(more=""), encoding="utf-8")
    app.open(path)
    app.run(RunUntil.STEPS, 18)
    app.wait_for_rest()
    block = app.state.history.blocks[SubjectKind.GRAD]
    key = block.keys[0]
    norms = block.series(key, L2)
    assert norms[0] > 0 and np.isposinf(norms[-1]), "neither vanished nor cut off"
    assert not block.series(key, INF).any() and not block.series(key, NAN).any()
    app.window.workspace.setCurrentIndex(2)
    heat_map = app.window.workspace.widget(2).findChild(HeatMap)
    tips: list[str] = []
    monkeypatch.setattr(heat_map.plot, "show_tip", tips.append)
    app.wait(lambda: heat_map._grids is not None and heat_map._grids[0].columns == 18)
    heat_map._on_pointed_at(17, 0)
    assert ">3.4e38 (more than the history holds, drawn as infinite)" in tips[0] and "Inf" not in tips[0]
    table = heat_map.table(app.state)
    assert table.cell(17, 1) == ">3.4e38"
    assert [entry.text for entry in heat_map._strip._keys] == ["beyond 3.4e38, drawn as infinite"]
    # What is newest is there in float64: bars and the inspector show all of it, as the tree does.
    (newest,) = newest_values(app.state.history, SubjectKind.GRAD, Quantity.L2)
    latest = app.state.history.latest(key)
    assert latest is not None and newest == latest.summary[L2] > 1e39
    app.controller.select(Selection.of_subject(key))
    app.controller.flush()
    numbers = dict(line.split("\t") for line in app.window.inspector.summary.all_as_text().splitlines())
    assert numbers["Inf"] == "0" and 1e39 < float(numbers["L2"]) < 1e300
    picture = app.window.inspector.picture
    app.window.inspector.tabs.setCurrentWidget(picture)
    app.wait(lambda: picture.picture is not None)
    assert not picture._strip._keys, "nothing in the picture is called infinite"
