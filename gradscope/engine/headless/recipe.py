"""`gradscope run`: a recipe stepped without a window, in this process. Progress on a terminal, JSON lines, a snapshot."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from gradscope.engine.checkpoints.file import checked_target
from gradscope.engine.export.snapshot import write_snapshot
from gradscope.engine.headless.breaks import Breaks
from gradscope.engine.headless.findings_form import lines_of
from gradscope.engine.headless.findings_text import told
from gradscope.engine.headless.outputs import (
    EXIT_BAD_INPUT,
    EXIT_DONE,
    EXIT_NONFINITE,
    EXIT_OUR_BUG,
    EXIT_STOPPED,
    EXIT_USER_CODE,
    Notes,
    check_outputs,
    opened,
    say,
    tell_failure,
    write_line,
)
from gradscope.engine.headless.phase_lines import PhaseLines
from gradscope.engine.headless.progress import Progress
from gradscope.engine.headless.timeline import TimelineOutput, stand_at_start
from gradscope.engine.recipe.loading import load_recipe, load_rules
from gradscope.engine.reports.events import EventLog
from gradscope.engine.reports.lines import stopped_line, validation_line
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.session import Session
from gradscope.engine.surroundings.allocator import keep_large_blocks
from gradscope.engine.surroundings.blame import failure_of
from gradscope.engine.surroundings.unwinding import Unwind, ctrl_c_told_apart, is_interruption
from gradscope.engine.timeline.saving import checked_folder
from gradscope.protocol.failure import BadInput, FailureKind, GradscopeError
from gradscope.protocol.last_place import LastPlace
from gradscope.protocol.numbers import number
from gradscope.protocol.phases import INSIDE, NEXT_PHASE, Moment, Rest, SubStep
from gradscope.protocol.stops.point import StopHit
from gradscope.standard_streams import tell

_EXIT_CODES = {FailureKind.USER_CODE: EXIT_USER_CODE, FailureKind.BAD_INPUT: EXIT_BAD_INPUT}


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
    """Loaded before the first step: the steps go on from there. A file, or the folder of a timeline."""
    go_to: int | None = None
    """The steps before this one are made first, and nothing is told of them; of a timeline only those after its nearest
    checkpoint."""
    timeline: str | None = None
    """A new folder, for checkpoints that are written as the training goes."""
    timeline_mb: int | None = None
    """MiB that they may take."""
    reproduce: str | None = None
    """A plain PyTorch script that comes to the same is written after the last step."""
    capture: str = "full"
    """As `Capture.parse` reads it."""
    keep_going: bool = False
    """Do not stop after the step in which the first NaN or Inf is found."""
    finds: bool = False
    """With the monitors of findings, which are told at the end."""
    rules: str | None = None
    """A file with rules of the user's own."""
    breaks: tuple[str, ...] = ()
    """Where to stop, as `protocol.stops.parsing` reads it."""


def run(options: RunOptions) -> int:
    """Step the recipe; returns the exit code. Sentences go to standard error. Raises KeyboardInterrupt."""
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(ctrl_c_told_apart())
            _check(options)
            breaks = Breaks(options.breaks)
            keep_large_blocks()
            stdout = sys.stdout
            if options.jsonl == "-":
                # What the user's code prints must not end up between the JSON lines.
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            recipe = load_recipe(options.path, options.seed)
            if options.rules is not None:
                recipe = replace(recipe, rules=(*recipe.rules, *load_rules(options.rules)))
            gate = _Gate(breaks) if breaks else None
            session = stack.enter_context(
                Session(recipe, options.device, capture=options.capture, findings=options.finds, gate=gate)
            )
            if gate is not None:
                gate.follow(session)
            stand_at_start(
                session,
                options.load_checkpoint,
                options.go_to,
                is_quiet=options.quiet,
                says=not options.quiet and options.jsonl != "-",
            )
            _check_turns(session, options)
            timeline = stack.enter_context(TimelineOutput(session, options.timeline, options.timeline_mb))
            out = stack.enter_context(opened(options.jsonl, stdout))
            lines = PhaseLines(session, out, checkpoint=options.load_checkpoint)
            events = stack.enter_context(_event_log(session, options))
            if gate is not None:
                gate.tell = partial(_tell_stopped, session, options, out, lines, breaks)
            return _train(session, options, out, lines, events, gate, timeline)
    except BaseException as error:
        # BaseException: the user's code may have called sys.exit().
        if is_interruption(error):
            raise
        failure = failure_of(error)
        tell_failure(failure)
        return _EXIT_CODES.get(failure.kind, EXIT_OUR_BUG)


