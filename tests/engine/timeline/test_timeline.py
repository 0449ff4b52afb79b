"""How far one can go back, what it costs, what is said where it cannot be exact, and what remains after a failure."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import trainings
from plain import seeded
from torch import Tensor, nn
from walks import LARGE, Spot, Straight, run
from zoo import ZOO
from zoo_parts import CLASSES, FEATURES, classifier, mlp

from gradscope import Recipe, Session
from gradscope.engine.timeline.thinning import order_of_going
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.messages import edits
from gradscope.protocol.phases import Rest

LITTLE = 350_000
"""Bytes: not every step of thirty fits."""
RATE = edits.EditOption(group=0, option="lr", value="0.05")


def there_and_back(make: Callable[[], Recipe], *, limit: int = LARGE, steps: int = 8) -> None:
    """Each place that is gone to has the state that it had, and what follows is what followed."""
    straight = Straight(make, steps)
    with Session(seeded(make), timeline_bytes=limit) as session:

        def check() -> None:
            assert session.state_hash() == straight.hashes[Spot.of(session)]

        def went() -> None:
            newest = session.timeline.newest
            assert newest is not None and newest.notes == () and newest.verified is not False, newest
            check()

        run(session, 6)
        session.go_to(2)
        went()
        run(session, 4)
        check()
        for _ in range(5):
            session.step_back()
            went()
        session.advance()
        check()
        session.go_to(5)
        went()
        run(session, steps)
        check()
        assert len(session.timeline.branches) == 1
        assert [record.loss for record in session.history] == straight.losses


@pytest.mark.parametrize("name", sorted(trainings.OPTIMIZERS))
def test_every_optimizer(name: str) -> None:
    there_and_back(lambda: trainings.with_optimizer(name))


@pytest.mark.parametrize("name", sorted(trainings.SCHEDULERS))
def test_every_scheduler(name: str) -> None:
    there_and_back(lambda: trainings.with_scheduler(name))


def test_the_monitors_begin_anew_wherever_one_goes() -> None:
    with Session(seeded(trainings.validated), timeline_bytes=LARGE, findings=True) as session:
        run(session, 4)
        before = session.verdicts
        session.go_to_last("loss > 0")
        assert session.verdicts is not before


def test_a_scheduler_of_epochs() -> None:
    there_and_back(lambda: trainings.with_scheduler("StepLR", "epoch"))


@pytest.mark.parametrize("name", sorted(trainings.DATA))
def test_every_kind_of_data(name: str) -> None:
    there_and_back(trainings.DATA[name])


@pytest.mark.parametrize("name", sorted(trainings.OTHERS))
def test_other_trainings(name: str) -> None:
    there_and_back(trainings.OTHERS[name])


def test_persistent_workers() -> None:
    there_and_back(lambda: trainings.with_workers(2, persistent=True))


@pytest.mark.parametrize(
    "name", ["spectral_norm", "tied", "own_hooks", "parameters_come_and_go", "averaged_model", "bare_tensors"]
)
def test_peculiar_models(name: str) -> None:
    there_and_back(ZOO[name])


@pytest.mark.parametrize("fused", [False, True])
def test_large_tensors(fused: bool) -> None:
    there_and_back(lambda: trainings.large(fused))


@pytest.mark.parametrize("capture", ["off", "norms"])
def test_with_less_capture(capture: str) -> None:
    straight = Straight(trainings.counting, 5, capture=capture)
    with Session(seeded(trainings.counting), capture=capture, timeline_bytes=LARGE) as session:
        run(session, 4)
        session.go_to(1)
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        run(session, 5)
        assert session.state_hash() == straight.hashes[Spot.of(session)]


# ------------------------------------------------------------------------------------------------------- the hash


def test_training_does_not_know_of_a_timeline() -> None:
    straight = Straight(trainings.augmented, 6)
    with Session(seeded(trainings.augmented), timeline_bytes=LARGE) as session:
        run(session, 6)
        assert session.state_hash() == straight.hashes[Spot.of(session)]


def changed(session: Session) -> dict[str, Callable[[], object]]:
    model = session.recipe.model
    assert isinstance(model, nn.Module)
    linear = model[0]
    optimizer = session.training.optimizers[0]
    state = optimizer.state[linear.weight]["momentum_buffer"]
    return {
        "a parameter": lambda: linear.weight.data[0, 0].add_(1e-7 + float(linear.weight[0, 0]) * 1e-6),
        "the sign of zero": lambda: linear.bias.data[0:1].copy_(torch.tensor([-0.0])),
        "a buffer": lambda: model[1].running_mean.add_(1),
        "a gradient": lambda: linear.weight.grad.add_(1),
        "no gradient": lambda: setattr(linear.bias, "grad", None),
        "optimizer state": lambda: state.mul_(2),
        "an option": lambda: optimizer.param_groups[0].update(lr=0.123),
        "a flag": lambda: linear.eval(),
        "requires_grad": lambda: linear.bias.requires_grad_(False),
        "dropout": lambda: setattr(model[3], "p", 0.31),
        "torch's random state": lambda: torch.rand(()),
        "python's random state": lambda: __import__("random").random(),
        "numpy's random state": lambda: __import__("numpy").random.rand(),
        "a setting": lambda: setattr(session.training, "clip_norm", 2.0),
        "the payload of NaN": lambda: setattr(model, "own", struct.unpack("<d", b"\1\0\0\0\0\0\xf8\x7f")[0]),
        "a list": lambda: model.memory.append(3),
    }


def made() -> Recipe:
    model = trainings.noisy()
    model.memory = [1, 2]
    model.own = float("nan")
    with torch.no_grad():
        model[0].bias[0] = 0.0
    return classifier(model)


CHANGES = (
    "a parameter",
    "the sign of zero",
    "a buffer",
    "a gradient",
    "no gradient",
    "optimizer state",
    "an option",
    "a flag",
    "requires_grad",
    "dropout",
    "torch's random state",
    "python's random state",
    "numpy's random state",
    "a setting",
    "the payload of NaN",
    "a list",
)


@pytest.mark.parametrize("what", CHANGES)
def test_the_hash_is_another_for_anything_that_training_depends_on(what: str) -> None:
    with Session(seeded(made)) as session:
        run(session, 2)
        with torch.no_grad():
            assert isinstance(session.recipe.model, nn.Module)
            session.recipe.model[0].bias[0] = 0.0
            before = session.state_hash()
            assert session.state_hash() == before, "asking changes nothing"
            changed(session)[what]()
        assert session.state_hash() != before


# ------------------------------------------------------------------------------------------------------- memory


def test_memory_stays_within_the_limit_dense_near_now_and_sparse_behind() -> None:
    limit = 1_000_000
    straight = Straight(ZOO["plain_mlp"], 100)
    with Session(seeded(ZOO["plain_mlp"]), timeline_bytes=limit) as session:
        while session.position.step < 100:
            session.advance()
            assert session.timeline.used_bytes <= limit
        kept = session.timeline.checkpoints
        assert 10 < len(kept) < 60 and kept[0] == 0 and kept[-1] == 99
        gaps = [after - before for before, after in itertools.pairwise(kept)]
        assert sum(gaps[:5]) > 3 * sum(gaps[-5:])
        between = next(step for step in range(1, 100) if step not in kept)
        for step in (between, 98, between + 1):
            session.go_to(step)
            newest = session.timeline.newest
            assert newest is not None and newest.verified is not False and not newest.notes
            assert session.state_hash() == straight.hashes[Spot.of(session)]
            assert session.timeline.used_bytes <= limit
        assert session.timeline.newest is not None


def test_what_a_replay_comes_to_is_compared_with_then() -> None:
    with Session(seeded(ZOO["plain_mlp"]), timeline_bytes=400_000) as session:
        run(session, 40)
        between = next(step for step in range(20, 40) if step not in session.timeline.checkpoints)
        session.go_to(between)
        assert session.timeline.newest is not None and session.timeline.newest.verified is True


def test_a_checkpoint_that_is_too_large_is_said_to_be() -> None:
    with Session(seeded(ZOO["plain_mlp"]), timeline_bytes=1000) as session:
        run(session, 2)
        assert session.timeline.checkpoints == [] and "MiB" in session.timeline.reason
        assert session.timeline.used_bytes <= 1000
        with pytest.raises(BadInput, match="A checkpoint of this training takes"):
            session.step_back()


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, 50_000, bias=False).requires_grad_(False)
        self.head = nn.Linear(50_000, CLASSES)
        self.head.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def test_tensors_that_do_not_change_are_shared() -> None:
    def make() -> Recipe:
        model = Frozen()
        return classifier(model, optimizer=torch.optim.Adam([model.head.bias]))

    with Session(seeded(make), timeline_bytes=LARGE) as session:
        run(session, 1)
        one = session.timeline.used_bytes
        run(session, 11)
        frozen = 4 * 50_000 * (FEATURES + CLASSES)
        assert frozen < one < 2 * frozen
        assert session.timeline.used_bytes - one < frozen / 2
        session.go_to(3)
        assert session.timeline.used_bytes < 2 * frozen


def test_the_limit_is_changed_while_training_goes_on() -> None:
    with Session(seeded(ZOO["plain_mlp"])) as session:
        run(session, 3)
        assert session.timeline.used_bytes == 0 and "timeline_bytes" in session.timeline.reason
        session.timeline.set_limit(LARGE)
        run(session, 20)
        used = session.timeline.used_bytes
        assert session.timeline.earliest == 3
        session.timeline.set_limit(used // 2)
        assert 0 < session.timeline.used_bytes <= used // 2 and session.timeline.checkpoints
        session.go_to(session.timeline.checkpoints[-2])
        losses = [record.loss for record in session.history]
        session.timeline.set_limit(0)
        assert session.timeline.checkpoints == [] and session.timeline.used_bytes < 20_000, "what is ahead in the data"
        run(session, 20)
        assert session.timeline.used_bytes < 1000
        assert [record.loss for record in session.history][: len(losses)] == losses
        with pytest.raises(BadInput, match="off"):
            session.go_to(19)


def test_what_goes_first() -> None:
    steps = list(range(20))
    kept = sorted(set(steps) - set(order_of_going(steps, 20)[:12]))
    assert kept[0] == 0 and kept[-1] == 19
    gaps = [after - before for before, after in itertools.pairwise(kept)]
    assert gaps[0] == max(gaps) and gaps[-1] == 1
    assert order_of_going([1, 2], 3) == []


# ------------------------------------------------------------------------------------------------------- branches


def test_an_edit_in_the_past_begins_a_branch_and_both_are_kept() -> None:
    with Session(seeded(trainings.validated), timeline_bytes=LARGE) as session:
        run(session, 6)
        first = [record.loss for record in session.history]
        session.go_to(3)
        run(session, 4)
        assert len(session.timeline.branches) == 1, "the same once more is no branch"
        session.go_to(3)
        session.edit(RATE)
        run(session, 7)
        second = [record.loss for record in session.history]
        assert second[:4] == first[:4] and second[4:6] != first[4:6]
        old, new = (way.described() for way in session.timeline.branches)
        assert (old.id, old.parent, old.until_step) == (0, None, 6)
        assert (new.id, new.parent, new.from_step, new.until_step) == (1, 0, 3, 7) and "0.05" in new.change
        assert [record.loss for record in session.timeline.branches[0].records.values()] == first
        session.go_to(5, branch=0)
        assert session.edits == [] and [record.loss for record in session.history] == first[:5]
        run(session, 6)
        assert [record.loss for record in session.history] == first and len(session.timeline.branches) == 2
        session.go_to(6, branch=1)
        assert len(session.edits) == 1 and [record.loss for record in session.history] == second[:6]
        session.undo_edit()
        assert session.timeline.branch == 2


def test_an_edit_before_a_checkpoint_stays_and_one_behind_it_is_gone() -> None:
    with Session(seeded(trainings.validated), timeline_bytes=LARGE) as session:
        run(session, 2)
        session.edit(RATE)
        run(session, 4)
        session.edit(edits.EditClipping(norm=0.5, value=None))
        run(session, 6)
        session.go_to(3)
        assert [edit.text[:3] for edit in session.edits] == ["gro"] or len(session.edits) == 1
        assert session.training.clip_norm is None and session.training.optimizers[0].param_groups[0]["lr"] == 0.05
        session.undo_edit()
        assert session.training.optimizers[0].param_groups[0]["lr"] == 0.02
        session.go_to(1, branch=0)
        assert session.edits == [] and session.training.optimizers[0].param_groups[0]["lr"] == 0.02


def test_random_numbers_that_are_others_now_lead_to_other_data_as_in_a_plain_loop() -> None:
    """Without dropout fewer numbers are drawn, so that augmentation and the order of the next pass are others."""
    edit = edits.EditMode(layer="3", training=False)
    with Session(seeded(trainings.own_loader)) as plain:
        run(plain, 3)
        plain.edit(edit)
        run(plain, 9)
        hashed, losses = plain.state_hash(), [record.loss for record in plain.history]
    with Session(seeded(trainings.own_loader), timeline_bytes=LARGE) as session:
        run(session, 8)
        before = session.state_hash()
        session.go_to(3)
        session.edit(edit)
        run(session, 9)
        assert [record.loss for record in session.history] == losses
        assert session.state_hash() == hashed
        session.go_to(8, branch=0)
        assert session.state_hash() == before


def test_a_change_by_hand_is_a_branch_of_its_own() -> None:
    with Session(seeded(ZOO["plain_mlp"]), timeline_bytes=LARGE) as session:
        run(session, 4)
        session.go_to(2)
        assert isinstance(session.recipe.model, nn.Module)
        with torch.no_grad():
            session.recipe.model[0].bias.add_(1)
        run(session, 4)
        assert [way.described().change for way in session.timeline.branches] == ["", "Something was changed by hand"]
        session.go_to(2)
        run(session, 4)
        assert len(session.timeline.branches) == 2


def test_a_loaded_checkpoint_is_a_new_beginning(tmp_path: Path) -> None:
    with Session(seeded(trainings.own_loader), timeline_bytes=LARGE) as session:
        run(session, 3)
        session.save_checkpoint(tmp_path / "a")
        run(session, 6)
        losses = [record.loss for record in session.history]
        session.load_checkpoint(tmp_path / "a")
        assert session.timeline.earliest is None
        run(session, 6)
        assert [record.loss for record in session.history] == losses
        with pytest.raises(BadInput):
            session.go_to(2)
        session.go_to(4)
        session.save_checkpoint(tmp_path / "b")
        run(session, 6)
        session.load_checkpoint(tmp_path / "b")
        run(session, 6)
        assert [record.loss for record in session.history] == losses


def test_back_to_the_newest_step_in_which_a_condition_held() -> None:
    with Session(seeded(lambda: trainings.with_optimizer("SGD")), timeline_bytes=LARGE) as session:
        run(session, 8)
        losses = [record.loss or 0.0 for record in session.timeline.records]
        worst = max(range(6), key=losses.__getitem__)
        assert session.go_to_last(f"loss >= {losses[worst]!r} and step < 6").step == worst
        session.go_to(7)
        rises = [step for step in range(1, 7) if losses[step] > losses[step - 1]]
        assert session.go_to_last("loss > previous").step == rises[-1]
        with pytest.raises(BadInput, match="has not held in any step before"):
            session.go_to_last("loss > 1e9")
        with pytest.raises(BadInput, match="which are of the whole step"):
            session.go_to_last("grad.l2 > 10")
        with pytest.raises(BadInput):
            session.go_to_last("lo$$")


# ------------------------------------------------------------------------------------------------------- what goes wrong

HIDDEN = itertools.count()


class Hidden(nn.Module):
    """Goes by something that nobody can put back."""

    def __init__(self, since: int) -> None:
        super().__init__()
        self.linear, self.since = nn.Linear(FEATURES, CLASSES), since
        self.next = HIDDEN.__next__
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x) * (1 + (self.next() if self.calls > self.since else 0) * 1e-3)


def test_a_replay_that_is_not_the_same_says_from_which_step_on() -> None:
    with Session(seeded(lambda: classifier(Hidden(3))), timeline_bytes=LITTLE) as session:
        run(session, 30)
        kept = session.timeline.checkpoints
        missing = next(step for step in range(10, 30) if step not in kept)
        session.go_to(missing)
        newest = session.timeline.newest
        assert newest is not None and newest.verified is False
        start = max(step for step in kept if step < missing)
        assert any(f"from step {start} on" in note for note in newest.notes)
        assert session.position.step == missing and session.position.rest is Rest.READY
        run(session, 31)


class Fails(nn.Module):
    """Where a variable of the environment says so: that is out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp()

    def forward(self, x: Tensor) -> Tensor:
        if os.environ.get("TEST_FAILS"):
            raise RuntimeError("not again")
        return self.body(x)


