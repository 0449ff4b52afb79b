"""Names that are HTML, drive terminals or turn the direction of writing: the whole window shows them as what they are."""

import csv
import html
import re
from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import QAbstractItemModel, QModelIndex, Qt
from PySide6.QtGui import QAction
from PySide6.QtGui import Qt as GuiQt
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QComboBox,
    QGroupBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QTabBar,
    QWidget,
)

from gradscope.protocol.messages import Exported
from gradscope.protocol.parts import EVERYTHING
from gradscope.protocol.phases import Verb
from gradscope.protocol.subjects import SubjectKind
from gradscope.protocol.visible import visible
from gradscope.snapshots.reader import open_snapshot
from gradscope.state.selection import Selection
from tests.e2e.driver import App

EVIL = "<b>bold</b>\u202egnp\n\x1b[31m&x"
"""A tag, an override of direction, a line break, an escape sequence, a shortcut."""
RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

EVIL = {evil!r}
TOLD = EVIL.replace("\\n", " ")

class Layer(nn.Linear):
    def extra_repr(self):
        return EVIL

Layer.__name__ = Layer.__qualname__ = "Layer" + EVIL

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("layer" + EVIL, Layer(3, 2))
        self.register_parameter("scale" + EVIL, nn.Parameter(torch.ones(2)))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3 and self.training:
            raise ValueError("failed" + TOLD)
        print("printed" + TOLD)
        return getattr(self, "layer" + EVIL)(x) * getattr(self, "scale" + EVIL)

def metric(outputs, targets):
    return float((outputs - targets).abs().mean())

def step(model, batch):
    inputs, targets = batch
    return nn.functional.mse_loss(model(inputs), targets)

def validation_step(model, batch):
    outputs = model(batch[0])
    return nn.functional.mse_loss(outputs, batch[1]), outputs

def recipe():
    torch.manual_seed(0)
    model = Net()
    data = [(torch.randn(3), torch.randn(2)) for _ in range(8)]
    parameters = list(model.parameters())
    return Recipe(model=model, dataset=data, validation=data, loss=nn.MSELoss(), batch_size=4,
                  validation_step=validation_step,
                  training_step={{"first" + EVIL: step, "second" + EVIL: step}},
                  metrics={{"metric" + EVIL: metric}}, name="recipe" + EVIL, description="said" + EVIL,
                  optimizer={{"first" + EVIL: torch.optim.SGD(parameters[:1], lr=0.01, momentum=0.9),
                             "second" + EVIL: torch.optim.SGD(parameters[1:], lr=0.01)}})
