"""What the reports have to say in words, for the log: the same thing is said once in a run, and again when it comes back."""

from __future__ import annotations

import re

from gradscope.protocol.messages import Report
from gradscope.protocol.numbers import exact
from gradscope.protocol.phases import Phase

_COUNTS = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)")
"""Numbers that stand alone; those in a parameter's name (layers.0.weight) tell one from another."""


class StepNotes:
    """Knows what the newest step and the one before have said, by phase and optimizer."""

    def __init__(self) -> None:
        self._before: dict[tuple[Phase, str], set[str]] = {}
        self._now: dict[tuple[Phase, str], set[str]] = {}

    def take(self, report: Report) -> list[str]:
        """The sentences of a report that the step before did not have: "3 NaN of 12" is no other than "4 NaN of 12"."""
        which = (report.phase, report.optimizer)
        if report.micro == 0 or report.phase is Phase.STEP:
            self._before[which] = self._now.pop(which, set())
        before, now = self._before.setdefault(which, set()), self._now.setdefault(which, set())
        new = []
        for sentence in (*report.notes, *_skipped(report)):
            kind = _COUNTS.sub("#", sentence)
            if kind not in before and kind not in now:
                new.append(sentence)
            now.add(kind)
        return new

    def end_run(self) -> None:
        """What a person asks for by hand is answered each time."""
        self._before.clear()
        self._now.clear()


def _skipped(report: Report) -> tuple[str, ...]:
    if not report.skipped:
        return ()
    scale = "" if report.scale is None else f" with a loss scale of {exact(report.scale)}"
    return (f"Step {report.step} was skipped: a gradient was not finite{scale}",)
