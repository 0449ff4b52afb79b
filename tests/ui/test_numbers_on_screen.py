"""No view cuts a number: it is rounded, or left out whole."""

import math
import re

import pytest
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QFontMetrics
from PySide6.QtWidgets import QStyle, QStyleOptionViewItem
from pytestqt.qtbot import QtBot

from gradscope.protocol.numbers import number
from gradscope.ui.plots.parts.number_table import NumberTable, TableData
from gradscope.ui.plots.words.formats import from_log10
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.elided_label import ElidedLabel, elided
from gradscope.ui.widgets.fitting_delegate import NumberDelegate
from gradscope.ui.words import text

VALUES = [sign * 1.23456789 * 10.0**e for e in (*range(-300, 301, 60), -5, -1, 0, 3, 5, 8) for sign in (1, -1)]
SPECIAL = [math.nan, math.inf, -math.inf, 0.0]


@pytest.mark.parametrize("width", [30, 50, 70, 90, 400])
def test_a_cell_rounds_what_has_no_room(qtbot: QtBot, width: int) -> None:
    table = CopyTable()
    qtbot.addWidget(table)
    model = NumberTable(table)
    values = VALUES + SPECIAL
    model.set_data(TableData(("value",), len(values), lambda row, _column: values[row]))
    table.setModel(model)
    delegate = table.itemDelegate()
    assert isinstance(delegate, NumberDelegate)
    for row, value in enumerate(values):
        option = QStyleOptionViewItem()
        table.initViewItemOption(option)
        option.rect = QRect(0, 0, width, 20)
        delegate.initStyleOption(option, model.index(row, 0))
        assert QFontMetrics(option.font).horizontalAdvance(option.text) <= width or option.text == "…"
        if option.text == "…":
            assert width <= 50
        elif math.isfinite(value):
            assert float(option.text) == pytest.approx(value, rel=0.51)
            assert math.copysign(1, float(option.text)) == math.copysign(1, value)
        else:
            assert option.text == number(value)


@pytest.mark.parametrize("padding", [0, 7])
def test_a_cell_has_the_room_that_its_style_leaves(qtbot: QtBot, padding: int) -> None:
    table = CopyTable()
    qtbot.addWidget(table)
    table.setStyleSheet(f"QTableView::item {{ padding: 0 {padding}px; }}")
    model = NumberTable(table)
    model.set_data(TableData(("value",), len(VALUES), lambda row, _column: VALUES[row]))
    table.setModel(model)
    table.show()
    style = table.style()
    for row in range(len(VALUES)):
        option = QStyleOptionViewItem()
        table.initViewItemOption(option)
        option.rect = QRect(0, 0, 80, 20)
        table.itemDelegate().initStyleOption(option, model.index(row, 0))
        room = style.subElementRect(QStyle.SubElement.SE_ItemViewItemText, option, table).width()
        room -= 2 * (style.pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, option, table) + 1)
        assert QFontMetrics(option.font).horizontalAdvance(option.text) <= room


def test_a_number_asks_for_the_room_of_all_its_digits(qtbot: QtBot) -> None:
    table = CopyTable()
    qtbot.addWidget(table)
    table.setStyleSheet("QTableView::item { padding: 0 6px; }")
    model = NumberTable(table)
    model.set_data(TableData(("value",), len(VALUES), lambda row, _column: VALUES[row]))
    table.setModel(model)
    table.setColumnWidth(0, 20)
    table.show()
    needed = max(table.fontMetrics().horizontalAdvance(number(value, digits=9)) for value in VALUES)
    assert table.sizeHintForColumn(0) > needed


@pytest.mark.parametrize("width", [1, 5, 10, *range(20, 400, 20)])
def test_a_line_ends_with_a_whole_number(qtbot: QtBot, width: int) -> None:
    label = ElidedLabel("now 0.0123, 4.56e-12, -1234.5 at step 12345")
    qtbot.addWidget(label)
    shown = elided(label.text(), label.fontMetrics(), width)
    whole = re.findall(r"-?\d[\d.]*(?:e-?\d+)?", label.text())
    assert all(found in whole for found in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", shown))
    assert label.fontMetrics().horizontalAdvance(shown) <= width


def test_names_are_cut_in_the_middle_as_before(qtbot: QtBot) -> None:
    label = ElidedLabel("blocks.24.attn.qkv.weight")
    qtbot.addWidget(label)
    metrics = label.fontMetrics()
    width = metrics.horizontalAdvance(label.text()) - 20
    middle = Qt.TextElideMode.ElideMiddle
    assert elided(label.text(), metrics, width, middle) == metrics.elidedText(label.text(), middle, width)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(9.996e-4, "1 ms"), (9.994e-4, "999 µs"), (1.0, "1 s"), (0.99996, "1 s"), (5e-7, "0.5 µs"), (1234.0, "1234 s")],
)
def test_a_duration_takes_the_unit_that_its_rounded_number_has(seconds: float, expected: str) -> None:
    assert text.duration(seconds) == expected


@pytest.mark.parametrize(("count", "expected"), [(1023.9 * 1024, "1024 KiB"), (1048575, "1 MiB"), (1500, "1.46 KiB")])
def test_a_size_takes_the_unit_that_its_rounded_number_has(count: float, expected: str) -> None:
    assert text.byte_size(count) == expected.replace("1024 KiB", "1 MiB")


def test_ticks_between_decades_are_plain_numbers() -> None:
    assert [from_log10(math.log10(value)) for value in (2, 20, 5000, 0.2, 2e-7)] == ["2", "20", "5000", "0.2", "2e-7"]
