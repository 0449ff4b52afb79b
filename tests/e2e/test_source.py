"""The Source panel against the real engine: where it is stopped, and which line made a call."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.assets import sample_path
from gradscope.protocol.phases import Rest, Verb
from tests.e2e.driver import App
from tests.engine.gate import Gate

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        {wait}
        return self.linear(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Block(), nn.ReLU())

    def forward(self, x):
        return self.blocks(x)

def recipe():
    model = Net()
    data = [(torch.randn(3), torch.randn(3)) for _ in range(24)]
    return Recipe(model=model, dataset=data, loss=nn.MSELoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.01))
"""


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


@pytest.fixture
def choose(app: App) -> Callable[[str], None]:
    """Select the row of a layer's call in Moments, as a click does."""

    def choose(layer: str) -> None:
        moments = app.window.moments
        row = moments.model.row_of(layer, is_parameter=False)
        assert row is not None
        moments.view.clicked.emit(moments.model.index(row, 0))

    return choose


def note(app: App) -> str:
    return app.window.source.title_bar.note.text()


def line_shown(app: App) -> str:
    view = app.window.source.view
    return view.document().findBlockByNumber(view.marked - 1).text().strip() if view.marked else ""


def open_source(app: App, qtbot: QtBot, path: Path) -> None:
    app.open(path)
    # On the small screen of these tests it would lie before the moments.
    app.window.resize(1440, 900)
    app.window.panel_layout.reset()
    app.window._on_source_wanted()
    qtbot.waitUntil(lambda: not app.window.source.visibleRegion().isEmpty())


def test_a_stop_inside_a_layer_of_a_layer(app: App, qtbot: QtBot, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    path = tmp_path / "stopped.py"
    path.write_text(RECIPE.format(wait=gate.code))
    open_source(app, qtbot, path)
    app.controller.go(Verb.FORWARD)
    app.wait(lambda: (tmp_path / "reached").exists())
    app.controller.pause()
    qtbot.wait(100)
    # What the panel shows is the file as it runs.
    path.write_text("# written anew\n" * 100)
    gate.open()
    app.wait(lambda: line_shown(app) != "")
    assert app.state.position.rest is Rest.IN_FORWARD
    assert line_shown(app) == "return self.linear(x)"
    assert note(app) == "stopped.py, line 13: stopped here"
    model = app.window.source.stack_model
    rows = [model.index(row, 0).data() for row in range(model.rowCount())]
    assert rows[0] == "Block.forward" and rows[2:] == ["Net.forward"]
    assert rows[1].endswith(" library frames"), "torch's Sequential calls the block"
    app.window.source.stack.setCurrentIndex(model.index(2, 0))
    assert line_shown(app) == "return self.blocks(x)"

    app.go(Verb.FORWARD)
    app.wait(lambda: line_shown(app) == "")
    assert app.window.source.stack.isHidden()
    assert note(app) == "stopped.py"


def test_a_moment_of_a_sample_leads_to_its_line(app: App, qtbot: QtBot, choose: Callable[[str], None]) -> None:
    path = sample_path("resnet")
    assert path is not None
    open_source(app, qtbot, path)
    app.go(Verb.FORWARD)
    assert app.state.session is not None
    modules = [module.name for module in app.state.session.modules if module.type == "Conv2d"]
    for layer in modules[1:4]:
        choose(layer)
        app.wait(lambda name=layer: note(app).endswith(f"calls {name}"))  # type: ignore[misc]
        assert f"self.{layer.rpartition('.')[2]}(" in line_shown(app), layer


def test_in_a_snapshot_it_says_that_there_is_none(app: App, qtbot: QtBot, tmp_path: Path) -> None:
    path = sample_path("digits_mlp")
    assert path is not None
    open_source(app, qtbot, path)
    app.go(Verb.FORWARD)
    answers: list[object] = []
    app.controller.export_snapshot(str(tmp_path / "s.zip"), (), (), answers.append)
    app.wait(lambda: bool(answers))
    app.controller.open_snapshot(str(tmp_path / "s.zip"))
    app.wait(lambda: app.state.snapshot is not None)
    assert app.window.source._empty.text().startswith("A snapshot holds no source")
    app.controller.close_snapshot()
    app.wait(lambda: app.state.snapshot is None)
    assert "Pause inside a layer" in app.window.source._empty.text()
