"""After a failed backward the app offers to find its line."""

from pathlib import Path

from gradscope.protocol.phases import Verb
from tests.e2e.driver import App

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.out = nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, x):
        y = self.inside(x).sigmoid()
        y += 1
        return self.out(y)


def recipe():
    model, x = Net(), torch.randn(8, 3)
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), 0.1))
"""


def test_the_line_is_found_by_one_press(app: App, tmp_path: Path) -> None:
    path = tmp_path / "inplace.py"
    path.write_text(RECIPE, encoding="utf-8")
    app.open(path)
    app.go(Verb.NEXT_BATCH)
    bar = app.window.failure_bar
    app.wait(lambda: bar.isVisible() and bar.trace.isVisible())
    assert "SigmoidBackward0" not in bar.sentence.text()
    bar.trace.click()
    app.wait(lambda: "failed at SigmoidBackward0, the backward of inplace.py, line 13" in bar.sentence.text())
    assert not bar.trace.isVisible()
    assert bar.details.toPlainText().startswith("In the forward:")
    assert app.state.position.step == 0
