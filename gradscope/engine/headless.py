"""`gradscope run`: a recipe stepped without a window, in this process. Progress on a terminal, JSON lines, a snapshot."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gradscope.engine.checkpoints.file import checked_target
from gradscope.engine.export.snapshot import write_snapshot
from gradscope.engine.recipe.loading import load_recipe
from gradscope.engine.reports.events import EventLog
from gradscope.engine.reports.lines import line_of, validation_line
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.session import Session
from gradscope.engine.surroundings.blame import failure_of
from gradscope.engine.surroundings.unwinding import ctrl_c_told_apart, is_interruption
from gradscope.protocol.failure import BadInput, Failure, FailureKind, GradscopeError
from gradscope.protocol.numbers import number
from gradscope.protocol.phases import SubStep
from gradscope.protocol.visible import ascii_json, visible, visible_lines
from gradscope.snapshots.tensorboard import missing, occupied
from gradscope.standard_streams import tell, unwritable

EXIT_DONE, EXIT_USER_CODE, EXIT_BAD_INPUT, EXIT_NONFINITE, EXIT_OUR_BUG = 0, 1, 2, 3, 70
_EXIT_CODES = {FailureKind.USER_CODE: EXIT_USER_CODE, FailureKind.BAD_INPUT: EXIT_BAD_INPUT}
_BAR_WIDTH = 28
_REDRAW_SECS = 0.1


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the command line asks for. `jsonl` "-" is standard output."""

    path: Path
    steps: int
    device: str = "cpu"
    seed: int = 0
    jsonl: str | None = None
    export: str | None = None
    tensorboard: str | None = None
    quiet: bool = False
    save_checkpoint: str | None = None
    """Written after the last step."""
    load_checkpoint: str | None = None
    """Loaded before the first step: the steps go on from there."""
    capture: str = "full"
    """As `Capture.parse` reads it."""
    keep_going: bool = False
    """Do not stop after the step in which the first NaN or Inf is found."""


def run(options: RunOptions) -> int:
    """Step the recipe; returns the exit code. Sentences go to standard error. Raises KeyboardInterrupt."""
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(ctrl_c_told_apart())
            _check(options)
            stdout = sys.stdout
            if options.jsonl == "-":
                # What the user's code prints must not end up between the JSON lines.
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            recipe = load_recipe(options.path, options.seed)
            session = stack.enter_context(Session(recipe, options.device, capture=options.capture))
            if options.load_checkpoint is not None:
                _load(session, options.load_checkpoint)
            _check_turns(session, options)
            out = stack.enter_context(_opened(options.jsonl, stdout))
            events = stack.enter_context(_event_log(session, options))
            return _train(session, options, out, events)
    except BaseException as error:
        # BaseException: the user's code may have called sys.exit().
        if is_interruption(error):
            raise
        failure = failure_of(error)
        _tell(failure)
        return _EXIT_CODES.get(failure.kind, EXIT_OUR_BUG)


def _load(session: Session, path: str) -> None:
    loaded = session.load_checkpoint(path)
    for note in loaded.notes:
        tell(f"note: {note}")


