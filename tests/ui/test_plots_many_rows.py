"""More rows than pixels, and more steps: the worst of each pixel is what is seen."""

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QToolTip
from pytestqt.qtbot import QtBot

from gradscope.protocol.extremes import worst
from gradscope.protocol.subjects import COLUMNS, COUNT, INF, L2, MAX, MEAN, MIN, NAN, STD, ZERO, SubjectKey, SubjectKind
from gradscope.state.records.block import Block
from gradscope.ui.look.colours import LIGHT
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.charts.heat_map import HeatMap
from gradscope.ui.plots.charts.layer_bars import LayerBars
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.sampling import RowGrid, StepGrid
from gradscope.ui.plots.tabs.overview_tab import GradientFlow
from gradscope.ui.words.quantities import Quantity, Scale
from tests.ui.fakes import FakeController, light_themes, small_training, started

STEPS = 40
WHEN = 25
ROWS = [300, 3000]


@pytest.fixture
def themes(qtbot: QtBot, tmp_path: Path) -> ThemeManager:
    return light_themes(tmp_path)


def summary(size: float) -> np.ndarray:
    row = np.zeros(len(COLUMNS))
    row[[COUNT, STD, L2, MIN, MAX, MEAN]] = 1000, size, size, -size, size, size / 10
    return row


def training(kind: SubjectKind, rows: int, *, odd: dict[int, np.ndarray], steps: int = STEPS) -> FakeController:
    """Rows of 1 and 2 in turns; the odd ones at step WHEN, and at the newest."""
    controller = started(small_training(), steps=1)
    block = controller.state.history.blocks[kind] = Block()
    keys = [SubjectKey(kind, f"blocks.{i // 2}.{'weight' if i % 2 else 'bias'}") for i in range(rows)]
    usual = np.array([summary(1 + i % 2) for i in range(rows)])
    for step in range(steps):
        summaries = usual.copy()
        if step in (WHEN, steps - 1):
            for row, values in odd.items():
                summaries[row] = values
        block.add(step, keys, summaries)
    return controller


