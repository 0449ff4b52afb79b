"""A training step that changes the data it is trained on: that is not put back, and is said."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from plain import seeded
from torch import Tensor, nn
from torch.utils.data import Dataset
from walks import LARGE
from zoo_parts import CLASSES, FEATURES, mlp

from gradscope import Recipe, Session


class Replayed(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self) -> None:
        self.x, self.y = torch.randn(18, FEATURES), torch.randint(0, CLASSES, (18,))
        self.hard: list[int] = []

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.x[i], self.y[i]


def replayed(changed: str) -> Recipe:
    model, dataset = mlp(), Replayed()

    def training_step(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        if changed == "a tensor":
            dataset.x.mul_(0.999)
        elif changed == "a list":
            dataset.hard.append(1)
        return loss * len(dataset) / 18

    return Recipe(
        model=model,
        dataset=dataset,
        batch_size=6,
        training_step=training_step,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    )


@pytest.mark.parametrize("changed", ["a tensor", "a list", ""])
def test_that_the_data_is_another_than_then_is_said(changed: str) -> None:
    said = ("What cannot be put back: dataset in training_step() (the dataset)",) if changed else ()
    with Session(seeded(partial(replayed, changed)), timeline_bytes=LARGE) as session:
        session.forward()
        session.step_back()
        assert session.timeline.newest is not None and session.timeline.newest.notes == said
        session.next_batch()
        session.next_batch()
        session.go_to(1)
        assert session.timeline.newest.notes == said
