"""Heat map and lines where several steps share a column: what happened in one of them is at that step."""

from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol.subjects import COLUMNS, COUNT, INF, L2, MAX, MEAN, MIN, NAN, STD, ZERO, SubjectKey, SubjectKind
from gradscope.state.records.block import Block
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.words.cell_text import cell_lines
from gradscope.ui.words.quantities import Quantity
from tests.ui.fakes import FakeController, light_themes, small_training, started

K = SubjectKind
KEY = SubjectKey(K.ACTIVATION, "net.0")
STEPS = 2000
NANS, INFS, PEAKS, DIPS = (17, 640, 641, 1301), (400, 1990), (205, 1233, 1700), (813, 1502)


@pytest.fixture
def themes(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


@pytest.fixture
def controller(themes: ThemeManager) -> FakeController:
    """A long run, of which each four steps share a column."""
    controller = started(small_training(), steps=1)
    history = controller.state.history
    keys = history.blocks[K.ACTIVATION].keys
    block = history.blocks[K.ACTIVATION] = Block(max_steps=500)
    for step in range(STEPS):
        row = np.zeros(len(COLUMNS))
        row[[COUNT, STD, L2, MIN, MAX]] = 8, 1, 2, -3, 3
        row[NAN], row[INF] = 4 * (step in NANS), step in INFS
        if step in PEAKS:
            row[[STD, L2, MAX]] = 100, 200, 300
        if step in DIPS:
            row[[STD, L2, MEAN, ZERO]] = 0.25, 0.5, -7, 6
        block.add(step, keys, np.tile(row, (len(keys), 1)))
    assert block.is_merged and np.diff(block.steps).max() == 4
    return controller


def shown(qtbot: QtBot, chart: HeatMap | LinesChart, width: int = 700) -> None:
    qtbot.addWidget(chart)
    chart.resize(width, 400)
    chart.show()
    chart.redraw()


@pytest.mark.parametrize("width", [260, 700, 3000])
def test_crosses_are_at_the_steps_themselves(
    qtbot: QtBot, themes: ThemeManager, controller: FakeController, width: int
) -> None:
    chart = HeatMap(controller, themes, title="Activations")
    shown(qtbot, chart, width)
    # 641 follows a bad step.
    assert {int(x) for x in chart._crosses.getData()[0]} == {17, 400, 640, 1301, 1990}


@pytest.mark.parametrize("width", [260, 700, 3000])
@pytest.mark.parametrize("quantity", [Quantity.STD, Quantity.L2, Quantity.LARGEST])
def test_a_peak_of_one_step_is_in_the_picture(
    qtbot: QtBot, themes: ThemeManager, controller: FakeController, width: int, quantity: Quantity
) -> None:
    chart = HeatMap(controller, themes, title="Activations")
    chart.show_quantity(K.ACTIVATION, quantity)
    shown(qtbot, chart, width)
    assert chart._grids is not None
    grid = chart._grids[0]
    colours = chart._image.image[0].view(np.uint8)
    usual, peak = (colours[grid.column_at(step)].tolist() for step in (1000, PEAKS[0]))
    assert usual != peak
    for step in PEAKS:
        assert colours[grid.column_at(step)].tolist() == peak
    bad = palette.coloured(
        np.array([[palette.NON_FINITE]]), palette.table(chart._scale_for(controller.state).scale, themes.theme)
    )
    for step in (*NANS, *INFS):
        assert colours[grid.column_at(step)].tolist() == bad[0, 0].view(np.uint8).tolist()


def test_a_cell_names_the_steps(themes: ThemeManager, controller: FakeController) -> None:
    history = controller.state.history
    block = history.blocks[K.ACTIVATION]

    def lines(step: int, quantity: Quantity) -> list[str]:
        column = int(np.searchsorted(block.steps, step))
        return cell_lines(history, KEY, quantity, column, column)

    assert lines(640, Quantity.STD) == [
        "Steps 640 to 643",
        "Standard deviation: 1 at step 643",
        "Greatest: 1 at step 640",
        "NaN first at step 640; at most 4 NaN, 0 Inf in a step",
    ]
    assert lines(1233, Quantity.LARGEST)[2] == "Greatest: 300 at step 1233"
    assert lines(1233, Quantity.L2)[1:] == ["L2 norm: 2 at step 1235", "Greatest: 200 at step 1233"]
    assert lines(1233, Quantity.MEAN)[1:] == ["Mean: 0 at step 1235"]
    assert lines(813, Quantity.STD)[3] == "Least: 0.25 at step 813"
    assert lines(813, Quantity.L2)[3] == "Least: 0.5 at step 813"
    assert lines(1502, Quantity.MEAN)[2] == "Farthest from zero: -7 at step 1502"
    assert lines(1502, Quantity.ZEROS)[2] == "Most: 75 at step 1502"
    restored = Block.restored(block.saved())
    history.blocks[K.ACTIVATION] = restored
    assert lines(813, Quantity.STD)[3] == "Least: 0.25 at step 813", "a snapshot knows it, too"


def test_lines_have_the_peaks_and_the_crosses(qtbot: QtBot, themes: ThemeManager, controller: FakeController) -> None:
    chart = LinesChart(controller, themes)
    chart.show_quantity(K.ACTIVATION, Quantity.L2)
    shown(qtbot, chart, 3000)
    assert {17.0, 400.0, 640.0, 1301.0, 1990.0} <= set(chart._crosses.getData()[0].tolist())
    assert sorted(set(chart._series[0].tolist())) == [2, 200]
