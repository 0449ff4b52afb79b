"""What a script has come through: its stations, in its own order."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradscope.protocol.phases import SubStep
from gradscope.protocol.source import SourceLine


@dataclass
class Station:
    kind: SubStep
    line: SourceLine | None = None
    """Where the script stood."""
    detail: str = ""
    """Such as whose step it was."""
    calls: list[str] = field(default_factory=list)
    """Of a forward or an evaluation: the models that were called, in order."""
    is_told: bool = False
    """The script could be held there."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What a script has come through up to the end of a phase, since the end of the one before."""

    stations: tuple[Station, ...]
    calls: tuple[str, ...] = ()
    """The models that the forward has called, in order."""
    loss_name: str = ""
    """What the script calls the loss of a forward or backward."""
    losses: tuple[float | None, ...] = ()
    """Of each tensor that backward began at, where these are several."""
    backwards: int = 0
    """Of a step: how many there were since the step before."""
    knows_epoch: bool = False
    """The batches come from a DataLoader, so that passes over the data are counted."""
    notes: tuple[str, ...] = ()
    """At the end of the script: what was to be told with a phase that has not come."""


class Journal:
    """The stations since the newest end of a phase, and the order of those of the newest step."""

    def __init__(self) -> None:
        self.stations: list[Station] = []
        self.called_at = 0
        """How many stations there were when a forward called a model last: its own station is put there, when it ends."""
        self.order: tuple[SubStep, ...] = ()
        """Of the newest step that is done, and of those before: each kind once. A trailing one belongs to the step before."""
        self._in_step: list[SubStep] = []

    def add(self, station: Station, *, at: int | None = None) -> Station:
        last = self.stations[-1] if len(self.stations) > self.called_at else None
        if at is None and last is not None and last.kind is station.kind is SubStep.EVALUATE:
            last.calls += station.calls
            return last
        if at is None and last is not None and last.kind is station.kind is SubStep.ZERO_GRAD:
            return last
        self.stations.insert(len(self.stations) if at is None else at, station)
        return station

    def take(self) -> tuple[Station, ...]:
        """All of them: a phase has ended."""
        taken, self.stations, self.called_at = tuple(self.stations), [], 0
        self._in_step += [station.kind for station in taken]
        return taken

    def end_step(self) -> None:
        """The stations that were taken last belong to a step that is done now."""
        order = list(dict.fromkeys(self._in_step))
        # What trails a step (the scaler's update, the schedule, an evaluation) is taken with the next, and shown at the end.
        leading: list[SubStep] = []
        while order and order[0] in _TRAILING:
            leading.append(order.pop(0))
        self.order, self._in_step = _merged(self.order, (*order, *leading)), []


def _merged(known: tuple[SubStep, ...], new: tuple[SubStep, ...]) -> tuple[SubStep, ...]:
    """The new order, and in it what an earlier step had (an evaluation comes once an epoch), each behind what it followed."""
    merged = list(new)
    for i, kind in enumerate(known):
        if kind not in merged:
            before = known[i - 1] if i else None
            merged.insert(merged.index(before) + 1 if before in merged else 0 if before is None else len(merged), kind)
    return tuple(merged)


_TRAILING = SubStep.UPDATE, SubStep.SCHEDULE, SubStep.EVALUATE
