"""`gradscope run train.py`: a script of the user's as it is, and what is seen of its training. Imports no torch itself."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from gradscope.engine.headless.breaks import Breaks
from gradscope.engine.headless.outputs import EXIT_BAD_INPUT, EXIT_NONFINITE, EXIT_STOPPED, check_outputs, opened
from gradscope.engine.headless.script_outputs import ScriptOutputs
from gradscope.engine.script.launching import launch
from gradscope.engine.script.launching.ending import ScriptEnd, leave_now
from gradscope.engine.script.launching.running import ScriptRun
from gradscope.engine.script.launching.tracebacks import without_ours
from gradscope.protocol.capture import Capture
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Moment, Phase
from gradscope.protocol.scripts import Script
from gradscope.protocol.stops.point import StopHit
from gradscope.standard_streams import tell

if TYPE_CHECKING:
    from gradscope.engine.reports.report import PhaseReport
    from gradscope.engine.script.session import ScriptSession
    from gradscope.engine.script.stations import Passage

BUDGET_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """What the command line asks for. `jsonl` "-" is standard output."""

    script: Script
    steps: int | None = None
    """The script is ended after so many; None: at its own end."""
    runs_on: bool = False
    """After those steps it goes on, and nobody looks."""
    jsonl: str | None = None
    export: str | None = None
    """A snapshot of the newest step."""
    on_failure: str | None = None
    """A snapshot, where the script ends by an exception or makes its first NaN or Inf."""
    tensorboard: str | None = None
    quiet: bool = False
    capture: str = "full"
    stops_at_nonfinite: bool = False
    finds: bool = False
    """With the monitors of findings, which are told at the end."""
    rules: str | None = None
    """A file with rules of the user's own, which belong to every training of the process."""
    breaks: tuple[str, ...] = ()
    """Where to end the script, as `protocol.stops.parsing` reads it."""


def run_script(options: ScriptOptions) -> int:
    """The exit code: the script's own, unless it was ended from here. What it prints is as without gradscope."""
    rank = os.environ.get("RANK", "0")
    try:
        launch.check(options.script)
        if rank != "0":
            # One of several processes is looked at; the others train as ever.
            return finish(_plainly(options.script))
        return finish(_watched(options))
    except BadInput as error:
        tell(str(error))
        return EXIT_BAD_INPUT


def _plainly(script: Script) -> ScriptEnd:
    from gradscope.engine.script.launching.ending import end_of

    try:
        launch.run(script)
    except BadInput:
        raise
    except BaseException as error:
        return end_of(error)
    return ScriptEnd(0)


def _watched(options: ScriptOptions) -> ScriptEnd:
    capture, breaks = Capture.parse(options.capture), Breaks(options.breaks)
    if options.steps is not None and options.steps < 1:
        raise BadInput(f"--steps is {options.steps}; expected a whole number from 1")
    check_outputs(export=options.export, tensorboard=options.tensorboard)
    if options.on_failure is not None and os.path.lexists(Path(options.on_failure).expanduser()):
        raise BadInput(f"--on-failure: {options.on_failure} exists already; expected a new name for the snapshot")
    with contextlib.ExitStack() as stack:
        stdout = sys.stdout
        if options.jsonl == "-":
            # What the script prints must not end up between the JSON lines.
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        out = stack.enter_context(opened(options.jsonl, stdout))
        watching = _Watching(options, out, breaks)
        run = ScriptRun(options.script, lambda: watching, capture=capture, budget_bytes=BUDGET_BYTES)
        watching.run = run
        end = run.run()
    return ScriptEnd(watching.exit_code or end.code, end.error, end.left_out, end.words)


def finish(end: ScriptEnd) -> int:
    """As Python ends, but for the exit code, which is returned."""
    for line in end.left_out:
        tell(f"note: left out, since it is no Python: {line}")
    if end.words is not None:
        with contextlib.suppress(OSError):
            print(end.words, file=sys.stderr)
    if end.error is not None:
        error = without_ours(end.error)
        if isinstance(error, ImportError) and error.__traceback__ is None:
            # There is no such module to run: as Python says it.
            with contextlib.suppress(OSError):
                print(f"{sys.executable}: {error}", file=sys.stderr)
            return end.code
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            _end_interrupted()
    return end.code


def _end_interrupted() -> NoReturn:
    """Whoever waits for the process is to see that it was interrupted."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    raise SystemExit(130)


class _Watching(ScriptOutputs):
    """Ends the script, or lets it run on, where that was asked for."""

    def __init__(self, options: ScriptOptions, out: TextIO | None, breaks: Breaks) -> None:
        super().__init__(
            out,
            export=options.export,
            on_failure=options.on_failure,
            tensorboard=options.tensorboard,
            quiet=options.quiet,
            steps=options.steps,
            finds=options.finds,
            rules=options.rules,
        )
        self._options, self._breaks = options, breaks
        self._session: ScriptSession | None = None
        self.run: ScriptRun | None = None

    def session_found(self, session: ScriptSession) -> None:
        super().session_found(session)
        self._session = session
        for sentence in self._breaks.follow(session):
            # Its layers may still come.
            tell(f"note: --break: {sentence}")
        self.is_armed = self._breaks.is_armed
        session.keeper.keeps_all = session.keeper.keeps_all or self._keeps_all

    @property
    def _keeps_all(self) -> bool:
        """Any step may be the one that is written."""
        return bool(self._breaks) and self.wants_values

    def stop(self, moment: Moment) -> None:
        hits = [] if self.is_done or self._session is None else self._breaks.at(moment)
        if hits:
            self._stop_at(hits)

    def _stop_at(self, hits: list[StopHit]) -> None:
        from gradscope.engine.reports.lines import line_of, stopped_line
        from gradscope.engine.script.reporting import more_of
        from gradscope.engine.script.stations import Passage

        session = self._session
        assert session is not None
        so_far = session.partial_report()
        if so_far is not None:
            passage = Passage(stations=(), knows_epoch=session.facts.batches.is_known)
            self._write(line_of(so_far, {**more_of(so_far.phase, passage), "failed": False}))
        self._write(stopped_line(self._breaks.content(hits, session.position)))
        for sentence in self._breaks.sentences(hits, session.position):
            tell(sentence)
        self._end(session, EXIT_STOPPED)

    def phase_ended(self, session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        if self.is_done:
            return
        super().phase_ended(session, report, passage)
        hits = self._breaks.after(report)
        if hits:
            self._stop_at(hits)
            return
        if report.first_nonfinite is not None and self._options.stops_at_nonfinite:
            self._end(session, EXIT_NONFINITE)
        steps = self._options.steps
        if steps is not None and report.phase is Phase.STEP:
            is_last = len(session.history) + 1 >= steps
            session.keeper.keeps_all = (is_last and self.wants_values) or self._keeps_all
            if len(session.history) >= steps:
                self._end(session, self.exit_code)

    def _end(self, session: ScriptSession, code: int) -> None:
        """Look no longer; and end the script, unless it is to run on."""
        assert self.run is not None
        self.is_done = True
        self.run.stop_following()
        self.finish(session)
        if code == EXIT_STOPPED or not self._options.runs_on:
            self.flush()
            leave_now(code or self.exit_code)
