"""Going on with an edited recipe file: what follows is what a plain loop does that makes the same changes at that place, and
what lies before is made again with the old parts, bit for bit; what cannot be taken leaves all as it was."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from edited_files import EDITS, REFUSED, loaded_from, written
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from test_any_walk import TIGHT, Pausing, Walk, do
from walks import LARGE, run

from gradscope import Session, load_recipe
from gradscope.engine.recipe.facts import facts_of
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.edits import EditFile, EditOptimizer, EditOption

STEPS = 3


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "edited.py")


@pytest.fixture
def session(file: Path) -> Any:
    with Session(load_recipe(file), timeline_bytes=LARGE) as session:
        yield session


def state_of(session: Session) -> list[torch.Tensor]:
    model = session.recipe.model
    assert isinstance(model, torch.nn.Module)
    return [tensor.detach().clone() for tensor in model.state_dict().values()]


def plain(file: Path, change: Any, steps: int) -> tuple[list[float], list[torch.Tensor]]:
    """A loop that knows nothing of gradscope: STEPS steps, the change, and more of them."""
    recipe = load_recipe(written(file))
    model, optimizer, scheduler = recipe.model, recipe.optimizers[""], recipe.schedulers.get("")
    parts: dict[str, Any] = {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "loss": recipe.loss,
        "clip": None,
    }
    loader = torch.utils.data.DataLoader(
        recipe.dataset, recipe.batch_size, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    losses: list[float] = []
    assert isinstance(model, torch.nn.Module)
    model.train()
    while True:
        for x, y in loader:
            if len(losses) == STEPS:
                change(parts)
            if len(losses) == steps:
                return losses, [tensor.detach().clone() for tensor in model.state_dict().values()]
            parts["optimizer"].zero_grad()
            loss = parts["loss"](model(x), y)
            losses.append(loss.item())
            loss.backward()
            if parts["clip"] is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), parts["clip"])
            parts["optimizer"].step()
            if parts["scheduler"] is not None:
                parts["scheduler"].step()


def halved_rate(parts: dict[str, Any]) -> None:
    """The curve of the schedule is scaled."""
    (group,) = parts["optimizer"].param_groups
    group["lr"] = group["lr"] * (0.04 / 0.1)
    group["initial_lr"] = 0.04
    parts["scheduler"].base_lrs = [0.04]


def no_schedule(parts: dict[str, Any]) -> None:
    parts["scheduler"] = None


def cosine(parts: dict[str, Any]) -> None:
    """A scheduler begins at its beginning; the optimizer's momentum goes on."""
    (group,) = parts["optimizer"].param_groups
    group["lr"] = 0.1
    del group["initial_lr"]
    parts["scheduler"] = torch.optim.lr_scheduler.CosineAnnealingLR(parts["optimizer"], T_max=9)


def adam(parts: dict[str, Any]) -> None:
    """The schedule goes on over it."""
    factor = parts["optimizer"].param_groups[0]["lr"] / 0.1
    parts["optimizer"] = torch.optim.Adam(parts["model"].parameters(), lr=0.01)
    before, parts["scheduler"] = parts["scheduler"], torch.optim.lr_scheduler.StepLR(parts["optimizer"], 2, gamma=0.7)
    parts["scheduler"].last_epoch = before.last_epoch
    # As the engine scales the new base by how far the schedule has come.
    parts["optimizer"].param_groups[0]["lr"] = 0.1 * factor * (0.01 / 0.1)


def other_loss(parts: dict[str, Any]) -> None:
    seen = [0]

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        return (output - target).abs().mean() * (1 + seen[0] / 100)

    parts["loss"] = loss


def layers(parts: dict[str, Any]) -> None:
    parts["model"].drop.p, parts["model"].scale = 0.6, 2.0


def momentum(parts: dict[str, Any]) -> None:
    parts["optimizer"].param_groups[0].update(momentum=0.5, weight_decay=0.01)


