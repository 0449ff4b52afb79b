"""Why a parameter moved, and whether its gradient is right, through the inspector of the real app."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gradscope.protocol.phases import Verb
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.docks.inspector import InspectorDock
from tests.e2e.driver import App

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 3 * x

    @staticmethod
    def backward(ctx, gradient):
        return {slope} * gradient

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return Scaled.apply(self.linear(x))

def recipe():
    model = Net()
    data = [(torch.randn(3), torch.randn(2)) for _ in range(24)]
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
"""


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


@pytest.fixture
def open_recipe(app: App, tmp_path: Path) -> Callable[[float], InspectorDock]:
    def open_it(slope: float) -> InspectorDock:
        path = tmp_path / "scaled.py"
        path.write_text(RECIPE.format(slope=slope), encoding="utf-8")
        app.open(path)
        app.controller.select(Selection.of_subject(SubjectKey(SubjectKind.PARAMETER, "linear.weight")))
        dock = app.window.findChild(InspectorDock)
        assert isinstance(dock, InspectorDock)
        return dock

    return open_it


def test_a_step_is_explained(app: App, open_recipe: Callable[[float], InspectorDock]) -> None:
    dock = open_recipe(3)
    dock.tabs.setCurrentWidget(dock.why)
    app.wait(lambda: "Step (F7)" in dock.why.message)
    for _ in range(2):
        app.go(Verb.NEXT_BATCH)
    app.wait(lambda: dock.why.message == "" and dock.why.model.rowCount() == 4)
    names = [dock.why.model.index(row, 0).data() for row in range(4)]
    assert names == ["gradient", "momentum", "rounding", "= delta"]
    assert "Step 1, by SGD. Unexplained:" in dock.why.facts and "No update was lost" in dock.why.facts
    app.go(Verb.FORWARD)
    assert dock.why.message == "", "it stays"


@pytest.mark.parametrize(("slope", "sign"), [(3, "✓"), (2.9, "✗")])
def test_a_gradient_is_checked(
    app: App, qtbot: QtBot, open_recipe: Callable[[float], InspectorDock], slope: float, sign: str
) -> None:
    dock = open_recipe(slope)
    dock.tabs.setCurrentWidget(dock.check)
    app.wait(lambda: "Press Forward (F5)" in dock.check.message)
    assert not dock.check.button.isEnabled()
    app.go(Verb.FORWARD)
    app.go(Verb.BACKWARD)
    app.wait(dock.check.button.isEnabled)
    qtbot.mouseClick(dock.check.button, Qt.MouseButton.LeftButton)
    app.wait(lambda: dock.check.model.rowCount() == 6 and not dock.check.message.startswith("Checking"))
    assert dock.check.message.startswith(sign)
    assert dock.check.model.index(0, 0).data().startswith(sign)
    app.go(Verb.STEP)
    assert app.state.position.step == 1 and app.state.failure is None
