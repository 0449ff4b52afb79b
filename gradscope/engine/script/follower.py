"""Who is told of a script, and where the script waits."""

from __future__ import annotations

from typing import Protocol

from gradscope.engine.book.gate import Gate
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.launching.ending import ScriptEnd
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage


class Follower(Gate, Protocol):
    """Called on the thread that trains, in the middle of the script's code: the script goes on when it returns."""

    def session_found(self, session: ScriptSession) -> None:
        """A training is about to begin."""

    def session_changed(self, session: ScriptSession) -> None:
        """Another model or optimizer was found, or another order of stations."""

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None: ...

    def script_ended(self, session: ScriptSession | None, end: ScriptEnd, rest: Passage) -> None:
        """`session`: None where nothing was trained. `rest`: what the script has come through since its newest phase."""
