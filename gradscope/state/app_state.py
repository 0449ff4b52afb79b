"""Everything that the app knows, in one place. Messages are applied here; views read it and redraw what has changed."""

from __future__ import annotations

import time
from dataclasses import replace

from gradscope.protocol import messages
from gradscope.protocol.capture import FULL, Capture
from gradscope.protocol.failure import BadInput, Failure
from gradscope.protocol.messages import Place, Report, Schedule, SessionInfo, Validated
from gradscope.protocol.messages.checkpoints import CheckpointLoaded, CheckpointMismatch, CheckpointSaved
from gradscope.protocol.messages.edits import Edited, EditMade
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import Phase, Position, Rest
from gradscope.protocol.scripts import Ability, Script
from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.protocol.stacks import unstacked, with_histograms
from gradscope.protocol.subjects import SubjectKey
from gradscope.state import border
from gradscope.state.ahead import OpenedWithTree
from gradscope.state.console import ConsoleState
from gradscope.state.edits import Edits
from gradscope.state.engine import EngineState, EngineStatus, Origin, Unopened, exit_code_in
from gradscope.state.findings import FindingsState
from gradscope.state.going_back.again import Again
from gradscope.state.going_back.closer import Closer
from gradscope.state.going_back.timeline import Timeline
from gradscope.state.history import History
from gradscope.state.log import Log
from gradscope.state.part import Part
from gradscope.state.pins import Pins
from gradscope.state.refusals import Refusals
from gradscope.state.run_progress import RunProgress
from gradscope.state.selection import FirstSubjects, Selection
from gradscope.state.sentences import in_words, with_step
from gradscope.state.shown_step import ShownStep
from gradscope.state.step_notes import StepNotes
from gradscope.state.stops import StopsState
from gradscope.state.topics import Topic
from gradscope.state.tree import Node, build_tree, names_of, refresh_tree, source_of
from gradscope.state.what_if.trials import WhatIfState