def odd_rows(rows: int) -> dict[str, tuple[int, np.ndarray]]:
    nan, zero = summary(1), summary(0)
    nan[NAN], zero[ZERO] = 7, 1000
    return {
        "outlier": (rows // 3 + 1, summary(1e4)),
        "zero": (rows // 2 + 1, zero),
        "nan": (2 * rows // 3 + 1, nan),
    }


def grabbed(qtbot: QtBot, chart: Chart) -> np.ndarray:
    """The pixels of the plot without its axes, shape (rows, columns, 3)."""
    qtbot.addWidget(chart)
    chart.resize(900, 420)
    chart.show()
    chart.redraw()
    image = chart.plot.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    pixels = np.frombuffer(bytes(image.constBits()), dtype=np.uint8).reshape(image.height(), image.bytesPerLine())
    box = chart.plot.box.mapRectToScene(chart.plot.box.boundingRect()).toRect().adjusted(2, 2, -2, -2)
    shape = (image.height(), image.width(), 3)
    return pixels[:, : 3 * image.width()].reshape(shape)[box.top() : box.bottom(), box.left() : box.right()]


def lines_with(pixels: np.ndarray, colour: tuple[int, ...] | np.ndarray) -> np.ndarray:
    """The pixel lines on which a colour is."""
    return np.flatnonzero((pixels == np.array(colour[:3], dtype=np.uint8)).all(axis=-1).any(axis=1))


def colour_of(name: str) -> tuple[int, ...]:
    return tuple(QColor(name).getRgb()[:3])


@pytest.mark.parametrize("rows", ROWS)
def test_a_heat_map_shows_one_odd_cell_of_each_sort(qtbot: QtBot, themes: ThemeManager, rows: int) -> None:
    odd = odd_rows(rows)
    controller = training(SubjectKind.ACTIVATION, rows, odd=dict(odd.values()))
    chart = HeatMap(controller, themes, title="Activations")
    pixels = grabbed(qtbot, chart)
    table = palette.table(Scale.LOG, LIGHT)
    for sort, colour in (("outlier", table[255]), ("zero", table[palette.ZERO]), ("nan", table[palette.NON_FINITE])):
        found = lines_with(pixels, colour)
        assert len(found), sort
        assert found.mean() / len(pixels) == pytest.approx(odd[sort][0] / rows, abs=0.03), sort
    assert "rows" in chart.readout.text() or rows < 400


@pytest.mark.parametrize("rows", ROWS)
def test_bars_show_one_odd_row_of_each_sort(qtbot: QtBot, themes: ThemeManager, rows: int) -> None:
    odd = odd_rows(rows)
    controller = training(SubjectKind.GRAD, rows, odd=dict(odd.values()))
    chart = GradientFlow(controller, themes)
    pixels = grabbed(qtbot, chart)
    # Only the outlier's bar goes on to the right end, but for that of the NaN, which is red.
    right = pixels[:, -40:-20]
    found = lines_with(right, colour_of(LIGHT.series[0]))
    assert len(found) and found.mean() / len(pixels) == pytest.approx(odd["outlier"][0] / rows, abs=0.03)
    bad = QColor(LIGHT.bad)
    reddish = (right[..., 0].astype(int) - right[..., 1] > 40) & (right[..., 0].astype(int) - right[..., 2] > 20)
    assert bad.red() > bad.green() and len(np.flatnonzero(reddish.any(axis=1)))
    # The zero is a gap among bars that all have a length, with a hollow circle at its end.
    bar_start = pixels[:, 20:40]
    is_bar = (bar_start == np.array(colour_of(LIGHT.series[0]), dtype=np.uint8)).all(axis=-1).any(axis=1)
    inside = is_bar[np.flatnonzero(is_bar)[0] : np.flatnonzero(is_bar)[-1]]
    assert not inside.all()


@pytest.mark.parametrize("rows", [*ROWS, 401])
def test_rows_that_repeat_make_no_bands(qtbot: QtBot, themes: ThemeManager, rows: int) -> None:
    chart = HeatMap(training(SubjectKind.ACTIVATION, rows, odd={}), themes, title="Activations")
    pixels = grabbed(qtbot, chart)
    column = pixels[6:-12, len(pixels[0]) // 4].astype(int)
    assert chart._grids is not None
    if not chart._grids[1].is_identity:
        assert (column == column[0]).all()


def test_pointing_and_zooming_find_the_row(qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = odd_rows(3000)
    controller = training(SubjectKind.ACTIVATION, 3000, odd=dict(odd.values()))
    chart = HeatMap(controller, themes, title="Activations")
    grabbed(qtbot, chart)
    assert chart._grids is not None
    stride = chart._grids[1].stride
    assert f"Worst of {stride} rows a pixel" in chart.readout.text() and stride > 5
    tips: list[str] = []
    monkeypatch.setattr(QToolTip, "showText", lambda _position, text, _widget: tips.append(text))
    for row, _ in odd.values():
        for y in (row // stride * stride, row // stride * stride + stride - 1):
            chart.plot.pointed_at.emit(float(WHEN), float(y))
            assert tips[-1].splitlines()[0] == chart._keys[row].shown()
        chart.plot.clicked.emit(float(WHEN), float(row))
        assert controller.state.selection.subject == chart._keys[row]
    assert f"The worst of {stride} rows that share this pixel" in tips[-1]
    chart.plot.box.setRange(yRange=(990, 1020), padding=0)
    chart.plot.box.sigRangeChangedManually.emit([True, True])
    assert chart._grids[1].is_identity and "rows" not in chart.readout.text()


def test_pointing_at_a_bar_finds_the_row(qtbot: QtBot, themes: ThemeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = odd_rows(3000)
    chart = GradientFlow(training(SubjectKind.GRAD, 3000, odd=dict(odd.values())), themes)
    grabbed(qtbot, chart)
    tips: list[str] = []
    monkeypatch.setattr(QToolTip, "showText", lambda _position, text, _widget: tips.append(text))
    assert isinstance(chart, LayerBars) and chart._grid is not None
    for row, _ in odd.values():
        chart.plot.pointed_at.emit(0.0, float(row // chart._grid.stride * chart._grid.stride))
        assert tips[-1].splitlines()[0] == chart._keys[row].shown()


@pytest.mark.parametrize(
    ("quantity", "values", "is_seen"),
    [
        (Quantity.ZEROS, {ZERO: 1000}, True),
        (Quantity.MEAN, {MEAN: -80}, True),
        (Quantity.STD, {STD: 1e-7}, True),
        (Quantity.STD, {STD: 1e5}, True),
        (Quantity.L2, {L2: 0}, True),
        (Quantity.LARGEST, {MIN: -7e5}, True),
        (Quantity.LARGEST, {INF: 1}, True),
        # That a few steps have fewer zeros is no finding.
        (Quantity.ZEROS, {ZERO: 0}, False),
    ],
)
def test_one_odd_step_of_many_is_seen(
    qtbot: QtBot, themes: ThemeManager, quantity: Quantity, values: dict[int, float], is_seen: bool
) -> None:
    usual = summary(1)
    usual[ZERO] = 400
    odd = usual.copy()
    for column, value in values.items():
        odd[column] = value
    controller = started(small_training(), steps=1)
    block = controller.state.history.blocks[SubjectKind.ACTIVATION] = Block()
    keys = [SubjectKey(SubjectKind.ACTIVATION, f"net.{i}") for i in range(3)]
    for step in range(1400):
        block.add(step, keys, np.array([usual, odd if step == 700 else usual, usual]))
    chart = HeatMap(controller, themes, title="Activations")
    chart.show_quantity(SubjectKind.ACTIVATION, quantity)
    pixels = grabbed(qtbot, chart)
    assert chart._grids is not None and chart._grids[0].stride > 1
    row = pixels[len(pixels) * 3 // 8][5:-5]
    colours = np.unique(row, axis=0)
    assert (len(colours) > 1) == is_seen
    # The same where each eight steps share a column of the history already.
    block = controller.state.history.blocks[SubjectKind.ACTIVATION] = Block(max_steps=200)
    for step in range(1400):
        block.add(step, keys, np.array([usual, odd if step == 701 else usual, usual]))
    assert block.is_merged
    chart.redraw()
    pixels = grabbed(qtbot, chart)
    row = pixels[len(pixels) * 3 // 8][5:-5]
    assert (len(np.unique(row, axis=0)) > 1) == is_seen


def test_rows_share_lines_evenly() -> None:
    grid = RowGrid.of(3000, max_lines=400)
    assert grid.stride == 8 and grid.lines == 375 and grid.rows_of(374) == slice(2992, 3000)
    values = np.zeros(3000)
    values[17], values[1203] = -5, 3
    found = worst(*grid.bounds(values, values))
    assert np.flatnonzero(found).tolist() == [17 // 8, 1203 // 8]
    assert grid.worst_row(2, values[grid.rows_of(2)], np.zeros(8, dtype=bool), 0.0) == 17
    assert RowGrid.of(5, max_lines=400).is_identity


def test_a_column_of_steps_is_the_worst_of_them() -> None:
    grid = StepGrid.of(np.arange(1000), max_columns=100)
    values = np.full((1, 1000), -2.0, dtype=np.float32)
    values[0, 555], values[0, 123] = -6, 2
    found = worst(*grid.bounds(values, values), -2.0)
    assert found[0, 55] == -6 and found[0, 12] == 2 and (found == -2).sum() == 98
    assert worst(*grid.bounds(values, values), -np.inf)[0, 55] == -2


@pytest.mark.parametrize("value", [1.0, 1e-5, 3e4])
def test_a_value_at_the_low_end_has_a_bar(qtbot: QtBot, themes: ThemeManager, value: float) -> None:
    controller = started(small_training(), steps=1)
    block = controller.state.history.blocks[SubjectKind.GRAD] = Block()
    keys = [SubjectKey(SubjectKind.GRAD, f"net.{i}.weight") for i in range(3)]
    block.add(0, keys, np.array([summary(value)] * 3))
    chart = GradientFlow(controller, themes)
    pixels = grabbed(qtbot, chart)
    assert chart._bars.opts["x1"][0] - chart._bars.opts["x0"][0] >= 0.99
    assert len(lines_with(pixels, colour_of(LIGHT.series[0])))
