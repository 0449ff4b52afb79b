"""Everything that the app knows, in one place. Messages are applied here; views read it and redraw what has changed."""

from __future__ import annotations

import re
import time
from dataclasses import replace

from gradscope.protocol import messages
from gradscope.protocol.capture import FULL, Capture
from gradscope.protocol.failure import BadInput, Failure
from gradscope.protocol.leaner import with_histograms
from gradscope.protocol.messages import VALIDATION_LOSS, Place, Report, Schedule, SessionInfo, Validated
from gradscope.protocol.messages.checkpoints import CheckpointLoaded, CheckpointMismatch, CheckpointSaved
from gradscope.protocol.messages.edits import Edit, Edited, EditMade, EditOption, edit_refusal
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.numbers import number
from gradscope.protocol.phases import Phase, Position, Rest, Verb, refusal
from gradscope.protocol.stacks import unstacked
from gradscope.protocol.subjects import SubjectKey
from gradscope.state import border
from gradscope.state.edits import Edits
from gradscope.state.engine import EngineState, EngineStatus, Origin, Unopened
from gradscope.state.history import History
from gradscope.state.log import Log
from gradscope.state.pins import Pins
from gradscope.state.run_progress import RunProgress
from gradscope.state.selection import FirstSubjects, Selection
from gradscope.state.step_notes import StepNotes
from gradscope.state.topics import Topic
from gradscope.state.tree import Node, build_tree, refresh_tree


