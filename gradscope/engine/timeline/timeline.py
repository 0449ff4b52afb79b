"""The way back of one session: what was done in it, and checkpoints in memory, from which it can be done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gradscope.engine.book.step_record import StepRecord
from gradscope.engine.data.tape import TapePlace
from gradscope.engine.edits.change import EditRecord
from gradscope.engine.edits.editor import Editor
from gradscope.engine.stepping.best import Best
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.unwinding import interruptions_put_off, is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.engine.timeline.checkpoint import Checkpoint
from gradscope.engine.timeline.looking_back import last_step
from gradscope.engine.timeline.marks import Mark, Marks
from gradscope.engine.timeline.pace import Pace
from gradscope.engine.timeline.replay import NEAR, Replay, Tick, is_same_loss, nothing, why_approximate
from gradscope.engine.timeline.taker import Taker
from gradscope.engine.timeline.trail import Trail
from gradscope.engine.timeline.ways import Action, ByHand, Cleared, Edited, Ran, StepLog, Way
from gradscope.engine.wording import listed
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import Validated
from gradscope.protocol.messages.edits import Edit
from gradscope.protocol.messages.evaluate import Evaluate
from gradscope.protocol.messages.timeline import TimelineState
from gradscope.protocol.phases import Phase, Position, Rest

_OFF = "Going back is off: no memory is given to it; expected Session(..., timeline_bytes=...) above 0"


@dataclass(frozen=True, kw_only=True)
class Went:
    """Where training stands after it has gone elsewhere."""

    position: Position
    branch: int
    verified: bool | None = None
    """See `protocol.messages.timeline.WentTo`."""
    notes: tuple[str, ...] = ()


class Timeline(Trail):
    """A journal of its stepper. Before the forward of each step a checkpoint is taken; the phases inside a step are reached
    by running it again from there, and so are steps whose checkpoint had to go."""

    def __init__(self, stepper: Stepper, editor: Callable[[], Editor], limit_bytes: int = 0) -> None:
        super().__init__()
        self._stepper, self._editor = stepper, editor
        self.pace = Pace()
        """How much of the time may go into it."""
        self._taker = Taker(stepper, editor)
        self._marks = Marks(stepper, self._taker.look, self._taker.cleared_next)
        self._replay: Replay | None = None
        self._failure = ""
        """Why no checkpoints are taken any more."""
        self.newest: Went | None = None
        """The last time that training went elsewhere."""
        self._begin()
        self.set_limit(limit_bytes)

    # ------------------------------------------------------------------------------------------ what there is

    @property
    def limit_bytes(self) -> int:
        return self._store.limit_bytes

    @property
    def used_bytes(self) -> int:
        return self._store.used_bytes

    @property
    def is_on(self) -> bool:
        return self._store.limit_bytes > 0

    @property
    def records(self) -> list[StepRecord]:
        """Of all steps that are done on the branch that the training is on, those ahead too."""
        return [record for _, record in sorted(self._way.records.items())]

    @property
    def branch(self) -> int:
        """That the training is on."""
        return self._way.id

    @property
    def branches(self) -> list[Way]:
        return list(self._ways.values())

    @property
    def checkpoints(self) -> list[int]:
        """Steps before whose forward a state is kept, of the branch that the training is on."""
        return sorted(number for number, log in self._way.steps.items() if log.checkpoint is not None)

    def values_before(self, step: int, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What these tensors held before the forward of a step of `checkpoints`, not to be changed; without those that were
        not there then, or not kept."""
        log = self._way.steps.get(step)
        if log is None or log.checkpoint is None:
            return {}
        reach = log.checkpoint.reach
        copies = {id(cell.tensor): kept.copy for cell, kept in zip(reach.cells, reach.kept, strict=False)}
        found = {name: copies.get(id(tensor)) for name, tensor in tensors.items()}
        return {name: copy.tensor for name, copy in found.items() if copy is not None}

    @property
    def earliest(self) -> int | None:
        """The first step that can be gone to."""
        return next(iter(self.checkpoints), None)

    @property
    def reason(self) -> str:
        """Why one cannot go back; "" where one can."""
        if not self.is_on:
            return _OFF
        if self._failure:
            return self._failure
        return (
            ""
            if self.earliest is not None
            else self._taker.unshaped or "No step was made yet that one could go back to"
        )

    def describe(self) -> TimelineState:
        return TimelineState(
            limit_bytes=self.limit_bytes,
            used_bytes=self.used_bytes,
            checkpoints=tuple(self.checkpoints),
            earliest=self.earliest,
            branch=self.branch,
            branches=tuple(way.described() for way in self.branches),
            reason=self.reason,
        )

    def set_limit(self, limit_bytes: int) -> None:
        """How much memory checkpoints may take; 0 keeps none."""
        if limit_bytes < 0:
            raise BadInput(f"The timeline's limit is {limit_bytes} bytes; expected 0 or more")
        was_on, is_new = self.is_on, bool(self._failure) or not self.is_on
        self._store.limit_bytes = self._taker.limit_bytes = limit_bytes
        self._failure = ""
        if limit_bytes and is_new:
            self._begin()
            self._stepper.journal = self
        elif was_on and not limit_bytes:
            self._stepper.journal = None
            self._begin()
            self._stop()
        elif limit_bytes:
            self._make_room(0)

    def close(self) -> None:
        self._stepper.journal = None
        self._store.clear()
        self._ways.clear()
        self._taker.forget()

    # ------------------------------------------------------------------------------------------ going elsewhere

    def step_back(self, *, whole_step: bool = False, tick: Tick = nothing) -> Went:
        """Go to before the newest phase, or to before the newest forward of a step. Raises BadInput where there is none that
        can be gone to, and what the user's code raises where it is run again; then training stands where it was."""
        self._need_going()
        number, at = self._number, self._at
        actions = self._way.log(number).actions[:at]
        done = [i for i, action in enumerate(actions) if isinstance(action, Ran)]
        if not done:
            number -= 1
            log = self._way.steps.get(number)
            done = [] if log is None else [i for i, action in enumerate(log.actions) if isinstance(action, Ran)]
        if not done:
            raise BadInput(f"There is nothing to go back to: {self.reason or 'no phase before this one is kept'}")
        return self._go(self._way, number, done[0] if whole_step else done[-1], tick)

    def go_to(self, step: int, branch: int | None = None, *, tick: Tick = nothing) -> Went:
        """Go to before the forward of that step, of this branch or another one. Raises as `step_back` does."""
        self._need_going()
        way = self._way if branch is None else self._ways.get(branch)
        if way is None:
            raise BadInput(
                f"There is no branch {branch}; expected one of {listed([str(number) for number in self._ways])}"
            )
        last = max(way.until_step, self._number if way is self._way else 0)
        if step not in way.steps and not (step == last and step - 1 in way.steps):
            first = min((n for n, log in way.steps.items() if log.checkpoint is not None), default=None)
            expected = (
                f"; expected {first} to {last}" if first is not None else f": {self.reason or 'nothing of it is kept'}"
            )
            raise BadInput(f"Step {step} cannot be gone to{expected}")
        return self._go(way, step, way.log(step).begins_at, tick)

    def go_to_last(self, condition: str, *, tick: Tick = nothing) -> Went:
        """Go to before the newest step before this one in which a condition held: see `looking_back`. Raises BadInput where
        it has not held in any, or cannot be read; and as `go_to` does."""
        self._need_going()
        step = last_step(condition, self._way.records, self._number)
        if step is None:
            raise BadInput(f"'{condition}' has not held in any step before step {self._number}")
        return self.go_to(step, tick=tick)

    def stand_again(self, *, tick: Tick = nothing) -> Went:
        """Make everything anew as it is here: after a phase that was broken off, what it has left anywhere is gone."""
        self._need_going()
        return self._go(self._way, self._number, self._at, tick)

    def _need_going(self) -> None:
        stepper = self._stepper
        if not self.is_on or self._failure:
            raise BadInput(f"One cannot go back: {self.reason}")
        if stepper.is_broken:
            raise BadInput("The session cannot go back: a phase that failed could not be undone. Open the recipe again")
        if stepper.book.inside is not None or self._replay is not None:
            raise BadInput("The session is inside a phase; expected one between two phases")

    def _go(self, way: Way, number: int, at: int, tick: Tick) -> Went:
        base = self._base_of(way, number, at)
        if base is None:
            raise BadInput(f"Step {number} cannot be gone to: no checkpoint before it is kept")
        here, number_here, at_here = self._way, self._number, self._at
        back_to = self._here()
        try:
            went = self._stand(way, base, number, at, tick)
        except BaseException as error:
            self._return(here, back_to, number_here, at_here, error)
            raise
        self._drop_empty_ways()
        self._store.let_go_of_data(self._stepper.loop.batches.spot().tape)
        self.newest = went
        return went

    def _here(self) -> Checkpoint | None:
        """From where the present place can be reached again."""
        base = self._way.log(self._number).checkpoint
        if base is not None and base.at <= self._at:
            return base
        return (
            self._taken() if self._stepper.book.rest is Rest.READY else self._base_of(self._way, self._number, self._at)
        )

    def _return(self, way: Way, base: Checkpoint | None, number: int, at: int, error: BaseException) -> None:
        stepper = self._stepper
        try:
            if base is None:
                raise BadInput("no checkpoint of the present place is kept")
            with interruptions_put_off():
                self._stand(way, base, number, at, nothing)
        except BaseException as second:
            if is_interruption(second) and not is_interruption(error):
                error = second
            stepper.is_broken = True
            stepper.undone = f"Going back failed, and what was before could not be put back ({describe_error(second)})"
        else:
            stepper.undone = "Training stands where it was"

    def _stand(self, way: Way, base: Checkpoint, number: int, at: int, tick: Tick) -> Went:
        notes = self._restore(way, base)
        replay = Replay(self._stepper, self._editor(), self, way, until=number, tick=tick)
        self._replay = replay
        try:
            replay.run(base.step, base.at, number, at)
        finally:
            self._replay = None
        log = self._way.steps.get(number)
        if replay.has_run and log is not None and log.mark is not None and self._at == log.begins_at:
            replay.compare(number, self._marks.difference(log.mark, self._marks.now()))
        self._stepper.info = self._stepper.describe()
        tape = self._stepper.loop.batches.tape
        notes += replay.notes + ([] if tape is None else tape.take_notes())
        notes += [why] if replay.has_run and (why := why_approximate(self._stepper.device)) else []
        return Went(
            position=self._stepper.position,
            branch=self.branch,
            verified=replay.verified,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _restore(self, way: Way, base: Checkpoint) -> list[str]:
        notes = self._taker.give(base)
        self._way, self._number, self._at, self._begun = way, base.step, base.at, None
        self._stepper.book.history = [record for number, record in sorted(way.records.items()) if number < base.step]
        return notes

    def _base_of(self, way: Way, number: int, at: int) -> Checkpoint | None:
        """The nearest checkpoint from where that place can be reached."""
        for before in range(number, min(way.steps, default=number) - 1, -1):
            log = way.steps.get(before)
            if log is None and before != number:
                return None
            if log is not None and log.checkpoint is not None and (before < number or log.checkpoint.at <= at):
                return log.checkpoint
        return None

    # ------------------------------------------------------------------------------------------ the journal

    def before(self, phase: Phase) -> None:
        if phase is not Phase.FORWARD or self._stepper.book.rest is not Rest.READY:
            return
        self._guarded(self._begin_step)

    def done(self, phase: Phase) -> None:
        self._guarded(lambda: self._done(phase))

    def undone(self, phase: Phase) -> None:
        if self._replay is None and phase is not Phase.STEP:
            self._guarded(lambda: self._take_back(phase))

    def _take_back(self, phase: Phase) -> None:
        if phase is Phase.BACKWARD:
            self._take_back_forward()
        if self._stepper.book.rest is Rest.READY:
            self._begun = self._marks.now()

    def _by_hand(self, action: Action) -> bool:
        """Something was done between two phases. Whether it is what was done here before."""
        self._drop_empty_ways()
        is_known = self._note(action)
        if self._begun is not None:
            self._begun = self._marks.now()
            if not is_known:
                # It was of before this.
                self._way.log(self._number).mark = None
        return is_known

    def cleared(self) -> None:
        self._guarded(lambda: self._by_hand(Cleared()))

    def validated(self, validation: Validated, best: Best | None) -> None:
        self._guarded(lambda: self._by_hand(ByHand(validation, best)))

    def edited(self, edit: Edit | Evaluate | None, record: EditRecord, names: Mapping[str, Any] | None = None) -> None:
        """An edit was made, or something evaluated with its effects kept; None: this one was undone. `names`: the console's
        variables that it may have used."""

        def note() -> None:
            if not self._by_hand(Edited(edit, names or {})) and self._is_at_fork:
                self._way.changes.append(record.text if edit is not None else f"Undone: {record.text}")

        if self.is_on:
            self._guarded(note)

    def began_anew(self) -> None:
        if self._replay is None:
            self._begin()

    def _begin_step(self) -> None:
        log = self._way.log(self._number)
        is_wanted = self._replay is not None or self._at < len(log.actions) or not self._store.kept
        if not self.pace.is_due() and not is_wanted:
            return
        started = time.perf_counter()
        self._keep_step(log)
        self.pace.spend(time.perf_counter() - started)

    def _keep_step(self, log: StepLog) -> None:
        """What is known before the first forward of a step; and a checkpoint."""
        mark = self._marks.now()
        if self._begun is not None and mark.is_same(self._begun):
            # The same forward, which was undone: it comes to the same from what is kept.
            return
        if self._at < len(log.actions):
            # Its mark is of after all that was done before it.
            then = log.mark if isinstance(log.actions[self._at], Ran) else None
            is_other = then is not None and not then.is_same(mark)
            if self._replay is not None and then is not None:
                self._replay.compare(self._number, self._marks.difference(then, mark))
            if is_other or not isinstance(log.actions[self._at], Ran):
                self._fork()
                if is_other and self._replay is None:
                    self._way.changes.append("Something was changed by hand")
            log = self._way.log(self._number)
        if self._at == len(log.actions):
            log.mark = mark
        elif log.checkpoint is not None:
            return
        if self._replay is None or self._replay.until - self._number <= NEAR:
            self._take(is_looked_at=True)

    def _mark_inside(self, phase: Phase, known: Action | None) -> Mark | None:
        """Between two phases of a step that has a mark before its forward."""
        was_marked = isinstance(known, Ran) and known.mark is not None
        if phase is Phase.STEP or not (was_marked or self._way.log(self._number).mark is not None):
            return None
        started = time.perf_counter()
        mark = self._marks.after(phase)
        if self._replay is not None and isinstance(known, Ran) and known.phase is phase and known.mark is not None:
            self._replay.compare(self._number, self._marks.difference(known.mark, mark, phase))
        self.pace.spend(time.perf_counter() - started)
        return mark

    def _done(self, phase: Phase) -> None:
        loss = self._stepper.loop.loss if phase is Phase.FORWARD else None
        self._begun = None
        log = self._way.log(self._number)
        known = log.actions[self._at] if self._at < len(log.actions) else None
        if self._replay is not None and isinstance(known, Ran) and known.phase is phase is Phase.FORWARD:
            self._replay.compare_loss(self._number, known.loss, loss)
        elif isinstance(known, Ran) and known.phase is phase and not is_same_loss(known.loss, loss):
            # What the mark does not see was changed: an attribute, a hook, an option.
            self._fork()
            self._way.log(self._number).mark = log.mark
            self._way.changes.append("Its loss is another: something was changed by hand, or is not put back")
        self._note(Ran(phase, loss, self._mark_inside(phase, known)))
        if self.used_bytes > self.limit_bytes and not self._make_room(0):
            # A batch has come on top.
            self._too_large(self.used_bytes)
        if phase is not Phase.STEP:
            return
        history, log = self._stepper.book.history, self._way.log(self._number)
        if log.record is not None:
            # It is the same step; only how long it took is another.
            history[-1] = log.record
        log.record = self._way.records[self._number] = history[-1]
        self._number, self._at = self._stepper.book.step, 0

    # ------------------------------------------------------------------------------------------ checkpoints

    def _begin(self) -> None:
        """Nothing before now can be gone to."""
        self._store.clear()
        self._taker.forget()
        self._number, self._at, self._begun = self._stepper.book.step, 0, None
        records = {record.step: record for record in self._stepper.book.history}
        first = Way(0, None, self._number, records=records)
        self._ways = {0: first}
        self._way = first
        if self.is_on:
            batches = self._stepper.loop.batches
            self._store.tape = batches.tape or batches.keep_tape()
            self._store.tape.is_keeping = True

    def _stop(self) -> None:
        """Nothing is kept any more, but for the batches that training is still to come to."""
        self._store.clear()
        self._taker.forget()
        tape = self._store.tape
        if tape is not None:
            tape.is_keeping = False
            self._store.let_go_of_data(self._stepper.loop.batches.spot().tape)

    def _take(self, *, is_looked_at: bool = False) -> None:
        """A checkpoint of now, where there is room for it."""
        if self._failure or self._taker.unshaped:
            return
        size = self._store.next_bytes(self._taker.estimate_bytes)
        if not self._make_room(size):
            self._too_large(size)
            return
        log = self._way.log(self._number)
        self._store.add(self._taken(is_looked_at=is_looked_at), log)
        if not self._make_room(0):
            size = self._store.used_bytes
            self._store.leave(log)
            self._too_large(size)

    def _taken(self, *, is_looked_at: bool = False) -> Checkpoint:
        newest = self._store.kept[-1].own.random if self._store.kept else None
        return self._taker.take(self._number, self._at, newest, is_looked_at=is_looked_at)

    def _make_room(self, size: int) -> bool:
        def place() -> TapePlace:
            return self._stepper.loop.batches.spot().tape

        return self._store.make_room(size, self._ways.values(), self._way, self._number, place)

    def _too_large(self, size: int) -> None:
        self._stop()
        self._failure = (
            f"A checkpoint of this training takes {size / 2**20:,.0f} MiB, and {self.limit_bytes / 2**20:,.0f} MiB are given "
            "to the timeline"
        )

    def _guarded(self, work: Callable[[], object]) -> None:
        """What goes wrong here is not the training's business."""
        if self._failure and self._replay is None:
            return
        try:
            work()
        except BaseException as error:
            if is_interruption(error):
                raise
            self._stop()
            self._failure = f"No checkpoint can be taken: {describe_error(error)}"
