"""A window and files beside it."""

from __future__ import annotations

from gradscope.engine.headless.script_outputs import ScriptOutputs
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.launching.ending import ScriptEnd
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.engine.serving.kernel_server import KernelServer
from gradscope.protocol.phases import Moment


class Both:
    """A `Follower`: what is written comes before the window, in which the training waits."""

    def __init__(self, outputs: ScriptOutputs, server: KernelServer) -> None:
        self._outputs, self._server = outputs, server

    @property
    def is_armed(self) -> bool:
        return self._server.is_armed

    @is_armed.setter
    def is_armed(self, armed: bool) -> None:
        self._server.is_armed = armed

    def stop(self, moment: Moment) -> None:
        self._server.stop(moment)

    def session_found(self, session: ScriptSession) -> None:
        self._outputs.session_found(session)
        self._server.session_found(session)
        self._keep(session)

    def session_changed(self, session: ScriptSession) -> None:
        self._outputs.session_changed(session)
        self._server.session_changed(session)

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        self._outputs.phase_ended(session, report, passage)
        self._server.phase_ended(session, report, passage)
        self._keep(session)

    def script_ended(self, session: ScriptSession | None, end: ScriptEnd, rest: Passage) -> None:
        # That closes the session.
        self._server.script_ended(session, end, rest)
        self._outputs.script_ended(session, end, rest)

    def _keep(self, session: ScriptSession) -> None:
        """A snapshot shows the newest step, and nobody knows which will be the last."""
        session.keeper.keeps_all = session.keeper.keeps_all or self._outputs.wants_values
