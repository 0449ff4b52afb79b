"""A timeline on disk: any of its steps is gone to from files alone, and what that comes to is compared with then."""

from __future__ import annotations

import itertools
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import trainings
from plain import seeded
from torch import Tensor, nn
from walks import Spot, Straight, run
from zoo import ZOO
from zoo_parts import CLASSES, FEATURES, classifier

from gradscope import Recipe, Session
from gradscope.engine.checkpoints.file import write
from gradscope.engine.checkpoints.save import contents
from gradscope.engine.timeline import saving
from gradscope.engine.timeline.saved import SavedTimeline
from gradscope.engine.timeline.saving import LIMIT_BYTES, TimelineSaving
from gradscope.engine.timeline.state_hash import state_hash
from gradscope.protocol.failure import BadInput

STEPS = 9


def one_cycle() -> Recipe:
    return trainings.with_scheduler("OneCycleLR")


def lbfgs() -> Recipe:
    return trainings.with_optimizer("LBFGS")


RECIPES: tuple[Callable[[], Recipe], ...] = (
    *(trainings.half, one_cycle, lbfgs, trainings.sparse_adam, trainings.gan, trainings.by_hand, trainings.own_loader),
    *(trainings.plateau, trainings.accumulating, trainings.validated, trainings.streamed),
)


def saved(make: Callable[[], Recipe], folder: Path, *, steps: int = STEPS, limit: int = LIMIT_BYTES) -> str:
    """A training that saves each of its steps; the hash at its end."""
    with Session(seeded(make)) as session:
        timeline = TimelineSaving(session, folder, limit_bytes=limit, share=None)
        while session.position.step < steps:
            timeline.before_step()
            run(session, session.position.step + 1)
            assert timeline.used_bytes <= limit
        timeline.finish()
        return session.state_hash()


@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
def test_every_step_is_gone_to_and_is_the_same_as_then(make: Callable[[], Recipe], tmp_path: Path) -> None:
    straight = Straight(make, STEPS)
    folder = tmp_path / "kept"
    # Who saves goes on as who does not.
    assert saved(make, folder) == straight.hashes[Spot(STEPS, "ready", 0)]
    for step in (3, 4, 5, 7):
        (folder / f"step-{step}.pt").unlink(missing_ok=True)
    with Session(seeded(make)) as session:
        for step in (8, 5, 0, STEPS, 2, 7):
            while not session.is_between_batches:
                # One of several optimizers has still to have its turn.
                session.advance()
            reached = session.load_timeline(folder, step)
            assert (reached.step, session.position.step) == (step, step) and reached.base <= step
            assert reached.verified is True and reached.notes == (), (step, reached)
            assert state_hash(session, counts_cleared=False) == at(make, step)
        while not session.is_between_batches:
            session.advance()
        session.load_timeline(folder, 5)
        run(session, STEPS)
        # As soon as each optimizer has had its turn, gradients are those of then, too.
        assert session.state_hash() == straight.hashes[Spot(STEPS, "ready", 0)]


def at(make: Callable[[], Recipe], step: int) -> str:
    """The hash of a training that has gone straight there, without what the next step clears."""
    with Session(seeded(make)) as session:
        run(session, step)
        session.loop.batches.position()
        return state_hash(session, counts_cleared=False)


def test_without_a_step_it_is_the_newest_checkpoint(tmp_path: Path) -> None:
    saved(trainings.validated, tmp_path / "kept")
    with Session(seeded(trainings.validated)) as session:
        reached = session.load_timeline(tmp_path / "kept")
        assert (reached.step, reached.base, reached.verified) == (STEPS, STEPS, True)
        with pytest.raises(BadInput, match="A script cannot come here"):
            session.reproduce()
        reached = session.load_timeline(tmp_path / "kept", STEPS + 3)
        assert session.position.step == STEPS + 3 and reached.verified is True
        assert reached.notes == (
            f"What comes after step {STEPS} is new: the timeline in {tmp_path / 'kept'} ends there",
        )


def test_the_folder_stays_within_its_limit_dense_near_now_and_sparse_behind(tmp_path: Path) -> None:
    limit = 700_000
    saved(ZOO["plain_mlp"], tmp_path / "kept", steps=60, limit=limit)
    there = [path.stat().st_size for path in (tmp_path / "kept").iterdir()]
    assert sum(there) <= limit
    kept = SavedTimeline(tmp_path / "kept").checkpoints
    assert 5 < len(kept) < 50 and kept[0] == 0 and kept[-1] == 60
    gaps = [after - before for before, after in itertools.pairwise(kept)]
    assert sum(gaps[:3]) > 2 * sum(gaps[-3:])
    between = next(step for step in range(1, 60) if step not in kept)
    with Session(seeded(ZOO["plain_mlp"])) as session:
        assert session.load_timeline(tmp_path / "kept", between).verified is True