class AppState(Refusals):
    """The app's model. Not thread-safe: everything happens on the GUI thread."""

    def __init__(self) -> None:
        self.engine = EngineState()
        self.snapshot: Origin | None = None
        """Not None: this is no session but a snapshot, which can be looked at and nothing else."""
        self.session: SessionInfo | None = None
        self.tree: Node | None = None
        self.position = Position()
        self.shown = ShownStep(self)
        """The moment that is looked at: views ask it, and neither the history nor the reports, for numbers of a moment."""
        self.stops = StopsState()
        self.again = Again(self)
        self._begin_session(None)
        self.revision = 0
        """Grows whenever values in the engine may have changed without a report."""
        self.selection = Selection()
        self.pins = Pins()
        """Of one recipe; they outlive its sessions."""
        self.is_nonfinite_dismissed = False
        """It has been read, and need not stay in sight."""
        self.log = Log()
        self.undertaking = 0
        """Counts what was begun: a verb, a recipe, an engine. What was said of an earlier one is over."""
        self.undertaking_from = 0
        """The lines of the log before this one are of earlier ones."""
        self.run: RunProgress | None = None
        """Of the run that is under way, if one is."""
        self._first_subjects = FirstSubjects(self.history)
        self._changed: set[Topic] = set()

    def _begin_session(self, before: AppState | None) -> None:
        """Nothing is known of a session yet. `before`: this, where the session before was of the same file."""
        self.history = History()
        self.places: list[Place] = []
        self.reports: dict[Phase, Report] = {}
        """The newest report of each phase; of the step, the newest that was not undone."""
        self._made_step: Report | None = None
        self.undone_step: Report | None = None
        """What a step that was undone has shown, until another is made."""
        self.stack: tuple[StackFrame, ...] = ()
        """The user's lines at which training is stopped, the innermost first."""
        self.line: SourceLine | None = None
        """Where a script stood at the end of its newest phase."""
        self.schedule: Schedule | None = None
        self.edits = Edits()
        self.findings = FindingsState(None if before is None else before.findings.dismissed)
        self.timeline, self.closer = Timeline(), Closer()
        self.what_if = WhatIfState(self)
        self.console = ConsoleState(None if before is None else before.console)
        self.validation: Validated | None = None
        """The newest one."""
        self.best: Validated | None = None
        """The newest one that was the best so far."""
        self.has_best_weights = False
        """The engine keeps the weights of the best validation."""
        self.cleared: frozenset[str] = frozenset()
        """The parameters whose gradient Zero grad has cleared since the newest backward."""
        self.failure: Failure | None = None
        """The last failure, until something succeeds."""
        self.first_nonfinite: FirstNonFinite | None = None
        """Where NaN or Inf began in this session, once there is any."""
        self.skipped_reports = 0
        self.opening: str | None = None
        """Path of the recipe that is being opened; of a module, its name."""
        self.awaited: Script | None = None
        """The script that is started, or runs, and has not come to its first training step."""
        self.exit_code: int | None = None
        """Of the script that has ended, where that was told."""
        self.unopened: Unopened | None = None
        """The one that could not be opened the last time, until one is."""
        self._step_notes = StepNotes()

    # ------------------------------------------------------------------------------------------ changes

    def touch(self, *topics: Topic) -> None:
        self._changed.update(topics)

    def take_changes(self) -> set[Topic]:
        """What has changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    # ------------------------------------------------------------------------------------------ questions

    @property
    def capture(self) -> Capture:
        """What the session captures now; of a snapshot, what its session captured."""
        if self.session is None:
            return FULL
        try:
            return Capture.parse(self.session.capture)
        except BadInput:
            # A snapshot of a later version. Its numbers say themselves which of them are there.
            return FULL

    @property
    def subject(self) -> SubjectKey | None:
        """The subject that is selected."""
        exact = self.selection.subject
        if self._first_subjects.history is not self.history:
            self._first_subjects = FirstSubjects(self.history)
        # Of a pinned one that is not there, nothing else is shown in its place.
        return exact if exact in self.pins else self._first_subjects.selected(self.selection)

    @property
    def watched(self) -> tuple[SubjectKey, ...]:
        """The subjects whose values are wanted in every step: the selected one, then the pinned ones."""
        subject = self.subject
        return tuple(dict.fromkeys((*(() if subject is None else (subject,)), *self.pins)))

    # ------------------------------------------------------------------------------------------ from the engine

    @property
    def _parts(self) -> tuple[Part, ...]:
        in_time = (self.shown, self.timeline, self.again, self.closer)
        return (self.findings, self.stops, *in_time, self.what_if, self.console)

    def apply(self, message: object) -> None:
        """Take in one message. Messages that are nobody's business here (pages, pictures) are ignored.

        Raises ProtocolError, and nothing has changed, where one does not fit what came before.
        """
        border.check(message, self)
        self._take_of_phases(message)
        self._take_of_session(message)
        for part in self._parts:
            self.touch(*part.hear(message, self.log))

    def _take_of_phases(self, message: object) -> None:
        match message:
            case messages.Report():
                self._report(with_histograms(message))
            case messages.Reports():
                self._earlier_reports(message)
            case messages.Moved(position=position) | messages.Done(position=position):
                self._move(self._possible(position))
                if isinstance(message, messages.Done):
                    self._end_run()
            case messages.Subjects(first=first, rows=rows):
                self.history.rows[first : first + len(rows)] = rows
            case messages.Places(first=first, rows=places):
                self.places[first : first + len(places)] = places
            case messages.InitialParameters():
                self.history.add_initial(with_histograms(message), step=self.position.step)
                self.touch(Topic.HISTORY)
            case messages.Schedule():
                self.schedule = message
                self.touch(Topic.SCHEDULE)
            case messages.Validated():
                self._validated(message)
            case messages.Failed(failure=failure, position=position):
                self._move(self._possible(position))
                self.revision += 1
                self.failure = failure
                self._say(failure.sentence, is_warning=True)
                self.touch(Topic.FAILURE, Topic.LOG, Topic.ENGINE)
            case messages.Whereabouts(stack=stack):
                self.stack = stack
                self.touch(Topic.SOURCE)
            case messages.Skipped(reports=reports):
                self.skipped_reports += reports
                self.touch(Topic.HISTORY)

    def _take_of_session(self, message: object) -> None:
        match message:
            case messages.Opened():
                self._open(message)
            case messages.SessionChanged(session=session):
                if self.session is not None and session.capture != self.session.capture:
                    self.log.say(f"From step {self.position.step} on: capture {session.capture}")
                    self.touch(Topic.LOG)
                self._change(session)
            case CheckpointLoaded(position=position, has_best=has_best):
                self.history.cut(position.step)
                self._continue_at(position, has_best=has_best, reports={})
                self.touch(*Topic)
            case messages.WentTo(position=position, edits=edits):
                first = self.first_nonfinite
                self.history, reports = self.timeline.leave(self.history, message)
                self._continue_at(position, has_best=self.has_best_weights, reports=reports)
                # The session is the same: what is unfolded, filtered or zoomed into stays so.
                self.touch(*(topic for topic in Topic if topic is not Topic.SESSION))
                self.edits.take(edits)
                self.first_nonfinite = first if first is not None and first.step < position.step else None
            case messages.Cancelled() | messages.Recomputed() if self.timeline.is_going:
                self._move(replace(self.position, running=False))
            case CheckpointSaved() | CheckpointMismatch() | messages.WeightsRestored():
                self.revision += 1
                self._move(replace(self.position, running=False))
            case messages.CheckUpDone():
                self.end_check_up()
            case EditMade():
                self.edits.note(message)
                self.touch(Topic.EDITS)
            case Edited(text=text):
                self.log.say(f"Step {self.position.step}: {text}")
                self.touch(Topic.LOG)
                self.dismiss_failure()
            case messages.Note(text=text, warning=warning):
                self._say(text, is_warning=warning)
                self.touch(Topic.LOG)
                if self.in_script and (code := exit_code_in(text)) is not None:
                    self.exit_code = code
                    self.touch(Topic.POSITION)
            case messages.EngineReady():
                self.set_engine(self.engine.made_ready(message))

    def set_engine(self, engine: EngineState) -> None:
        if engine.status is EngineStatus.STARTING and self.engine.status is not EngineStatus.STARTING:
            self._begin()
        self.engine = engine
        if engine.status is EngineStatus.DEAD and self.snapshot is None:
            # The plots stay; nothing can be asked for until a recipe is opened again.
            self.opening = self.awaited = None
            self.end_check_up()
            self.what_if.end()
            place = engine.last_place or self.position
            self._move(replace(place, rest=Rest.EMPTY, running=False, moment=None))
        elif engine.last_place is not None and self.position.running and self.snapshot is None:
            self._move(replace(engine.last_place, running=True, moment=self.position.moment))
        self.touch(Topic.ENGINE, Topic.POSITION)

    def log_engine(self, before: EngineState) -> bool:
        """Write down what is new to be said of the engine since `before`; whether there was anything."""
        engine, news = self.engine, []
        if engine.status is EngineStatus.DEAD and before.status is not EngineStatus.DEAD:
            # The lines below the first are error output, which is in the log already.
            news = [engine.text.partition("\n")[0]]
        elif engine.status is before.status is EngineStatus.READY:
            pairs = ((engine.text, before.text), (engine.resistance, before.resistance))
            news = [text for text, told in pairs if text and not told]
        for text in news:
            self.log.add(text, is_warning=True)
        return bool(news)

    def _report(self, report: Report) -> None:
        self.history.add_report(report, clip_norm=None if self.session is None else self.session.clip_norm)
        self.reports[report.phase] = report
        if report.line is not None:
            self.line = report.line
            self.touch(Topic.SOURCE)
        if self.pins.settle(self.history):
            self.touch(Topic.PINS)
        if report.phase is Phase.STEP:
            self.undone_step = None
            if report.complete:
                self._made_step = report
        if report.phase is Phase.BACKWARD:
            self.cleared = frozenset()
        self.touch(Topic.HISTORY)
        self._tell_notes(report)

    def _earlier_reports(self, reports: messages.Reports) -> None:
        """Of these only the history is told: the newest of each kind follow."""
        clip_norm = None if self.session is None else self.session.clip_norm
        told = list(unstacked(reports))
        self.history.add_reports(told, clip_norm=clip_norm)
        for report in told:
            self._tell_notes(report)
        self.touch(Topic.HISTORY)

    def _tell_notes(self, report: Report) -> None:
        first = report.first_nonfinite
        if first is not None and first != self.first_nonfinite:
            self.first_nonfinite, self.is_nonfinite_dismissed = first, False
            self.log.say(first.sentence, is_warning=True)
            self.touch(Topic.LOG, Topic.NONFINITE)
        for sentence in self._step_notes.take(report):
            self.log.say(with_step(sentence, report.step), is_warning=True)
            self.touch(Topic.LOG)

    def _say(self, sentence: str, *, is_warning: bool) -> None:
        """In the log, with the step at which a session is that has done something."""
        position = self.position
        has_begun = position.step > 0 or bool(self.reports)
        if has_begun and position.rest is not Rest.EMPTY and self.opening is None:
            sentence = with_step(sentence, position.step)
        self.log.say(sentence, is_warning=is_warning)

    def _validated(self, validated: Validated) -> None:
        self.history.add_validation(validated)
        self.validation = validated
        if validated.is_best:
            self.best, self.has_best_weights = validated, True
        self.log.say(in_words(validated))
        for sentence in validated.notes:
            self.log.say(sentence, is_warning=True)
        self.touch(Topic.HISTORY, Topic.LOG)

    def _end_run(self) -> None:
        self.revision += 1
        self._step_notes.end_run()
        if self.failure is not None:
            self.failure = None
            self.touch(Topic.FAILURE)

    def _open(self, opened: messages.Opened) -> None:
        session, position = opened.session, opened.position
        same_file = self.session is not None and source_of(self.session) == source_of(session)
        self.session = session
        self.tree = opened.tree if isinstance(opened, OpenedWithTree) else build_tree(session)
        self._begin_session(self if same_file else None)
        if not same_file:
            self.selection = Selection()
            self.pins.clear()
        self._move(position)
        self.touch(*Topic)

    def _change(self, session: SessionInfo) -> None:
        """Other settings; in a script also models and optimizers that were not known before."""
        before, self.session = self.session, session
        if before is not None and names_of(before) != names_of(session):
            self.tree = build_tree(session)
            self.touch(Topic.MODEL)
        elif self.tree is not None:
            refresh_tree(self.tree, session)
        self.revision += 1
        self.touch(Topic.SETTINGS)

    def _possible(self, position: Position) -> Position:
        """A script that has ended before its first step has no session that could be looked at."""
        is_none = position.rest is Rest.ENDED and self.position.rest is Rest.EMPTY
        return replace(position, rest=Rest.EMPTY) if is_none else position

    def _continue_at(self, position: Position, *, has_best: bool, reports: dict[Phase, Report]) -> None:
        """Other weights: what was seen of them, and of the steps that are to come, is gone but for these reports."""
        step = position.step
        self.edits.cut(step)
        self.reports = reports
        self._made_step, self.undone_step = reports.get(Phase.STEP), None
        self.schedule = None
        self.validation, self.best = (
            None if known is None or known.step >= step else known for known in (self.validation, self.best)
        )
        self.has_best_weights = has_best
        self.cleared = frozenset()
        self._step_notes = StepNotes()
        self.failure = self.first_nonfinite = None
        self.revision += 1
        self._move(position)

    def _move(self, position: Position) -> None:
        self.position = position
        if position.rest is Rest.EMPTY and self.stack:
            # What stood there is gone with the session.
            self.stack = ()
            self.touch(Topic.SOURCE)
        if not position.running:
            self.run = None
        elif self.run is not None:
            self.run.see(position, now=time.monotonic())
        self.touch(Topic.POSITION)
        if self.schedule is not None and self.schedule.first_step < position.step:
            # It comes now and then only: the steps that have been made since are no future any more.
            self.schedule = self.schedule.from_step(position.step)
            self.touch(Topic.SCHEDULE)
        step = self.reports.get(Phase.STEP)
        is_elsewhere = not position.running and position.rest is not Rest.IN_STEP
        if step is not None and not step.complete and is_elsewhere and self.never(Ability.UNDO_PHASE) is None:
            # It was broken off and undone: the parameters are those of the step before.
            self.undone_step = self.reports.pop(Phase.STEP)
            if self._made_step is not None:
                self.reports[Phase.STEP] = self._made_step
            self.history.undo_step(step)
            self.touch(Topic.HISTORY)

    # ------------------------------------------------------------------------------------------ from the person

    def select(self, selection: Selection) -> None:
        if selection != self.selection:
            self.selection = selection
            self.touch(Topic.SELECTION)

    def toggle_pin(self, key: SubjectKey) -> None:
        """Pin a subject, or unpin it where it is pinned."""
        self.pins.toggle(key)
        self.touch(Topic.PINS)

    def unpin_all(self) -> None:
        self.pins.clear()
        self.touch(Topic.PINS)

    def set_running(self, run: RunProgress | None = None) -> None:
        """A verb has been sent: until the engine says otherwise, it runs (a second click must not send it twice)."""
        self._begin()
        self.run = run
        self._move(replace(self.position, running=True))

    def set_standing(self) -> None:
        """What ran beside the training has been answered, however: the session stands where it stood."""
        self._move(replace(self.position, running=False))

    def begin_going(self) -> None:
        """Somebody wants the training to be elsewhere."""
        self.timeline.is_going = True
        self.set_running()

    def begin_recomputing(self, request: messages.Recompute) -> None:
        """Somebody wants values of an earlier step; training stands where it stands afterwards."""
        self.closer.under_way = request
        self.begin_going()
        self.touch(Topic.SHOWN)

    def begin_check_up(self) -> None:
        """One has been asked for: the session waits for its end."""
        self.findings.begin_check_up()
        self.set_running()
        self.touch(Topic.FINDINGS)

    def end_check_up(self) -> None:
        """It has been answered, however: the session stands where it stood."""
        if self.findings.is_checking:
            self.findings.end_check_up()
            self.set_standing()
        self.touch(Topic.FINDINGS)

    def set_cleared(self) -> None:
        """Zero grad is done: the optimizer whose turn it is holds no gradients any more."""
        groups = () if self.session is None else self.session.groups
        own = [group for group in groups if group.optimizer == self.position.optimizer]
        self.cleared |= {name for group in own for name in group.parameters}
        self.touch(Topic.HISTORY)

    def set_opening(self, path: str | None) -> None:
        if path is not None:
            self._begin()
        self.opening = path
        self.touch(Topic.ENGINE, Topic.POSITION)

    def leave_session(self) -> None:
        """Its engine ends for what is opened now."""
        self._begin_session(None)
        self.session = self.tree = None
        self._move(Position())
        self.touch(*Topic)

    def set_unopened(self, unopened: Unopened) -> None:
        """What was being opened could not be; the session goes on, if there is one."""
        self.opening = self.awaited = None
        self.unopened = unopened
        self.touch(Topic.ENGINE, Topic.POSITION, Topic.FAILURE)

    def dismiss_failure(self) -> None:
        self.failure = None
        self.touch(Topic.FAILURE)

    def dismiss_nonfinite(self) -> None:
        """It goes out of sight; the loss and the log still tell of it."""
        self.is_nonfinite_dismissed = True
        self.touch(Topic.NONFINITE)

    def _begin(self) -> None:
        self.undertaking += 1
        self.undertaking_from = self.log.total
