"""A long run through the window: does anything grow, get slow, or get lost? `python tests/benchmarks/soak.py [--steps 24000]`

Starts the real app (offscreen unless QT_QPA_PLATFORM says otherwise) with a real engine, and runs a sample at full speed with
every panel open, another tab every few seconds. One row for each part of the run: steps a second, gaps of the event loop,
memory, threads and open files of window and engine. In the end the run is paused, and the steps that the window lacks are
counted. Linux only, since it reads /proc.
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

SECONDS_PER_TAB = 2.0
CATCH_UP_SECS = 30.0
HEADINGS = (
    *("steps", "steps/s", "median gap", "99 %", "longest", "over 50 ms", "longest of our own work"),
    *("window", "engine", "threads", "files"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", default="digits_mlp")
    parser.add_argument("--steps", type=int, default=24_000)
    parser.add_argument("--parts", type=int, default=12, help="rows of the table")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()
    return soak(options.sample, options.steps, options.parts)


def soak(sample: str, steps: int, parts: int) -> int:
    from gradscope.assets import sample_paths
    from gradscope.protocol.phases import RunUntil
    from gradscope.ui.app import build, make_application
    from gradscope.ui.look.settings import Settings
    from gradscope.ui.upkeep.collector import Collector
    from tests.benchmarks.event_loop import GapMeter, spin

    application = make_application()
    collector = Collector(application)
    window = build(application, Settings())
    window.resize(1440, 900)
    window.show()
    controller, workspace = window.controller, window.workspace
    controller.start_engine()
    path = next(path for path in sample_paths() if path.stem == sample)
    window.commands.open_file(str(path))
    assert spin(60, lambda: controller.state.session is not None and controller.state.opening is None)
    for tab in range(workspace.count()):
        # What a tab costs when it is shown for the first time is no part of the run.
        workspace.setCurrentIndex(tab)
        spin(0.2)
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}", flush=True)
    controller.run(RunUntil.PAUSED)
    spin(1.0)
    meter = GapMeter()
    tab = 0
    for part in range(1, parts + 1):
        state, goal = controller.state, steps * part // parts
        first, started = state.position.step, time.perf_counter()
        meter.start()
        while not spin(SECONDS_PER_TAB, lambda state=state, goal=goal: state.position.step >= goal):  # type: ignore[misc]
            tab = (tab + 1) % workspace.count()
            workspace.setCurrentIndex(tab)
        gaps = meter.stop()
        rate = (state.position.step - first) / (time.perf_counter() - started)
        own, engine = Process(os.getpid()), Process(controller.client.pid)
        cells = (
            f"{state.position.step}",
            f"{rate:.0f}",
            *(f"{ms:.0f} ms" for ms in (gaps.median, gaps.late, gaps.longest)),
            f"{gaps.over} ({gaps.ours} ours)",
            f"{gaps.longest_ours:.0f} ms",
            *(f"{one.resident_mb:.0f} MB" for one in (own, engine)),
            f"{own.threads} + {engine.threads}",
            f"{own.files} + {engine.files}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
    controller.pause()
    assert spin(30, lambda: not controller.state.position.running)
    done, paused = controller.state.position.step, time.perf_counter()

    def lacking() -> int:
        return max(0, done - len(set(controller.state.history.loss.steps.tolist())))

    spin(CATCH_UP_SECS, lambda: lacking() <= 0)
    print(f"\n{lacking()} of {done} steps are missing {time.perf_counter() - paused:.1f} s after the pause.")
    window.close()
    controller.shut_down()
    collector.stop()
    return 0


class Process:
    """What /proc says of a process now."""

    def __init__(self, pid: int) -> None:
        place = Path(f"/proc/{pid}")
        self.resident_mb = int((place / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        self.threads = len(list((place / "task").iterdir()))
        self.files = len(list((place / "fd").iterdir()))


if __name__ == "__main__":
    sys.exit(main())