def _train(session: Session, options: RunOptions, out: TextIO | None, events: EventLog | None) -> int:
    """The exit code."""
    for warning in session.info.warnings:
        tell(f"note: {warning}")
    horizon = session.schedule(1).horizon
    last_step = session.position.step + options.steps
    if horizon is not None and last_step > horizon:
        tell(
            f"note: {session.info.scheduler} ends after step {horizon - 1}: it was made for {horizon} steps, and "
            f"{last_step} are asked for"
        )
    progress = _Progress(options.steps, shown=not options.quiet and sys.stderr.isatty())
    session.keeper.keeps_all = False
    notes = _Notes(shown=not options.quiet)
    try:
        for step in range(options.steps):
            # The snapshot shows the last step: only its activations are worth a copy.
            session.keeper.keeps_all = options.export is not None and step + 1 == options.steps
            _one_step(session, out, notes, events)
            progress.show(step + 1, session.history[-1].loss)
            if session.first_nonfinite is not None and not options.keep_going and session.is_between_batches:
                break
    except BaseException:
        progress.close()
        _tell_unwritten(options, len(session.history))
        raise
    progress.close()
    for text in session.observer.errors:
        tell(text)
    first, done = session.first_nonfinite, len(session.history)
    is_stopped = first is not None and not options.keep_going
    if is_stopped and done < options.steps:
        tell(f"stopped after {done} of {options.steps} steps, since there is NaN or Inf (--keep-going goes on)")
    _write_outputs(session, options)
    if not options.quiet and options.jsonl != "-":
        before, last = (number(session.history[i].loss, digits=6) for i in (0, -1))
        _say(f"{session.info.name}: {len(session.history)} steps, loss {before} -> {last}")
    return EXIT_NONFINITE if is_stopped else EXIT_DONE


def _tell_unwritten(options: RunOptions, done: int) -> None:
    """The run ends before its last step."""
    names = [name for name in (options.save_checkpoint, options.export) if name is not None]
    if names:
        tell(
            f"nothing was written to {' and '.join(names)}: that is done after the last step, and the run has "
            f"ended after {done} of {options.steps}"
        )


def _write_outputs(session: Session, options: RunOptions) -> None:
    """Each of them, whatever becomes of the others; then the first failure is raised."""
    failures: list[GradscopeError] = []
    for name, write in ((options.save_checkpoint, _save), (options.export, _export)):
        if name is None:
            continue
        try:
            line = write(session, name)
            if not options.quiet:
                _say(line)
        except GradscopeError as error:
            failures.append(error)
    for other in failures[1:]:
        _tell(other.failure)
    if failures:
        raise failures[0]


def _save(session: Session, name: str) -> str:
    saved = session.save_checkpoint(name)
    return f"Checkpoint written to {saved.path} ({saved.size_bytes} bytes)"


def _export(session: Session, name: str) -> str:
    written = write_snapshot(session, name)
    return f"Snapshot written to {written.path} ({len(written.files)} files, {written.size_bytes} bytes)"


def _one_step(session: Session, out: TextIO | None, notes: _Notes, events: EventLog | None) -> None:
    """To the end of the next optimizer step, and the validation that may follow it."""
    step, validated = session.position.step, len(session.validations)
    while session.position.step == step:
        failed = None
        try:
            report = session.advance()
        except GradscopeError as error:
            failed = error
        if failed is not None:
            # Not where it is being handled: the second failure is not to be told as one of the handling.
            partial = getattr(failed, "report", None)
            if isinstance(partial, PhaseReport):
                _write(out, line_of(partial))
            raise _with_line(session, failed)
        _write(out, line_of(report))
        notes.tell(report)
        if events is not None:
            events.add(report)
    for validation in session.validations[validated:]:
        _write(out, validation_line(validation))
        if events is not None:
            events.add_validation(validation)
    if events is not None:
        events.end_step()


def _with_line(session: Session, error: GradscopeError) -> GradscopeError:
    """Of a backward that has failed, and was undone: the same batch once more, in torch's anomaly mode, so that the failure
    names the line of the forward. Any other failure as it is."""
    if not error.failure.can_be_traced:
        return error
    session.is_traced = True
    try:
        session.forward()
        session.backward()
    except GradscopeError as again:
        if again.failure.substep is SubStep.BACKWARD:
            return again
    # It has come to something else, of which nobody has asked.
    return error


def _write(out: TextIO | None, line: str) -> None:
    if out is None:
        return
    try:
        # JSON is read as UTF-8; standard output may have another encoding.
        is_utf_8 = codecs.lookup(out.encoding or "utf-8").name == "utf-8"
        out.write((line if is_utf_8 else ascii_json(line)) + "\n")
    except OSError as error:
        raise BadInput(f"The JSON lines cannot be written: {error.strerror or error}") from error


