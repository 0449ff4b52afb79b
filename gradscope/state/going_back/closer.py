"""Looking closer: the values of earlier steps that were not kept, and have been computed again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gradscope.protocol.messages import Cancelled, Failed, Recompute, Recomputed, TimelineState, WentTo
from gradscope.protocol.messages.checkpoints import CheckpointLoaded
from gradscope.protocol.subjects import SubjectKey
from gradscope.state.log import Log
from gradscope.state.records.newest import Latest
from gradscope.state.shown_step import Recorded
from gradscope.state.topics import Topic

MOST_KEPT = 8
"""Of the engine's copies as many may be there still."""


class Closer:
    """Of one session."""

    def __init__(self) -> None:
        self.under_way: Recompute | None = None
        """It has been asked for, and not been answered."""
        self._found: dict[tuple[int, SubjectKey], Recomputed] = {}
        self._branch = 0

    def hear(self, message: object, log: Log) -> Iterable[Topic]:
        """See `Part`."""
        match message:
            case Recomputed() if self.under_way is not None:
                self.under_way = None
                self._keep(message)
                for note in message.notes:
                    log.say(note, is_warning=True)
                return (Topic.SHOWN, Topic.LOG)
            case Failed() | Cancelled() if self.under_way is not None:
                self.under_way = None
                return (Topic.SHOWN,)
            case WentTo() | CheckpointLoaded():
                self._found.clear()
                return (Topic.SHOWN,)
            case TimelineState(branch=branch) if branch != self._branch:
                # The step of that number is another one there.
                self._branch = branch
                self._found.clear()
                return (Topic.SHOWN,)
        return ()

    def found(self, latest: Latest) -> Recomputed | None:
        """What has been computed again of a subject in an earlier step; None for the newest of everything."""
        return self._found.get((latest.step, latest.row.key)) if isinstance(latest, Recorded) else None

    def formed(self, latest: Latest) -> Latest:
        """With the form that its values really have, where they are there: of a subject with several, the records may not
        tell."""
        found = self.found(latest)
        if found is None:
            return latest
        return replace(latest, row=replace(latest.row, shape=found.shape, dtype=found.dtype))

    def step_of(self, latest: Latest) -> int | None:
        """The step with which its values are asked for; None where they are the engine's newest."""
        found = self.found(latest)
        return None if found is None else found.step

    def forget(self, latest: Latest) -> bool:
        """The engine has let go of its values. Whether they were known."""
        return self._found.pop((latest.step, latest.row.key), None) is not None

    def _keep(self, message: Recomputed) -> None:
        self._found.pop((message.step, message.subject), None)
        self._found[message.step, message.subject] = message
        while len(self._found) > MOST_KEPT:
            self._found.pop(next(iter(self._found)))
