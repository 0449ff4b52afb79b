"""Words in narrow cells: whole, or a mark with a tooltip."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtWidgets import QStyleOptionViewItem
from pytestqt.qtbot import QtBot

from gradscope.protocol import absences, messages
from gradscope.protocol.messages import Absence
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS
from gradscope.ui.docks.layers import LayersDock
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column
from gradscope.ui.widgets.fitting_delegate import MARK, WordDelegate, whole_words
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController


@pytest.fixture
def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> LayersDock:
    dock = LayersDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.show()
    return dock


def _flagged(controller: ShellController) -> None:
    """A layer with a long word for what is remarkable about it."""
    controller.start(small_training(), steps=1)
    controller.state.apply(
        messages.Report(
            phase=Phase.FORWARD,
            step=1,
            epoch=0,
            batch=1,
            loss=1.0,
            lr=(),
            subjects=np.zeros(0, dtype=np.int64),
            summaries=np.zeros((0, len(COLUMNS))),
            histograms=np.zeros((0, HISTOGRAM_BINS), dtype=np.int32),
            sampled=np.zeros(0, dtype=np.int64),
            places=np.zeros(0, dtype=np.int64),
            times=np.zeros((0, 3)),
            absent=(Absence(name="net.1", kind="activation", reason=absences.NEVER_CALLED),),
        )
    )
    controller.flush()


@pytest.mark.parametrize("width", [260, 300, 346, 430, 700])
def test_a_flag_is_whole_or_a_mark(width: int, dock: LayersDock, controller: ShellController, qtbot: QtBot) -> None:
    dock.resize(width, 500)
    _flagged(controller)
    qtbot.waitUntil(lambda: dock.view.header().length() == dock.view.viewport().width())
    index = dock.model.index_of("net.1", is_parameter=False).siblingAtColumn(Column.FLAGS)
    assert index.data() == "never called"
    delegate, option = dock.view.itemDelegateForColumn(Column.FLAGS), QStyleOptionViewItem()
    assert isinstance(delegate, WordDelegate)
    option.widget, option.font, option.fontMetrics = dock.view, dock.view.font(), dock.view.fontMetrics()  # type: ignore[attr-defined]
    option.rect = dock.view.visualRect(index)  # type: ignore[attr-defined]
    delegate.initStyleOption(option, index)
    assert option.text in ("never called", MARK)  # type: ignore[attr-defined]
    if width >= 346:
        assert option.text == "never called"  # type: ignore[attr-defined]
        assert dock.view.sizeHintForIndex(index).width() <= dock.view.columnWidth(Column.FLAGS)


def test_as_many_words_as_fit(dock: LayersDock) -> None:
    metrics = dock.view.fontMetrics()
    text = "dead units, frozen, tied"
    rooms = {shown: metrics.horizontalAdvance(shown) for shown in (text, f"dead units, {MARK}", MARK)}
    for shown, room in rooms.items():
        assert whole_words(text, lambda one, room=room: metrics.horizontalAdvance(one) <= room) == shown
    assert whole_words("dead units", lambda one: metrics.horizontalAdvance(one) <= 3) == MARK
