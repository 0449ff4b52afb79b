"""The main window: what it shows when, its layout, and files dropped on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QMimeData, QObject, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QTabBar, QWidget
from pytestqt.qtbot import QtBot

from gradscope.ui.actions.rows import ActionId
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column as LayerColumn
from gradscope.ui.widgets.dock_shares import take_shares
from gradscope.ui.window.main_window import MainWindow
from tests.ui.fakes import bare_training, full_training, small_training, switch_theme
from tests.ui.shell_fakes import ShellController

MakeWindow = Callable[[], MainWindow]


@pytest.fixture
def make_window(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> MakeWindow:
    def make() -> MainWindow:
        window = MainWindow(controller, themes)  # type: ignore[arg-type]
        qtbot.addWidget(window)
        window.show()
        return window

    return make


@pytest.fixture
def window(make_window: MakeWindow) -> MainWindow:
    return make_window()


def drop(window: MainWindow, *paths: str) -> bool:
    """Drag files over the window and let go; whether they were accepted."""
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(path) for path in paths])
    action, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPoint(5, 5), action, mime, left, none)
    enter.ignore()
    window.dragEnterEvent(enter)
    if enter.isAccepted():
        window.dropEvent(QDropEvent(QPointF(5, 5), action, mime, left, none))
    return enter.isAccepted()


def test_a_fresh_window_shows_the_start_page_and_no_panels(window: MainWindow) -> None:
    assert window.start_page.isVisible()
    assert not any(panel.isVisible() for panel in window.panels)
    assert window.windowTitle() == "gradscope"


def test_no_part_is_a_window_of_its_own_for_a_moment(
    qtbot: QtBot, qapp: QApplication, make_window: MakeWindow, controller: ShellController
) -> None:
    class Watcher(QObject):
        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            if event.type() == QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
                windows.append(type(watched))
            return False

    windows: list[type] = []
    watcher = Watcher()
    qapp.installEventFilter(watcher)
    try:
        window = make_window()
        controller.start(full_training(), steps=2)
        for i in range(window.workspace.count()):
            if window.workspace.isTabVisible(i):
                window.workspace.setCurrentIndex(i)
                qtbot.wait(20)
        for panel in window.panels:
            panel.raise_()
    finally:
        qapp.removeEventFilter(watcher)
    assert windows == [MainWindow]


def test_a_session_brings_workspace_panels_and_title(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    assert window.workspace.isVisible()
    assert not window.start_page.isVisible()
    assert window.layers.isVisible()
    assert window.inspector.isVisible()
    assert window.moments.isVisible()
    assert window.windowTitle() == "Small – gradscope"
    assert controller.settings.get(Setting.RECENT_FILES) == ["/made/up/Small.py"]


def test_the_log_lies_behind_the_moments(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training())
    assert window.log in window.tabifiedDockWidgets(window.moments)
    assert not window.moments.visibleRegion().isEmpty()


def test_the_tabs_of_panels_are_there_after_a_start(
    window: MainWindow, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training(), steps=1)
    qtbot.wait(50)
    shown = {
        tuple(bar.tabText(i) for i in range(bar.count()))
        for bar in window.findChildren(QTabBar)
        if bar.parent() is window and bar.isVisible()
    }
    # The screen of these tests is a small one: four names beside each other would have no room.
    lower = ("Moments", "Source", "Findings", "Stops", "Timeline", "Console", "Log")
    assert {("Inspector", "Training step", "Lesson"), lower} <= shown


@pytest.mark.parametrize(("width", "is_narrow"), [(1024, True), (1440, False)])
def test_the_source_lies_where_its_name_has_room(
    window: MainWindow, controller: ShellController, width: int, is_narrow: bool
) -> None:
    window.resize(width, 900)
    controller.start(small_training())
    assert (window.source in window.tabifiedDockWidgets(window.moments)) is is_narrow
    assert (window.source in window.tabifiedDockWidgets(window.inspector)) is not is_narrow
    for panel in (window.moments, window.inspector):
        assert not panel.visibleRegion().isEmpty()


def test_a_layout_of_a_version_without_the_source_gets_it(make_window: MakeWindow, controller: ShellController) -> None:
    first = make_window()
    controller.start(small_training())
    first.removeDockWidget(first.source)
    first.source.setObjectName("")
    first.close()
    second = make_window()
    assert second.source in second.tabifiedDockWidgets(second.moments)
    assert not second.source.isHidden() and not second.inspector.visibleRegion().isEmpty()


def test_enter_on_a_moment_brings_the_source(window: MainWindow, controller: ShellController, qtbot: QtBot) -> None:
    window.resize(1440, 900)
    controller.start(small_training(), steps=1)
    assert window.source.visibleRegion().isEmpty()
    window.moments.view.setCurrentIndex(window.moments.model.index(2, 0))
    QTest.keyClick(window.moments.view, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not window.source.visibleRegion().isEmpty())
    window.source.close()
    QTest.keyClick(window.moments.view, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not window.source.visibleRegion().isEmpty())


def test_the_layers_are_no_wider_than_what_is_in_them(
    window: MainWindow, controller: ShellController, qtbot: QtBot
) -> None:
    window.resize(1440, 900)
    for training in (bare_training(), small_training()):
        controller.start(training, steps=1)
        qtbot.wait(50)
        header = window.layers.view.header()
        shown = [not window.layers.view.isColumnHidden(column) for column in LayerColumn]
        assert all(shown), "with types and values"
        assert header.length() <= window.layers.view.viewport().width()
        spare = header.sectionSize(LayerColumn.FLAGS) / window.fontMetrics().horizontalAdvance("0")
        assert spare < 9, "and no empty room"
    assert window.moments.height() < 0.2 * window.height()


def test_a_closed_panel_comes_back_by_the_view_menu(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training())
    window.layers.close()
    assert not window.layers.isVisible()
    window.layers.toggleViewAction().trigger()
    assert window.layers.isVisible()


def test_the_layout_is_kept_and_can_be_reset(make_window: MakeWindow, controller: ShellController) -> None:
    first = make_window()
    controller.start(small_training())
    first.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, first.layers)
    first.inspector.close()
    first.close()
    assert controller.client.was_shut_down
    second = make_window()
    assert second.dockWidgetArea(second.layers) is Qt.DockWidgetArea.RightDockWidgetArea
    assert not second.inspector.isVisible()
    second.actions_[ActionId.RESET_LAYOUT].trigger()
    assert second.dockWidgetArea(second.layers) is Qt.DockWidgetArea.LeftDockWidgetArea
    assert second.inspector.isVisible()


@pytest.mark.parametrize(("before", "after"), [((1024, 700), (1440, 900)), ((1440, 900), (1200, 760))])
def test_panels_keep_their_shares_of_a_window_of_another_size(
    make_window: MakeWindow,
    controller: ShellController,
    qtbot: QtBot,
    before: tuple[int, int],
    after: tuple[int, int],
) -> None:
    first = make_window()
    first.resize(*before)
    controller.start(small_training(), steps=1)
    qtbot.wait(50)
    first.resizeDocks([first.layers, first.inspector], [before[0] // 4, before[0] // 3], Qt.Orientation.Horizontal)
    first.resizeDocks([first.moments], [before[1] // 3], Qt.Orientation.Vertical)
    qtbot.wait(50)
    parts = [first.layers.width(), first.inspector.width(), first.moments.height()]
    first.close()
    second = make_window()
    second.resize(*after)

    def is_alike() -> bool:
        now = [second.layers.width(), second.inspector.width(), second.moments.height()]
        wholes = zip((before[0], before[0], before[1]), (after[0], after[0], after[1]), strict=True)
        return all(abs(n / new - b / old) < 0.02 for n, b, (old, new) in zip(now, parts, wholes, strict=True))

    qtbot.waitUntil(is_alike)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"window": [1, 2, 3]}', '{"window": [9, 9], "layersDock": NaN}'])
def test_shares_that_cannot_be_understood_change_nothing(
    window: MainWindow, controller: ShellController, text: str
) -> None:
    controller.start(small_training())
    width = window.layers.width()
    take_shares(window, [window.layers], text)
    assert window.layers.width() == width


def test_a_layout_that_comes_back_says_the_titles_of_panels_once(
    make_window: MakeWindow, controller: ShellController
) -> None:
    first = make_window()
    controller.start(small_training())
    first.close()
    second = make_window()
    for panel in (second.inspector, second.moments):
        assert second.tabifiedDockWidgets(panel) and panel.title_bar._label.isHidden()
    assert not second.layers.title_bar._label.isHidden()


def test_a_window_without_a_session_keeps_the_earlier_layout(
    make_window: MakeWindow, controller: ShellController
) -> None:
    first = make_window()
    controller.start(small_training())
    first.inspector.close()
    first.close()
    kept = controller.settings.get(Setting.LAYOUT)
    controller.state.session = None
    make_window().close()
    assert controller.settings.get(Setting.LAYOUT) == kept


def test_another_session_leaves_the_panels_as_they_are(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training())
    window.inspector.close()
    controller.start(bare_training())
    assert not window.inspector.isVisible()
    assert window.windowTitle() == "Bare – gradscope"


def test_a_python_file_can_be_dropped(window: MainWindow, controller: ShellController, tmp_path: Path) -> None:
    assert not drop(window, str(tmp_path / "picture.png"))
    assert drop(window, str(tmp_path / "notes.txt"), str(tmp_path / "recipe.py"))
    assert controller.asked == [("open", str(tmp_path / "recipe.py"))]


def test_it_fits_a_small_screen(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    window.resize(1024, 700)
    assert window.width() == 1024
    assert window.height() == 700
    assert window.workspace.width() > 350


def test_a_narrower_window_leaves_room_for_the_plots(
    window: MainWindow, controller: ShellController, qtbot: QtBot
) -> None:
    window.resize(1440, 860)
    controller.start(small_training(), steps=1)
    qtbot.waitUntil(lambda: window.layers.width() > 400)
    header = window.layers.view.header()
    # All columns, and whole.
    qtbot.waitUntil(lambda: not any(header.isSectionHidden(i) for i in range(header.count())))
    qtbot.waitUntil(lambda: header.length() <= window.layers.view.viewport().width())
    window.resize(1024, 700)
    qtbot.waitUntil(lambda: window.centralWidget().width() > 350)


def test_twice_the_font_size_fits_a_laptop(make_window: MakeWindow, controller: ShellController, qtbot: QtBot) -> None:
    window = make_window()
    font = window.font()
    font.setPointSizeF(2 * font.pointSizeF())
    window.setFont(font)
    controller.start(small_training(), steps=1)
    window.resize(1440, 900)
    qtbot.wait(10)
    assert window.width() == 1440
    assert window.height() == 900


def test_it_restyles_while_a_session_is_open(
    window: MainWindow, controller: ShellController, themes: ThemeManager
) -> None:
    controller.start(small_training(), steps=2)
    switch_theme(themes, DARK)
    assert not window.grab().isNull()


def test_find_layer_goes_to_the_filter(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training())
    window.layers.close()
    window.activateWindow()
    window.actions_[ActionId.FIND_LAYER].trigger()
    assert window.layers.isVisible()
    assert window.focusWidget() is window.layers.filter


def test_a_click_on_a_layer_brings_its_numbers_to_the_front(
    window: MainWindow, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training(), steps=1)
    window.lesson.show()
    window.lesson.raise_()
    qtbot.waitUntil(lambda: window.inspector.visibleRegion().isEmpty())
    view = window.layers.view
    place = view.visualRect(window.layers.model.index_of("net.1", is_parameter=False)).center()
    qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: not window.inspector.visibleRegion().isEmpty())


def test_selecting_in_one_panel_is_followed_by_the_others(window: MainWindow, controller: ShellController) -> None:
    controller.start(small_training(), steps=1)
    index = window.layers.model.index_of("net.1", is_parameter=False)
    window.layers.view.setCurrentIndex(index)
    row = window.moments.view.currentIndex().row()
    assert window.moments.model.place(row).layer == "net.1"
