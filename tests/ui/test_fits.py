"""The window fits on a small screen, and with large letters, whatever it has to tell."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QApplication, QDialog, QFileDialog, QLabel, QTabBar, QToolButton, QWidget
from pytestqt.qtbot import QtBot

import gradscope.ui.dialogs
from gradscope.protocol import messages
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.findings import Findings
from gradscope.protocol.messages.checkpoints import CheckpointMismatch
from gradscope.protocol.phases import Moment, Rest, SubStep
from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.protocol.stops.point import StopHit
from gradscope.state.engine import EngineState, EngineStatus, Origin
from gradscope.state.selection import Selection
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.compare.run_window import RunWindow
from gradscope.ui.dialogs.compare_runs import OpenRunDialog
from gradscope.ui.dialogs.error_report import ErrorReportDialog
from gradscope.ui.dialogs.finding_page import FindingPageDialog
from gradscope.ui.dialogs.mismatch import MismatchDialog
from gradscope.ui.dialogs.script_copies import SaveScriptDialog
from gradscope.ui.dialogs.sized_dialog import ScrolledForm, SizedDialog
from gradscope.ui.dialogs.value import ValueDialog
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from gradscope.ui.plots.tabs.overview_tab import OverviewTab
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.widgets.scrolled_column import ScrolledColumn
from gradscope.ui.widgets.wrapped_title import WrappedTitle
from gradscope.ui.window.finding_paths import FindingPaths
from gradscope.ui.window.main_window import MainWindow
from tests.ui.fakes import full_training, small_training, started
from tests.ui.shell_fakes import ShellController
from tests.ui.test_console import told
from tests.ui.test_training_dock import CHOICES

FAILURE = Failure(
    kind=FailureKind.USER_CODE,
    sentence="The forward of step 3 failed in layer transformer.encoder.layers.0.attention: ValueError: " + "no " * 90,
    traceback="\n".join(f"  File 'x.py', line {i}, in forward" for i in range(60)),
    layer="net.1",
    undone="The forward was undone. " * 6,
)


@dataclass(frozen=True)
class Screen:
    """`most`: what a window may ask for of it."""

    size: tuple[int, int]
    scale: float
    most: tuple[int, int]


SMALL = Screen((1024, 700), 1, (1024, 700))
LARGE_LETTERS = Screen((1440, 870), 2, (1440, 870))
DENSE = Screen((720, 435), 1, (720, 435))
"""A laptop where everything is drawn twice as large, which is what QT_FONT_DPI=192 comes to under X."""


@pytest.fixture(params=[SMALL, LARGE_LETTERS, DENSE], ids=["small", "large letters", "dense"])
def screen(request: pytest.FixtureRequest, qapp: QApplication) -> Iterator[Screen]:
    screen: Screen = request.param
    usual = qapp.font()
    font = qapp.font()
    font.setPointSizeF(screen.scale * font.pointSizeF())
    qapp.setFont(font)
    yield screen
    qapp.setFont(usual)


@pytest.fixture
def window(
    qtbot: QtBot, qapp: QApplication, screen: Screen, controller: ShellController, themes: ThemeManager
) -> Iterator[MainWindow]:
    """As it is drawn: with the style sheet."""
    controller.choices = CHOICES
    style_sheet, palette = qapp.styleSheet(), qapp.palette()
    themes.apply(qapp)
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.resize(*screen.size)
    window.show()
    yield window
    window.close()
    qapp.setStyleSheet(style_sheet)
    qapp.setPalette(palette)


@pytest.fixture
def check(window: MainWindow, screen: Screen, qtbot: QtBot) -> Callable[[str], None]:
    """Assert that the window fits now, and has not grown."""

    def check(state: str) -> None:
        qtbot.wait(30)
        for least in (window.minimumSizeHint(), window.minimumSize()):
            assert (least.width() <= screen.most[0], least.height() <= screen.most[1]) == (True, True), (state, least)
        assert window.size() == QSize(*screen.size), state

    return check


def fail(controller: ShellController) -> None:
    controller.play(iter([messages.Failed(failure=FAILURE, position=controller.state.position)]))


def each_tab(window: MainWindow, check: Callable[[str], None], state: str) -> None:
    for i in range(window.workspace.count()):
        if window.workspace.isTabVisible(i):
            window.workspace.setCurrentIndex(i)
            check(f"{state}: {window.workspace.tabText(i)}")


def test_a_session_and_each_of_its_tabs(
    window: MainWindow, controller: ShellController, check: Callable[[str], None]
) -> None:
    check("start page")
    controller.start(full_training(), steps=6)
    check("session")
    each_tab(window, check, "session")
    for panel in (window.training, window.source, window.console, window.log, window.moments, window.inspector):
        panel.raise_()
        check(panel.windowTitle())
    controller.set_running(True)
    check("running")


def test_a_stop_with_long_names(window: MainWindow, controller: ShellController, check: Callable[[str], None]) -> None:
    controller.start(full_training(), steps=1)
    window.source.raise_()
    file = "/home/" + "a_folder_with_a_long_name/" * 20 + "a_file_with_a_long_name.py"
    line = SourceLine(file, 123_456, "AClassWithALongName." * 20 + "forward")
    frames = tuple(StackFrame(line, folded=2) for _ in range(100))
    controller.play(iter([messages.Whereabouts(stack=frames)]))
    asked = [entry for entry in controller.asked if isinstance(entry[0], messages.FetchSource)]
    asked[-1][1](messages.SourceText(file=file, text="x = 1  # and so on\n" * 123_456))  # type: ignore[operator]
    check("stopped")
    assert not window.source.view.visibleRegion().isEmpty()
    controller.play(iter([messages.Whereabouts()]))
    check("going on")


def test_a_stop_in_a_layer_with_a_long_name(
    window: MainWindow, controller: ShellController, check: Callable[[str], None]
) -> None:
    controller.start(full_training(), steps=1)
    window.stops.add("grad.l2 > 10 in encoder.*")
    layer = "encoder." + "a_layer_with_a_long_name." * 20 + "weight"
    moment = Moment(step=1, substep=SubStep.BACKWARD, event="gradient", layer=layer)
    hit = StopHit(id=0, hits=1, step=1, moment=moment, subject=layer, sentence=f"grad.l2 of {layer} is 12.4, above 10")
    position = replace(controller.state.position, rest=Rest.IN_BACKWARD, moment=moment)
    controller.play(iter([messages.Stopped(hits=(hit,)), messages.Done(position=position)]))
    window.stops_dock.raise_()
    check("stopped")
    assert window.status.stopped.isVisible() and "…" in window.status.stopped.text()


def test_86_parameter_groups(window: MainWindow, controller: ShellController, check: Callable[[str], None]) -> None:
    rates = tuple(0.1 / (i + 1) for i in range(86))
    controller.start(full_training(rates=rates, momenta=(0.9,) * 86), steps=2)
    window.training.raise_()
    each_tab(window, check, "86 groups")


def test_a_failure_with_its_traceback(
    window: MainWindow, controller: ShellController, check: Callable[[str], None]
) -> None:
    controller.start(small_training(), steps=1)
    before = window.minimumSizeHint()
    fail(controller)
    check("failed")
    window.failure_bar.toggle.click()
    check("traceback")
    assert window.centre.pages.geometry().top() > window.centre.notices.geometry().bottom(), "below, not behind it"
    window.failure_bar.dismiss.click()
    check("dismissed")
    assert window.minimumSizeHint() == before
    controller.set_engine(EngineStatus.DEAD, "The engine ended: " + "word " * 200 + "\n" + "stderr\n" * 100)
    check("dead")
    window.failure_bar.toggle.click()
    check("details of the death")


def test_notices_come_and_go(qtbot: QtBot) -> None:
    holder = QWidget()
    qtbot.addWidget(holder)
    holder.resize(300, 200)
    column = ScrolledColumn(within=holder, share=0.5)
    label = QLabel("A notice")
    label.hide()
    column.add(label)
    holder.show()
    for _ in range(3):
        qtbot.wait(5)
        assert column.isHidden()
        label.setText(label.text() + " more")
        label.show()
        qtbot.waitUntil(lambda: not column.isHidden() and column.height() == label.sizeHint().height(), timeout=2000)
        label.hide()
        qtbot.waitUntil(column.isHidden, timeout=2000)


def test_a_failure_on_the_start_page(
    window: MainWindow, controller: ShellController, check: Callable[[str], None]
) -> None:
    fail(controller)
    window.failure_bar.toggle.click()
    check("traceback")


def test_an_engine_that_resists(window: MainWindow, controller: ShellController, check: Callable[[str], None]) -> None:
    controller.start(small_training(), steps=1)
    controller.state.set_engine(EngineState(status=EngineStatus.READY, resistance="It goes on. " * 40))
    controller.flush()
    check("resisting")


def test_a_snapshot_and_a_comparison(
    window: MainWindow, controller: ShellController, check: Callable[[str], None]
) -> None:
    training = small_training()
    training.name = "Long " * 40
    state = started(training, steps=2).state
    state.snapshot = Origin(path="/some/s.zip", created="2026-11-21T11:12:03+01:00")
    state.set_engine(controller.state.engine)
    controller.state = state
    controller.refresh_all()
    check("snapshot")
    window.workspace.show_page(window.compare)
    check("comparing")
    fail(controller)
    window.failure_bar.toggle.click()
    check("snapshot, traceback")


def test_what_a_panel_shows_with_large_letters(
    window: MainWindow, controller: ShellController, qtbot: QtBot, check: Callable[[str], None]
) -> None:
    """At least some values of the inspector and of the training panel are in sight, and whole."""
    controller.start(full_training(), steps=2)
    controller.select(Selection.of_node("net.0.weight", is_parameter=True))
    check("selected")
    summary = window.inspector.summary
    seen = summary.visibleRegion().boundingRect()
    assert seen.height() >= 2 * summary.rowHeight(0)
    assert summary.columnViewportPosition(1) + summary.columnWidth(1) <= seen.width()
    window.training.raise_()
    check("training")
    table = window.training.table
    seen = table.viewport().visibleRegion().boundingRect()
    assert seen.height() >= table.rowHeight(0)
    assert table.columnWidth(0) <= seen.width()


def test_titles_of_charts_and_what_is_chosen_are_whole(
    window: MainWindow, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(full_training(), steps=6)
    window.workspace.setCurrentIndex(2)
    qtbot.wait(50)
    (tab,) = (tab for tab in window.workspace.findChildren(HistoryTab) if tab.isVisible())
    titles = [title for title in tab.findChildren(WrappedTitle) if title.isVisible()]
    assert len(titles) == 2
    for title in titles:
        assert title.width() >= title.minimumSizeHint().width(), title.text()
        assert title.height() >= title.heightForWidth(title.width()), title.text()
    for box in (tab._quantity, tab._kind):
        qtbot.waitUntil(lambda box=box: box.geometry().right() <= tab._bar.width())  # type: ignore[misc]
        assert box.width() >= min(box.sizeHint().width(), tab._bar.width())
    assert tab.heat_map.plot.box.height() > 20
    rest = window.toolbar.findChild(QToolButton, "qt_toolbar_ext_button")
    assert rest is not None and rest.accessibleName() and rest.toolTip()


def test_the_overview_needs_no_room_beside_it(window: MainWindow, controller: ShellController, qtbot: QtBot) -> None:
    """Each chart has its buttons, its loss and its step in sight, without being scrolled sideways."""
    controller.start(full_training(), steps=41)
    window.workspace.setCurrentIndex(0)
    (tab,) = window.workspace.findChildren(OverviewTab)
    qtbot.waitUntil(lambda: len(tab.charts) == 4)
    qtbot.wait(50)
    for chart in tab.charts:
        assert chart.minimumSizeHint().width() <= tab.viewport().width(), chart
    assert tab.horizontalScrollBar().maximum() == 0
    loss = tab.charts[0].readout.seen_text
    assert " at step 40" in loss and "…" not in loss


def test_a_layout_of_a_larger_window_leaves_room_for_the_plots(
    window: MainWindow, controller: ShellController, screen: Screen, qtbot: QtBot, themes: ThemeManager
) -> None:
    """It was left on a wide screen, and the window is opened on this one."""
    controller.start(full_training(), steps=3)
    window.resize(round(1.4 * screen.size[0]), round(1.3 * screen.size[1]))
    window.panel_layout.reset()
    qtbot.wait(50)
    wide = [round(0.5 * screen.size[0]), round(0.35 * screen.size[0])]
    window.resizeDocks([window.layers, window.inspector], wide, Qt.Orientation.Horizontal)
    qtbot.wait(50)
    window.panel_layout.save()
    controller.settings.set(Setting.GEOMETRY, window.saveGeometry())
    controller.state.session = None
    again = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(again)
    again.resize(*screen.size)
    again.show()
    qtbot.wait(50)
    controller.start(full_training(), steps=3)
    qtbot.wait(50)
    qtbot.waitUntil(lambda: again.workspace.width() >= 0.3 * again.width())
    again.close()


def test_names_of_panels_are_whole(window: MainWindow, controller: ShellController, qtbot: QtBot) -> None:
    """Those that have no room are scrolled to."""
    controller.start(full_training(), steps=3)
    qtbot.wait(100)
    bars = window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly)
    assert any(bar.count() > 3 for bar in bars)
    for bar in bars:
        for index in range(bar.count()):
            needed = bar.fontMetrics().horizontalAdvance(bar.tabText(index).replace("&", ""))
            assert bar.tabRect(index).width() >= needed, bar.tabText(index)


def test_what_has_no_room_in_a_box_ends_in_dots(qtbot: QtBot, window: MainWindow) -> None:
    box = ComboBox(window)
    box.addItem("of the parameters, after clipping")
    box.resize(box.sizeHint())
    whole = box.grab().toImage()
    box.show()
    narrow = round(0.6 * box.width())
    box.resize(narrow, box.height())
    short = ComboBox(window)
    text = box.itemText(0)
    fitting = [text[:n].rstrip() + "…" for n in range(len(text))]
    images = []
    for shown in fitting:
        short.clear()
        short.addItem(shown)
        short.resize(box.size())
        images.append(short.grab().toImage())
    assert box.grab().toImage() in images
    assert whole != box.grab().toImage()


_NO_DIALOGS = {SizedDialog.__name__, RunWindow.__name__}
"""What they are made of, and a window of its own, which is as large as its screen."""


def dialogs_of_ours() -> set[str]:
    """The names of all classes of dialogs."""
    for module in pkgutil.iter_modules(gradscope.ui.dialogs.__path__):
        importlib.import_module(f"gradscope.ui.dialogs.{module.name}")
    waiting, found = [QDialog], set[type]()
    while waiting:
        below = waiting.pop().__subclasses__()
        waiting += below
        found.update(below)
    return {cls.__name__ for cls in found if cls.__module__.startswith("gradscope.")} - _NO_DIALOGS


def test_dialogs(
    window: MainWindow,
    screen: Screen,
    controller: ShellController,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Each opens with all that is in it, or with a scroll bar where the screen has no room for that."""
    monkeypatch.setattr(SizedDialog, "room", lambda _self: QSize(*screen.most))
    controller.start(full_training(), steps=1)
    wanted = (
        ActionId.SETTINGS,
        ActionId.EXPORT,
        ActionId.EXPORT_TENSORBOARD,
        ActionId.SHORTCUTS,
        ActionId.ABOUT,
        ActionId.CAPTURE_LAYERS,
        ActionId.OPEN,
        ActionId.OPEN_SNAPSHOT,
        ActionId.SAVE_CHECKPOINT,
        ActionId.LOAD_CHECKPOINT,
        ActionId.ADD_STOP,
        ActionId.COMPARE_RUNS,
    )
    for action_id in wanted:
        window.actions_[action_id].trigger()
    window.commands.choose_step()
    ErrorReportDialog("A title", "why " * 100, "line\n" * 300, window).open()
    window.commands._scripts.ask("/home/somebody/projects/a_long_name/experiments/2026/train_a_model.py")
    controller.state.apply(messages.FoundNow(findings=Findings()))
    paths = FindingPaths(controller, window.themes, window.check_ups, window=window)  # type: ignore[arg-type]
    paths.check_up()
    page = tmp_path / "dead-units.md"
    page.write_text("# Dead units\n\n" + "A unit is dead. " * 500, "utf-8")
    FindingPageDialog(page, window).open()
    OpenRunDialog(title="The first run", folder=tmp_path, parent=window).open()
    SaveScriptDialog(folder=tmp_path, name="plain_loop.py", parent=window).open()
    ValueDialog("model.encoder.layers[0].self_attention(x) " * 9, told(), window.themes, window).open()
    missing = tuple(f"encoder.layers.{i}.self_attention.in_proj_weight" for i in range(100))
    MismatchDialog(CheckpointMismatch(path="/c.pt", missing=missing, fitting=1, total=101), window).open()
    qtbot.wait(30)
    dialogs = [dialog for dialog in window.findChildren(QDialog) if dialog.isVisible()]
    assert {type(dialog).__name__ for dialog in dialogs} == dialogs_of_ours()
    for dialog in dialogs:
        about = (type(dialog).__name__, dialog.size())
        if isinstance(dialog, QFileDialog):
            # Qt's own, which may be made smaller.
            least = dialog.minimumSizeHint()
            assert least.width() <= screen.most[0] and least.height() <= screen.most[1], about
        else:
            assert dialog.width() <= screen.most[0] and dialog.height() <= screen.most[1], about
            layout = dialog.layout()
            needed = (
                layout.totalHeightForWidth(dialog.width())
                if layout.hasHeightForWidth()
                else layout.totalMinimumSize().height()
            )
            areas = dialog.findChildren(ScrolledForm)
            assert dialog.height() >= min(needed, screen.most[1] if areas else needed), about
            for area in areas:
                has_room = needed <= screen.most[1]
                assert (area.verticalScrollBar().maximum() == 0) is has_room, about
        dialog.close()
