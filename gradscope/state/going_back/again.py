"""A script that is run again from its beginning to a step: which one, what was recorded before, and whether it came to the
same.

What a script has done stays done. The way to an earlier moment of it is another process that runs it to there, and what was
recorded of the run before tells whether that is the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from gradscope.protocol.messages import Opened, SessionInfo
from gradscope.protocol.phases import Position, Rest
from gradscope.state.edits import Edits
from gradscope.state.history import History
from gradscope.state.log import Log
from gradscope.state.records.parting import Parting
from gradscope.state.topics import Topic


class Known(Protocol):
    """What the app knows, as far as another run of the script is concerned."""

    @property
    def history(self) -> History: ...

    @property
    def session(self) -> SessionInfo | None: ...

    @property
    def edits(self) -> Edits: ...

    @property
    def position(self) -> Position: ...


class Stage(Enum):
    """How far the other run has come."""

    NONE = auto()
    """None has been asked for, or it has been told how it went."""
    WAITING = auto()
    """It has been asked for, and has not come to its first training step."""
    BEGUN = auto()
    """It stands at its first training step, and is to go on."""
    RUNNING = auto()


@dataclass(frozen=True, kw_only=True)
class RunBefore:
    """What is kept of the run that was ended for the other one."""

    session: SessionInfo
    history: History
    edits: int
    """So many of them counted in it: they are not made in the other one."""


class Again:
    """One for the app: it outlives the session that is ended for another one."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.stage = Stage.NONE
        self.step = 0
        """At which it is to stop: before its first phase, or when its backward is done."""
        self.in_backward = False
        self._before: RunBefore | None = None
        self.parting: Parting | None = None
        """Of the run that is open now and the one before it, where that was one of these."""

    @property
    def place(self) -> str:
        """Where it is to stop, in the language of stops."""
        return f"backward if step == {self.step}" if self.in_backward else f"at step {self.step}"

    @property
    def has_to_go_on(self) -> bool:
        """It stands at its first training step, and that is not where it is to stop."""
        position = self._known.position
        return (
            self.stage is Stage.BEGUN
            and position.rest is Rest.READY
            and (self.in_backward or position.step < self.step)
        )

    def begin(self, step: int, *, in_backward: bool = False) -> None:
        """The script that is open is about to be run again to that step. Nothing happens without a session."""
        known = self._known
        if known.session is not None:
            edits = sum(edit.undone_at is None for edit in known.edits.made)
            self._before = RunBefore(session=known.session, history=known.history, edits=edits)
            self.stage, self.step, self.in_backward = Stage.WAITING, step, in_backward

    def end(self) -> None:
        """It has been told how it went, or it did not come about."""
        self.stage, self._before = Stage.NONE, None

    def hear(self, message: object, log: Log) -> Iterable[Topic]:
        """See `Part`."""
        if not isinstance(message, Opened):
            return ()
        before, self.parting = self._before, None
        is_it = self.stage is Stage.WAITING and before is not None and before.session.script == message.session.script
        if before is None or not is_it:
            self.end()
            return ()
        self.stage = Stage.BEGUN
        self.parting = Parting(self._known.history, before.history, 0)
        for sentence in _differences(before, message.session):
            log.say(sentence, is_warning=True)
        return (Topic.LOG, Topic.TIMELINE)


def _differences(before: RunBefore, now: SessionInfo) -> Iterable[str]:
    """What is known to be different from the beginning, in sentences."""
    if before.session.sha256 != now.sha256:
        yield f"{now.path} has been saved since the run before began: this is another script, and its steps may be others"
    if before.edits:
        what = "1 edit" if before.edits == 1 else f"{before.edits} edits"
        yield f"In the run before, the training was changed by hand ({what}): that is not done again by itself"
