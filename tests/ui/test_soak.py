"""Thousands of redraws of the real charts, painted each time: memory stays flat.

GRADSCOPE_SOAK_REDRAWS=20000 makes a longer soak of it.
"""

import gc
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.state.history import History
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.lines_chart import LinesChart
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.charts.rate_chart import RateChart
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.tabs.overview_tab import GradientFlow, UpdateRatio
from tests.ui.fakes import fill_history, light_themes, small_training, started

REDRAWS = int(os.environ.get("GRADSCOPE_SOAK_REDRAWS", "1800"))
WARM_UP = REDRAWS // 3
REDRAWS_PER_STEP = 24
HALF_TIME = WARM_UP + (REDRAWS - WARM_UP) // 2
MAX_GROWTH_MB = 1.0
"""In half the time: a leak of 2 KB a redraw is 1.2 MB. What grows once only is none."""


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_stays_flat_over_thousands_of_redraws(qtbot: QtBot, tmp_path: Path) -> None:
    training = small_training()
    controller, themes = started(training), light_themes(tmp_path)
    # So many steps that the history has its final size in memory; a short one, since lines take time to paint.
    fresh = History(max_steps=256)
    fresh.rows = controller.state.history.rows
    controller.state.history = fresh
    fill_history(controller.state, training, 300)
    # How many redraws of each in a round: those that take long to paint come less often.
    shares: dict[Chart, int] = {
        HeatMap(controller, themes, title="Activations"): 4,
        GradientFlow(controller, themes): 3,
        LossChart(controller, themes): 2,
        UpdateRatio(controller, themes): 1,
        RateChart(controller, themes, is_detailed=True): 1,
        LinesChart(controller, themes): 1,
    }
    charts = [chart for chart, share in shares.items() for _ in range(share)]
    for chart in shares:
        qtbot.addWidget(chart)
        chart.resize(300, 200)
        with qtbot.waitExposed(chart):
            chart.show()
    sizes = []
    for frame in range(REDRAWS):
        if frame in (WARM_UP, HALF_TIME):
            gc.collect()
            sizes.append(resident_mb())
        if frame % REDRAWS_PER_STEP == 0:
            for message in training.steps(1):
                controller.state.apply(message)
        chart = charts[frame % len(charts)]
        chart.redraw()
        chart.plot.viewport().repaint()
    gc.collect()
    sizes.append(resident_mb())
    assert min(after - before for before, after in pairwise(sizes)) < MAX_GROWTH_MB, sizes
