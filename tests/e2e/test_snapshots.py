"""Snapshots in the window: shown as their session was, compared, and left again. The engine and the files are real."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope.engine.export.snapshot import write_snapshot
from gradscope.protocol import messages as m
from gradscope.protocol.parts import EVERYTHING, Part
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot
from gradscope.state.comparison import Verdict
from gradscope.state.engine import EngineStatus
from gradscope.state.selection import Selection
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.snapshot_export import SnapshotExport
from gradscope.ui.actions.table import TABLE
from gradscope.ui.app import build
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.look.settings import Settings
from gradscope.ui.plots.charts.picture_chart import PictureChart
from gradscope.ui.plots.parts.chart import Chart
from tests.e2e.driver import App
from tests.snapshots import made

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "linear.weight")
GRAD = SubjectKey(SubjectKind.GRAD, "linear.weight")
ACTIVATION = SubjectKey(SubjectKind.ACTIVATION, "linear")
FIRST = SubjectKey(SubjectKind.PARAMETER, "0.weight")
"""Of the model that `two` are snapshots of."""


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


@pytest.fixture
def still(qapp: QApplication, qtbot: QtBot) -> Iterator[App]:
    """The app without an engine."""
    window = build(qapp, Settings())
    window.show()
    yield App(window, qtbot)
    window.close()
    window.deleteLater()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two snapshots of a small model, three phases apart."""
    folder = tmp_path_factory.mktemp("two")
    with made.session() as session:
        write_snapshot(session, folder / "first.zip")
        for _ in range(3):
            session.advance()
        write_snapshot(session, folder / "second")
    return folder / "first.zip", folder / "second"


def export(app: App, path: Path) -> Path:
    """As the dialog does it, but for the pictures."""
    written: list[object] = []
    job = SnapshotExport(app.controller, app.window.workspace.each_plot_image)
    job.finished.connect(lambda *_: written.append(path))
    job.prepare()
    job.start(path, EVERYTHING - {Part.PLOTS, Part.REPORT})
    app.wait(lambda: bool(written))
    job.close()
    return path


def show(app: App, path: Path) -> None:
    app.window.commands.open_file(str(path))
    app.wait(lambda: app.state.opening is None)


def fetch(app: App, request: Any) -> Any:
    replies: list[Any] = []
    app.controller.fetch(request, replies.append)
    app.wait(lambda: bool(replies))
    return replies[0]


def trained(app: App, path: Path, steps: int = 3) -> None:
    """A session that has made some steps, and the forward and backward of another."""
    app.open(path)
    app.run(RunUntil.STEPS, steps)
    app.wait(lambda: app.state.position.step == steps and not app.state.position.running)
    app.go(Verb.FORWARD)
    app.go(Verb.BACKWARD)


def compared(app: App, path: Path) -> dict[SubjectKey, Verdict]:
    app.window.comparer.start(str(path))
    app.wait(lambda: not app.window.comparer.is_busy)
    comparison = app.window.comparer.comparison
    assert comparison is not None
    return {row.key: row.verdict for row in comparison.rows}


def shown(app: App) -> dict[str, Any]:
    """What the window shows in numbers and words, of everything that a snapshot keeps."""
    window = app.window
    app.controller.flush()
    tree = window.layers.model
    found: dict[str, Any] = {
        "layers": [[tree.data(index) for index in _rows(tree, tree.index(0, 0))]],
        "strip": window.phase_strip.readout.accessibleName(),
        "moments": [
            [
                str(window.moments.model.index(row, column).data())
                for column in range(window.moments.model.columnCount())
            ]
            for row in range(window.moments.model.rowCount())
        ],
    }
    for tab in range(5):
        window.workspace.setCurrentIndex(tab)
        page = window.workspace.currentWidget()
        app.wait(lambda page=page: any(chart.isVisible() for chart in page.findChildren(Chart)))
        for number, chart in enumerate(page.findChildren(Chart)):
            found[f"{type(chart).__name__} {number} of tab {tab}"] = chart.message or _numbers(chart, app)
    for key in (WEIGHT, GRAD, ACTIVATION):
        app.controller.select(Selection.of_subject(key))
        app.controller.flush()
        found[f"summary of {key}"] = window.inspector.summary.all_as_text()
        found[f"page of {key}"] = fetch(app, m.FetchPage(subject=key)).values.tolist()
        picture = fetch(app, m.FetchPicture(subject=key))
        found[f"picture of {key}"] = (picture.values.tolist(), picture.block)
        histogram = fetch(app, m.FetchHistogram(subject=key))
        found[f"histogram of {key}"] = (histogram.counts.tolist(), histogram.edges.tolist())
        found[f"inspector of {key}"] = _inspected(app, window.inspector)
    return found