class _Gate:
    """Leaves the training at the first `--break` that holds, when that has been told."""

    def __init__(self, breaks: Breaks) -> None:
        self._breaks = breaks
        self.is_armed = False
        self.has_stopped = False
        self.tell: Callable[[list[StopHit]], None] = lambda hits: None

    def follow(self, session: Session) -> None:
        """Raises BadInput where one of them cannot hold in this training."""
        for sentence in self._breaks.follow(session):
            raise BadInput(f"--break: {sentence}")
        self.is_armed = self._breaks.is_armed

    def stop(self, moment: Moment) -> None:
        if not self.has_stopped:
            self._leave(self._breaks.at(moment))
        else:
            # The user's code has caught it.
            raise Unwind("stopped")

    def after(self, report: PhaseReport) -> None:
        """A phase is complete."""
        self._leave(self._breaks.after(report))

    def _leave(self, hits: list[StopHit]) -> None:
        if hits:
            self.has_stopped = True
            self.tell(hits)
            raise Unwind("stopped")


def _tell_stopped(
    session: Session,
    options: RunOptions,
    out: TextIO | None,
    lines: PhaseLines,
    breaks: Breaks,
    hits: list[StopHit],
) -> None:
    """Where the training stands now: what the phase has shown so far, why it has stopped, and a snapshot of it."""
    partial_report = session.partial_report()
    if partial_report is not None:
        lines.write(partial_report, {"failed": False})
    write_line(out, stopped_line(breaks.content(hits, session.position)))
    for sentence in breaks.sentences(hits, session.position):
        tell(sentence)
    if options.save_checkpoint is not None:
        tell(f"nothing was written to {options.save_checkpoint}: a checkpoint is saved after the last step")
    # A script stops between two phases.
    is_inside = session.position.rest in INSIDE.values()
    if options.reproduce is not None and is_inside:
        tell(f"nothing was written to {options.reproduce}: a script cannot stop inside a phase")
    reproduce = None if is_inside else options.reproduce
    _write_outputs(session, replace(options, save_checkpoint=None, reproduce=reproduce))


def _train(
    session: Session,
    options: RunOptions,
    out: TextIO | None,
    lines: PhaseLines,
    events: EventLog | None,
    gate: _Gate | None,
    timeline: TimelineOutput,
) -> int:
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
    progress = Progress(options.steps, shown=not options.quiet and sys.stderr.isatty())
    session.keeper.keeps_all = False
    notes = Notes(shown=not options.quiet)
    try:
        for step in range(options.steps):
            # The snapshot shows the last step: only its activations are worth a copy. A rule may ask for any.
            is_shown = options.export is not None and (step + 1 == options.steps or gate is not None)
            session.keeper.keeps_all = is_shown or (options.finds and bool(session.recipe.rules))
            timeline.before_step()
            _one_step(session, out, lines, notes, events, gate)
            progress.show(step + 1, f"loss {number(session.history[-1].loss, digits=5)}")
            if session.first_nonfinite is not None and not options.keep_going and session.is_between_batches:
                break
    except BaseException:
        progress.close()
        if options.finds:
            _tell_findings(session, options, out)
        if gate is not None and gate.has_stopped:
            return EXIT_STOPPED
        _tell_unwritten(options, len(session.history))
        raise
    progress.close()
    for text in session.observer.errors:
        tell(text)
    done = len(session.history)
    is_stopped = session.first_nonfinite is not None and not options.keep_going
    if is_stopped and done < options.steps:
        tell(f"stopped after {done} of {options.steps} steps, since there is NaN or Inf (--keep-going goes on)")
    if options.finds:
        _tell_findings(session, options, out)
    timeline.finish()
    _write_outputs(session, options)
    if not options.quiet and options.jsonl != "-":
        before, last = (number(session.history[i].loss, digits=6) for i in (0, -1))
        say(f"{session.info.name}: {len(session.history)} steps, loss {before} -> {last}")
    if is_stopped:
        return EXIT_NONFINITE
    return EXIT_BAD_INPUT if timeline.has_failed else EXIT_DONE


