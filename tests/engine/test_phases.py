"""The phase table as a session keeps it: order, positions, reports, values, the keeper's budget, the history."""

from __future__ import annotations

import contextlib
import math

import plain
import pytest
import torch
import zoo

from gradscope import BadInput, Recipe, Session
from gradscope.engine.book.values import ValuesUnavailable
from gradscope.protocol.phases import ALLOWED, Phase, Rest, Verb, refusal
from gradscope.protocol.subjects import SubjectKey, SubjectKind

PHASES = [Verb.FORWARD, Verb.BACKWARD, Verb.STEP]
RESTS = [Rest.READY, Rest.FORWARD, Rest.BACKWARD]


def session_at(rest: Rest) -> Session:
    session = Session(plain.seeded(zoo.plain_mlp))
    for _ in range(RESTS.index(rest)):
        session.advance()
    assert session.position.rest is rest
    return session


@pytest.mark.parametrize("verb", PHASES)
@pytest.mark.parametrize("rest", RESTS)
def test_only_the_phase_whose_turn_it_is(rest: Rest, verb: Verb) -> None:
    with session_at(rest) as session:
        before = plain.state_of(session.recipe)
        if verb in ALLOWED[rest]:
            assert getattr(session, verb.value)().phase.value == verb.value
            return
        with pytest.raises(BadInput) as refused:
            getattr(session, verb.value)()
        assert str(refused.value) == refusal(rest, verb)
        assert "press" in str(refused.value) or "next" in str(refused.value) or "needs" in str(refused.value)
        assert session.position.rest is rest
        plain.assert_same(before, plain.state_of(session.recipe))


@pytest.mark.parametrize("rest", RESTS)
def test_next_batch_completes_the_step_from_anywhere(rest: Rest) -> None:
    with session_at(rest) as session:
        reports = session.next_batch()
        assert [r.phase.value for r in reports] == [v.value for v in PHASES[RESTS.index(rest) :]]
        assert session.position.rest is Rest.READY
        assert session.position.step == 1 == len(session.history)


def test_positions() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        seen = []
        for _ in range(4):
            for _ in range(3):
                report = session.advance()
                seen.append((report.step, report.epoch, report.batch, report.phase.value))
        assert seen == [
            (step, epoch, batch, phase)
            for step, (epoch, batch) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0)])
            for phase in ("forward", "backward", "step")
        ]
        position = session.position
        assert (position.step, position.epoch, position.batch, position.batches_per_epoch) == (4, 1, 1, 3)
        assert position.moment is None and not position.running


def test_kinds_in_each_report() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        kinds = [{s.kind for s in report.subjects} for report in session.next_batch()]
    assert kinds == [{"activation"}, {"activation_grad", "grad"}, {"parameter", "update", "optimizer_state"}]


def test_a_report_is_asked_by_name() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        report = session.forward()
        subject = report.get("activation", "0")
        assert subject is not None and subject.shape == (zoo.BATCH, 8) and subject.dtype == "float32"
        assert subject.key == SubjectKey(SubjectKind.ACTIVATION, "0")
        assert report.get("activation", "nowhere") is None
        assert len(report) == len(report.subjects) == len(list(report))
        assert report.loss is not None and repr(report).startswith("<forward of step 0: loss")
        assert report.lr == (0.1,)
        backward = session.backward()
        norms = [s.l2 for s in backward.subjects if s.kind == "grad"]
        total = backward.total_l2(SubjectKind.GRAD)
        assert total == pytest.approx(math.sqrt(sum(norm**2 for norm in norms if norm is not None)))
        assert backward.total_l2(SubjectKind.UPDATE) is None


def test_the_loss_and_rates_of_a_step_report_are_those_of_its_own_step() -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        return zoo.classifier(
            model, optimizer=optimizer, scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        )

    with Session(plain.seeded(make)) as session:
        for step in range(3):
            reports = session.next_batch()
            assert {report.lr for report in reports} == {(0.5**step,)}
            assert len({report.loss for report in reports}) == 1


