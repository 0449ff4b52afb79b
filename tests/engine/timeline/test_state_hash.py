"""The digest of a state: equal where training goes on equally, by whatever way it has come there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import trainings
from plain import seeded
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset
from walks import LARGE, Spot, Straight, run
from zoo_parts import CLASSES, FEATURES, classifier

from gradscope import Recipe, Session


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        self.x, self.y = torch.randn(20, FEATURES), torch.randint(0, CLASSES, (20,))
        self.own = torch.Generator().manual_seed(3)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index] + torch.randn(FEATURES, generator=self.own), self.y[index]


def of_noisy() -> Recipe:
    return classifier(trainings.noisy(), dataset=ConcatDataset([Subset(Noisy(), range(12)), Noisy()]))


def one_cycle() -> Recipe:
    return trainings.with_scheduler("OneCycleLR")


def lbfgs() -> Recipe:
    return trainings.with_optimizer("LBFGS")


def growing() -> Recipe:
    """The loss scale has moved, and the tracker of its growth too."""
    recipe = trainings.half()
    model = recipe.model
    assert isinstance(model, torch.nn.Module)
    with torch.no_grad():
        next(model.parameters()).mul_(1e4)
    return recipe


RECIPES: tuple[Callable[[], Recipe], ...] = (
    *(trainings.half, growing, one_cycle, lbfgs, of_noisy, trainings.sparse_adam, trainings.gan, trainings.by_hand),
    *(trainings.own_loader, trainings.plateau, trainings.accumulating),
)


@pytest.mark.parametrize("make", RECIPES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("steps_before", [0, 8])
def test_after_a_checkpoint_file_it_is_that_of_a_straight_run(
    make: Callable[[], Recipe], steps_before: int, tmp_path: Path
) -> None:
    """As soon as each optimizer has had its turn: gradients that it clears are not in the file."""
    straight = Straight(make, 7)
    with Session(seeded(make)) as session:
        run(session, 4)
        session.save_checkpoint(tmp_path / "at")
    with Session(seeded(make)) as session:
        run(session, steps_before)
        session.load_checkpoint(tmp_path / "at")
        run(session, 6)
        while session.position.step < 7:
            session.advance()
            assert session.state_hash() == straight.hashes[Spot.of(session)], Spot.of(session)


@pytest.mark.parametrize(
    "change",
    [
        lambda scaler: scaler._scale.mul_(2),
        lambda scaler: scaler._growth_tracker.add_(1),
        lambda scaler: setattr(scaler, "_growth_interval", 17),
        lambda scaler: setattr(scaler, "_backoff_factor", 0.25),
    ],
)
def test_what_a_scaler_goes_by_makes_another(change: Callable[[torch.amp.GradScaler], object]) -> None:
    with Session(seeded(trainings.half)) as session:
        run(session, 2)
        before, scaler = session.state_hash(), session.training.scaler
        assert scaler is not None
        # From here on it says nothing: the scale has been made of it.
        scaler._init_scale = 3.0
        assert session.state_hash() == before
        change(scaler)
        assert session.state_hash() != before


def test_what_a_new_scaler_begins_with_makes_another() -> None:
    with Session(seeded(trainings.half)) as session:
        before, scaler = session.state_hash(), session.training.scaler
        assert scaler is not None
        scaler._init_scale = 3.0
        assert session.state_hash() != before


def test_the_generators_of_the_data_are_in_it_and_are_put_back() -> None:
    straight = Straight(of_noisy, 9)
    with Session(seeded(of_noisy)) as session:
        run(session, 2)
        before, data = session.state_hash(), session.recipe.dataset
        assert isinstance(data, ConcatDataset)
        inner = data.datasets[0]
        assert isinstance(inner, Subset) and isinstance(inner.dataset, Noisy)
        torch.rand((), generator=inner.dataset.own)
        assert session.state_hash() != before
    with Session(seeded(of_noisy), timeline_bytes=LARGE) as session:
        run(session, 7)
        session.go_to(2)
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        run(session, 9)
        assert session.state_hash() == straight.hashes[Spot.of(session)]
