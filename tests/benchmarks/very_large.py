"""What is done with a very large model in the window, and how long each thing holds up the event loop; see responsiveness.py.

A recipe of so many modules in groups of ten, few of them with parameters, in the real app with a real engine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from gradscope.protocol.phases import Verb
from gradscope.ui.app import build, make_application
from gradscope.ui.look.settings import Settings
from tests.benchmarks.event_loop import GapMeter, spin

_RECIPE = """
import torch
from torch import nn
from gradscope import Recipe


def group():
    return nn.Sequential(nn.Sequential(*[nn.Identity() for _ in range(8)]))


def recipe():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), *[group() for _ in range({groups})], nn.Linear(4, 4))
    x = torch.randn(64, 4)
    return Recipe(
        model=model, dataset=torch.utils.data.TensorDataset(x, x), loss=nn.MSELoss(), batch_size=8,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01), name="Large",
    )
"""
_PATIENCE_SECS = 1200.0


class Bench:
    """The app, and a table with a row for each thing that is done in it."""

    def __init__(self) -> None:
        self._app = make_application()
        self.window = build(self._app, Settings())
        self.window.resize(1440, 900)
        self.window.show()
        self._meter = GapMeter()
        self.controller, self.state = self.window.controller, self.window.controller.state
        self.controller.start_engine()
        assert spin(60, lambda: bool(self.state.engine.torch_version))
        print("| | longest gap | of that the window's own work | gaps over 50 ms |\n|---|---|---|---|", flush=True)

    def row(self, label: str, act: Callable[[], object], until: Callable[[], bool] = lambda: True) -> None:
        """Do something, wait for it, and for what is drawn of it."""
        self._meter.start()
        act()
        assert spin(_PATIENCE_SECS, until), label
        spin(2.0)
        gaps = self._meter.stop()
        cells = (label, f"{gaps.longest:.0f} ms", f"{gaps.longest_ours:.0f} ms", f"{gaps.over} ({gaps.ours} own)")
        print(f"| {' | '.join(cells)} |", flush=True)

    def close(self) -> None:
        self.window.close()
        self.controller.client.shut_down()


def measure(modules: int) -> None:
    bench, folder = Bench(), tempfile.TemporaryDirectory()
    path = Path(folder.name, "large.py")
    path.write_text(_RECIPE.format(groups=modules // 10), encoding="utf-8")
    window, state, controller = bench.window, bench.state, bench.controller
    dock, view = window.layers, window.layers.view

    def click(row: int) -> None:
        place = view.visualRect(dock.model.index(row, 0, dock.model.index(0, 0))).center()
        QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)

    def is_open() -> bool:
        return state.session is not None and state.opening is None

    bench.row("opening", lambda: window.commands.open_file(str(path)), is_open)
    bench.row("first click on a layer", lambda: click(1))
    bench.row("another click", lambda: click(2))
    for turn in ("first", "second"):
        for verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP):
            bench.row(
                f"{turn} {verb.value}",
                lambda verb=verb: controller.go(verb),  # type: ignore[misc]
                lambda: not state.position.running,
            )
    for letter in "0.7":
        bench.row(f"filter letter {letter}", lambda letter=letter: QTest.keyClicks(dock.filter, letter))  # type: ignore[misc]
    bench.row("no filter", dock.filter.clear)
    view.setFocus()
    keys = {"End": Qt.Key.Key_End, "Home": Qt.Key.Key_Home, "* (unfold all)": Qt.Key.Key_Asterisk}
    for label, key in keys.items():
        bench.row(label, lambda key=key: QTest.keyClick(view, key))  # type: ignore[misc]
    for index in range(window.workspace.count()):
        if window.workspace.isTabVisible(index):
            label = f"tab {window.workspace.tabText(index)}"
            bench.row(label, lambda index=index: window.workspace.setCurrentIndex(index))  # type: ignore[misc]
    bench.close()
    folder.cleanup()
