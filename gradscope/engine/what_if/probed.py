"""What a session offers of a probe, whoever drives it."""

from __future__ import annotations

from typing import Any

from gradscope.engine.what_if.probe import Probe
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Position
from gradscope.protocol.what_if.tried import Mode, ProbeRecord, ProbeSetting

NEWEST = "newest"
"""Instead of a batch: the newest one of the training."""


class Probed:
    """A part of a session."""

    position: Any
    """A `Position`."""
    _probe: Probe | None = None

    @property
    def probe(self) -> ProbeSetting | None:
        """What is pinned."""
        return None if self._probe is None else self._probe.setting

    @property
    def probe_records(self) -> tuple[ProbeRecord, ...]:
        """What the probe has come to, the oldest first: one after every run, of the last 10,000."""
        return () if self._probe is None else tuple(self._probe.records)

    @property
    def probe_notes(self) -> tuple[str, ...]:
        """What its runs could not put back."""
        return () if self._probe is None else tuple(self._probe.notes)

    def run_probe(self) -> ProbeRecord:
        """Once more, now. Raises BadInput where none is set, or inside a phase."""
        if self._probe is None:
            raise BadInput("No batch is pinned as a probe; expected set_probe(batch) first")
        self._need_rest_for_probe()
        position: Position = self.position
        return self._probe.run(position.step)

    def run_probe_if_due(self) -> None:
        """A step is done."""
        if self._probe is not None and self._probe.is_due(self.position.step):
            self._probe.run(self.position.step)

    def take_untold_of_probe(self) -> list[ProbeRecord]:
        """The records since this was asked the last time."""
        if self._probe is None or not self._probe.untold:
            return []
        untold = list(self._probe.untold)
        self._probe.untold.clear()
        return untold

    def _need_rest_for_probe(self) -> None:
        raise NotImplementedError


def checked_every(every: int) -> int:
    if type(every) is not int or every < 0:
        raise BadInput(f"The probe is to run every {every!r:.40} steps; expected a whole number, 0 for none")
    return every


def one_of(kind: Any, value: Any, what: str) -> Any:
    """A member of an enum, by its value. Raises BadInput for anything else."""
    try:
        return kind(value)
    except ValueError:
        expected = " or ".join(repr(member.value) for member in kind)
        raise BadInput(f"{what} is {value!r:.60}; expected {expected}") from None


def checked_mode(mode: Mode | str) -> Mode:
    found: Mode = one_of(Mode, mode, "mode")
    return found
