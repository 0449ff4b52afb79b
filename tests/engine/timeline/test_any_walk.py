"""Any sequence of phases, edits, ways back and ways forth: at each place the state is that of a training that did the same
and never went back, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import trainings
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from plain import seeded
from walks import LARGE

from gradscope import Recipe, Session
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.messages import edits
from gradscope.protocol.phases import NEXT_PHASE, Rest
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


class Walk(RuleBasedStateMachine):
    hashes: ClassVar[dict[str, tuple[str, list[float | None]]]] = {}

    @initialize(recipe=st.sampled_from(sorted(RECIPES)), limit=st.sampled_from([LARGE, LARGE, TIGHT]))
    def open(self, recipe: str, limit: int) -> None:
        self.recipe = recipe
        self.session = Session(seeded(RECIPES[recipe]), timeline_bytes=limit)
        self.limit = limit
        self.trail: list[Doing] = []
        self.at = 0

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

    def do(self, what: str, how: Any) -> None:
        doing = (what, how)
        try:
            do(self.session, doing)
        except (BadInput, UserCodeFailed):
            # It was not done, or undone.
            return
        if self.trail[self.at : self.at + 1] != [doing]:
            del self.trail[self.at :]
            self.trail.append(doing)
        self.at += 1
        assert self.session.timeline.used_bytes <= self.limit

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
        self.at = at
        self.compare()

    @rule()
    def compare(self) -> None:
        key = repr((self.recipe, self.trail[: self.at]))
        states, here = RandomStates.capture(), self.session.state_hash()
        if key not in self.hashes:
            with Session(seeded(RECIPES[self.recipe])) as plain:
                for doing in self.trail[: self.at]:
                    do(plain, doing)
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
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            phases=[Phase.generate],
        ),
    )