def _numbers(chart: Chart, app: App) -> Any:
    table = chart.table(app.state)
    cells = [[str(table.cell(row, column)) for column in range(len(table.headers))] for row in range(table.rows)]
    # What is still to come is no part of a snapshot.
    return table.headers, [row for row in cells if "foretold" not in row]


def _rows(model: Any, parent: Any) -> list[Any]:
    own = [model.index(parent.row(), column, parent.parent()) for column in range(model.columnCount())]
    return own + [index for row in range(model.rowCount(parent)) for index in _rows(model, model.index(row, 0, parent))]


def _inspected(app: App, inspector: InspectorDock) -> list[list[str]]:
    """The values as the inspector's own table shows them."""
    inspector.tabs.setCurrentWidget(inspector.values)
    model = inspector.values.model

    def texts() -> list[list[str]]:
        return [[model.index(row, c).data() for c in range(model.columnCount())] for row in range(model.rowCount())]

    app.wait(lambda: bool(texts()) and not any("…" in cell for row in texts() for cell in row))
    return texts()


def test_it_shows_what_the_session_showed(app: App, write_recipe: Callable[..., Path], tmp_path: Path) -> None:
    trained(app, write_recipe())
    live = shown(app)
    assert any("LossChart" in what for what in live) and any("Heat" in what for what in live)
    for name in ("shot", "shot.zip"):
        show(app, export(app, tmp_path / name))
        assert app.state.snapshot is not None and app.state.failure is None
        assert app.window.windowTitle().startswith("Snapshot of Little net, step 3, written 20")
        assert app.window.band.isVisible()
        found = shown(app)
        assert found.keys() == live.keys()
        for what, value in live.items():
            assert found[what] == value, what
        app.window.actions_[ActionId.CLOSE_SNAPSHOT].trigger()
        app.controller.flush()
        assert app.state.snapshot is None and app.window.windowTitle() == "Little net – gradscope"
        assert app.state.position.rest is Rest.BACKWARD
    app.go(Verb.STEP)
    assert app.state.position.step == 4


def test_it_can_be_looked_at_and_nothing_else(still: App, two: tuple[Path, Path]) -> None:
    app = still
    show(app, two[0])
    for action_id, row in TABLE.items():
        if row.verb is not None:
            action = app.window.actions_[action_id]
            assert not action.isEnabled() and "cannot be trained" in action.toolTip()
    app.controller.go(Verb.STEP)
    app.controller.run(RunUntil.PAUSED)
    app.controller.pause()
    app.controller.reset()
    app.controller.flush()
    assert app.state.snapshot is not None and app.state.position.step == 1 and not app.state.position.running
    assert app.state.engine.status is EngineStatus.STOPPED
    assert any("Snapshot" in line.text and "step 1" in line.text for line in app.state.log.lines)
    app.window.actions_[ActionId.CLOSE_SNAPSHOT].trigger()
    app.controller.flush()
    assert app.state.session is None and app.window.start_page.isVisible()


def test_the_session_goes_on_behind_it_until_a_recipe_takes_its_place(
    app: App, write_recipe: Callable[..., Path], two: tuple[Path, Path]
) -> None:
    recipe = write_recipe("print('stepped', flush=True); time.sleep(0.01)")
    app.open(recipe)
    session = app.state
    app.run(RunUntil.PAUSED)
    show(app, two[0])
    before = session.position.step
    app.wait(lambda: session.position.step > before + 2)
    assert app.state is not session and app.state.position.step == 1
    lines = app.window.log.view.toPlainText().count("stepped")
    app.wait(lambda: app.window.log.view.toPlainText().count("stepped") > lines)
    app.controller.close_snapshot()
    assert app.state is session
    app.controller.pause()
    app.wait_for_rest()
    show(app, two[1])
    app.open(recipe)
    assert app.state is session and app.state.position.step == 0 and not app.window.band.isVisible()
    # Also of one that is still being read.
    app.window.commands.open_file(str(two[0]))
    app.open(recipe)
    app.go(Verb.NEXT_BATCH)
    assert app.state is session and app.state.position.step == 1


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"{}"], ids=["empty", "cut off", "no zip"])
def test_a_hostile_file_is_one_sentence(still: App, content: bytes, two: tuple[Path, Path], tmp_path: Path) -> None:
    app, path = still, tmp_path / "hostile.zip"
    path.write_bytes(content)
    show(app, path)
    assert app.state.failure is not None and app.state.session is None
    assert app.window.failure_bar.isVisible()
    sentence = app.window.failure_bar.sentence.text()
    assert str(path) in sentence and "\n" not in sentence
    show(app, two[0])
    assert app.state.snapshot is not None and not app.window.failure_bar.isVisible()
    show(app, path)
    assert app.state.snapshot is not None and app.state.snapshot.path == str(two[0]), "it stays"
    assert app.window.failure_bar.isVisible()
    app.window.comparer.start(str(path))
    app.wait(lambda: not app.window.comparer.is_busy)
    assert app.state.failure is not None and "hostile.zip" in app.state.failure.sentence
    assert not app.window.compare.isVisible()


