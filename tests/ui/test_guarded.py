"""A bug in what Qt calls of ours is reported, and Qt goes on."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QGraphicsItem, QGraphicsLayoutItem, QLabel, QWidget
from pytestqt.qtbot import QtBot
from shiboken6 import Shiboken

import gradscope.client
import gradscope.ui
from gradscope.ui.widgets import guarded as guards
from gradscope.ui.widgets.guarded import guarded, is_guarded, is_virtual, qt_base
from tests.patience import patient

CHILD_TIMEOUT_SECS = patient(240)
_NOT_VIRTUAL = frozenset({"indexOf", "setCurrentWidget", "setText", "text"})
"""Only Python calls them, which can take an exception."""


def subclasses(cls: type) -> Iterator[type]:
    for subclass in type.__subclasses__(cls):
        yield subclass
        yield from subclasses(subclass)


def classes_of(*packages: str) -> list[type]:
    """Every class of these packages that is derived from one of Qt's."""
    found = {cls for cls in subclasses(Shiboken.Object) if cls.__module__.startswith(packages)}
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


def test_every_override_of_ours_is_guarded() -> None:
    """Anything that has the name of a method of Qt's: a virtual that `widgets.guarded` does not list is found too."""
    for package in (gradscope.ui, gradscope.client):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    classes = classes_of("gradscope.ui.", "gradscope.client.")
    assert len(classes) > 100
    missing = [
        f"{cls.__module__}.{cls.__qualname__}.{name}"
        for cls in classes
        for name in dict.fromkeys(
            name for base in cls.__mro__ if not base.__module__.startswith("PySide6.") for name in vars(base)
        )
        if not name.startswith("__") and name not in _NOT_VIRTUAL and qt_base(cls, name) is not None
        if inspect.isfunction(member := inspect.getattr_static(cls, name)) and not is_guarded(member)
        if not inspect.unwrap(member).__module__.startswith("pyqtgraph.")
    ]
    assert missing == [], "these need @guarded, or an entry in gradscope.ui.widgets.guarded"


def test_every_override_of_pyqtgraph_is_guarded() -> None:
    importlib.import_module("gradscope.ui.plots")
    bases = (QObject, QGraphicsItem, QGraphicsLayoutItem)
    classes = [cls for cls in classes_of("pyqtgraph.") if issubclass(cls, bases)]
    overrides = {
        f"{cls.__name__}.{name}": member
        for cls in classes
        for name, member in vars(cls).items()
        if is_virtual(cls, name) and inspect.isfunction(member)
    }
    assert {"AxisItem.paint", "ViewBox.itemChange", "GraphicsView.paintEvent", "BarGraphItem.shape"} <= set(overrides)
    assert [name for name, member in overrides.items() if not is_guarded(member)] == []
    # Of that name, but not what Qt calls.
    assert not any(name.endswith(".setData") for name in overrides)


def test_what_is_listed_is_there_and_can_be_left_to_qt() -> None:
    for (base, name), instead in guards._INSTEAD.items():
        assert hasattr(base, name), f"{base.__name__}.{name}"
        if instead is not None:
            instead()


# ---------------------------------------------------------------------------------------------- what Qt gets


Reports = list[BaseException]


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Reports:
    reports: Reports = []
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _trace: reports.append(error))
    return reports


def fail(*_arguments: object) -> None:
    len(5)  # type: ignore[arg-type]


def test_a_size_that_fails_is_the_one_that_qt_would_have_taken(qtbot: QtBot, reports: Reports) -> None:
    @guarded
    class Label(QLabel):
        def sizeHint(self) -> QSize:
            raise ValueError("no size")

    label = Label("some text")
    qtbot.addWidget(label)
    assert label.sizeHint() == QLabel.sizeHint(label)
    assert [str(error) for error in reports] == ["no size"]


def test_a_painter_that_was_left_behind_is_ended(qtbot: QtBot, reports: Reports) -> None:
    painters = []

    @guarded
    class Widget(QWidget):
        def paintEvent(self, _event: QPaintEvent) -> None:
            painter = QPainter(self)
            self.draw(painter)

        def draw(self, painter: QPainter) -> None:
            painters.append(painter.isActive())
            fail()

    widget = Widget()
    qtbot.addWidget(widget)
    for _ in range(3):
        # Without a warning of Qt's, which fails a test.
        widget.grab()
    assert painters == [True] * 3
    assert len(reports) == 3


