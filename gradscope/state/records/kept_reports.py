"""The newest reports as they came, so that their steps can be looked at with all that was told of them. Bounded in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gradscope.protocol.messages import Report
from gradscope.protocol.phases import Phase

MAX_BYTES = 32 * 1024 * 1024
MAX_STEPS = 1000


class KeptReports:
    """The newest report of each phase of each step; the oldest steps go when there are too many, or they are too large."""

    def __init__(self, *, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES) -> None:
        self._max_steps, self._max_bytes = max_steps, max_bytes
        self._by_step: dict[int, dict[Phase, Report]] = {}
        """In the order of time."""
        self.nbytes = 0

    def __iter__(self) -> Iterator[int]:
        """The steps, in their order."""
        return iter(self._by_step)

    def __len__(self) -> int:
        return len(self._by_step)

    def of(self, step: int) -> Mapping[Phase, Report]:
        """What there is of a step, in the order in which the phases came."""
        return self._by_step.get(step, {})

    def add(self, report: Report) -> None:
        """Take in a report; one that comes again replaces what was there."""
        own = self._by_step.setdefault(report.step, {})
        before = own.pop(report.phase, None)
        own[report.phase] = report
        self.nbytes += _size(report) - (0 if before is None else _size(before))
        while len(self._by_step) > 1 and (len(self._by_step) > self._max_steps or self.nbytes > self._max_bytes):
            self._forget(next(iter(self._by_step)))

    def cut(self, step: int) -> None:
        """Forget the steps from `step` on."""
        for own in [own for own in self._by_step if own >= step]:
            self._forget(own)

    def undo(self, report: Report) -> None:
        """Forget one report: what it tells of has been undone."""
        own = self._by_step.get(report.step, {})
        if own.get(report.phase) is report:
            self.nbytes -= _size(own.pop(report.phase))

    def _forget(self, step: int) -> None:
        self.nbytes -= sum(map(_size, self._by_step.pop(step).values()))


def _size(report: Report) -> int:
    arrays = (report.subjects, report.summaries, report.sampled, report.places, report.times)
    # Histograms that were left out are one row, however many there seem to be.
    return sum(array.nbytes for array in arrays) + (report.histograms.nbytes if report.histograms.strides[0] else 0)
