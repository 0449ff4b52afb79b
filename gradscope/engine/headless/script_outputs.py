"""What is written of a script that is followed: JSON lines, event files, snapshots, notes. Imports no torch itself."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gradscope.engine.headless.outputs import EXIT_BAD_INPUT, write_line
from gradscope.engine.script.launching.ending import ScriptEnd
from gradscope.protocol.failure import GradscopeError
from gradscope.protocol.last_place import LastPlace
from gradscope.protocol.phases import Moment, Phase
from gradscope.standard_streams import tell

if TYPE_CHECKING:
    from gradscope.engine.reports.events import EventLog
    from gradscope.engine.reports.report import PhaseReport
    from gradscope.engine.script.session import ScriptSession
    from gradscope.engine.script.stations import Passage

_UNKNOWN_STEPS = 10_000
"""How many are expected where nobody says: histograms of that many are spread over an event file."""


class ScriptOutputs:
    """A `Follower`: writes what it is told, and lets the script go on. What cannot be written is told, and left out."""

    is_armed = False

    def __init__(
        self,
        out: TextIO | None,
        *,
        export: str | None = None,
        on_failure: str | None = None,
        tensorboard: str | None = None,
        quiet: bool = False,
        steps: int | None = None,
        finds: bool = False,
        rules: str | None = None,
    ) -> None:
        """`out` gets the JSON lines. `steps`: how many there will be, where that is known. `finds`: what is wrong with the
        training is said at the end, with the user's own rules of the file `rules`."""
        self._out, self._export_to, self._on_failure = out, export, on_failure
        self._tensorboard, self._quiet, self._steps = tensorboard, quiet, steps
        self._finds, self._rules = finds, rules
        self.exit_code = 0
        """Another than the script's own; 0 where there is none."""
        self.is_done = False
        """Nothing is written any more."""
        self._events: EventLog | None = None
        self._written: set[str] = set()
        """The snapshots."""
        self._facts: dict[str, Any] = {}
        """What waits to be told in the first line."""
        self._notes: dict[str, str] = {}
        """Told at the end: a script may be drawing on its terminal."""

    @property
    def wants_values(self) -> bool:
        """A snapshot will be written."""
        return (self._export_to or self._on_failure) is not None

    def stop(self, moment: Moment) -> None:
        """Nobody pauses."""

    def session_found(self, session: ScriptSession) -> None:
        # A snapshot shows the newest step, and nobody knows which will be the last.
        session.keeper.keeps_all = self.wants_values and self._steps in (None, 1)
        self._take_warnings(session)
        session.leave_place_in(LastPlace.of_run())
        if self._out is not None:
            from gradscope.engine.headless.run_facts import run_facts

            session.observer.guarded(lambda: self._facts.update(run=run_facts(session)))
        if self._finds:
            self._look_for_findings(session)
        if self._tensorboard is not None:
            from gradscope.engine.reports.events import EventLog

            owners = [group.optimizer for group in session.info.groups]
            steps = self._steps or _UNKNOWN_STEPS
            try:
                self._events = EventLog(Path(self._tensorboard), first_step=0, steps=steps, owners=owners)
            except GradscopeError as error:
                self._fail(str(error))

    def _take_warnings(self, session: ScriptSession) -> None:
        for warning in session.info.warnings:
            self._notes.setdefault(warning, f"note: {warning}")

    def session_changed(self, session: ScriptSession) -> None:
        self._take_warnings(session)
        if self._events is not None:
            self._events.owners = [group.optimizer for group in session.info.groups]

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        from gradscope.engine.reports.lines import line_of
        from gradscope.engine.script.reporting import more_of

        if self.is_done:
            return
        self._write(line_of(report, {**more_of(report.phase, passage), **self._facts}))
        self._facts.clear()
        if self._events is not None:
            try:
                self._events.add(report)
                if report.phase is Phase.STEP:
                    self._events.end_step()
            except GradscopeError as error:
                self._events = None
                self._fail(str(error))
        self._tell_notes(report)
        if report.first_nonfinite is not None:
            self._export(session, self._on_failure)

    def script_ended(self, session: ScriptSession | None, end: ScriptEnd, rest: Passage) -> None:
        from gradscope.engine.reports.lines import end_line, line_of
        from gradscope.engine.script.failures import failure_of_script
        from gradscope.engine.script.reporting import more_of, stations_of
        from gradscope.engine.script.stations import Passage

        if self.is_done:
            return
        self.is_done = True
        content: dict[str, Any] = {"exit_code": end.code, "stations": stations_of(rest.stations)}
        unfinished = None if session is None else session.partial_report()
        if session is not None and unfinished is not None:
            passage = Passage(stations=(), knows_epoch=session.facts.batches.is_known)
            self._write(line_of(unfinished, more_of(unfinished.phase, passage)))
        failure = failure_of_script(end, session)
        if failure is not None:
            content["failure"] = {"sentence": failure.sentence, "layer": failure.layer, "call": failure.call}
        if session is not None:
            self._tell_findings(session)
        self._write(end_line(content))
        self.flush()
        if session is None:
            if not self._quiet:
                tell(". ".join(("no training step was seen in this process", *rest.notes)))
        else:
            if end.error is not None:
                self._export(session, self._on_failure)
            self.finish(session)

    def _look_for_findings(self, session: ScriptSession) -> None:
        from gradscope.engine.recipe.loading import load_rules
        from gradscope.engine.recipe.own_rules import declare

        if self._rules is not None:
            try:
                declare(load_rules(self._rules))
            except GradscopeError as error:
                self._fail(str(error))
        session.look_for_findings()

    def _tell_findings(self, session: ScriptSession) -> None:
        """Once: where the script ends, or is looked at no longer."""
        from gradscope.engine.headless.findings_form import lines_of
        from gradscope.engine.headless.findings_text import told

        if not self._finds:
            return
        self._finds = False
        findings = session.findings()
        for line in lines_of(findings):
            self._write(line)
        for number, sentence in enumerate([] if self._quiet else told(findings)):
            self._notes[f"finding {number}"] = sentence

    def finish(self, session: ScriptSession) -> None:
        """Write what is written at the end, and tell what has failed."""
        self._tell_findings(session)
        self._export(session, self._export_to)
        if self._events is not None:
            with contextlib.suppress(GradscopeError):
                self._events.close()
        for note in () if self._quiet else self._notes.values():
            tell(note)
        for text in session.observer.errors:
            tell(text)
        session.close()

    def flush(self) -> None:
        if self._out is not None:
            with contextlib.suppress(OSError):
                self._out.flush()

    def _export(self, session: ScriptSession, name: str | None) -> None:
        from gradscope.engine.export.snapshot import write_snapshot

        if name is None or name in self._written:
            return
        self._written.add(name)
        try:
            written = write_snapshot(session, name)
        except GradscopeError as error:
            self._fail(str(error))
            return
        if not self._quiet:
            tell(f"snapshot written to {written.path} ({len(written.files)} files, {written.size_bytes} bytes)")

    def _write(self, line: str) -> None:
        try:
            write_line(self._out, line)
        except GradscopeError as error:
            if self._out is not None:
                # What waits in it cannot be written either, and is not to be told once more.
                with contextlib.suppress(OSError):
                    self._out.close()
            self._out = None
            self._fail(str(error))

    def _fail(self, sentence: str) -> None:
        """An output of ours cannot be written: the script goes on."""
        tell(sentence)
        self.exit_code = EXIT_BAD_INPUT

    def _tell_notes(self, report: PhaseReport) -> None:
        if report.first_nonfinite is not None:
            tell(report.first_nonfinite.sentence)
        for note in report.notes:
            # Names and counts in brackets may change from step to step.
            self._notes.setdefault(note.partition("(")[0], f"note: step {report.step}: {note}")
