"""Looking closer at a step that is over: a tensor of it that was not kept is computed again, by a replay that leads there and
proves that it is the same step. Afterwards training stands where it stood, to the last bit, and so does what is known of it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor

from gradscope.engine.book.step_record import StepRecord
from gradscope.engine.book.values import ValuesUnavailable, values_of
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.surroundings.unwinding import interruptions_put_off
from gradscope.engine.timeline.checkpoint import Checkpoint
from gradscope.engine.timeline.marks import Mark
from gradscope.engine.timeline.replay import Replay, Tick, nothing, why_approximate
from gradscope.engine.timeline.state_hash import state_hash
from gradscope.engine.timeline.timeline import Timeline
from gradscope.engine.timeline.ways import Ran, Way
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Phase, Rest
from gradscope.protocol.subjects import SubjectKey, SubjectKind

MOST_BYTES = 256 * 1024 * 1024
"""That copies of what was looked at may take together."""
_MOST_KEPT = 8
_NEAR_STEPS = 100
"""So many are made again on the way back, at most, for what was kept of the newest one."""
_NEEDS = {
    SubjectKind.ACTIVATION: Phase.FORWARD,
    SubjectKind.ACTIVATION_GRAD: Phase.BACKWARD,
    SubjectKind.GRAD: Phase.BACKWARD,
}
"""The phase after which the values of a kind are there; of others the step."""


@dataclass(frozen=True)
class Recomputed:
    """A tensor of an earlier step, computed again."""

    values: Tensor
    """A copy, detached."""
    verified: bool | None
    """The replay was the same as then, wherever that could be compared; None where nothing could be."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Here:
    """Where training stands, and what is known there."""

    way: Way
    number: int
    at: int
    exact: Checkpoint | None
    """Of now itself; None where a graph or half a step waits, which no checkpoint holds."""
    near: Checkpoint | None
    """From where the newest step can be made again: what was kept of it is there again then."""
    mark: Mark | None
    """Between two steps."""
    state: str
    undone: str
    history: list[StepRecord]
    reports: dict[Phase, PhaseReport]


