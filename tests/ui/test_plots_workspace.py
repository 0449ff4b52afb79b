"""The tabs: built when first seen, pictures of all of them."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PySide6.QtCore import QTimer
from PySide6.QtGui import QImage
from pytestqt.exceptions import capture_exceptions
from pytestqt.qtbot import QtBot

from gradscope.protocol.subjects import SubjectKind
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from gradscope.ui.plots.tabs.overview_tab import GradientFlow, OverviewTab
from gradscope.ui.window.tabs import Workspace
from gradscope.ui.words.quantities import Quantity
from tests.ui.fakes import (
    FakeController,
    bare_training,
    light_themes,
    small_training,
    started,
)


@pytest.fixture
def themes(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


def test_tabs_are_built_when_they_are_first_seen(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradscope.ui.widgets.room.AHEAD_MS", 600_000)
    workspace = Workspace(started(small_training(), steps=2), themes)
    qtbot.addWidget(workspace)
    assert workspace.charts() == []
    workspace.show()
    qtbot.waitUntil(lambda: len(workspace.charts()) == 4)
    for index in range(workspace.count()):
        workspace.setCurrentIndex(index)
    assert len(workspace.charts()) == 4 + 3 * 2 + 1
    workspace.setCurrentIndex(0)
    assert len(workspace.charts()) == 11


def test_tabs_are_built_ahead_while_nothing_runs(qtbot: QtBot, themes: ThemeManager) -> None:
    controller = started(small_training(), steps=2)
    workspace = Workspace(controller, themes)
    qtbot.addWidget(workspace)
    workspace.show()
    controller.state.position = replace(controller.state.position, running=True)
    qtbot.waitUntil(lambda: len(workspace.charts()) == 4)
    qtbot.wait(700)
    assert len(workspace.charts()) == 4
    controller.state.position = replace(controller.state.position, running=False)
    qtbot.waitUntil(lambda: len(workspace.charts()) == 11)
    assert workspace.currentIndex() == 0


def left_overview(qtbot: QtBot, themes: ThemeManager, *, steps: int) -> tuple[Workspace, list[Chart]]:
    """The charts of an overview that was drawn, and then left for another tab, while so many steps came."""
    training = small_training()
    controller = started(training, steps=2)
    workspace = Workspace(controller, themes)
    qtbot.addWidget(workspace)
    workspace.show()
    tab = workspace.findChildren(OverviewTab)[0]
    # Those of other tabs may have been built ahead by then.
    qtbot.waitUntil(
        lambda: len(tab.charts) == 4 and all(chart.isVisible() and not chart.is_owing for chart in tab.charts)
    )
    workspace.setCurrentIndex(workspace.count() - 1)
    controller.play(training.steps(steps))
    return workspace, tab.charts


def test_charts_that_are_seen_again_are_drawn_one_in_each_turn(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, overview = left_overview(qtbot, themes, steps=2)
    turns, drawn_in = [0], []
    redraw = Chart.redraw
    monkeypatch.setattr(Chart, "redraw", lambda chart: drawn_in.append((turns[0], chart)) or redraw(chart))  # type: ignore[func-returns-value]
    timer = QTimer()
    timer.timeout.connect(lambda: turns.__setitem__(0, turns[0] + 1))
    timer.start(0)
    workspace.setCurrentIndex(0)
    assert drawn_in == []
    qtbot.waitUntil(lambda: not any(chart.is_owing for chart in overview))
    assert [chart for _, chart in drawn_in] == overview
    assert len({turn for turn, _ in drawn_in}) == 4


def test_a_step_is_brought_into_charts_that_were_to_be_drawn_later(qtbot: QtBot, themes: ThemeManager) -> None:
    workspace, overview = left_overview(qtbot, themes, steps=400)
    workspace.setCurrentIndex(0)
    assert all(chart.is_owing for chart in overview)
    workspace.findChildren(OverviewTab)[0].bring(200)
    first, last = overview[0].plot.held_steps or (0, 0)
    assert first < 200 < last < 400
    qtbot.waitUntil(lambda: not any(chart.is_owing for chart in overview))
    assert overview[0].plot.held_steps == (first, last)


def test_a_chart_that_cannot_be_drawn_keeps_none_beside_it_from_it(
    qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    overview = OverviewTab(started(small_training(), steps=2), themes)
    qtbot.addWidget(overview)
    monkeypatch.setattr(GradientFlow, "draw", lambda _chart, _state: [][0])
    with capture_exceptions() as raised:
        overview.show()
        qtbot.waitUntil(lambda: [chart.is_owing for chart in overview.charts] == [False, True, False, False])
    assert {kind for kind, _, _ in raised} == {IndexError}


@pytest.mark.parametrize("training", [small_training(), bare_training(), None], ids=["small", "bare", "none"])
def test_every_plot_becomes_a_picture(qtbot: QtBot, themes: ThemeManager, training: object) -> None:
    controller = started(training, steps=3) if training is not None else FakeController()  # type: ignore[arg-type]
    workspace = Workspace(controller, themes)
    qtbot.addWidget(workspace)
    pictures = workspace.plot_images()
    names = {picture.name for picture in pictures}
    stems = {name.rpartition(".")[0] for name in names}
    assert len(stems) == 8 and names == {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")}
    for picture in pictures:
        assert picture.name.startswith("plots/") and picture.data.dtype == np.uint8
        if picture.name.endswith(".svg"):
            check_svg(picture.data.tobytes())
            continue
        image = QImage.fromData(picture.data.tobytes(), "PNG")
        assert (image.width(), image.height()) == (1200, 800)
        colours = {image.pixel(x, y) for x in range(0, 1200, 7) for y in range(0, 800, 7)}
        assert len(colours) > 1
    assert workspace.charts() == []
    assert sum(picture.data.nbytes for picture in pictures) < 4_000_000


def check_svg(data: bytes) -> None:
    """Well-formed, of the right size, with text as text and lines as lines; no markers drawn from a pixmap."""
    root = ElementTree.fromstring(data)
    assert root.attrib["viewBox"] == "0 0 1200 800"
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert names.count("text") > 1 and {"path", "polyline", "rect"} & set(names)
    assert "script" not in names and b"optimizeSpeed" not in data
    images = [element.attrib for element in root.iter() if element.tag.endswith("image")]
    assert not any(image["width"] == image["height"] == "10" for image in images), "a marker"


def test_the_gradients_tab_switches_between_two_kinds(qtbot: QtBot, themes: ThemeManager) -> None:
    workspace = Workspace(started(small_training(), steps=2), themes)
    qtbot.addWidget(workspace)
    workspace.show()
    workspace.setCurrentIndex(2)
    tab = workspace.findChild(HistoryTab)
    qtbot.waitUntil(tab.heat_map.isVisible)
    assert [key.kind for key in tab.heat_map._keys] == [SubjectKind.GRAD] * 4
    tab.show_quantity(Quantity.MEAN)
    tab.show_kind(SubjectKind.ACTIVATION_GRAD)
    assert [key.kind for key in tab.heat_map._keys] == [SubjectKind.ACTIVATION_GRAD] * 4
    # The quantity that was chosen stays chosen.
    assert tab.heat_map._quantity is Quantity.MEAN is tab.lines._quantity


def test_the_overview_stands_in_one_column_where_it_is_narrow(qtbot: QtBot, themes: ThemeManager) -> None:
    overview = OverviewTab(started(small_training(), steps=2), themes)
    qtbot.addWidget(overview)
    overview.resize(1000, 700)
    overview.show()
    qtbot.waitUntil(lambda: len(overview.charts) == 4 and overview.charts[3].isVisible())
    assert overview.charts[1].x() > overview.charts[0].x()
    overview.resize(350, 700)
    qtbot.waitUntil(lambda: overview.charts[1].x() == overview.charts[0].x())
    assert overview.charts[1].y() > overview.charts[0].y()


@pytest.mark.parametrize("width", [300, 400, 526, 600, 640, 900])
def test_nothing_of_the_overview_lies_beside_it(qtbot: QtBot, themes: ThemeManager, width: int) -> None:
    overview = OverviewTab(started(small_training(), steps=2), themes)
    qtbot.addWidget(overview)
    overview.resize(width, 700)
    overview.show()
    qtbot.waitUntil(lambda: len(overview.charts) == 4 and overview.charts[3].isVisible())
    qtbot.wait(20)
    assert overview.horizontalScrollBar().maximum() == 0
