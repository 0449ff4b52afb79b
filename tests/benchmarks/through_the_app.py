"""What the whole app costs: Run at full speed with every panel open, against a plain loop in a process of its own.

    python tests/benchmarks/through_the_app.py [--workloads gpt,resnet18] [--rounds 6] [--seconds 5]

The engine and the plain loop have one torch thread each and take turns, a few seconds at a time; each round shows another
tab of plots. Printed: milliseconds of a plain step, the median ratio of the rounds, with the smallest and the largest, and
how much of one processor the window needs meanwhile.
The window is drawn offscreen, unless QT_QPA_PLATFORM says otherwise.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

RECIPE = """
import sys

sys.path.insert(0, {root!r})
import torch

from tests.benchmarks.workloads import WORKLOADS

torch.set_num_threads(1)
recipe = WORKLOADS[{name!r}]
"""
WARM_UP_STEPS = 3


def plain_loop(workload: str, connection: Connection) -> None:
    """In a process of its own: sends the seconds of so many steps, as often as a number of steps arrives; 0 ends it."""
    import torch

    from gradscope.engine.surroundings.randomness import seed_everything
    from tests.benchmarks.overhead import plain
    from tests.benchmarks.workloads import WORKLOADS

    torch.set_num_threads(1)
    seed_everything(0)
    step = plain(WORKLOADS[workload](), torch.device("cpu"))
    while steps := connection.recv():
        started = time.perf_counter()
        for _ in range(steps):
            step()
        connection.send(time.perf_counter() - started)


class Plain:
    def __init__(self, workload: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=plain_loop, args=(workload, other), daemon=True)
        self._process.start()

    def seconds(self, steps: int) -> float:
        self._connection.send(steps)
        return float(self._connection.recv())

    def end(self) -> None:
        self._connection.send(0)
        self._process.join()


class App:
    """The window with a real engine."""

    def __init__(self) -> None:
        from gradscope.ui.app import build, make_application
        from gradscope.ui.look.settings import Settings

        self._qt = make_application()
        self.window = build(self._qt, Settings())
        self.window.resize(1440, 900)
        self.window.show()
        self.window.controller.start_engine()

    def open(self, path: Path) -> None:
        state = self.window.controller.state
        self.window.commands.open_file(str(path))
        self._spin(lambda: state.session is not None and state.session.path == str(path) and state.opening is None)
        assert state.failure is None, state.failure

    def seconds(self, steps: int, tab: int) -> float:
        """From asking for so many steps until the window has heard that they are done."""
        from gradscope.protocol.phases import RunUntil

        controller = self.window.controller
        workspace = self.window.workspace
        workspace.setCurrentIndex(tab % workspace.count())
        started = time.perf_counter()
        controller.run(RunUntil.STEPS, steps)
        self._spin(lambda: not controller.state.position.running)
        assert controller.state.failure is None, controller.state.failure
        return time.perf_counter() - started

    def end(self) -> None:
        self.window.close()
        self.window.controller.shut_down()

    def _spin(self, until: Callable[[], bool]) -> None:
        from PySide6.QtCore import QEventLoop, QTimer

        # As in the app, this waits where there is nothing to do; a timer looks whether it is over.
        loop = QEventLoop()
        timer = QTimer()
        timer.setInterval(2)
        timer.timeout.connect(lambda: loop.quit() if until() else None)
        timer.start()
        if not until():
            loop.exec()
        timer.stop()


def measure(app: App, workload: str, rounds: int, seconds: float) -> str:
    path = Path(tempfile.mkdtemp()) / f"{workload}.py"
    path.write_text(RECIPE.format(root=str(ROOT), name=workload), encoding="utf-8")
    plain = Plain(workload)
    app.open(path)
    plain.seconds(WARM_UP_STEPS)
    app.seconds(WARM_UP_STEPS, 0)
    steps = max(2, int(seconds / (plain.seconds(WARM_UP_STEPS) / WARM_UP_STEPS)))
    alone, through, own = [], [], []
    for i in range(rounds):
        alone.append(plain.seconds(steps))
        before = time.process_time()
        through.append(app.seconds(steps, i))
        own.append((time.process_time() - before) / through[-1])
    plain.end()
    ratios = sorted(b / a for a, b in zip(alone, through, strict=True))
    skipped = app.window.controller.state.skipped_reports
    row = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
    window = f"{100 * statistics.median(own):.0f} %"
    plain_ms = 1000 * statistics.median(alone) / steps
    return f"| {workload} | {plain_ms:.1f} ms | {row} | {window} | {skipped} of {3 * steps * rounds} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workloads", default="mlp,gpt,resnet18")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()
    app = App()
    print("| 1 thread | plain step | through the app | window's processor | reports left out of the live display |")
    print("|---|---|---|---|---|")
    for workload in options.workloads.split(","):
        print(measure(app, workload, options.rounds, options.seconds), flush=True)
    app.end()


if __name__ == "__main__":
    main()