def code(parts: dict[str, Any]) -> None:
    """The new code's own variables begin anew."""
    model, seen = parts["model"], [0]
    model.forward = lambda x: model.last(model.drop(torch.tanh(model.norm(model.first(x))))) * model.scale

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        return ((output - target) ** 2).mean() * (1 + seen[0] / 100)

    parts["loss"] = loss


CHANGES = {
    "rate": halved_rate,
    "momentum": momentum,
    "no scheduler": no_schedule,
    "other scheduler": cosine,
    "other optimizer": adam,
    "loss": other_loss,
    "layers": layers,
    "code": code,
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_it_goes_on_as_a_plain_loop_with_the_same_change(session: Session, file: Path, name: str) -> None:
    run(session, STEPS)
    written(file, EDITS[name])
    session.go_on_with_file()
    run(session, 8)
    losses, state = plain(file, CHANGES[name], 8)
    assert [record.loss for record in session.history] == losses
    for one, other in zip(state_of(session), state, strict=True):
        assert torch.equal(one, other)


def test_a_branch_begins_and_both_are_gone_to_bit_for_bit(session: Session, file: Path) -> None:
    hashes = {}
    for step in range(6):
        hashes[0, step] = session.state_hash()
        session.next_batch()
    source = session.info.sha256
    session.go_to(2)
    written(file, EDITS["all"])
    record = session.go_on_with_file()
    assert session.info.sha256 != source
    for words in ("the code of Net is another", "loss function is another", "0.1 → 0.3", "gamma 0.7 → 0.9"):
        assert words in record.text
    for step in range(2, 6):
        hashes[1, step] = session.state_hash()
        session.next_batch()
    (old, new) = session.timeline.branches
    assert (old.from_step, new.from_step, new.parent) == (0, 2, 0)
    assert new.changes == [record.text]
    assert session.state_hash() != hashes[0, 5]
    # What is between is made again: only the first checkpoint is left.
    for kept in [kept for kept in session.timeline._store.kept if kept.step]:
        session.timeline._store.drop(kept)
    order = [*hashes]
    random.Random(0).shuffle(order)
    for branch, step in order:
        session.go_to(step, branch)
        went = session.timeline.newest
        assert went is not None and went.verified is not False and not went.notes
        is_new = branch == 1 and (session.position.step, bool(session.edits)) == (step, True)
        if branch == 0:
            assert session.state_hash() == hashes[0, step], step
            assert session.info.sha256 == source
        elif step > 2:
            assert is_new
            assert session.state_hash() == hashes[1, step], step


def test_going_on_with_it_once_more_begins_with_what_was_loaded(session: Session, file: Path) -> None:
    run(session, 3)
    session.go_to(1)
    written(file, EDITS["loss"])
    session.go_on_with_file()
    run(session, 4)
    here = session.state_hash()
    session.step_back()
    session.go_to(1, 0)
    session.go_on_with_file()
    run(session, 4)
    assert session.state_hash() == here
    first, again = session.timeline.branches[1:]
    assert first.changes == again.changes


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_leaves_all_as_it_was(session: Session, file: Path, name: str) -> None:
    import sys

    run(session, STEPS)
    before, modules = session.state_hash(), {key: value for key, value in sys.modules.items() if "edited" in key}
    edits, words = REFUSED[name]
    written(file, edits)
    with pytest.raises(BadInput) as refused:
        session.go_on_with_file()
    assert words in refused.value.failure.sentence
    assert session.state_hash() == before
    assert {key: value for key, value in sys.modules.items() if "edited" in key} == modules
    assert not session.edits and len(session.timeline.branches) == 1
    run(session, 5)
    with Session(load_recipe(written(file))) as straight:
        run(straight, 5)
        assert session.state_hash() == straight.state_hash()


@pytest.mark.parametrize("name", [name for name in EDITS if name != "as it was"])
def test_undoing_it_goes_on_as_if_it_had_not_been(session: Session, file: Path, name: str) -> None:
    run(session, STEPS)
    before, facts = session.state_hash(), session.training.facts
    written(file, EDITS[name])
    session.go_on_with_file()
    assert session.training.facts != facts
    if name != "frozen":
        assert session.training.source is not None
    session.undo_edit()
    assert session.state_hash() == before
    assert session.training.facts == facts
    run(session, 6)
    with Session(load_recipe(written(file))) as straight:
        run(straight, 6)
        assert session.state_hash() == straight.state_hash()


def test_what_was_edited_by_hand_stays_where_the_file_says_nothing_of_it(session: Session, file: Path) -> None:
    session.edit(EditOption(group=0, option="momentum", value="0.3"))
    run(session, 1)
    written(file, EDITS["clip"])
    assert "clip_norm: None → 0.3" in session.go_on_with_file().text
    assert session.training.turns[0].optimizer.param_groups[0]["momentum"] == 0.3
    session.edit(EditOptimizer(optimizer="Adam"))
    written(file, (*EDITS["clip"], *EDITS["momentum"]))
    with pytest.raises(BadInput, match="was edited by hand"):
        session.go_on_with_file()


def test_it_waits_for_the_end_of_the_step(session: Session, file: Path) -> None:
    written(file, EDITS["loss"])
    session.forward()
    with pytest.raises(BadInput, match="finish the step first"):
        session.go_on_with_file()
    session.backward()
    with pytest.raises(BadInput, match="finish the step first"):
        session.go_on_with_file()
    session.step()
    session.go_on_with_file()


def test_a_module_beside_the_file_is_loaded_anew_too(tmp_path: Path) -> None:
    helper = tmp_path / "edited_helper.py"
    helper.write_text("def loss(output, target):\n    return ((output - target) ** 2).mean()\n")
    file = written(
        tmp_path / "edited.py",
        (("SEEN = [0]", "from edited_helper import loss\nSEEN = [0]"), ("loss=counted", "loss=loss or counted")),
    )
    with Session(load_recipe(file), timeline_bytes=LARGE) as session:
        run(session, 2)
        helper.write_text("def loss(output, target):\n    return (output - target).abs().mean()\n")
        assert "loss function is another" in session.go_on_with_file().text
        import sys

        now = sys.modules["edited_helper"]
        session.go_to(0)
        assert sys.modules["edited_helper"] is not now
        assert np.isfinite(session.next_batch()[0].loss)


def test_what_only_the_new_code_of_a_layer_reaches_is_gone_back_in(file: Path) -> None:
    counting = (
        ("SEEN = [0]", "SEEN = [0]\nTICKS = [0]"),
        ("        self.calls += 1\n", "        TICKS[0] += 1\n        x = x * (1 + TICKS[0] / 50)\n"),
        ("loss=counted_loss", "loss=nn.MSELoss()"),
    )
    with Session(load_recipe(written(file, counting)), timeline_bytes=LARGE) as session:
        run(session, 2)
        written(file, (*counting, ("torch.relu(", "torch.tanh(")))
        assert "Net is another" in session.go_on_with_file().text
        run(session, 6)
        here, losses = session.state_hash(), [record.loss for record in session.history]
        session.go_to(4)
        assert session.timeline.newest is not None and not session.timeline.newest.notes
        run(session, 6)
        assert (session.state_hash(), [record.loss for record in session.history]) == (here, losses)
        assert len(session.timeline.branches) == 1


TWO = """
import torch
from torch import nn
from gradscope import Recipe


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 1)


def first(model, batch):
    return model.b(model.a(batch[0])).pow(2).mean()


def second(model, batch):
    return (model.b(model.a(batch[0])) - 1).pow(2).mean()


def recipe():
    model = Both()
    data = torch.utils.data.TensorDataset(torch.randn(12, 3))
    a, b = torch.optim.Adam(model.a.parameters(), lr=0.01), torch.optim.SGD(model.b.parameters(), lr=0.1)
    return Recipe(
        model=model,
        dataset=data,
        batch_size=4,
        optimizer={"one": a, "two": b},
        scheduler={"two": torch.optim.lr_scheduler.ExponentialLR(b, 0.9)},
        training_step={"one": first, "two": second},
    )
"""


def test_several_optimizers_each_take_what_is_theirs(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(TWO)
    with Session(load_recipe(file), timeline_bytes=LARGE) as session:
        run(session, 4)
        one = session.training.turns[0].optimizer
        file.write_text(TWO.replace("- 1)", "- 2)").replace("lr=0.1)", "lr=0.2)").replace("lr=0.01)", "lr=0.02)"))
        text = session.go_on_with_file().text
        assert "training_step two is another" in text and "training_step one" not in text
        assert "Learning rate of group 0: 0.01 → 0.02" in text
        assert "Learning rate of group 1, where the schedule begins: 0.1 → 0.2" in text
        assert session.training.turns[0].optimizer is one and one.state
        after = session.state_hash()
        run(session, 8)
        session.go_to(4)
        assert session.state_hash() == after
        session.undo_edit()
        run(session, 8)
        file.write_text(TWO)
        with Session(load_recipe(file)) as straight:
            run(straight, 8)
            assert session.state_hash() == straight.state_hash()


def test_no_script_is_written_of_two_files(session: Session, file: Path) -> None:
    run(session, 1)
    written(file, EDITS["clip"])
    session.go_on_with_file()
    run(session, 2)
    with pytest.raises(BadInput, match="has gone on with an edited file"):
        session.reproduce()


def test_a_recipe_of_no_file_and_an_unknown_version_are_refused(file: Path) -> None:
    recipe = load_recipe(file)
    from dataclasses import replace

    with Session(replace(recipe, source=None)) as session, pytest.raises(BadInput, match="was made in Python"):
        session.go_on_with_file()
    with Session(load_recipe(file)) as session, pytest.raises(BadInput, match="No version 3"):
        session.edit(EditFile(version=3))


def test_two_loadings_of_a_file_are_the_same(file: Path) -> None:
    assert facts_of(load_recipe(file)) == facts_of(load_recipe(file))
    for name, edits in EDITS.items():
        assert (facts_of(load_recipe(written(file, edits))) == facts_of(load_recipe(written(file)))) is (
            name == "as it was"
        )


class FileWalk(Walk):
    """Any walk, with a recipe file that is edited on the way."""

    hashes: ClassVar[dict[str, tuple[str, list[float | None]]]] = {}
    file: ClassVar[Path]
    break_off = None  # type: ignore[assignment]
    """What the forward of a phase that is broken off has counted in plain attributes stays, whatever file it is of."""

    @initialize(limit=st.sampled_from([LARGE, LARGE, TIGHT]))
    def open(self, limit: int) -> None:
        self.recipe, self.limit, self.gate = "file", limit, Pausing()
        self.session = Session(self.recipes["file"](), timeline_bytes=limit, findings=True, gate=self.gate)
        self.trail, self.at, self.branches, self.is_begun = [], 0, 1, False

    @rule(name=st.sampled_from(sorted(EDITS)))
    def edit_file(self, name: str) -> None:
        self.do("file", name)

    def done(self, session: Session, doing: tuple[str, Any]) -> None:
        if doing[0] == "file":
            written(self.file, EDITS[doing[1]])
            session.go_on_with_file()
        else:
            do(session, doing)


def test_any_walk_with_an_edited_file(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    FileWalk.file = tmp_path / "edited.py"
    FileWalk.recipes = {"file": loaded_from(FileWalk.file)}
    run_state_machine_as_test(
        FileWalk,
        settings=settings(
            max_examples=40 if os.environ.get("GRADSCOPE_WHOLE_ZOO") else 10,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            phases=[Stage.generate],
        ),
    )
