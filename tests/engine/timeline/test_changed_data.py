"""A training step that changes the data it is trained on: it is put back, and drawn from as a training that never went back
would. Of data that is too large, or drawn in other ways, it is said that it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from plain import seeded, train_plainly
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset
from walks import LARGE, Spot, Straight, run
from zoo_parts import CLASSES, FEATURES, mlp

from gradscope import Recipe, Session
from gradscope.engine.timeline import taker
from gradscope.protocol.messages.edits import EditOption

STEPS = 12
Batch = tuple[Tensor, ...]


class Replayed(Dataset[Batch]):
    """Of tensors, and a list that grows."""

    def __init__(self) -> None:
        self.x, self.y = torch.randn(18, FEATURES), torch.randint(0, CLASSES, (18,))
        self.hard: list[tuple[Tensor, Tensor]] = []

    def __len__(self) -> int:
        return len(self.y) + len(self.hard)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, int]:
        x, y = (self.x[i], self.y[i]) if i < len(self.y) else self.hard[i - len(self.y)]
        return x, y, i


class Cached(Replayed):
    """Keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[int, Tensor] = {}

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, int]:
        if i not in self.cache:
            self.cache[i] = self.x[i] + torch.randn(FEATURES)
        return self.cache[i], self.y[i], i


class Streamed(IterableDataset[Batch]):
    def __init__(self, of: Replayed) -> None:
        self.of = of

    def __iter__(self) -> Iterator[Batch]:
        return (self.of[i] for i in range(len(self.of)))


def recipe_of(dataset: Dataset[Batch], change: Callable[[Batch, Tensor], None], **options: object) -> Recipe:
    model = mlp()

    def training_step(model: nn.Module, batch: Batch) -> Tensor:
        scores = model(batch[0])
        losses = nn.functional.cross_entropy(scores, batch[1], reduction="none")
        with torch.no_grad():
            change(batch, scores if "scores" in options.get("names", ()) else losses)  # type: ignore[operator]
        return losses.mean()

    return Recipe(
        model=model,
        dataset=dataset if isinstance(dataset, IterableDataset) or "loader" not in options else loader_of(dataset),
        batch_size=6,
        training_step=training_step,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.05),
    )


def loader_of(dataset: Dataset[Batch]) -> DataLoader[Batch]:
    return DataLoader(dataset, 6, shuffle=True, num_workers=2, persistent_workers=False)


def replay_buffer() -> Recipe:
    """The hardest sample of each batch takes the place of an older one."""
    dataset = Replayed()
    dataset.hard += [(torch.zeros(FEATURES), torch.tensor(0)) for _ in range(4)]

    def replace(batch: Batch, losses: Tensor) -> None:
        hardest = int(losses.argmax())
        dataset.hard.append((batch[0][hardest].clone(), batch[1][hardest].clone()))
        del dataset.hard[0]

    return recipe_of(dataset, replace)


def hard_samples() -> Recipe:
    """Those of each batch that are hard are appended: how long an epoch is depends on how the training goes."""
    dataset = Replayed()

    def append(batch: Batch, losses: Tensor) -> None:
        dataset.hard.extend((batch[0][i].clone(), batch[1][i].clone()) for i in torch.where(losses > 1.2)[0].tolist())

    return recipe_of(dataset, append)


def pseudo_labels() -> Recipe:
    """What the model says is written into the data, where it is sure."""
    dataset = Replayed()

    def label(batch: Batch, scores: Tensor) -> None:
        sure, said = scores.softmax(1).max(1)
        dataset.y[batch[2][sure > 0.4]] = said[sure > 0.4]
        dataset.x[batch[2]] += 0.01 * scores.mean()

    return recipe_of(dataset, label, names=("scores",))


def a_cache() -> Recipe:
    dataset = Cached()

    def hold(batch: Batch, losses: Tensor) -> None:
        assert len(dataset) == 18

    return recipe_of(dataset, hold)


def with_workers() -> Recipe:
    """Workers have copies of the data, made when an epoch begins."""
    dataset = Replayed()

    def label(batch: Batch, losses: Tensor) -> None:
        dataset.x[batch[2]] += 0.01 * losses.mean()

    return recipe_of(dataset, label, loader=True)


MAKES = [replay_buffer, hard_samples, pseudo_labels, a_cache]


@pytest.mark.parametrize("make", [*MAKES, with_workers], ids=lambda make: make.__name__)
def test_it_is_put_back_and_goes_on_as_one_that_never_went_back(make: Callable[[], Recipe]) -> None:
    straight = Straight(make, STEPS)
    assert straight.losses == train_plainly(seeded(make), epochs=99, steps=STEPS).losses
    with Session(seeded(make), timeline_bytes=LARGE) as session:
        for there, then in pairwise([5, 1, 8, 0, 4, 10, 3, STEPS]):
            run(session, there)
            if then < there:
                session.go_to(then)
                newest = session.timeline.newest
                assert newest is not None and newest.verified is not False and not newest.notes
                assert session.state_hash() == straight.hashes[Spot.of(session)]
        run(session, STEPS)
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        assert [record.loss for record in session.history] == straight.losses


@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__)
def test_another_branch_draws_from_the_data_as_it_is_on_it(make: Callable[[], Recipe]) -> None:
    def slower(session: Session) -> None:
        session.edit(EditOption(group=0, option="lr", value="0.001"))

    with Session(seeded(make)) as straight:
        run(straight, 4)
        slower(straight)
        run(straight, STEPS)
        with Session(seeded(make), timeline_bytes=LARGE) as session:
            run(session, STEPS)
            session.go_to(4)
            slower(session)
            run(session, STEPS)
            assert [record.loss for record in session.history] == [record.loss for record in straight.history]


def changed(dataset: Dataset[Batch], what: str) -> Recipe:
    def change(batch: Batch, losses: Tensor) -> None:
        of: Replayed = getattr(dataset, "of", dataset)  # type: ignore[arg-type]
        if what == "a tensor":
            of.x.mul_(0.999)
        elif what == "a list":
            of.hard.append((of.x[0], of.y[0]))

    return recipe_of(dataset, change)


@pytest.mark.parametrize("what", ["a tensor", "a list", ""])
@pytest.mark.parametrize("how", ["too large", "in a stream"])
def test_of_other_data_it_is_said_that_it_is_another(how: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Recipe:
        return changed(Streamed(Replayed()) if how == "in a stream" else Replayed(), what)

    if how == "too large":
        monkeypatch.setattr(taker, "MOST_KEPT_BYTES", 100)
    with Session(seeded(make), timeline_bytes=LARGE) as session:
        session.forward()
        session.step_back()
        newest = session.timeline.newest
        assert newest is not None and bool(newest.notes) == bool(what)
        session.next_batch()
        session.next_batch()
        session.go_to(1)
        newest = session.timeline.newest
        assert newest is not None and [note[:27] for note in newest.notes] == ["What cannot be put back: da"] * bool(
            what
        )


@pytest.mark.parametrize(("limit", "is_kept"), [(2**21, False), (LARGE, True)])
def test_data_that_takes_much_of_the_limit_is_not_kept(limit: int, is_kept: bool) -> None:
    def make() -> Recipe:
        dataset = Replayed()
        dataset.extra = torch.zeros(100_000)  # type: ignore[attr-defined]
        return changed(dataset, "a tensor")

    with Session(seeded(make), timeline_bytes=limit) as session:
        run(session, 2)
        session.go_to(1)
        newest = session.timeline.newest
        assert newest is not None and bool(newest.notes) != is_kept
