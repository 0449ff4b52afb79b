"""Where NaN or Inf begins, in the window: the run stops there, the sign stays and leads there, everything shows it as bad."""

from pathlib import Path

import pytest

from gradscope.protocol.nonfinite import Stage
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot
from gradscope.state.reopened import state_of
from gradscope.ui.look.settings import Setting
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from tests.e2e.driver import App
from tests.faulty_recipes import NAN_IN_THE_STEP

LATE = """
import torch
from torch import nn
from gradscope import Recipe

class Odd(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x / (0 if self.calls > 3 else 1)

def recipe():
    model = nn.Sequential(nn.Linear(2, 4), Odd(), nn.Linear(4, 1))
    x = torch.randn(8, 2)
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), 0.1))
"""


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


@pytest.fixture
def late(tmp_path: Path) -> Path:
    path = tmp_path / "late.py"
    path.write_text(LATE, encoding="utf-8")
    return path


def test_a_run_stops_and_the_sign_leads_there(app: App, late: Path) -> None:
    app.open(late)
    sign, height = app.window.status.nonfinite, app.window.status.height()
    least = app.window.minimumSizeHint().height()
    assert sign.isHidden()
    app.run(RunUntil.STEPS, 20)
    app.wait_for_rest()
    assert (app.state.position.rest, app.state.position.step) == (Rest.FORWARD, 3)
    first = app.state.first_nonfinite
    assert first is not None and (first.step, first.stage, first.place) == (3, Stage.FORWARD, "1 (Odd)")
    assert first.operation is not None and first.operation.code == "return x / (0 if self.calls > 3 else 1)"
    assert [line.text for line in app.state.log.lines].count(first.sentence) == 1
    assert sign.isVisible() and sign.go.text() == first.title == "First Inf: step 3, forward, 1 (Odd)"
    assert first.sentence in sign.go.toolTip().replace("&gt;", ">")
    assert app.window.status.height() == height and app.window.minimumSizeHint().height() <= least

    chart = app.window.workspace.findChild(LossChart)
    assert [point["x"] for point in chart._ends.data] == [3]
    assert "step 3" in chart.readout.text() and chart.readout.text().startswith(("NaN since", "Inf since", "Inf in"))

    sign.go.click()
    app.controller.flush()
    assert app.state.selection.subject == SubjectKey(SubjectKind.ACTIVATION, "1")
    assert app.window.workspace.currentIndex() == 1

    # Told once: a run goes on from there, and so does the sign.
    app.run(RunUntil.STEPS, 2)
    app.wait_for_rest()
    assert app.state.position.step == 5 and sign.isVisible()
    sign.close_button.click()
    app.controller.flush()
    assert sign.isHidden() and app.state.first_nonfinite == first

    # Another session knows nothing of it.
    app.open(late)
    assert app.state.first_nonfinite is None and sign.isHidden()


def test_next_batch_stops_inside_the_step(app: App, late: Path) -> None:
    app.open(late)
    for _ in range(4):
        app.go(Verb.NEXT_BATCH)
    assert (app.state.position.rest, app.state.position.step) == (Rest.FORWARD, 3)
    assert app.state.first_nonfinite is not None and app.state.first_nonfinite.step == 3
    app.go(Verb.NEXT_BATCH)
    assert (app.state.position.rest, app.state.position.step) == (Rest.READY, 4), "told once"

    app.controller.settings.set(Setting.STOP_AT_NONFINITE, False)
    app.open(late)
    for _ in range(4):
        app.go(Verb.NEXT_BATCH)
    assert (app.state.position.rest, app.state.position.step) == (Rest.READY, 4)


LOSS = """
import torch
from torch import nn
from gradscope import Recipe

def loss(x, y):
    return (x - y).log().mean()

def recipe():
    model = nn.Linear(2, 1)
    x = torch.randn(8, 2)
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    return Recipe(model=model, dataset=data, loss=loss, optimizer=torch.optim.SGD(model.parameters(), 0.1))
"""


def test_nan_of_the_loss_function_is_told_with_its_line(app: App, tmp_path: Path) -> None:
    path = tmp_path / "loss.py"
    path.write_text(LOSS, encoding="utf-8")
    app.open(path)
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.rest is Rest.FORWARD
    first = app.state.first_nonfinite
    assert first is not None and first.title == "First NaN: step 0, loss"
    assert first.sentence.endswith("; made by log in loss.py, line 7: return (x - y).log().mean()")
    assert first.sentence in app.window.status.nonfinite.go.toolTip().replace("&gt;", ">")


def test_a_run_goes_on_where_it_is_told_to(app: App, late: Path) -> None:
    app.controller.settings.set(Setting.STOP_AT_NONFINITE, False)
    app.open(late)
    app.run(RunUntil.STEPS, 20)
    app.wait_for_rest()
    assert app.state.position.step == 20
    assert app.state.first_nonfinite is not None and app.state.first_nonfinite.step == 3
    chart = app.window.workspace.findChild(LossChart)
    assert chart.readout.text().endswith(" since step 3")


def test_a_step_that_makes_nan(app: App, tmp_path: Path) -> None:
    path = tmp_path / "step.py"
    path.write_text(NAN_IN_THE_STEP, encoding="utf-8")
    app.open(path)
    app.run(RunUntil.STEPS, 20)
    app.wait_for_rest()
    assert (app.state.position.rest, app.state.position.step) == (Rest.READY, 1)
    first = app.state.first_nonfinite
    assert first is not None and first.title == "First NaN: step 0, update, weight"
    app.window.status.nonfinite.go.click()
    app.controller.flush()
    assert app.state.selection.subject == SubjectKey(SubjectKind.UPDATE, "weight")
    page = app.window.workspace.currentWidget()
    assert app.window.workspace.currentIndex() == 3 and page is not None and page.findChild(HistoryTab) is not None
    why = app.window.inspector.why
    app.window.inspector.tabs.setCurrentWidget(why)
    app.wait(lambda: "NaN or Inf: the gradient or the change of 1 of 2 elements" in why.facts)
    assert "every element with a gradient moved" not in why.facts


def test_a_snapshot_tells_of_it(app: App, late: Path, tmp_path: Path) -> None:
    app.open(late)
    for _ in range(3):
        app.go(Verb.NEXT_BATCH)
    app.go(Verb.FORWARD)
    first = app.state.first_nonfinite
    assert first is not None
    replies: list[object] = []
    app.controller.export_snapshot(str(tmp_path / "out.zip"), frozenset(), [], replies.append)
    app.wait(lambda: bool(replies))
    assert state_of(open_snapshot(tmp_path / "out.zip")).first_nonfinite == first