class CloserTimeline(Timeline):
    """A timeline whose past steps can be looked into."""

    _is_looking = False

    def values_at(self, step: int, key: SubjectKey, *, tick: Tick = nothing) -> Recomputed:
        """The tensor of a subject as it was in that step of this branch: an activation after its (last) forward, gradients
        after its backward, everything else after its step.

        Raises BadInput where it cannot be had, and what the user's code or `tick` raises where it is run again; then, too,
        training stands where it was.
        """
        known = self.seen(step, key)
        if known is not None:
            return known
        self._need_going()
        way, log = self._way, self._way.steps.get(step)
        ran = [] if log is None else [(at, a.phase) for at, a in enumerate(log.actions) if isinstance(a, Ran)]
        needed = _NEEDS.get(key.kind, Phase.STEP)
        at = max((at + 1 for at, phase in ran if phase is needed), default=None)
        base = None if log is None or at is None else self._base_of(way, step, log.begins_at)
        if at is None or base is None or (step == self._number and at > self._at and step not in way.records):
            reason = self.reason or f"expected a step from {self.earliest} on whose {needed.value} was made"
            raise BadInput(f"The values of step {step} cannot be computed again: {reason}")
        here, begun = self._look_around(), self._begun
        self._is_looking = True
        try:
            found = self._look(here, base, step, at, key, tick)
        except BaseException as error:
            self._return(here.way, here.exact or here.near, here.number, here.at, error)
            self._put_back(here)
            raise
        else:
            notes = self._come_back(here, tick)
        finally:
            self._is_looking, self._begun = False, begun
            self._store.let_go_of_data(self._stepper.loop.batches.spot().tape)
        found = Recomputed(found.values, found.verified, tuple(dict.fromkeys((*found.notes, *notes))))
        self._keep(step, key, found)
        return found

    def seen(self, step: int, key: SubjectKey) -> Recomputed | None:
        """What `values_at` has found on this branch, as long as it is kept."""
        return self._seen.get((self.branch, step, key))

    # ------------------------------------------------------------------------------------------ there

    def _look(self, here: _Here, base: Checkpoint, step: int, at: int, key: SubjectKey, tick: Tick) -> Recomputed:
        stepper, keeper = self._stepper, self._stepper.keeper
        notes = self._restore(here.way, base)
        replay = Replay(stepper, self._editor(), self, here.way, until=step, tick=tick)
        self._replay, watched = replay, keeper.watched
        keeper.watch((key,))
        try:
            replay.run(base.step, base.at, step, at)
            values = self._copy_of(key, step)
            self._prove(here, replay, step, at)
        finally:
            keeper.watch(watched)
            self._replay = None
        tape = stepper.loop.batches.tape
        notes += replay.notes + ([] if tape is None else tape.take_notes())
        notes += [why] if (why := why_approximate(stepper.device)) else []
        return Recomputed(values, replay.verified, tuple(notes))

    def _copy_of(self, key: SubjectKey, step: int) -> Tensor:
        try:
            tensor = values_of(self._stepper.book, key)
        except ValuesUnavailable as reason:
            raise BadInput(f"The values of step {step} cannot be had: {reason}") from reason
        size = _bytes_of(tensor)
        if size > MOST_BYTES:
            raise BadInput(
                f"The values of step {step} take {size >> 20} MB, more than the {MOST_BYTES >> 20} MB kept for looking closer"
            )
        return tensor.detach().clone()

    def _prove(self, here: _Here, replay: Replay, step: int, at: int) -> None:
        """Make the rest of the step as well: the state that it leads to was noted when the next one began."""
        log = here.way.steps.get(step + 1)
        if log is not None and any(isinstance(action, Ran) for action in log.actions):
            # Not each step has a mark: then there is the loss of its forward.
            mark, end = log.mark, log.begins_at + (log.mark is None)
        elif step + 1 == here.number and here.mark is not None:
            mark, end = here.mark, here.at
        else:
            return
        replay.run(step, at, step + 1, end)
        if mark is not None:
            replay.compare(step + 1, self._marks.difference(mark, self._marks.now()))

    # ------------------------------------------------------------------------------------------ and back

    def _look_around(self) -> _Here:
        """Raises BadInput where training could not come back to here exactly."""
        stepper, way, number, at = self._stepper, self._way, self._number, self._at
        is_ready = stepper.book.rest is Rest.READY
        near = self._base_of(way, number - 1, way.log(number - 1).begins_at) if number - 1 in way.steps else None
        if near is not None and number - near.step > _NEAR_STEPS:
            near = None
        if not is_ready:
            near = near or self._here()
            if near is None or why_approximate(stepper.device):
                raise BadInput(
                    "Training is in the middle of a step, and could not come back to here exactly; expected it between two "
                    "steps: press Next batch first"
                )
        return _Here(
            way=way,
            number=number,
            at=at,
            exact=self._taken() if is_ready else None,
            near=near,
            mark=self._marks.now() if is_ready else None,
            state=state_hash(stepper),
            undone=stepper.undone,
            history=stepper.book.history,
            reports=dict(stepper.book.reports),
        )

    def _come_back(self, here: _Here, tick: Tick) -> list[str]:
        """Sentences about what is not as it was. Broken off, it is shorter: what was kept of the newest step is lost."""
        stepper = self._stepper
        with interruptions_put_off():
            if here.near is not None and (here.exact is None or self._is_plain(here)):
                try:
                    self._stand(here.way, here.near, here.number, here.at, nothing if here.exact is None else tick)
                except BaseException as error:
                    self._return(here.way, here.exact or here.near, here.number, here.at, error)
                    if stepper.is_broken:
                        raise
            is_same = state_hash(stepper) == here.state
            if not is_same and here.exact is not None:
                self._restore(here.way, here.exact)
                is_same = True
            stepper.info = stepper.describe()
            self._put_back(here)
            stepper.undone = here.undone
        if is_same:
            return []
        return [
            "Training stands at the same place, but not to the last bit: what had been made of its step was made again, and "
            "came out otherwise"
        ]

    def _is_plain(self, here: _Here) -> bool:
        """Nothing was done by hand in the newest steps: only phases are made again just to be looked at."""
        assert here.near is not None
        between = [log for number, log in here.way.steps.items() if here.near.step <= number <= here.number]
        actions = [a for log in between for a in (log.actions if log.number < here.number else log.actions[: here.at])]
        return all(isinstance(action, Ran) for action in actions)

    def _put_back(self, here: _Here) -> None:
        """What was known of the newest steps, as it was told."""
        book = self._stepper.book
        book.history = here.history
        book.reports.clear()
        book.reports.update(here.reports)

    # ------------------------------------------------------------------------------------------ the journal

    def _begin_step(self) -> None:
        if not self._is_looking:
            return super()._begin_step()
        # Neither a branch nor a checkpoint comes of looking.
        log = self._way.steps.get(self._number)
        if self._replay is not None and log is not None and log.mark is not None:
            self._replay.compare(self._number, self._marks.difference(log.mark, self._marks.now()))
        return None

    def _begin(self) -> None:
        self._seen: OrderedDict[tuple[int, int, SubjectKey], Recomputed] = OrderedDict()
        super()._begin()

    def _keep(self, step: int, key: SubjectKey, found: Recomputed) -> None:
        self._seen[self.branch, step, key] = found
        while len(self._seen) > _MOST_KEPT or sum(_bytes_of(one.values) for one in self._seen.values()) > MOST_BYTES:
            self._seen.popitem(last=False)

    def close(self) -> None:
        super().close()
        self._seen.clear()


def _bytes_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
