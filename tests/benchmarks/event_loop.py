"""How long the window keeps a person waiting: the gaps between two turns of its event loop, and what they were spent on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEventLoop, Qt, QTimer

TICK_MS = 4
LONGEST_WANTED_SECS = 0.05


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """In milliseconds; `over` is how many were longer than 50 ms, `ours` how many of those were the window's own work: it
    had the processor for more than 50 ms. The others have waited for the processor."""

    median: float
    late: float
    """The 99th percentile."""
    longest: float
    longest_ours: float
    over: int
    ours: int


class GapMeter:
    """A timer that ticks every 4 ms: how late it comes is how long a click would have waited."""

    def __init__(self) -> None:
        self._gaps: list[tuple[float, float]] = []
        self._last = (0.0, 0.0)
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._on_tick)

    def start(self) -> None:
        self._gaps.clear()
        self._last = (time.perf_counter(), time.thread_time())
        self._timer.start()

    def stop(self) -> Gaps:
        """What there was since `start`."""
        self._timer.stop()
        gaps = sorted(1000 * gap for gap, _ in self._gaps)
        own = [1000 * own for _, own in self._gaps]
        limit = 1000 * LONGEST_WANTED_SECS
        return Gaps(
            median=gaps[len(gaps) // 2],
            late=gaps[int(0.99 * len(gaps))],
            longest=gaps[-1],
            longest_ours=max(own),
            over=sum(gap > limit for gap in gaps),
            ours=sum(one > limit for one in own),
        )

    def _on_tick(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        self._gaps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now


def spin(seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
    """Run the event loop as the app does, for so long or until something is so; whether it was."""
    loop = QEventLoop()
    look = QTimer()
    look.setInterval(TICK_MS)
    look.timeout.connect(lambda: loop.quit() if until() else None)
    end = QTimer()
    end.setSingleShot(True)
    end.timeout.connect(loop.quit)
    end.start(int(1000 * seconds))
    if not until():
        look.start()
        loop.exec()
        look.stop()
    return until()