"""
_BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def texts(window: QWidget) -> Iterator[tuple[str, str, bool]]:
    """(where, text, whether Qt looks for HTML in it) of everything in a window."""
    for widget in [window, *window.findChildren(QWidget)]:
        where = f"{type(widget).__name__} {widget.objectName()}"
        yield f"{where} tooltip", widget.toolTip(), True
        yield f"{where} title", widget.windowTitle(), False
        yield f"{where} name", widget.accessibleName(), False
        yield f"{where} description", widget.accessibleDescription(), False
        if isinstance(widget, QLabel):
            yield f"{where} text", widget.text(), widget.textFormat() is not Qt.TextFormat.PlainText
        elif isinstance(widget, QAbstractButton | QLineEdit):
            yield f"{where} text", widget.text(), False
        elif isinstance(widget, QGroupBox):
            yield f"{where} title", widget.title(), False
        elif isinstance(widget, QPlainTextEdit):
            yield f"{where} text", widget.toPlainText(), False
        elif isinstance(widget, QComboBox):
            yield from of_model(where, widget.model())
        elif isinstance(widget, QTabBar):
            for i in range(widget.count()):
                yield f"{where} tab", widget.tabText(i), False
                yield f"{where} tab tooltip", widget.tabToolTip(i), True
        elif isinstance(widget, QAbstractItemView) and widget.model() is not None:
            yield from of_model(where, widget.model())
    for action in window.findChildren(QAction):
        yield f"action {action.objectName()}", action.text(), False
        yield f"action {action.objectName()} tooltip", action.toolTip(), True


def of_model(where: str, model: QAbstractItemModel) -> Iterator[tuple[str, str, bool]]:
    roles = {
        Qt.ItemDataRole.DisplayRole: False,
        Qt.ItemDataRole.AccessibleTextRole: False,
        Qt.ItemDataRole.ToolTipRole: True,
    }
    for orientation in Qt.Orientation:
        for section in range(
            min(50, model.columnCount() if orientation is Qt.Orientation.Horizontal else model.rowCount())
        ):
            for role, may_be_html in roles.items():
                yield f"{where} header {role.name}", str(model.headerData(section, orientation, role)), may_be_html
    waiting = [QModelIndex()]
    while waiting:
        parent = waiting.pop()
        for row in range(min(50, model.rowCount(parent))):
            waiting.append(model.index(row, 0, parent))
            for column in range(min(20, model.columnCount(parent))):
                for role, may_be_html in roles.items():
                    found = model.index(row, column, parent).data(role)
                    yield f"{where} {row},{column} {role.name}", str(found), may_be_html


def problems(window: QWidget) -> dict[str, str]:
    """Where a text is not what it is."""
    found = {}
    for where, text, may_be_html in texts(window):
        is_html = may_be_html and GuiQt.mightBeRichText(text)
        shown = html.unescape(re.sub("<[^>]*>", "", text)) if is_html else text
        if _BAD.search(text) or "\n\\x1b[31m" in text or (is_html and "bold" in text and "<b>bold</b>" not in shown):
            found[where] = text
    return found


class Looker:
    """Looks at the whole window, at every tab and with each of the evil names selected."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.found: dict[str, str] = {}
        self.seen: set[str] = set()

    def look(self) -> None:
        window, controller = self.app.window, self.app.controller
        for index in range(window.workspace.count()):
            window.workspace.setCurrentIndex(index)
            controller.flush()
        for name, is_parameter in (("layer" + EVIL, False), ("scale" + EVIL, True)):
            controller.select(Selection.of_node(name, is_parameter=is_parameter, kind=SubjectKind.ACTIVATION))
            for index in range(window.inspector.tabs.count()):
                if window.inspector.tabs.isTabVisible(index):
                    window.inspector.tabs.setCurrentIndex(index)
                controller.flush()
            self.found |= problems(window)
            self.seen |= {
                word
                for word in ("recipe", "layer", "scale", "metric", "first", "second", "Layer")
                for _, text, _ in texts(window)
                if visible(word + EVIL) in html.unescape(text)
            }


def test_the_window_shows_every_name_as_what_it_is(app: App, tmp_path: Path) -> None:
    path = tmp_path / "evil.py"
    path.write_text(RECIPE.format(evil=EVIL), encoding="utf-8")
    app.open(path)
    assert app.state.session is not None, app.state.failure
    looker = Looker(app)
    looker.look()
    for _ in range(2):
        for verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP):
            app.go(verb)
    looker.look()
    replies: list[object] = []
    snapshot = tmp_path / "snapshot"
    app.controller.export_snapshot(str(snapshot), EVERYTHING, (), replies.append)
    app.wait(lambda: bool(replies))
    assert isinstance(replies[0], Exported), replies
    app.go(Verb.FORWARD)
    assert app.state.failure is not None
    assert "failed<b>bold</b>" in app.state.failure.sentence
    looker.look()
    assert any("printed<b>bold</b>\\u202egnp" in text for _, text, _ in texts(app.window))
    assert looker.seen == {"recipe", "layer", "scale", "metric", "first", "second", "Layer"}

    app.window.commands.open_file(str(snapshot))
    app.wait(lambda: app.state.snapshot is not None)
    looker.look()
    assert looker.found == {}

    page = (snapshot / "report.html").read_text(encoding="utf-8")
    assert not _BAD.search(page)
    assert html.escape(visible("layer" + EVIL)) in page
    assert "<b>bold" not in page
    # Files for machines keep the true names.
    with (snapshot / "summaries.csv").open(encoding="utf-8", newline="") as table:
        assert any("layer" + EVIL in row for row in csv.reader(table))
    assert "layer" + EVIL in {module.name for module in open_snapshot(snapshot).session.modules}