def test_a_snapshot_that_is_damaged_later_says_so_in_the_inspector(still: App, tmp_path: Path) -> None:
    path = made.write(tmp_path / "shot")
    show(still, path)
    (path / "parameters.safetensors").write_bytes(b"")
    reply = fetch(still, m.FetchPage(subject=FIRST))
    assert isinstance(reply, m.Unavailable) and "parameters.safetensors" in reply.reason
    assert isinstance(fetch(still, m.FetchPage(subject=SubjectKey(SubjectKind.GRAD, FIRST.name))), m.Page)


# ------------------------------------------------------------------------------------------------------ comparing


def test_now_with_a_snapshot(app: App, write_recipe: Callable[..., Path], tmp_path: Path, qtbot: QtBot) -> None:
    trained(app, write_recipe())
    path = export(app, tmp_path / "shot.zip")
    assert set(compared(app, path).values()) == {Verdict.IDENTICAL}
    assert app.window.compare.isVisible()
    assert "identical" in app.window.compare.content.result.text()
    app.go(Verb.NEXT_BATCH)
    app.wait(lambda: "moved on" in app.window.compare.content.result.text())
    app.go(Verb.FORWARD)
    app.go(Verb.BACKWARD)
    qtbot.mouseClick(app.window.compare.content.again, Qt.MouseButton.LeftButton)
    app.wait(lambda: not app.window.comparer.is_busy)
    comparison = app.window.comparer.comparison
    assert comparison is not None and not comparison.is_stale
    row = comparison.row(WEIGHT)
    assert row is not None and row.verdict is Verdict.DIFFERENT and row.difference is not None
    then = open_snapshot(path).values(WEIGHT).astype(np.float64)
    now = fetch(app, m.FetchPage(subject=WEIGHT)).values
    gap = np.abs(now - then)
    assert row.difference.absolute == gap.max() and row.difference.at == np.unravel_index(gap.argmax(), gap.shape)
    app.controller.select(Selection.of_subject(WEIGHT))
    chart = app.window.inspector.difference
    assert isinstance(chart, PictureChart)
    app.wait(lambda: chart.picture is not None and chart.picture.subject == WEIGHT)
    assert chart.picture is not None
    np.testing.assert_array_equal(chart.picture.values, (now - then).astype(np.float32))
    app.window.comparer.close()
    app.controller.flush()
    assert not app.window.compare.isVisible()


def test_two_snapshots(still: App, two: tuple[Path, Path]) -> None:
    app, (first, second) = still, two
    show(app, first)
    assert set(compared(app, first).values()) == {Verdict.IDENTICAL}
    verdicts = compared(app, second)
    assert verdicts[FIRST] is Verdict.DIFFERENT
    row = app.window.comparer.comparison.row(FIRST)  # type: ignore[union-attr]
    a, b = (open_snapshot(path).values(FIRST).astype(np.float64) for path in two)
    assert row is not None and row.absolute == np.abs(a - b).max()
    picture = fetch(app, m.FetchDifferencePicture(path=str(second), subject=FIRST))
    np.testing.assert_array_equal(picture.values, (a - b).astype(np.float32))
    app.controller.close_snapshot()
    app.wait(lambda: "moved on" in app.window.compare.content.result.text())


# --------------------------------------------------------------------------------------------------- without torch

WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "safetensors"):
            raise ImportError(name)

sys.meta_path.insert(0, Missing())

from PySide6.QtCore import QTimer
from gradscope import cli
from gradscope.protocol.messages import FetchPage, Page
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.engine import EngineStatus
from gradscope.ui import app as stages

first, second = sys.argv[1:]
found = []

def look(window):
    controller = window.controller
    if controller.state.snapshot is None:
        QTimer.singleShot(50, lambda: look(window))
        return
    assert controller.state.session.name == "Small"
    controller.fetch(FetchPage(subject=SubjectKey(SubjectKind.PARAMETER, "0.weight")), found.append)
    window.comparer.start(second)
    wait(window)

def wait(window):
    # The views are told a few at a time, the title among the last.
    is_told = window.windowTitle() != "gradscope"
    if not found or window.comparer.is_busy or not is_told:
        QTimer.singleShot(50, lambda: wait(window))
        return
    assert isinstance(found[0], Page) and found[0].values.shape == (4, 6)
    assert window.comparer.comparison is not None
    assert window.controller.state.engine.status is EngineStatus.STOPPED
    assert "torch" not in sys.modules
    print(window.windowTitle())
    window.close()

start = stages.start_engine

def started(window, options):
    start(window, options)
    look(window)

stages.start_engine = started
sys.exit(cli.main([first]))
"""


def test_a_machine_without_torch(two: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, two)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Snapshot of Small, step 1, written 20")
    assert "Traceback" not in done.stderr