class AppState:
    """The app's model. Not thread-safe: everything happens on the GUI thread."""

    def __init__(self) -> None:
        self.engine = EngineState()
        self.snapshot: Origin | None = None
        """Not None: this is no session but a snapshot, which can be looked at and nothing else."""
        self.session: SessionInfo | None = None
        self.tree: Node | None = None
        self.position = Position()
        self.history = History()
        self.places: list[Place] = []
        self.reports: dict[Phase, Report] = {}
        """The newest report of each phase; of the step, the newest that was not undone."""
        self.undone_step: Report | None = None
        """What a step that was undone has shown, until another is made."""
        self.schedule: Schedule | None = None
        self.edits = Edits()
        self.validation: Validated | None = None
        """The newest one."""
        self.best: Validated | None = None
        """The newest one that was the best so far."""
        self.has_best_weights = False
        """The engine keeps the weights of the best validation."""
        self.cleared: frozenset[str] = frozenset()
        """The parameters whose gradient Zero grad has cleared since the newest backward."""
        self.revision = 0
        """Grows whenever values in the engine may have changed without a report."""
        self.selection = Selection()
        self.pins = Pins()
        """Of one recipe; they outlive its sessions."""
        self.failure: Failure | None = None
        """The last failure, until something succeeds."""
        self.first_nonfinite: FirstNonFinite | None = None
        """Where NaN or Inf began in this session, once there is any."""
        self.is_nonfinite_dismissed = False
        """It has been read, and need not stay in sight."""
        self.log = Log()
        self.undertaking = 0
        """Counts what was begun: a verb, a recipe, an engine. What was said of an earlier one is over."""
        self.undertaking_from = 0
        """The lines of the log before this one are of earlier ones."""
        self.run: RunProgress | None = None
        """Of the run that is under way, if one is."""
        self.skipped_reports = 0
        self.opening: str | None = None
        """Path of the recipe that is being opened."""
        self.unopened: Unopened | None = None
        """The one that could not be opened the last time, until one is."""
        self._step_notes = StepNotes()
        self._first_subjects = FirstSubjects(self.history)
        self._made_step: Report | None = None
        self._changed: set[Topic] = set()

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

    def refusal(self, verb: Verb) -> str | None:
        """Why a verb cannot be used now, as a short phrase; None if it can."""
        reason = self._engine_refusal()
        can_be_loaded_again = verb is Verb.RESET and self.session is not None and bool(self.session.path)
        is_gone = self.engine.status in (EngineStatus.DEAD, EngineStatus.STOPPED) and self.opening is None
        if can_be_loaded_again and self.snapshot is None and (reason is None or is_gone):
            # Where the engine has died, another one is started for it.
            return None
        if reason is not None:
            return reason
        reason = refusal(self.position.rest, verb, running=self.position.running)
        if verb is Verb.VALIDATE and self.session is not None and not self.session.has_validation:
            return "This recipe has no validation data: they are given as Recipe(validation=...)"
        return reason

    def edit_refusal(self, edit: type[Edit]) -> str | None:
        """Why an edit cannot be made now, as a short sentence; None if it can (the engine may still find it wrong)."""
        return self._engine_refusal() or edit_refusal(self.position.rest, edit, running=self.position.running)

    def undo_refusal(self) -> str | None:
        """Why the newest edit cannot be undone now; None if it can (the engine may still ask to finish the step first)."""
        if self.edits.undoable is None and self.session is not None and self.snapshot is None:
            return "There is no edit to undo"
        return self.edit_refusal(EditOption)

    def checkpoint_refusal(self) -> str | None:
        """Why no checkpoint can be saved or loaded now, as a short sentence; None if it can."""
        reason = self.refusal(Verb.NEXT_BATCH)
        if reason is not None:
            return reason
        first = next(iter(self.session.optimizers), "") if self.session is not None else ""
        if self.position.rest is not Rest.READY or self.position.optimizer not in ("", first):
            return "Only between two steps: press Next batch to complete this one"
        return None

    def capture_refusal(self) -> str | None:
        """Why the level of capture cannot be changed now, as a short sentence; None if it can (between two steps)."""
        reason = self._engine_refusal()
        if reason is not None:
            return reason
        if self.position.rest is Rest.EMPTY or self.position.running:
            return refusal(self.position.rest, Verb.NEXT_BATCH, running=self.position.running)
        if self.position.rest is not Rest.READY:
            return "Only between two steps: press Next batch to complete this one"
        return None

    def best_refusal(self) -> str | None:
        """Why the best weights cannot be saved now; None if they can."""
        reason = self.refusal(Verb.NEXT_BATCH)
        if reason is None and not self.has_best_weights:
            return "There are no best weights: a validation gives them, where the recipe has a best_metric"
        return reason

    def _engine_refusal(self) -> str | None:
        if self.snapshot is not None:
            return "This is a snapshot: it cannot be trained"
        if self.engine.status is EngineStatus.STARTING:
            return "The engine is starting"
        if self.engine.status is not EngineStatus.READY:
            return "The engine is not running: restart it from the Session menu"
        return "A recipe is being opened" if self.opening is not None else None

    # ------------------------------------------------------------------------------------------ from the engine

    def apply(self, message: object) -> None:
        """Take in one message. Messages that are nobody's business here (pages, pictures) are ignored.

        Raises ProtocolError, and nothing has changed, where one does not fit what came before.
        """
        border.check(message, self)
        self._take_of_phases(message)
        self._take_of_session(message)

    def _take_of_phases(self, message: object) -> None:
        match message:
            case messages.Report():
                self._report(with_histograms(message))
            case messages.Reports():
                self._earlier_reports(message)
            case messages.Moved(position=position) | messages.Done(position=position):
                self._move(position)
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
                self._move(position)
                self.revision += 1
                self.failure = failure
                self._say(failure.sentence, is_warning=True)
                self.touch(Topic.FAILURE, Topic.LOG, Topic.ENGINE)
            case messages.Skipped(reports=reports):
                self.skipped_reports += reports
                self.touch(Topic.HISTORY)

    def _take_of_session(self, message: object) -> None:
        match message:
            case messages.Opened(session=session, position=position):
                self._open(session, position)
            case messages.SessionChanged(session=session):
                if self.session is not None and session.capture != self.session.capture:
                    self.log.say(f"From step {self.position.step} on: capture {session.capture}")
                    self.touch(Topic.LOG)
                self.session = session
                if self.tree is not None:
                    refresh_tree(self.tree, session)
                self.revision += 1
                self.touch(Topic.SETTINGS)
            case CheckpointLoaded():
                self._continue_at(message)
            case CheckpointSaved() | CheckpointMismatch():
                self._move(replace(self.position, running=False))
            case EditMade():
                self.edits.note(message)
                self.touch(Topic.EDITS)
            case Edited(text=text):
                self.log.say(f"Step {self.position.step}: {text}")
                self.touch(Topic.LOG)
                if self.failure is not None:
                    self.dismiss_failure()
            case messages.Note(text=text, warning=warning):
                self._say(text, is_warning=warning)
                self.touch(Topic.LOG)
            case messages.EngineReady():
                self.set_engine(
                    EngineState(
                        status=EngineStatus.READY,
                        text="",
                        torch_version=message.torch_version,
                        executable=self.engine.executable,
                        devices=message.devices,
                    )
                )

    def set_engine(self, engine: EngineState) -> None:
        if engine.status is EngineStatus.STARTING and self.engine.status is not EngineStatus.STARTING:
            self._begin()
        self.engine = engine
        if engine.status is EngineStatus.DEAD and self.snapshot is None:
            # The plots stay; nothing can be asked for until a recipe is opened again.
            self.opening = None
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
            self.log.say(_with_step(sentence, report.step), is_warning=True)
            self.touch(Topic.LOG)

    def _say(self, sentence: str, *, is_warning: bool) -> None:
        """In the log, with the step at which a session is that has done something."""
        position = self.position
        has_begun = position.step > 0 or bool(self.reports)
        if has_begun and position.rest is not Rest.EMPTY and self.opening is None:
            sentence = _with_step(sentence, position.step)
        self.log.say(sentence, is_warning=is_warning)

    def _validated(self, validated: Validated) -> None:
        self.history.add_validation(validated)
        self.validation = validated
        if validated.is_best:
            self.best, self.has_best_weights = validated, True
        self.log.say(_in_words(validated))
        for sentence in validated.notes:
            self.log.say(sentence, is_warning=True)
        self.touch(Topic.HISTORY, Topic.LOG)

    def _end_run(self) -> None:
        self.revision += 1
        self._step_notes.end_run()
        if self.failure is not None:
            self.failure = None
            self.touch(Topic.FAILURE)

    def _open(self, session: SessionInfo, position: Position) -> None:
        same_file = self.session is not None and self.session.path == session.path
        self.session = session
        self.tree = build_tree(session)
        self.history = History()
        self.places = []
        self.reports = {}
        self._made_step = self.undone_step = None
        self.schedule = None
        self.edits = Edits()
        self.validation = self.best = None
        self.has_best_weights = False
        self.cleared = frozenset()
        self._step_notes = StepNotes()
        self.failure = self.first_nonfinite = None
        self.skipped_reports = 0
        self.opening = self.unopened = None
        if not same_file:
            self.selection = Selection()
            self.pins.clear()
        self._move(position)
        self.touch(*Topic)

    def _continue_at(self, loaded: CheckpointLoaded) -> None:
        """Other weights: what was seen of them, and of the steps that are to come, is gone."""
        step = loaded.position.step
        self.history.cut(step)
        self.edits.cut(step)
        self.reports = {}
        self._made_step = self.undone_step = None
        self.schedule = None
        self.validation, self.best = (
            None if known is None or known.step >= step else known for known in (self.validation, self.best)
        )
        self.has_best_weights = loaded.has_best
        self.cleared = frozenset()
        self._step_notes = StepNotes()
        self.failure = self.first_nonfinite = None
        self.revision += 1
        self._move(loaded.position)
        self.touch(*Topic)

    def _move(self, position: Position) -> None:
        self.position = position
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
        if step is not None and not step.complete and not position.running and position.rest is not Rest.IN_STEP:
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

    def set_unopened(self, unopened: Unopened) -> None:
        """What was being opened could not be; the session goes on, if there is one."""
        self.opening, self.unopened = None, unopened
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


def _with_step(sentence: str, step: int) -> str:
    """The sentence, and the step before it where it does not say that itself."""
    return sentence if re.search(rf"\bstep {step}\b", sentence, re.IGNORECASE) else f"Step {step}: {sentence}"


def _in_words(validated: Validated) -> str:
    known = {VALIDATION_LOSS: validated.loss, **validated.metrics}
    numbers = ", ".join(f"{name} {number(value, digits=5)}" for name, value in known.items() if value is not None)
    when = "before the first step" if validated.step < 0 else f"after step {validated.step}"
    best = ", the best so far" if validated.is_best else ""
    return f"Validation {when}: {numbers}{best} ({validated.samples} samples)"