def test_where_the_users_code_fails_in_a_replay_training_stands_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(seeded(lambda: classifier(Fails())), timeline_bytes=LITTLE) as session:
        run(session, 30)
        missing = next(step for step in range(10, 30) if step not in session.timeline.checkpoints)
        before = session.state_hash()
        with monkeypatch.context() as patch:
            patch.setenv("TEST_FAILS", "1")
            with pytest.raises(UserCodeFailed, match="not again"):
                session.go_to(missing)
        assert session.state_hash() == before and session.position.step == 30 and not session.is_broken
        assert len(session.history) == 30
        session.step_back()
        assert session.position.rest is Rest.BACKWARD


def test_where_the_way_back_fails_as_well_the_session_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(seeded(lambda: classifier(Fails())), timeline_bytes=LITTLE) as session:
        run(session, 30)
        session.forward()
        monkeypatch.setenv("TEST_FAILS", "1")
        missing = next(step for step in range(10, 30) if step not in session.timeline.checkpoints)
        with pytest.raises(UserCodeFailed, match="not again"):
            session.go_to(missing)
        # A forward leads back to where it was.
        assert session.is_broken and "could not be put back" in session.undone
        with pytest.raises(BadInput, match="Open the recipe again"):
            session.step_back()


def test_broken_off_in_a_replay() -> None:
    class Enough(Exception):
        pass

    def tick(step: int, start: int, until: int) -> None:
        if step > start:
            raise Enough

    with Session(seeded(ZOO["plain_mlp"]), timeline_bytes=LITTLE) as session:
        run(session, 30)
        kept = session.timeline.checkpoints
        missing = next(step for step in range(10, 30) if step not in kept and step - 1 not in kept)
        before = session.state_hash()
        with pytest.raises(Enough):
            session.timeline.go_to(missing, tick=tick)
        assert session.state_hash() == before
        session.go_to(missing)


