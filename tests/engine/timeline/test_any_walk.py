"""Any sequence of phases, edits, ways back and ways forth, with validations, check-ups, probes, trials and pauses between and
inside of them: at each place the state is that of a training that did the same and never went back, bit for bit.

What leaves training alone (a check-up, a probe, a trial, a pause) is done by the one that goes back only.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
import trainings
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from plain import seeded
from walks import LARGE

from gradscope import Recipe, Session
from gradscope.engine.book.values import ValuesUnavailable
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.messages import edits
from gradscope.protocol.phases import NEXT_PHASE, Moment, Phase, Rest
from gradscope.protocol.subjects import SubjectKey, SubjectKind

RECIPES: dict[str, Callable[[], Recipe]] = {
    made.__name__: made
    for made in (
        *(trainings.validated, trainings.accumulating, trainings.gan, trainings.own_loader, trainings.counting),
        *(trainings.half, trainings.streamed, trainings.by_hand, trainings.plateau),
    )
}
EDITS = (
    edits.EditOption(group=0, option="lr", value="0.05"),
    edits.EditOption(group=0, option="lr", value="0.2"),
    edits.EditClipping(norm=0.5, value=None),
    edits.EditDropout(layer="3", p=0.6),
    edits.EditOptimizer(optimizer="Adam", arguments={"lr": "0.01"}),
    edits.EditRequiresGrad(name="0", is_parameter=False, requires_grad=False),
    edits.EditZeroGrad(mode="manual"),
    edits.EditAccumulation(micro_batches=2),
)
MOST_STEPS = 7
TIGHT = 200_000
"""Bytes: a few checkpoints."""
Doing = tuple[str, Any]


def do(session: Session, doing: Doing) -> None:
    what, how = doing
    if what == "phase":
        session.advance()
    elif what == "edit":
        session.edit(how)
    elif what == "undo":
        session.undo_edit()
    elif what == "clear":
        session.zero_grad()
    elif what == "validate":
        session.validate()


class Pausing:
    """A gate: at the moment with that number, of the phase that comes, `work` is done."""

    is_armed = False

    def __init__(self) -> None:
        self._left = 0
        self._work: Callable[[], None] | None = None

    def arm(self, number: int, work: Callable[[], None]) -> None:
        self._left, self._work, self.is_armed = number, work, True

    def disarm(self) -> None:
        self._work, self.is_armed = None, False

    def stop(self, moment: Moment) -> None:
        work = self._work
        if work is not None and self._left == 0:
            # What is done here may run phases of its own.
            self.disarm()
            work()
        self._left -= 1


class Walk(RuleBasedStateMachine):
    recipes: ClassVar[dict[str, Callable[[], Recipe]]] = RECIPES
    hashes: ClassVar[dict[str, tuple[str, list[float | None]]]] = {}

    @initialize(recipe=st.sampled_from(sorted(RECIPES)), limit=st.sampled_from([LARGE, LARGE, TIGHT]))
    def open(self, recipe: str, limit: int) -> None:
        self.recipe = recipe
        self.gate = Pausing()
        self.session = Session(seeded(self.recipes[recipe]), timeline_bytes=limit, findings=True, gate=self.gate)
        self.limit = limit
        self.trail: list[Doing] = []
        self.at = 0
        self.branches = 1
        self.is_begun = False
        """A phase was broken off, and what is left of it is the next one's."""

    @precondition(lambda self: self.session.position.step < MOST_STEPS)
    @rule(count=st.integers(1, 9))
    def go_on(self, count: int) -> None:
        for _ in range(count):
            self.do("phase", NEXT_PHASE[self.session.position.rest].value)

    @rule(edit=st.sampled_from(EDITS))
    def edit(self, edit: Any) -> None:
        self.do("edit", edit)

    @rule()
    def undo_edit(self) -> None:
        self.do("undo", None)

    @rule()
    def zero_grad(self) -> None:
        self.do("clear", None)

    @precondition(lambda self: self.session.training.has_validation)
    @rule()
    def validate(self) -> None:
        self.do("validate", None)

    @rule(only=st.sampled_from([("lr-too-high",), ("dropout-in-eval", "padding-not-masked"), None]))
    def check_up(self, only: Any) -> None:
        self.beside(lambda: self.session.check_up(only))

    @rule(
        given=st.sampled_from([[{}, {"rate": 10.0}], [{"optimizer": "Adam"}], [{"batch_size": 2}]]),
        others=st.integers(0, 2),
    )
    def what_if(self, given: Any, others: int) -> None:
        self.beside(lambda: self.session.what_if(given, other_batches=others))

    @rule()
    def along_update(self) -> None:
        self.beside(lambda: self.session.loss_along_update(points=3))

    @rule(mode=st.sampled_from(["train", "eval"]), every=st.integers(0, 2))
    def pin(self, mode: str, every: int) -> None:
        self.beside(lambda: self.session.set_probe("newest", mode=mode, every=every))

    @rule()
    def run_probe(self) -> None:
        self.beside(self.session.run_probe)

    def beside(self, work: Callable[[], object]) -> None:
        """Something that leaves training alone, where it can be done now."""
        with contextlib.suppress(BadInput, UserCodeFailed):
            work()
        assert not self.session.is_broken
        self.compare()

    @precondition(lambda self: self.session.position.step < MOST_STEPS)
    @rule(moment=st.integers(0, 25))
    def pause(self, moment: int) -> None:
        """Inside a phase one can look, and not go elsewhere."""
        self.gate.arm(moment, self.look_inside)
        self.go_on(1)
        self.gate.disarm()

    def look_inside(self) -> None:
        session = self.session
        states = RandomStates.capture()
        elsewhere = (session.step_back, lambda: session.go_to(0), session.undo_edit, lambda: session.edit(EDITS[0]))
        beside = (session.run_probe, session.check_up, session.validate, session.what_if, session.loss_along_update)
        for refused in (*elsewhere, *beside, session.advance, session.zero_grad, lambda: session.set_capture("off")):
            with pytest.raises(BadInput):
                refused()
        session.state_hash()
        for key in [*session.known_subjects(SubjectKind.PARAMETER), *session.known_subjects(SubjectKind.ACTIVATION)][
            :9
        ]:
            with contextlib.suppress(ValuesUnavailable):
                session.values(key)
        session.evaluate("sum(p.sum() for p in model.parameters())")
        assert RandomStates.capture().is_same(states)

    @precondition(lambda self: self.session.position.step < MOST_STEPS)
    @rule(moment=st.integers(0, 25), then=st.sampled_from(["", "stand", "back"]))
    def break_off(self, moment: int, then: str) -> None:
        """The phase is undone; as the window does, one may have everything made anew there, or go back from inside."""

        def leave() -> None:
            raise Unwind

        phase = NEXT_PHASE[self.session.position.rest]
        self.gate.arm(moment, leave)
        try:
            self.go_on(1)
        except Unwind:
            assert not self.session.is_broken
        else:
            return self.compare()
        finally:
            self.gate.disarm()
        if phase is not Phase.STEP:
            # Its batch waits, and the gradients that it has cleared stay so: as before it is only what follows.
            self.is_begun = True
        if phase is Phase.BACKWARD:
            self.take_back_forward()
        if then == "stand":
            with contextlib.suppress(BadInput):
                self.session.timeline.stand_again()
                self.is_begun = False
        elif then == "back":
            self.back(whole=False)
        return self.compare()

    def take_back_forward(self) -> None:
        """Its graph is used up: it is undone with its backward, and what was done between them is not."""
        i = max(i for i in range(self.at) if self.trail[i] == ("phase", "forward"))
        between, ahead = self.trail[i + 1 : self.at], self.trail[self.at :]
        if not ahead:
            del self.trail[i:]
        self.at = i
        for doing in between:
            self.note(doing)

    def done(self, session: Session, doing: Doing) -> None:
        do(session, doing)

    def do(self, what: str, how: Any) -> None:
        doing = (what, how)
        try:
            self.done(self.session, doing)
        except (BadInput, UserCodeFailed):
            # It was not done, or undone.
            return
        self.note(doing)
        if what == "phase":
            self.is_begun = False
        assert self.session.timeline.used_bytes <= self.limit
        assert self.limit == TIGHT or len(self.session.timeline.branches) == self.branches

    def note(self, doing: Doing) -> None:
        if self.trail[self.at : self.at + 1] != [doing]:
            self.branches += self.at < len(self.trail)
            del self.trail[self.at :]
            self.trail.append(doing)
        self.at += 1

    @rule(whole=st.booleans())
    def back(self, whole: bool) -> None:
        phases = [i for i in range(self.at) if self.trail[i][0] == "phase"]
        wanted = [i for i in phases if self.begins(i)] if whole else phases
        try:
            self.session.timeline.step_back(whole_step=whole)
        except BadInput:
            assert not wanted or self.limit == TIGHT
            return
        self.arrive(wanted[-1])

    @rule(step=st.integers(0, MOST_STEPS))
    def go_to(self, step: int) -> None:
        """Also to steps ahead, that were made before."""
        beginnings = [i for i in range(len(self.trail)) if self.begins(i)]
        try:
            self.session.go_to(step)
        except BadInput:
            assert step >= len(beginnings) or self.limit == TIGHT
            return
        self.arrive(beginnings[step] if step < len(beginnings) else len(self.trail))

    @precondition(lambda self: self.session.position.step > 0)
    @rule(ago=st.integers(-1, 3), kind=st.sampled_from([SubjectKind.GRAD, SubjectKind.UPDATE]))
    def look_closer(self, ago: int, kind: SubjectKind) -> None:
        """Training stands where it stood, whether there are such values or not."""
        name = next(iter(self.session.observer.tensors()))
        newest, branches = self.session.timeline.newest, len(self.session.timeline.branches)
        try:
            found = self.session.values_at(max(0, self.session.position.step - ago), SubjectKey(kind, name))
        except BadInput:
            pass
        else:
            assert found.verified is not False and not found.notes, found.notes
        assert not self.session.is_broken
        assert self.session.timeline.newest is newest and len(self.session.timeline.branches) == branches
        self.compare()

    def begins(self, i: int) -> bool:
        """Whether the first forward of a step comes there."""
        before = [doing for doing in self.trail[:i] if doing[0] == "phase"]
        return self.trail[i] == ("phase", "forward") and (not before or before[-1] == ("phase", "step"))

    def arrive(self, at: int) -> None:
        went = self.session.timeline.newest
        assert went is not None and went.verified is not False and not went.notes, went
        self.at, self.is_begun = at, False
        self.compare()

    @rule()
    def compare(self) -> None:
        if self.is_begun:
            return
        key = repr((self.recipe, self.trail[: self.at]))
        states, here = RandomStates.capture(), self.session.state_hash()
        if key not in self.hashes:
            with Session(seeded(self.recipes[self.recipe])) as plain:
                for doing in self.trail[: self.at]:
                    self.done(plain, doing)
                self.hashes[key] = plain.state_hash(), [record.loss for record in plain.history]
        states.restore()
        assert (here, [record.loss for record in self.session.history]) == self.hashes[key]

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.compare()
            assert self.session.position.rest in (Rest.READY, Rest.FORWARD, Rest.ACCUMULATING, Rest.BACKWARD)
            self.session.close()


def test_any_walk() -> None:
    torch.set_num_threads(1)
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=30 if os.environ.get("GRADSCOPE_WHOLE_ZOO") else 10,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            phases=[Stage.generate],
        ),
    )