def test_what_is_right_passes_as_it_is(qtbot: QtBot, reports: Reports) -> None:
    @guarded
    class Filter(QObject):
        def eventFilter(self, watched: QObject, event: QEvent) -> bool:
            """Takes the key."""
            return event.type() == QEvent.Type.KeyPress

    widget = QWidget()
    qtbot.addWidget(widget)
    watcher = Filter(widget)
    widget.installEventFilter(watcher)
    qtbot.keyClick(widget, Qt.Key.Key_A)
    assert watcher.eventFilter(widget, QEvent(QEvent.Type.KeyPress)) is True
    assert Filter.eventFilter.__doc__ == "Takes the key."
    assert reports == []


def test_a_keyboard_interrupt_is_not_swallowed(qtbot: QtBot, reports: Reports) -> None:
    @guarded
    class Label(QLabel):
        def sizeHint(self) -> QSize:
            raise KeyboardInterrupt

    label = Label()
    qtbot.addWidget(label)
    with pytest.raises(KeyboardInterrupt):
        label.sizeHint()
    assert reports == []


# ---------------------------------------------------------------------------------------------- C raises, Qt calls


BREAK = """
import sys

def fail(*arguments, **named):
    len(5)

def break_override(cls, name):
    # The function that is guarded fails at its first line; the guard is the real one.
    guard = vars(cls)[name]
    [cell] = [cell for cell in guard.__closure__ if cell.cell_contents is guard.__wrapped__]
    cell.cell_contents = fail
"""
VIEWS = """
from PySide6.QtCore import QEvent, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

app = QApplication([])
from gradscope.ui.widgets.card_grid import CardGrid
from gradscope.ui.plots.parts.axes import ChartAxis
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.plots.parts.number_table import NumberTable, TableData
from gradscope.ui.plots.parts.plot_view import PlotView
import pyqtgraph

failed = []
sys.excepthook = lambda kind, error, trace: failed.append(trace.tb_next.tb_frame.f_code.co_name)

def try_out(cls, name, widget, act=lambda: None):
    failed.clear()
    guard = vars(cls)[name]
    [cell] = [cell for cell in guard.__closure__ if cell.cell_contents is guard.__wrapped__]
    right = cell.cell_contents
    break_override(cls, name)
    widget.resize(300, 200)
    widget.show()
    QTest.qWait(20)
    act()
    QTest.qWait(20)
    print(cls.__name__, name, "reported" if set(failed) == {"fail"} else failed, flush=True)
    cell.cell_contents = right
    failed.clear()
    widget.resize(310, 210)
    act()
    QTest.qWait(20)
    assert not failed, (cls, name, "fails still")
    widget.hide()

label = ElidedLabel("some text that is not short")
holder = QWidget()
QVBoxLayout(holder).addWidget(label)
for name in ("paintEvent", "sizeHint", "minimumSizeHint"):
    try_out(ElidedLabel, name, holder, lambda: (label.updateGeometry(), holder.grab()))
try_out(CardGrid, "resizeEvent", CardGrid([]))
model = NumberTable()
model.set_data(TableData(("first", "second"), 3, lambda row, column: "cell"))
for name in ("rowCount", "columnCount", "data", "headerData"):
    table = CopyTable()
    table.setModel(model)
    try_out(NumberTable, name, table, lambda: (model.layoutChanged.emit(), table.grab()))
try_out(CopyTable, "keyPressEvent", table, lambda: QTest.keyClick(table, Qt.Key.Key_A))
def plot():
    return PlotView(axes={"left": ChartAxis("left"), "bottom": ChartAxis("bottom")}, zoom_x=True, zoom_y=True)
view = plot()
try_out(PlotView, "resizeEvent", view)
try_out(PlotView, "viewportEvent", view, lambda: view.grab())
try_out(PlotView, "leaveEvent", view, lambda: QApplication.sendEvent(view, QEvent(QEvent.Type.Leave)))
for cls, name in (
    (pyqtgraph.AxisItem, "paint"), (pyqtgraph.AxisItem, "boundingRect"), (pyqtgraph.ViewBox, "paint"),
    (pyqtgraph.GraphicsView, "paintEvent"), (pyqtgraph.GraphicsView, "mousePressEvent"),
):
    view = plot()
    try_out(cls, name, view, lambda: (
        view.viewport().update(), view.grab(), QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton)
    ))
print("alive", flush=True)
"""


def run_child(code: str) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", BREAK + code],
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_SECS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def test_what_c_code_raises_in_real_views_is_reported_and_the_next_time_is_right() -> None:
    lines = run_child(VIEWS)
    assert lines[-1] == "alive"
    assert [line for line in lines[:-1] if not line.endswith(" reported")] == []