def _check(options: RunOptions) -> None:
    if options.steps < 1:
        raise BadInput(f"--steps is {options.steps}; expected a whole number from 1")
    if options.save_checkpoint is not None:
        try:
            checked_target(options.save_checkpoint)
        except BadInput as error:
            raise BadInput(f"--save-checkpoint: {error}") from error
    if options.export is not None and os.path.lexists(Path(options.export).expanduser()):
        raise BadInput(f"--export: {options.export} exists already; expected a new name for the snapshot")
    problem = None if options.tensorboard is None else missing() or occupied(Path(options.tensorboard))
    if problem is not None:
        raise BadInput(f"--tensorboard: {problem}")


def _check_turns(session: Session, options: RunOptions) -> None:
    """Where optimizers take turns, a step is one turn, and a checkpoint is taken between two rounds."""
    turns = session.training.turns
    if options.save_checkpoint is not None and options.steps % len(turns):
        names = ", ".join(turn.name for turn in turns)
        raise BadInput(
            f"--steps is {options.steps}; expected a multiple of {len(turns)} with --save-checkpoint: the optimizers "
            f"({names}) take turns, and a checkpoint is saved when each has had its own"
        )


def _event_log(session: Session, options: RunOptions) -> contextlib.AbstractContextManager[EventLog | None]:
    if options.tensorboard is None:
        return contextlib.nullcontext()
    first = session.position.step
    owners = [group.optimizer for group in session.info.groups]
    log = EventLog(Path(options.tensorboard), first_step=first, steps=options.steps, owners=owners)
    return contextlib.closing(log)


@contextlib.contextmanager
def _opened(name: str | None, stdout: TextIO) -> Iterator[TextIO | None]:
    if name is None:
        yield None
    elif name == "-":
        if stdout is None:
            raise BadInput("--jsonl: - is standard output, which is closed; expected one that can be written")
        yield stdout
    else:
        try:
            file = Path(name).open("w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise BadInput(f"--jsonl: {name} cannot be written: {error.strerror or error}") from error
        try:
            yield file
        finally:
            try:
                file.close()
            except OSError as error:
                raise BadInput(f"--jsonl: {name} cannot be written: {error.strerror or error}") from error


def _tell(failure: Failure) -> None:
    if failure.traceback:
        with contextlib.suppress(OSError):
            print(visible_lines(failure.traceback), file=sys.stderr)
    tell(failure.sentence)
    if failure.undone:
        tell(failure.undone)


def _say(line: str) -> None:
    """On standard output. Raises BadInput."""
    try:
        print(visible(line), flush=True)
    except OSError as error:
        sentence = unwritable(error)
        raise BadInput(sentence[0].upper() + sentence[1:]) from error


class _Notes:
    """What a person should know, on standard error: each kind of note once."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._told: set[str] = set()

    def tell(self, report: PhaseReport) -> None:
        if report.first_nonfinite is not None:
            # Also where all else is quiet: it may end the run.
            tell(report.first_nonfinite.sentence)
        for note in report.notes if self._shown else ():
            # Names and counts in brackets may change from step to step.
            kind = note.partition("(")[0]
            if kind not in self._told:
                self._told.add(kind)
                tell(f"note: step {report.step}: {note}")


class _Progress:
    """One line on a terminal, redrawn at most ten times a second."""

    def __init__(self, steps: int, *, shown: bool) -> None:
        self._steps, self._shown = steps, shown
        self._started = self._drawn = time.monotonic()

    def show(self, done: int, loss: float | None) -> None:
        now = time.monotonic()
        if not self._shown or (now - self._drawn < _REDRAW_SECS and done < self._steps):
            return
        self._drawn = now
        filled = _BAR_WIDTH * done // self._steps
        rate = done / max(now - self._started, 1e-9)
        bar = f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]"
        text = f"{bar} {done}/{self._steps}  {rate:.1f} steps/s  loss {number(loss, digits=5)}"
        with contextlib.suppress(OSError):
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            with contextlib.suppress(OSError):
                print(file=sys.stderr)
