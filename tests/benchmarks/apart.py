"""Ways of observing in processes of their own, which take turns: each has caches and an allocator for itself.

A worker is this benchmark's own file with `--worker`: it makes its step, says "ready", and for each line that it is sent it
steps for a moment and says the median in milliseconds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

KEPT = " kept"
"""A way whose name ends so runs with glibc told to keep large blocks, as the engine of a recipe has it."""


def measure_apart(
    script: str, arguments: list[str], ways: list[str], *, seconds: float, round_secs: float
) -> dict[str, list[float]]:
    """way -> milliseconds of a step, one median a round; each way in a process of its own."""
    workers = {way: _start(script, way, arguments, round_secs) for way in ways}
    try:
        for worker in workers.values():
            _answer(worker, "ready")
        found: dict[str, list[float]] = {way: [] for way in ways}
        deadline = time.perf_counter() + seconds * len(ways)
        while time.perf_counter() < deadline or len(found[ways[0]]) < 3:
            for way, worker in workers.items():
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
                found[way].append(float(_answer(worker, "median").split()[1]))
        return found
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()


def work(step: Callable[[], None], clock: Callable[[], float], round_secs: float) -> None:
    """The life of a worker."""
    for _ in range(3):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        times: list[float] = []
        until = time.perf_counter() + round_secs
        while not times or time.perf_counter() < until:
            start = clock()
            step()
            times.append(1000 * (clock() - start))
        print("median", statistics.median(times), flush=True)


def _start(script: str, way: str, arguments: list[str], round_secs: float) -> subprocess.Popen[str]:
    command = [sys.executable, script, "--worker", str(round_secs), "--ways", way, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _answer(worker: subprocess.Popen[str], word: str) -> str:
    """Its next line that begins with the word; the tools print, too."""
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith(word):
            return line
    raise SystemExit(f"{' '.join(map(str, worker.args))} has ended with exit code {worker.wait()}")  # type: ignore[arg-type]