def test_a_checkpoint_that_is_too_large_is_said_to_be_and_the_others_stay(tmp_path: Path) -> None:
    with Session(seeded(ZOO["plain_mlp"])) as session:
        timeline = TimelineSaving(session, tmp_path / "none", limit_bytes=1000, share=None)
        with pytest.raises(BadInput, match=r"A checkpoint of this training takes .* MiB, and 0\.0 MiB are given"):
            timeline.before_step()
        run(session, 2)
        timeline.finish()
        assert [path.name for path in (tmp_path / "none").iterdir()] == ["steps.jsonl"]

    def growing() -> Recipe:
        """What its optimizer remembers makes it three times as large after the first step."""
        return trainings.large(False)

    with Session(seeded(growing)) as session:
        timeline = TimelineSaving(session, tmp_path / "one", limit_bytes=2_500_000, share=None)
        timeline.before_step()
        run(session, 1)
        with pytest.raises(BadInput, match="A checkpoint of this training takes"):
            timeline.before_step()
        run(session, 2)
    with Session(seeded(growing)) as session:
        assert session.load_timeline(tmp_path / "one", 1).verified is True


# ---------------------------------------------------------------------------------------------------- not as it was


def test_what_is_in_no_checkpoint_file_is_told_from_the_step_that_was_loaded_on(tmp_path: Path) -> None:
    saved(trainings.counting, tmp_path / "kept")
    (tmp_path / "kept" / "step-6.pt").unlink()
    with Session(seeded(trainings.counting)) as session:
        reached = session.load_timeline(tmp_path / "kept", 6)
        assert reached.verified is False and len(reached.notes) == 1
        assert "another than then from step 5 on" in reached.notes[0] and "in no checkpoint file" in reached.notes[0]


