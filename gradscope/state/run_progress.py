"""How far a run has come, how fast it goes, and how long it will take. Times are seconds of a monotonic clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gradscope.protocol.phases import Position, RunUntil

_WINDOW_SECS = 5.0
"""The speed is that of the last seconds: it changes with what is captured and drawn."""
_LEAST_SECS = 0.5
"""What is measured for less than this is no speed."""


@dataclass
class RunProgress:
    """Steps are optimizer steps."""

    first_step: int
    steps: int | None
    """How many are to be made; None where nobody knows."""
    started: float
    done: int = 0
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    @classmethod
    def begin(cls, position: Position, until: RunUntil, steps: int, *, now: float) -> RunProgress:
        """Of a run that is started here; `steps` is looked at for RunUntil.STEPS only."""
        progress = cls(position.step, _wanted(position, until, steps), now)
        progress.see(position, now=now)
        return progress

    def see(self, position: Position, *, now: float) -> None:
        """The run has come here."""
        self.done = max(0, position.step - self.first_step)
        if not self._seen or now - self._seen[-1][0] >= _LEAST_SECS / 5:
            self._seen.append((now, self.done))
        while now - self._seen[0][0] > _WINDOW_SECS and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def steps_per_sec(self) -> float | None:
        """None before it is known. A run that stands still has the speed of before, not a made-up one."""
        (first, done_first), (last, done_last) = self._seen[0], self._seen[-1]
        return (
            (done_last - done_first) / (last - first)
            if last - first >= _LEAST_SECS and done_last > done_first
            else None
        )

    @property
    def secs_left(self) -> float | None:
        """None where the end is not known, or the speed."""
        speed = self.steps_per_sec
        return None if self.steps is None or speed is None else max(0, self.steps - self.done) / speed


def _wanted(position: Position, until: RunUntil, steps: int) -> int | None:
    if until is RunUntil.STEPS:
        return steps
    if until is RunUntil.EPOCH and position.batches_per_epoch is not None and not position.optimizer:
        # A window that has begun takes the batches that it still lacks; the last one may be shorter.
        left = position.batches_per_epoch - position.batch + position.micro
        return max(1, -(-left // position.window))
    return None
