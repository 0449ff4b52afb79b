"""`gradscope check train.py`: a script of the user's is followed for some steps, then what can be run beside it is run.

A script owns its loop: what would have to train again is not judged. Imports no torch itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, TextIO

from gradscope.engine.headless.outputs import EXIT_BAD_INPUT, EXIT_DONE, EXIT_NONFINITE, EXIT_USER_CODE, opened
from gradscope.engine.headless.script import BUDGET_BYTES, finish
from gradscope.engine.headless.script_outputs import ScriptOutputs
from gradscope.engine.script.launching import launch
from gradscope.engine.script.launching.ending import ScriptEnd, leave_now
from gradscope.engine.script.launching.running import ScriptRun
from gradscope.protocol.capture import Capture
from gradscope.protocol.failure import BadInput, GradscopeError
from gradscope.protocol.phases import Phase
from gradscope.protocol.scripts import Script
from gradscope.standard_streams import tell

if TYPE_CHECKING:
    from gradscope.engine.headless.check import CheckOptions
    from gradscope.engine.reports.report import PhaseReport
    from gradscope.engine.script.session import ScriptSession
    from gradscope.engine.script.stations import Passage
    from gradscope.protocol.findings import Findings


def check_script(script: Script, options: CheckOptions) -> int:
    """The exit code, as of `check`; where the script ends before those steps, what is known then is told."""
    from gradscope.engine.headless.check import check_ids, check_options

    try:
        check_options(options)
        check_ids(options.only, ())
        if options.steps == 0:
            raise BadInput("--steps is 0; expected a whole number from 1: a script makes its batches in its own loop")
        if os.environ.get("RANK", "0") != "0":
            raise BadInput("One of several processes cannot be checked; expected a script that is started alone")
        launch.check(script)
        with contextlib.ExitStack() as stack:
            stdout = sys.stdout
            # What the script prints must not end up between the findings.
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            out = stack.enter_context(opened(options.jsonl, stdout))
            whole = stack.enter_context(opened(options.json, stdout, option="--json"))
            checking = _Checking(options, script.title, out, whole, stdout)
            run = ScriptRun(script, lambda: checking, capture=Capture.parse("full"), budget_bytes=BUDGET_BYTES)
            checking.run = run
            end = run.run()
        code = finish(ScriptEnd(end.code, end.error, end.left_out, end.words))
        return EXIT_USER_CODE if code else checking.exit_code
    except BadInput as error:
        tell(str(error))
        return EXIT_BAD_INPUT


class _Checking(ScriptOutputs):
    """Ends the script after its steps, when everything is told."""

    def __init__(
        self, options: CheckOptions, name: str, out: TextIO | None, whole: TextIO | None, stdout: TextIO | None
    ) -> None:
        super().__init__(None, quiet=True, finds=True, rules=options.rules)
        self._options, self._name = options, name
        self._lines, self._whole, self._stdout = out, whole, stdout
        self.run: ScriptRun | None = None

    @property
    def wants_values(self) -> bool:
        """The check-up calls the model with what the script has called it with."""
        return True

    def session_found(self, session: ScriptSession) -> None:
        super().session_found(session)
        session.keeper.keeps_all = True

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        if self.is_done or report.phase is not Phase.STEP or len(session.history) < self._options.steps:
            return
        assert self.run is not None
        self.is_done = True
        found = self._check_up(session)
        self.run.stop_following()
        code = self._tell(found, session)
        session.close()
        self._flush()
        leave_now(code)

    def script_ended(self, session: ScriptSession | None, end: ScriptEnd, rest: Passage) -> None:
        if self.is_done:
            return
        self.is_done = True
        if session is None:
            tell("no training step was seen in this process")
            self.exit_code = EXIT_BAD_INPUT
            return
        self.exit_code = self._tell(session.findings() if end.error is not None else self._check_up(session), session)
        session.close()

    def _check_up(self, session: ScriptSession) -> Findings:
        if not self._options.has_experiments:
            return session.findings()
        try:
            return session.check_up(self._options.only or None)
        except GradscopeError as error:
            tell(f"note: there was no check-up: {error}")
            return session.findings()

    def _tell(self, found: Findings, session: ScriptSession) -> int:
        """The exit code."""
        from gradscope.engine.headless.check import only_of, say_found, write_found
        from gradscope.engine.headless.several_seeds import merged

        for text in session.observer.errors:
            tell(text)
        several = merged([only_of(found, self._options.only)])
        try:
            write_found(self._options, several, self._lines, self._whole)
            if self._options.says:
                with contextlib.redirect_stdout(self._stdout):
                    say_found(self._options, self._name, several)
        except GradscopeError as error:
            tell(str(error))
            return EXIT_BAD_INPUT
        return EXIT_NONFINITE if several.findings.counted else EXIT_DONE

    def _flush(self) -> None:
        for stream in (self._lines, self._whole, self._stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.flush()