class Drifting(nn.Module):
    """Goes by something outside."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES)
        self.calls = nn.Buffer(Tensor([0.0]))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x) * (2.0 if self.calls == 5 and "TEST_DRIFTS" in os.environ else 1.0)


def test_code_that_goes_by_something_outside_is_told_from_that_step_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> Recipe:
        return classifier(Drifting())

    saved(make, tmp_path / "kept")
    for step in range(2, 8):
        (tmp_path / "kept" / f"step-{step}.pt").unlink()
    monkeypatch.setenv("TEST_DRIFTS", "1")
    with Session(seeded(make)) as session:
        assert session.load_timeline(tmp_path / "kept", 4).verified is True
        reached = session.load_timeline(tmp_path / "kept", 7)
        assert reached.verified is False and reached.base == 1
        assert len(reached.notes) == 1 and "another than then from step 5 on" in reached.notes[0]


# ---------------------------------------------------------------------------------------------------- damaged folders


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    saved(trainings.validated, tmp_path / "kept", steps=4)
    return tmp_path / "kept"


def refused(folder: Path, step: int, text: str) -> None:
    """In one sentence, and the session is as before."""
    with Session(seeded(trainings.validated)) as session:
        run(session, 1)
        before = session.state_hash()
        with pytest.raises(BadInput, match=text):
            session.load_timeline(folder, step)
        assert session.state_hash() == before


def test_a_line_that_a_kill_has_torn_is_none(kept: Path) -> None:
    lines = (kept / "steps.jsonl").read_bytes()
    (kept / "steps.jsonl").write_bytes(lines[: lines.rindex(b'"state"') + 20])
    with Session(seeded(trainings.validated)) as session:
        assert session.load_timeline(kept, 4).verified is None
        assert session.load_timeline(kept, 3).verified is True


def test_what_is_no_timeline_is_refused_in_one_sentence(kept: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", 2, "cannot be read: No such file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", 2, "cannot be read: No such file")
    refused(kept, -1, "it begins with step 0")
    lines = (kept / "steps.jsonl").read_text().splitlines(keepends=True)
    (kept / "steps.jsonl").write_text("".join(['{"gradscope_timeline": 99}\n', *lines[1:]]))
    refused(kept, 2, "is no timeline of this version")


def test_nothing_in_a_file_is_executed(kept: Path, tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    for step in range(3):
        (kept / f"step-{step}.pt").write_bytes(pickle.dumps(Runs()))
    refused(kept, 2, r"step-2\.pt.*(could run code|cannot be read as a checkpoint)")
    assert not (tmp_path / "ran").exists()


def test_a_file_of_another_step_is_refused_before_it_is_loaded(kept: Path) -> None:
    (kept / "step-3.pt").replace(kept / "step-0.pt")
    refused(kept, 0, r"step-0\.pt is of step 3; expected the checkpoint of step 0")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is empty: nothing is compared"),
        ("\0" * 40 + "\n", "1 line is damaged, the first is line 1"),
        (None, "cannot"),
    ],
)
def test_checkpoints_lead_on_where_the_lines_beside_them_are_lost(kept: Path, content: str | None, text: str) -> None:
    if content is None:
        (kept / "steps.jsonl").unlink()
    else:
        (kept / "steps.jsonl").write_text(content)
    with Session(seeded(trainings.validated)) as session:
        reached = session.load_timeline(kept, 3)
        assert (session.position.step, reached.base, reached.verified) == (3, 3, None)
        assert len(reached.notes) == 1 and text in reached.notes[0]
        assert state_hash(session, counts_cleared=False) == at(trainings.validated, 3)


def test_a_damaged_line_is_passed_over_and_said(kept: Path) -> None:
    lines = (kept / "steps.jsonl").read_text().splitlines(keepends=True)
    (kept / "steps.jsonl").write_text("".join([*lines[:2], '{"step": "x"}\n', "\0\n", *lines[2:]]))
    with Session(seeded(trainings.validated)) as session:
        reached = session.load_timeline(kept, 2)
    assert reached.verified is True
    assert len(reached.notes) == 1 and "2 lines are damaged, the first is line 3" in reached.notes[0]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(kept: Path) -> None:
    whole = (kept / "step-3.pt").read_bytes()
    (kept / "step-3.pt").write_bytes(whole[:1000])
    (kept / "step-2.pt").write_bytes(b"")
    with Session(seeded(trainings.validated)) as session:
        reached = session.load_timeline(kept, 3)
        assert (session.position.step, reached.base, reached.verified) == (3, 1, True)
        assert state_hash(session, counts_cleared=False) == at(trainings.validated, 3)
    assert [text in note for text, note in zip(("step-3.pt", "step-2.pt"), reached.notes, strict=True)] == [True, True]


@pytest.mark.parametrize("held", [1, 2])
def test_the_newest_checkpoint_stays_until_there_is_a_newer_one(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, there = write, list[bool]()

    def noted(path: Path, content: object) -> tuple[Path, int]:
        number = int(path.stem.removeprefix("step-"))
        there.append(number == 0 or (path.parent / f"step-{number - 1}.pt").is_file())
        if number == 6:
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(saving, "write", noted)
    with Session(seeded(ZOO["plain_mlp"])) as session:
        run(session, 1)
        size = real(tmp_path / "one.pt", contents(session, []))[1]
    with Session(seeded(ZOO["plain_mlp"])) as session:
        timeline = TimelineSaving(session, tmp_path / "kept", limit_bytes=held * size + 8000, share=None)
        for step in range(6):
            timeline.before_step()
            assert timeline.used_bytes <= held * size + 8000
            run(session, step + 1)
        with pytest.raises(BadInput, match="No space left"):
            timeline.before_step()
    assert all(there) and len(there) == 7
    with Session(seeded(ZOO["plain_mlp"])) as session:
        assert session.load_timeline(tmp_path / "kept", 6).verified is True


def sequential() -> Recipe:
    recipe = trainings.with_optimizer("SGD")
    rates = torch.optim.lr_scheduler
    optimizer = recipe.optimizer
    assert isinstance(optimizer, torch.optim.Optimizer)
    parts = [rates.LinearLR(optimizer, total_iters=3), rates.CosineAnnealingLR(optimizer, 20)]
    return replace(recipe, scheduler=rates.SequentialLR(optimizer, parts, [3]))


def tensor_rate() -> Recipe:
    recipe = classifier(trainings.noisy())
    assert isinstance(recipe.model, nn.Module)
    optimizer = torch.optim.Adam(recipe.model.parameters(), lr=torch.tensor(0.01))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return replace(recipe, optimizer=optimizer, scheduler=scheduler)


@pytest.mark.parametrize("make", [sequential, tensor_rate], ids=lambda make: make.__name__)
def test_what_shares_a_rate_is_the_same_after_a_file_although_it_shares_none(
    make: Callable[[], Recipe], tmp_path: Path
) -> None:
    saved(make, tmp_path / "kept")
    (tmp_path / "kept" / "step-5.pt").unlink()
    with Session(seeded(make)) as session:
        for step in (0, 4, 5):
            reached = session.load_timeline(tmp_path / "kept", step)
            assert reached.verified is True and reached.notes == (), (step, reached)
            here = state_hash(session, counts_cleared=False)
            assert here == at(make, step)
        group = session.training.optimizers[0].param_groups[0]
        group["lr"] = group["lr"] * 2
        assert state_hash(session, counts_cleared=False) != here, "a rate counts all the same"


def test_a_folder_with_something_in_it_is_not_written_to(kept: Path, tmp_path: Path) -> None:
    with Session(seeded(trainings.validated)) as session:
        for folder, text in (
            (kept, "is not empty"),
            (kept / "step-0.pt", "is no folder"),
            (tmp_path / "a" / "b", "does not exist"),
        ):
            with pytest.raises(BadInput, match=text):
                TimelineSaving(session, folder)
        with pytest.raises(BadInput, match="expected 1 or more"):
            TimelineSaving(session, tmp_path / "new", limit_bytes=0)
