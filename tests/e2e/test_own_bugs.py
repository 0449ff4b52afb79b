"""A bug of our own in a view: the app tells it once, and goes on. In the real app as a process of its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import patient

TIMEOUT_SECS = patient(60)

DRIVE = """
import sys, time
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from gradscope.protocol.phases import Rest, Verb
from gradscope.ui import app as app_module
from gradscope.ui.dialogs.error_report import ErrorReportDialog

def fail(*arguments, **named):
    len(5)

def reports(window):
    return [dialog for dialog in window.findChildren(ErrorReportDialog) if dialog.isVisible()]

def wait_for(condition, secs=300):
    until = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        yield

def a_while(window):
    # So many turns of the event loop, however long they take: what is due is told and painted in them.
    for _ in range(10):
        window.controller.flush()
        yield

def go(window, verb, rest):
    window.controller.go(verb)
    yield from wait_for(lambda: not window.controller.state.position.running)
    yield from a_while(window)
    assert window.controller.state.position.rest is rest, window.controller.state.position

def a_step(window):
    yield from go(window, Verb.FORWARD, Rest.FORWARD)
    yield from go(window, Verb.BACKWARD, Rest.BACKWARD)
    yield from go(window, Verb.STEP, Rest.READY)

def show_every_tab(window):
    for index in range(window.workspace.count()):
        window.workspace.setCurrentIndex(index)
        yield from a_while(window)

def start(window, options):
    started(window, options)
    steps = play(window)
    timer = QTimer(window)
    def tick():
        try:
            next(steps)
        except StopIteration:
            print("played", flush=True)
            timer.stop()
            window.commands.quit()
        except BaseException as error:
            print("failed", repr(error), flush=True)
            timer.stop()
            import os
            os._exit(3)
    timer.timeout.connect(tick)
    timer.start(10)

started, app_module.start_engine = app_module.start_engine, start
"""

HEAT_MAP = """
import pyqtgraph
render = pyqtgraph.ImageItem.render

def play(window):
    yield from wait_for(lambda: window.controller.state.position.rest is Rest.READY)
    pyqtgraph.ImageItem.render = fail
    yield from a_step(window)
    yield from show_every_tab(window)
    [dialog] = reports(window)
    text = dialog.text.toPlainText()
    print("told", text.count("object of type 'int' has no len()"), flush=True)
    dialog.reject()
    # It still fails, and is not told again.
    yield from a_step(window)
    yield from show_every_tab(window)
    print("again", len(reports(window)), flush=True)
    pyqtgraph.ImageItem.render = render
    yield from a_step(window)
    yield from show_every_tab(window)
    print("step", window.controller.state.position.step, len(reports(window)), flush=True)
"""

EVERYTHING = """
import inspect
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QGraphicsItem
from gradscope.ui.widgets.guarded import is_guarded

def subclasses(cls):
    for subclass in type.__subclasses__(cls):
        yield subclass
        yield from subclasses(subclass)

def break_all():
    count = 0
    for cls in {cls for base in (QObject, QGraphicsItem) for cls in subclasses(base)}:
        # The dialog that tells it is the one view that has to work.
        if cls.__module__.startswith(("gradscope.", "pyqtgraph.")) and cls is not ErrorReportDialog:
            for guard in filter(is_guarded, vars(cls).values()):
                [cell] = [cell for cell in guard.__closure__ if cell.cell_contents is guard.__wrapped__]
                cell.cell_contents = fail
                count += 1
    return count

def play(window):
    yield from wait_for(lambda: window.controller.state.position.rest is Rest.READY)
    print("broken", break_all() > 200, flush=True)
    yield from a_step(window)
    yield from show_every_tab(window)
    window.resize(900, 700)
    yield from a_while(window)
    [dialog] = reports(window)
    print("told", dialog.text.toPlainText().count("has no len()"), flush=True)
    dialog.reject()
    yield from a_step(window)
    print("step", window.controller.state.position.step, flush=True)
"""

REFRESH = """
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.models.layer_tree import LayerTreeModel
from gradscope.ui.models.moments import MomentsModel
from gradscope.ui.window.status_bar import StatusBar
from gradscope.ui.inspector.summary_view import SummaryView

def shown(window):
    layers, moments = window.findChild(LayerTreeModel), window.findChild(MomentsModel)
    root = layers.index(0, 0)
    rows = [[layers.index(row, column, root).data() for column in range(4)] for row in range(layers.rowCount(root))]
    print("layers", [row[:2] for row in rows], all(row[2] and row[3] for row in rows))
    places = [moments.index(row, 1).data() for row in range(moments.rowCount())]
    print("moments", list(filter(None, places)), flush=True)

def fails_once(cls, name):
    right = getattr(cls, name)
    def first(*arguments):
        setattr(cls, name, right)
        len(5)
    setattr(cls, name, first)

def play(window):
    # While the session comes in, each of these fails at its first time.
    for cls, name in (
        (LayerTreeModel, "rebuild"), (LayerTreeModel, "refresh_values"), (MomentsModel, "refresh"),
        (Chart, "_show_marks"), (StatusBar, "_refresh"), (SummaryView, "show_subject"),
    ):
        fails_once(cls, name)
    yield from wait_for(lambda: window.controller.state.position.rest is Rest.READY)
    yield from a_while(window)
    yield from a_step(window)
    # The panels are told after the plots.
    yield from a_while(window)
    for dialog in reports(window):
        dialog.reject()
    yield from a_step(window)
    yield from a_while(window)
    shown(window)
    print("reports", len(reports(window)), flush=True)
"""


@pytest.fixture
def play(write_recipe: Callable[[], Path], no_spare: None) -> Callable[[str], list[str]]:
    """Run the app on a little recipe, with a script that is played in it; returns what it has printed."""

    def run(script: str) -> list[str]:
        code = DRIVE + script + f"\nsys.exit(app_module.run(app_module.Options(file={str(write_recipe())!r})))"
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_SECS, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr[-4000:]
        return ended.stdout.splitlines()

    return run


def test_a_heat_map_that_cannot_be_painted_is_told_once(play: Callable[[str], list[str]]) -> None:
    assert play(HEAT_MAP) == ["told 1", "again 0", "step 3 0", "played"]


def test_the_session_goes_on_where_no_view_works(play: Callable[[str], list[str]]) -> None:
    assert play(EVERYTHING) == ["broken True", "told 1", "step 2", "played"]


def test_what_has_failed_to_redraw_once_is_right_the_next_time(play: Callable[[str], list[str]]) -> None:
    layers = "layers [['linear', 'Linear 3→2']] True"
    moments = "moments ['(model)', 'linear', 'linear.bias.grad', 'linear.weight.grad']"
    assert play(REFRESH) == [layers, moments, "reports 0", "played"]