def _tell_findings(session: Session, options: RunOptions, out: TextIO | None) -> None:
    findings = session.findings()
    for text in lines_of(findings):
        write_line(out, text)
    for sentence in () if options.quiet else told(findings):
        tell(sentence)


def _tell_unwritten(options: RunOptions, done: int) -> None:
    """The run ends before its last step."""
    outputs = (options.save_checkpoint, options.export, options.reproduce)
    names = [name for name in outputs if name is not None]
    if names:
        tell(
            f"nothing was written to {' and '.join(names)}: that is done after the last step, and the run has "
            f"ended after {done} of {options.steps}"
        )


def _write_outputs(session: Session, options: RunOptions) -> None:
    """Each of them, whatever becomes of the others; then the first failure is raised."""
    failures: list[GradscopeError] = []
    outputs = ((options.save_checkpoint, _save), (options.export, _export), (options.reproduce, _reproduce))
    for name, write in outputs:
        if name is None:
            continue
        try:
            line = write(session, name)
            if not options.quiet:
                say(line)
        except GradscopeError as error:
            failures.append(error)
    for other in failures[1:]:
        tell_failure(other.failure)
    if failures:
        raise failures[0]


def _save(session: Session, name: str) -> str:
    saved = session.save_checkpoint(name)
    return f"Checkpoint written to {saved.path} ({saved.size_bytes} bytes)"


def _reproduce(session: Session, name: str) -> str:
    text = session.reproduce()
    try:
        Path(name).expanduser().write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"--reproduce: {name} cannot be written: {reason}") from error
    return f"Script written to {name} ({len(text.splitlines())} lines)"


def _export(session: Session, name: str) -> str:
    written = write_snapshot(session, name)
    return f"Snapshot written to {written.path} ({len(written.files)} files, {written.size_bytes} bytes)"


def _one_step(
    session: Session,
    out: TextIO | None,
    lines: PhaseLines,
    notes: Notes,
    events: EventLog | None,
    gate: _Gate | None,
) -> None:
    """To the end of the next optimizer step, and the validation that may follow it."""
    step, validated = session.position.step, len(session.validations)
    while session.position.step == step:
        failed = None
        _note_place(session, INSIDE[NEXT_PHASE[session.position.rest]])
        try:
            report = session.advance()
        except GradscopeError as error:
            failed = error
        if failed is not None:
            # Not where it is being handled: the second failure is not to be told as one of the handling.
            partial = getattr(failed, "report", None)
            if isinstance(partial, PhaseReport):
                lines.write(partial)
            raise _with_line(session, failed)
        lines.write(report)
        notes.tell(report)
        if events is not None:
            events.add(report)
        if gate is not None:
            gate.after(report)
    _note_place(session, session.position.rest)
    for validation in session.validations[validated:]:
        write_line(out, validation_line(validation))
        if events is not None:
            events.add_validation(validation)
    if events is not None:
        events.end_step()


def _note_place(session: Session, rest: Rest) -> None:
    """For the process that waits for the end of this one."""
    place = LastPlace.of_run()
    if place is not None:
        session.observer.running.tell = place.layer
        place.write(replace(session.position, rest=rest))


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


def _check(options: RunOptions) -> None:
    if options.steps < 1:
        raise BadInput(f"--steps is {options.steps}; expected a whole number from 1")
    _check_target("--save-checkpoint", options.save_checkpoint, checked_target)
    if options.timeline_mb is not None and (options.timeline is None or options.timeline_mb < 1):
        expected = "--timeline DIR with it" if options.timeline is None else "a whole number from 1"
        raise BadInput(f"--timeline-mb is {options.timeline_mb}; expected {expected}")
    _check_target("--timeline", options.timeline, checked_folder)
    if options.reproduce is not None and (options.load_checkpoint is not None or options.go_to):
        other = "--go-to" if options.load_checkpoint is None else "--load-checkpoint"
        raise BadInput(f"--reproduce: a script begins before the first step, so there can be no {other}")
    check_outputs(export=options.export, tensorboard=options.tensorboard)


def _check_target(option: str, path: str | None, check: Callable[[str], object]) -> None:
    if path is not None:
        try:
            check(path)
        except BadInput as error:
            raise BadInput(f"{option}: {error}") from error


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