def test_values_in_each_phase() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    weight = recipe.model[0].weight  # type: ignore[index]
    keys = {kind: SubjectKey(kind, "0" if kind.value.startswith("activation") else "0.weight") for kind in SubjectKind}
    # It has none.
    del keys[SubjectKind.BUFFER]
    keys[SubjectKind.OPTIMIZER_STATE] = SubjectKey(SubjectKind.OPTIMIZER_STATE, "0.weight", leaf=".momentum_buffer")
    with Session(recipe) as session:
        assert available(session, keys) == {"parameter"}
        session.forward()
        assert available(session, keys) == {"parameter", "activation"}
        session.backward()
        assert available(session, keys) == {"parameter", "activation", "activation_grad", "grad"}
        before = weight.detach().clone()
        session.step()
        assert available(session, keys) == {kind.value for kind in keys} - {"clipped_grad"}
        momentum = recipe.optimizer.state[weight]["momentum_buffer"]  # type: ignore[union-attr]
        assert torch.equal(session.values(keys[SubjectKind.OPTIMIZER_STATE]), momentum)
        assert torch.equal(session.values(keys[SubjectKind.UPDATE]), weight.detach() - before)
        assert torch.equal(session.values(keys[SubjectKind.PARAMETER]), weight.detach())
        session.forward()
        assert available(session, keys) == {"parameter", "activation", "update", "optimizer_state"}
        assert not session.values(keys[SubjectKind.PARAMETER]).requires_grad
        for key in (SubjectKey(SubjectKind.PARAMETER, "9.weight"), SubjectKey(SubjectKind.ACTIVATION, "9")):
            with pytest.raises(ValuesUnavailable, match=r"no parameter|Nothing was captured"):
                session.values(key)


def available(session: Session, keys: dict[SubjectKind, SubjectKey]) -> set[str]:
    found = set()
    for kind, key in keys.items():
        with contextlib.suppress(ValuesUnavailable):
            session.values(key)
            found.add(kind.value)
    return found


def test_the_keeper_stays_within_its_budget_and_says_so() -> None:
    one = zoo.BATCH * 8 * 4
    with Session(plain.seeded(zoo.plain_mlp), budget_bytes=2 * one) as session:
        report = session.forward()
        kept = [s.name for s in report.subjects if session.keeper.get(s.key) is not None]
        # In order: 0, 1 (one each), 2 and the model itself (smaller): the oldest goes first.
        assert kept == ["1", "2", ""]
        with pytest.raises(ValuesUnavailable, match="newer values needed"):
            session.values(SubjectKey(SubjectKind.ACTIVATION, "0"))
    with Session(plain.seeded(zoo.plain_mlp), budget_bytes=16) as session:
        session.forward()
        with pytest.raises(ValuesUnavailable, match="more than the"):
            session.values(SubjectKey(SubjectKind.ACTIVATION, "0"))


def test_what_is_watched_is_kept_first() -> None:
    key = SubjectKey(SubjectKind.ACTIVATION, "0")
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.keeper.keeps_all = False
        session.keeper.watch([key])
        report = session.forward()
        assert [s.key for s in report.subjects if session.keeper.get(s.key) is not None] == [key]
        with pytest.raises(ValuesUnavailable, match="Next batch"):
            session.values(SubjectKey(SubjectKind.ACTIVATION, "1"))
    with Session(plain.seeded(zoo.plain_mlp), budget_bytes=zoo.BATCH * 8 * 4 * 2) as session:
        session.keeper.watch([key])
        session.next_batch()
        assert session.keeper.get(key) is not None


def test_a_budget_that_is_full_of_what_is_watched_takes_nothing_else() -> None:
    """Values of what nobody watches come later in the pass, and must not push it out."""
    zero, one, two = (SubjectKey(SubjectKind.ACTIVATION, name) for name in "012")
    room_for_two = 2 * zoo.BATCH * 8 * 4
    with Session(plain.seeded(zoo.plain_mlp), budget_bytes=room_for_two) as session:
        session.keeper.watch([one, zero])
        report = session.forward()
        assert {s.key for s in report.subjects if session.keeper.get(s.key) is not None} == {zero, one}
        with pytest.raises(ValuesUnavailable, match=r"not kept: .* went to what is selected or was pinned earlier"):
            session.values(two)


