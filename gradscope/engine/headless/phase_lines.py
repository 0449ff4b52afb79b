"""The JSON lines of a recipe's phases; the first of them tells the facts of the run, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from gradscope.engine.data.digest import digest_of
from gradscope.engine.headless.outputs import write_line
from gradscope.engine.headless.run_facts import run_facts
from gradscope.engine.reports.lines import line_of
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.session import Session
from gradscope.protocol.phases import Phase


class PhaseLines:
    """Written to `out`; None: nobody wants them, and nothing is computed."""

    def __init__(self, session: Session, out: TextIO | None, *, checkpoint: str | None) -> None:
        """Before the first step. `checkpoint`: the file that was loaded."""
        self._session, self._out = session, out
        self._waiting: dict[str, Any] = {}
        if out is not None:
            loaded = {} if checkpoint is None else {"checkpoint": checkpoint}
            self._waiting["run"] = run_facts(session, loaded)

    def write(self, report: PhaseReport, more: Mapping[str, Any] | None = None) -> None:
        """One phase. Raises BadInput where it cannot be written."""
        if self._out is None:
            return
        data = digest_of(self._session.loop.loaded_batch) if report.phase is Phase.FORWARD else None
        told = {} if data is None else {"data": data}
        write_line(self._out, line_of(report, {**told, **self._waiting, **(more or {})}))
        self._waiting.clear()
