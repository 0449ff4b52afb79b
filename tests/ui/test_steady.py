"""Nothing jumps while a training goes on: subtitles get longer with the numbers in them, and what is below them stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QPoint, QRect
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from gradscope.protocol.subjects import SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.window.main_window import MainWindow
from tests.ui.fakes import FakeTraining, full_training, small_training
from tests.ui.shell_fakes import ShellController


def places(window: MainWindow) -> dict[QWidget, QRect]:
    """Where all plots are, and the tables of numbers."""
    widgets: list[QWidget] = [plot for plot in window.findChildren(PlotView) if plot.isVisible()]
    widgets += [window.inspector.summary, window.inspector.tabs, window.layers.view, window.moments.view]
    return {widget: QRect(widget.mapTo(window, QPoint()), widget.size()) for widget in widgets}


@pytest.mark.parametrize("make", [full_training, small_training])
@pytest.mark.parametrize("width", [1024, 1440, 1800])
def test_no_layout_jumps_when_a_subtitle_wraps(
    width: int,
    make: Callable[[], FakeTraining],
    qapp: QApplication,
    qtbot: QtBot,
    controller: ShellController,
    themes: ThemeManager,
) -> None:
    style_sheet, palette = qapp.styleSheet(), qapp.palette()
    themes.apply(qapp)
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.resize(width, 900)
    window.show()
    training = make()
    controller.start(training, steps=2)
    controller.select(Selection.of_node("net.0.weight", is_parameter=True, kind=SubjectKind.GRAD))
    for tab, charts in ((0, 5), (2, 3)):
        window.workspace.setCurrentIndex(tab)
        qtbot.waitUntil(lambda charts=charts: len(places(window)) == charts + 4)  # type: ignore[misc]
        qtbot.wait(50)
        before = places(window)
        training.step += 9_000
        controller.play(training.steps(1))
        qtbot.wait(50)
        assert places(window) == before
    window.close()
    qapp.setStyleSheet(style_sheet)
    qapp.setPalette(palette)
