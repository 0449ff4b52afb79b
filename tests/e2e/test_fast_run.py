"""A run that is faster than the window: every step arrives, in order, and what happened in one step is found at that step."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol.phases import RunUntil
from gradscope.protocol.subjects import INF, NAN, SubjectKey, SubjectKind
from gradscope.state.records.block import MAX_STEPS
from gradscope.state.records.cells import Origin, largest
from gradscope.ui.plots.charts.heat_map import HeatMap
from tests.e2e.driver import App
from tests.ui.fakes import light_themes

STEPS = MAX_STEPS + 110
FAULTS = {17: "nan", **{step: ("nan", "inf", "spike")[step % 3] for step in range(149, STEPS, 101)}}
PATIENCE_MS = 60_000
RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

FAULTS = {faults!r}

class Odd(nn.Module):
    calls = 0

    def forward(self, x):
        fault = FAULTS.get(self.calls)
        self.calls += 1
        odd = x * 1.0
        if fault is not None:
            odd[0, 0] = {{"nan": float("nan"), "inf": float("inf"), "spike": 1e6}}[fault]
        return odd

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.odd, self.last = nn.Linear(3, 4), Odd(), nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.first(x))
        self.odd(x.detach())
        return self.last(x)

def recipe():
    model = Net()
    data = [(torch.randn(3), torch.randn(2)) for _ in range(50)]
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=1,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.001), name="Fast")
"""
PLAIN = """
import json, sys, torch
from torch.utils.data import DataLoader
torch.manual_seed(0)
space = dict()
exec(open(sys.argv[1]).read(), space)
recipe = space["recipe"]()
loader = DataLoader(recipe.dataset, 1, shuffle=True, generator=torch.Generator().manual_seed(0))
losses = []
while len(losses) < {steps}:
    for x, y in loader:
        recipe.optimizer.zero_grad()
        loss = recipe.loss(recipe.model(x), y)
        loss.backward()
        recipe.optimizer.step()
        losses.append(loss.item())
print(json.dumps(losses[:{steps}]))
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fast") / "fast.py"
    path.write_text(RECIPE.format(faults=FAULTS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plain_losses(recipe: Path) -> list[float]:
    """What the same training is without gradscope."""
    program = PLAIN.format(steps=STEPS)
    told = subprocess.run([sys.executable, "-c", program, recipe], capture_output=True, text=True, check=True).stdout
    losses: list[float] = json.loads(told)
    return losses


def found_faults(app: App) -> dict[int, str]:
    """What the history has of the odd layer, by step."""
    block = app.state.history.blocks[SubjectKind.ACTIVATION]
    key = SubjectKey(SubjectKind.ACTIVATION, "odd")
    row = block.index_of(key)
    nan, inf = block.series(key, NAN), block.series(key, INF)
    size = largest(np.stack([block.series(key, column) for column in range(9)]))
    bad, greatest = block.origins(Origin.BAD)[row], block.origins(Origin.LARGEST)[row]
    faults = {int(bad[at]): "nan" if nan[at] else "inf" for at in np.flatnonzero((nan > 0) | (inf > 0))}
    return faults | {int(greatest[at]): "spike" for at in np.flatnonzero(size > 1e5)}


@pytest.mark.parametrize("slowness_secs", [0.0, 0.25])
def test_no_step_is_missing_after_a_fast_run(
    app: App, qtbot: QtBot, recipe: Path, plain_losses: list[float], tmp_path: Path, slowness_secs: float
) -> None:
    assert len(FAULTS) == 16
    app.open(recipe)
    if slowness_secs:
        app.controller.refreshed.connect(lambda _topics: time.sleep(slowness_secs))
    app.run(RunUntil.STEPS, STEPS)
    app.wait(lambda: not app.state.position.running, PATIENCE_MS)
    state, history = app.state, app.state.history
    assert state.failure is None and state.skipped_reports == 0
    assert history.every_loss.steps.tolist() == list(range(STEPS))
    assert history.every_loss.values[:, 0].tolist() == plain_losses
    assert history.loss.steps.tolist() == history.lr.steps.tolist() == list(range(STEPS))
    assert found_faults(app) == FAULTS
    for kind in (SubjectKind.ACTIVATION, SubjectKind.GRAD, SubjectKind.UPDATE):
        # As many columns as one step after the other would have made.
        assert history.blocks[kind].steps.tolist() == [*range(1, STEPS, 2)]
    chart = HeatMap(app.controller, light_themes(tmp_path), title="Activations")
    qtbot.addWidget(chart)
    chart.resize(900, 400)
    chart.show()
    chart.redraw()
    row = chart._keys.index(SubjectKey(SubjectKind.ACTIVATION, "odd"))
    x, y = chart._crosses.getData()
    assert set(x[y == row].tolist()) == {step for step, fault in FAULTS.items() if fault != "spike"}


def test_a_run_can_be_paused_and_reset_while_the_window_lags(app: App, recipe: Path) -> None:
    app.open(recipe)
    app.controller.refreshed.connect(lambda _topics: time.sleep(0.2))
    for until in (150, 400):
        app.run()
        app.wait(lambda until=until: app.state.position.step > until)
        app.controller.pause()
        app.wait_for_rest()
        # A step that is under way has no loss of its own before its forward is done.
        done = app.state.position.step
        assert app.state.history.every_loss.steps.tolist()[:done] == list(range(done))
        assert len(app.state.history.every_loss) <= done + 1
    app.run()
    app.wait(lambda: app.state.position.step > 500)
    app.controller.reset()
    app.wait(lambda: app.state.opening is None and app.state.position.step == 0)
    app.run(RunUntil.STEPS, 30)
    app.wait_for_rest()
    assert app.state.history.every_loss.steps.tolist() == list(range(30))