@pytest.mark.parametrize("first", ["0", "1"])
def test_of_what_is_watched_the_first_come_first(first: str) -> None:
    """Whichever of them is computed first: the other has no room."""
    keys = [SubjectKey(SubjectKind.ACTIVATION, name) for name in "01"]
    keys.sort(key=lambda key: key.name != first)
    with Session(plain.seeded(zoo.plain_mlp), budget_bytes=zoo.BATCH * 8 * 4) as session:
        session.keeper.keeps_all = False
        session.keeper.watch(keys)
        session.forward()
        assert session.keeper.get(keys[0]) is not None
        with pytest.raises(ValuesUnavailable, match=r"not kept: .* went to what is selected or was pinned earlier"):
            session.values(keys[1])


def test_why_there_are_no_values_goes_by_what_was_watched_then() -> None:
    early, late = (SubjectKey(SubjectKind.ACTIVATION, name) for name in "01")
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.keeper.keeps_all = False
        session.keeper.watch([early])
        session.forward()
        # Looking at it makes it watched, too late for this pass.
        session.keeper.watch([late, early])
        assert session.values(early) is not None
        with pytest.raises(ValuesUnavailable, match="only the values of what was selected or pinned"):
            session.values(late)


def test_parameters_take_nothing_of_the_budget() -> None:
    keys = [SubjectKey(kind, "0.weight") for kind in (SubjectKind.PARAMETER, SubjectKind.GRAD, SubjectKind.UPDATE)]
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.keeper.keeps_all = False
        session.keeper.watch(keys)
        session.next_batch()
        assert all(session.keeper.get(key) is None for key in keys)
        assert all(session.values(key).shape == session.values(keys[0]).shape for key in keys)


def test_history() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        for _ in range(4):
            _, backward, step = session.next_batch()
            record = session.history[-1]
            assert record.loss == step.loss and record.lr == step.lr
            assert record.grad_l2 == pytest.approx(backward.total_l2(SubjectKind.GRAD))
            assert record.update_l2 == pytest.approx(step.total_l2(SubjectKind.UPDATE))
            assert record.seconds > 0
        assert [(r.step, r.epoch, r.batch) for r in session.history] == [(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 1, 0)]


def test_places_and_times_run_forward() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        for report in session.next_batch():
            rows = [session.observer.tables.places.rows[i] for i in report.raw.places]
            ends = [start + (0 if math.isnan(took) else took) for start, took, _ in report.raw.times.tolist()]
            assert ends == sorted(ends) and all(end >= 0 for end in ends)
            named = {(row.substep.value, row.layer) for row in rows}
            if report.phase is Phase.FORWARD:
                assert [row.substep.value for row in rows if not row.event] == ["batch", "zero grad", "forward", "loss"]
                assert {("forward", "0"), ("forward", "1"), ("forward", "2"), ("forward", "")} <= named
            elif report.phase is Phase.STEP:
                assert [row.substep.value for row in rows] == ["step", "schedule"]
            else:
                assert ("backward", "0.weight") in named


def test_initial_parameters() -> None:
    with Session(plain.seeded(zoo.tied)) as session:
        initial = session.initial_parameters()
        rows = [session.observer.tables.subjects.rows[i] for i in initial.subjects]
        assert [row.key.name for row in rows] == list(session.observer.tensors())
        for row, summary in zip(rows, initial.summaries, strict=True):
            tensor = session.observer.tensors()[row.key.name]
            assert summary[0] == tensor.numel()
            assert summary[-1] == pytest.approx(tensor.detach().double().norm().item(), rel=1e-5)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True, "0"])
def test_a_wrong_seed(seed: object) -> None:
    with pytest.raises(BadInput, match="seed"):
        Session(plain.seeded(zoo.plain_mlp), seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "meta"])
def test_a_wrong_device(device: str) -> None:
    with pytest.raises(BadInput, match="this machine has cpu"):
        Session(plain.seeded(zoo.plain_mlp), device)


def test_no_recipe() -> None:
    with pytest.raises(BadInput, match="expected a Recipe"):
        Session("recipe.py")  # type: ignore[arg-type]


def test_what_looks_wrong_from_the_start() -> None:
    def make() -> Recipe:
        model = zoo.FrozenAndUnused()
        strangers = torch.optim.SGD([*model.frozen.parameters(), torch.zeros(2, requires_grad=True)], lr=0.1)
        return zoo.classifier(model, optimizer=strangers)

    with Session(plain.seeded(make)) as session:
        missing, frozen, strangers = session.info.warnings
    assert "does not hold unused.weight" in missing and "and 1 more" in missing
    assert "frozen.weight" in frozen
    assert "1 tensor" in strangers