def test_nothing_before_the_first_phase_and_nothing_that_was_never_made() -> None:
    with Session(seeded(ZOO["plain_mlp"]), timeline_bytes=LARGE) as session:
        with pytest.raises(BadInput, match="nothing to go back to"):
            session.step_back()
        run(session, 2)
        with pytest.raises(BadInput, match="expected 0 to 2"):
            session.go_to(3)
        with pytest.raises(BadInput, match="There is no branch 4"):
            session.go_to(1, branch=4)
        assert session.go_to(2).step == 2
        assert session.go_to(0).step == 0
        assert session.go_to(2).step == 2


def test_a_model_without_shapes_can_be_gone_back_in_from_the_second_step_on() -> None:
    with Session(seeded(ZOO["lazy"]), timeline_bytes=LARGE) as session:
        session.forward()
        with pytest.raises(BadInput):
            session.step_back()
        run(session, 4)
        assert session.timeline.earliest == 1
        session.go_to(1)
        run(session, 4)


def test_a_change_that_only_the_loss_shows_is_a_branch_with_records_of_its_own() -> None:
    with Session(seeded(trainings.validated), timeline_bytes=LARGE) as session:
        run(session, 4)
        before = session.history[2].loss
        session.go_to(2)
        model = session.recipe.model
        assert isinstance(model, nn.Module)
        model.register_forward_hook(lambda module, args, output: output * 3)
        loss = session.forward().raw.loss
        run(session, 3)
        assert session.history[2].loss == loss != before
        old, new = session.timeline.branches
        assert (new.from_step, len(new.changes)) == (2, 1) and "changed by hand" in new.changes[0]
        assert old.records[2].loss == before


def test_what_was_empty_at_first_is_empty_again() -> None:
    straight = Straight(trainings.empty_at_first, 6)
    with Session(seeded(trainings.empty_at_first), timeline_bytes=LARGE) as session:
        run(session, 6)
        for step in (4, 1, 5, 2, 0):
            session.go_to(step)
            assert session.timeline.newest is not None and not session.timeline.newest.notes
            assert session.state_hash() == straight.hashes[Spot.of(session)], step
        run(session, 6)
        assert [record.loss for record in session.history] == straight.losses
