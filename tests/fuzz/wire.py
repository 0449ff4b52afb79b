"""Tell the app many lies: python tests/fuzz/wire.py --count 20000 --seed 1

Each is refused with a ProtocolError that leaves everything as it was, or taken, and then a window can show it. Whatever else
happens is written down with the input that it happened at.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).parents[2]))

from PySide6.QtWidgets import QApplication

from gradscope.protocol.codec import ProtocolError
from tests.fuzz.lying import INPUTS_PER_STATE, Liar, Stage, bombs, take_in

SLOWEST_SECS = 1.0
SLOWEST_DRAWN_SECS = 10.0


class Findings:
    """What should not be: by what it says, with the number of the first input."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.times: Counter[str] = Counter()

    def add(self, where: str, error: BaseException) -> None:
        places = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        what = f"{type(error).__name__}: {error!s:.200} at {' '.join(places[-4:])}"
        self.times[what] += 1
        if what not in self.found:
            self.found[what] = where
            print(f"FOUND at {where}: {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draw-every", type=int, default=25, help="of so many inputs that were taken, one is drawn")
    options = parser.parse_args()
    app = QApplication.instance() or QApplication(sys.argv[:1])
    random, findings = Random(options.seed), Findings()
    place = ["the beginning"]
    sys.excepthook = lambda kind, error, trace: findings.add(place[0], error.with_traceback(trace))
    results: Counter[str] = Counter()
    slowest, slowest_drawn = (0.0, ""), (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        liar = Liar(random)
        stage = Stage(Path(folder), liar, random)
        stage.show(liar.state())
        first_peak = _peak_mb()
        for number in range(options.count):
            if number % INPUTS_PER_STATE == 0:
                state = liar.state()
            data, place[0] = liar.lie(), f"input {number}"
            started = time.process_time()
            try:
                results["taken" if take_in(state, data) else "incomplete"] += 1
                is_taken = True
            except ProtocolError:
                results["refused"] += 1
                is_taken = False
            except Exception as error:
                findings.add(place[0], error)
                state, is_taken = liar.state(), False
            slowest = max(slowest, (time.process_time() - started, place[0]))
            if is_taken and results["taken"] % options.draw_every == 0:
                results["drawn"] += 1
                try:
                    slowest_drawn = max(slowest_drawn, (stage.show(state), place[0]))
                except Exception as error:
                    findings.add(f"{place[0]}, drawn", error)
        peak = _peak_mb()
        for name, data in bombs():
            started = time.perf_counter()
            with contextlib.suppress(ProtocolError):
                take_in(liar.state(), data)
            print(f"bomb: {name}: {time.perf_counter() - started:.2f} s, peak {_peak_mb():.0f} MB")
        stage.window.close()
    print(f"{options.count} inputs: {dict(results)}")
    print(f"slowest {slowest[0]:.3f} s ({slowest[1]}), slowest redraw {slowest_drawn[0]:.2f} s ({slowest_drawn[1]})")
    print(
        f"peak memory {first_peak:.0f} MB at the beginning, {peak:.0f} MB after the inputs, {_peak_mb():.0f} MB at the end"
    )
    for what, where in findings.found.items():
        print(f"{findings.times[what]} times, first at {where}: {what}")
    del app
    is_slow = slowest[0] > SLOWEST_SECS or slowest_drawn[0] > SLOWEST_DRAWN_SECS
    return 1 if findings.found or is_slow else 0


def _peak_mb() -> float:
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    sys.exit(main())
