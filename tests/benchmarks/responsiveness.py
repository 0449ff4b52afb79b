"""How long the window keeps a person waiting while Run goes at full speed: `python tests/benchmarks/responsiveness.py`.

Starts the real app (offscreen unless QT_QPA_PLATFORM says otherwise) with a real engine, runs each sample for some seconds
with every dock open, and measures the gaps between two turns of the event loop: how long a click would have waited.
The aim is below 50 ms. On a loaded machine a gap may be the machine's own; the median and the 99th percentile tell.

`--modules 150000` measures what a person does with a model that large instead, thing by thing (see very_large.py).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

SECONDS = 8.0
TICK_MS = 4


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()
    from gradscope.assets import sample_paths

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="samples; all of them, where none is given")
    parser.add_argument("--modules", type=int, help="of a model that is made up; instead of the samples")
    options = parser.parse_args()
    if options.modules:
        from tests.benchmarks.very_large import measure

        measure(options.modules)
        return 0
    names = options.names or [path.stem for path in sample_paths()]
    print(f"{'sample':24} {'steps/s':>8} {'redraws/s':>9} {'median':>9} {'99 %':>9} {'longest':>9}")
    _measure([path for path in sample_paths() if path.stem in names])
    return 0


def _measure(paths: list[Path]) -> None:
    from PySide6.QtCore import Qt, QTimer

    from gradscope.protocol.phases import RunUntil
    from gradscope.ui.app import build, make_application
    from gradscope.ui.look.settings import Settings

    app = make_application()
    window = build(app, Settings())
    window.resize(1440, 900)
    window.show()
    controller, state = window.controller, window.controller.state
    controller.start_engine()
    gaps: list[float] = []
    redraws = [0]
    last = [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        gaps.append(now - last[0])
        last[0] = now

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.setInterval(TICK_MS)
    timer.timeout.connect(tick)
    controller.refreshed.connect(lambda _: redraws.__setitem__(0, redraws[0] + 1))

    def spin(seconds: float, until: object = None) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and not (callable(until) and until()):
            app.processEvents()
            time.sleep(0.0005)

    for path in paths:
        window.commands.open_file(str(path))
        spin(
            60,
            lambda path=path: state.session is not None and state.session.path == str(path) and state.opening is None,
        )
        for index in range(window.workspace.count()):
            window.workspace.setCurrentIndex(index)
            spin(0.1)
        window.workspace.setCurrentIndex(0)
        controller.run(RunUntil.PAUSED)
        spin(1.0)
        gaps.clear()
        redraws[0], first, last[0], started = 0, state.position.step, time.perf_counter(), time.perf_counter()
        timer.start()
        for index in range(window.workspace.count()):
            window.workspace.setCurrentIndex(index)
            spin(SECONDS / window.workspace.count())
        timer.stop()
        seconds = time.perf_counter() - started
        ordered = [1e3 * gap for gap in sorted(gaps)]
        median, late, longest = ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))], ordered[-1]
        steps, redrawn = (state.position.step - first) / seconds, redraws[0] / seconds
        print(
            f"{path.stem:24} {steps:8.1f} {redrawn:9.1f} {median:6.1f} ms {late:6.1f} ms {longest:6.1f} ms", flush=True
        )
        controller.pause()
        spin(20, lambda: not state.position.running)
    window.close()
    controller.client.shut_down()


if __name__ == "__main__":
    sys.exit(main())
