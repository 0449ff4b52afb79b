"""Tensors of past steps that are computed again: the same as they were, and training stands where it stood."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trainings
from plain import seeded
from test_timeline import Fails, Hidden
from torch import Tensor
from walks import LARGE, Spot, Straight, run
from zoo import ZOO
from zoo_parts import classifier

from gradscope import Recipe, Session
from gradscope.engine.book.values import ValuesUnavailable
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.messages import edits
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind

LITTLE = 350_000
Seen = dict[tuple[int, SubjectKey], Tensor]
TOLD_IN = {
    Phase.FORWARD: (SubjectKind.ACTIVATION,),
    Phase.BACKWARD: (SubjectKind.ACTIVATION_GRAD, SubjectKind.GRAD),
    Phase.STEP: (
        SubjectKind.PARAMETER,
        SubjectKind.UPDATE,
        SubjectKind.CLIPPED_GRAD,
        SubjectKind.OPTIMIZER_STATE,
        SubjectKind.BUFFER,
    ),
}


def watched(session: Session, steps: int) -> Seen:
    """The oracle: every tensor that could be had while the steps were made, the newest of each subject and step."""
    seen: Seen = {}
    while session.position.step < steps:
        step = session.position.step
        report = session.advance()
        for subject in report.subjects:
            if subject.key.kind in TOLD_IN[report.phase]:
                try:
                    seen[step, subject.key] = session.values(subject.key).clone()
                except ValuesUnavailable:
                    seen.pop((step, subject.key), None)
    return seen


def known(session: Session) -> dict[SubjectKey, Tensor]:
    """What can be seen of the newest step."""
    found: dict[SubjectKey, Tensor] = {}
    for kind in SubjectKind:
        for key in session.known_subjects(kind):
            try:
                found[key] = session.values(key).clone()
            except ValuesUnavailable:
                continue
    return found


def is_equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.to_dense().nan_to_num(7e7), other.to_dense().nan_to_num(7e7))


RECIPES: dict[str, Callable[[], Recipe]] = {
    made.__name__: made
    for made in (
        *(trainings.accumulating, trainings.gan, trainings.half, trainings.validated, trainings.own_loader),
        *(trainings.by_hand, trainings.counting, trainings.gone_through_once, trainings.sparse_adam, trainings.plateau),
    )
}


@pytest.mark.parametrize(
    ("name", "phases_on"),
    [*((name, number % 3) for number, name in enumerate(sorted(RECIPES))), ("gan", 0), ("half", 1)],
)
def test_values_of_past_steps_are_those_that_were_seen_and_training_stands_where_it_stood(
    name: str, phases_on: int
) -> None:
    make = RECIPES[name]
    straight = Straight(make, 10)
    with Session(seeded(make), timeline_bytes=LARGE) as session:
        seen = watched(session, 7)
        for _ in range(phases_on):
            session.advance()
        spot, newest, reports, history = Spot.of(session), known(session), dict(session.reports), list(session.history)
        kinds = set[SubjectKind]()
        for step in (1, 6):
            # The last of each kind.
            for key in {key.kind: key for number, key in seen if number == step}.values():
                found = session.values_at(step, key)
                kinds.add(key.kind)
                assert is_equal(found.values, seen[step, key]), (step, key)
                assert found.verified is True and found.notes == (), (step, key, found.notes)
                assert session.state_hash() == straight.hashes[spot] and Spot.of(session) == spot
        assert {SubjectKind.ACTIVATION, SubjectKind.GRAD, SubjectKind.PARAMETER, SubjectKind.UPDATE} <= kinds
        assert session.reports == reports and session.history == history and len(session.timeline.branches) == 1
        after = known(session)
        assert newest.keys() <= after.keys() and all(is_equal(after[key], newest[key]) for key in newest)
        run(session, 10)
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        assert [record.loss for record in session.history] == straight.losses


def test_what_was_looked_at_is_not_computed_twice_and_no_checkpoint_comes_of_it() -> None:
    with Session(seeded(trainings.validated), timeline_bytes=LITTLE) as session:
        seen = watched(session, 30)
        kept, used = session.timeline.checkpoints, session.timeline.used_bytes
        step = next(n for n in range(10, 30) if n not in kept and n - 1 not in kept)
        ticks: list[int] = []
        key = SubjectKey(SubjectKind.ACTIVATION, "0", 0)
        first = session.timeline.values_at(step, key, tick=lambda number, start, until: ticks.append(number))
        assert is_equal(first.values, seen[step, key]) and first.verified is True and ticks[0] < step
        assert session.timeline.seen(step, key) is first and session.timeline.seen(step - 1, key) is None
        assert (session.timeline.checkpoints, session.timeline.used_bytes) == (kept, used)
        ticks.clear()
        assert session.values_at(step, key) is first and not ticks


def test_an_edit_by_hand_is_made_again_there_and_stays_undoable_here() -> None:
    def train(session: Session) -> Seen:
        seen = watched(session, 3)
        session.edit(edits.EditOption(group=0, option="lr", value="0.05"))
        seen |= watched(session, 5)
        session.edit(edits.EditOption(group=0, option="lr", value="0.2"))
        return seen

    with Session(seeded(trainings.validated), timeline_bytes=LARGE) as session:
        seen = train(session)
        before, records = session.state_hash(), list(session.edits)
        for step in (2, 3, 4):
            key = SubjectKey(SubjectKind.UPDATE, "0.weight")
            assert is_equal(session.values_at(step, key).values, seen[step, key])
        assert session.state_hash() == before and session.edits == records
        session.undo_edit()
        assert session.recipe.optimizers[""].param_groups[0]["lr"] == 0.05


def test_steps_ahead_of_where_training_has_gone_back_to_can_be_looked_at_too() -> None:
    with Session(seeded(trainings.validated), timeline_bytes=LARGE) as session:
        seen = watched(session, 8)
        session.go_to(3)
        before = session.state_hash()
        key = SubjectKey(SubjectKind.GRAD, "0.weight")
        found = session.values_at(6, key)
        assert is_equal(found.values, seen[6, key]) and found.verified is True
        assert session.state_hash() == before and len(session.history) == 3
        assert session.timeline.newest is not None and session.timeline.newest.position.step == 3


def test_the_monitors_hear_nothing_of_it() -> None:
    with Session(seeded(trainings.validated), timeline_bytes=LARGE, findings=True) as session:
        run(session, 5)
        verdicts, listener, findings = session.verdicts, session.observer.listener, session.findings()
        session.values_at(2, SubjectKey(SubjectKind.GRAD, "0.weight"))
        assert session.verdicts is verdicts and session.observer.listener is listener
        assert session.findings() == findings


# ------------------------------------------------------------------------------------------------------- what goes wrong


def test_another_step_than_then_is_said_to_be_and_training_is_as_before() -> None:
    with Session(seeded(lambda: classifier(Hidden(3))), timeline_bytes=LARGE) as session:
        run(session, 8)
        before = session.state_hash()
        found = session.values_at(5, SubjectKey(SubjectKind.GRAD, "linear.weight"))
        assert found.verified is False and any("from step 5 on" in note for note in found.notes)
        assert session.state_hash() == before and len(session.timeline.branches) == 1
        session.forward()
        found = session.values_at(6, SubjectKey(SubjectKind.GRAD, "linear.weight"))
        assert found.verified is False


@pytest.mark.parametrize("phases_on", [0, 1])
def test_broken_off_training_is_as_before(phases_on: int) -> None:
    class Enough(Exception):
        pass

    def tick(step: int, start: int, until: int) -> None:
        if step == until:
            raise Enough

    with Session(seeded(trainings.counting), timeline_bytes=LITTLE) as session:
        run(session, 30)
        for _ in range(phases_on):
            session.advance()
        before, reports, history = session.state_hash(), dict(session.reports), list(session.history)
        step = next(n for n in range(10, 30) if n not in session.timeline.checkpoints)
        key = SubjectKey(SubjectKind.ACTIVATION, "linear", 0)
        with pytest.raises(Enough):
            session.timeline.values_at(step, key, tick=tick)
        assert session.state_hash() == before and session.timeline.seen(step, key) is None
        assert session.reports == reports and session.history == history
        assert session.values_at(step, key).verified is True


def test_where_the_users_code_fails_training_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(seeded(lambda: classifier(Fails())), timeline_bytes=LARGE) as session:
        run(session, 6)
        before = session.state_hash()
        with monkeypatch.context() as patch:
            patch.setenv("TEST_FAILS", "1")
            with pytest.raises(UserCodeFailed, match="not again"):
                session.values_at(2, SubjectKey(SubjectKind.GRAD, "body.0.weight"))
        assert session.state_hash() == before and not session.is_broken
        assert session.values_at(2, SubjectKey(SubjectKind.GRAD, "body.0.weight")).verified is True


def test_what_cannot_be_had_is_refused_in_a_sentence() -> None:
    gradient = SubjectKey(SubjectKind.GRAD, "0.weight")
    with Session(seeded(ZOO["plain_mlp"])) as session:
        run(session, 3)
        with pytest.raises(BadInput, match="Going back is off"):
            session.values_at(1, gradient)
    with Session(seeded(ZOO["plain_mlp"]), timeline_bytes=LARGE) as session:
        run(session, 3)
        with pytest.raises(BadInput, match=r"step 3 cannot be computed again: expected a step from 0 on"):
            session.values_at(3, gradient)
        before = session.state_hash()
        with pytest.raises(BadInput, match="no parameter 'none'"):
            session.values_at(1, SubjectKey(SubjectKind.GRAD, "none"))
        assert session.state_hash() == before
