"""What was tried beside the training, as the app knows it: what each thing came to, and of which moment that is."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Protocol

from gradscope.protocol import messages
from gradscope.protocol.messages.checkpoints import CheckpointLoaded
from gradscope.protocol.messages.reports import Report
from gradscope.protocol.messages.timeline import WentTo
from gradscope.protocol.phases import Phase, Position, Rest
from gradscope.protocol.what_if.tried import AlongUpdate, ProbeSetting, Surface, TrialProgress, Trials
from gradscope.state.edits import Edits
from gradscope.state.log import Log
from gradscope.state.topics import Topic
from gradscope.state.what_if.probe_history import ProbeHistory


class Tried(Enum):
    """What can be asked for."""

    STEPS = auto()
    ALONG = auto()
    SURFACE = auto()
    PROBE = auto()


class Known(Protocol):
    """Where the training stands."""

    @property
    def position(self) -> Position: ...

    @property
    def edits(self) -> Edits: ...


class WhatIfState:
    """Of one session."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.trials: Trials | None = None
        self.along: AlongUpdate | None = None
        self.surface: Surface | None = None
        self.running: Tried | None = None
        """What was asked for, and has not been answered."""
        self.progress: TrialProgress | None = None
        self.probe: ProbeSetting | None = None
        self.probe_history = ProbeHistory()
        self.is_batch_gone = False
        """Training went elsewhere, and no forward was made since."""
        self._moments: dict[Tried, tuple[object, ...]] = {}
        """Where the training stood when each of them was told."""

    # ------------------------------------------------------------------------------------------ changes

    def hear(self, message: object, _log: Log) -> Iterable[Topic]:
        """See `Part`."""
        match message:
            case messages.WhatIfDone(trials=trials):
                self.trials = trials
                self._note(Tried.STEPS)
            case messages.LossAlongDone(along=along):
                self.along = along
                self._note(Tried.ALONG)
            case messages.LossSurfaceDone(surface=surface):
                self.surface = surface
                self._note(Tried.SURFACE)
            case messages.WhatIfProgress(progress=progress) if self.running is not None:
                self.progress = progress
            case messages.ProbeRecorded(record=record):
                self.probe_history.add(record)
                return (Topic.PROBE,)
            case messages.ProbeSet(setting=setting):
                if setting != self.probe:
                    # Its first record has come before it.
                    self._begin_probe(setting)
                return (Topic.PROBE,)
            case WentTo() | CheckpointLoaded():
                self._moments.clear()
                self.is_batch_gone = message.position.rest is Rest.READY
            case Report(phase=Phase.FORWARD) if self.is_batch_gone:
                self.is_batch_gone = False
            case _:
                return ()
        return (Topic.WHAT_IF,)

    def begin(self, what: Tried) -> None:
        self.running, self.progress = what, None

    def end(self) -> None:
        self.running = self.progress = None

    def _begin_probe(self, setting: ProbeSetting | None) -> None:
        self.probe = setting
        if setting is None:
            self.probe_history = ProbeHistory()

    def _note(self, what: Tried) -> None:
        self._moments[what] = self._moment()

    def _moment(self) -> tuple[object, ...]:
        position = self._known.position
        return position.step, position.rest, position.micro, position.optimizer, len(self._known.edits.made)

    # ------------------------------------------------------------------------------------------ questions

    def is_stale(self, what: Tried) -> bool:
        """Training has moved on since it was told, or was changed."""
        return self._moments.get(what) != self._moment()
