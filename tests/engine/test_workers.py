"""Worker processes of DataLoaders end with the session that has started them, whatever they are at."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gradscope import Recipe, Session
from gradscope.protocol.failure import UserCodeFailed


class Numbers(Dataset[Tensor]):
    """`raises_at` and `dies_at`: samples that cannot be loaded."""

    def __init__(self, *, raises_at: int = -1, dies_at: int = -1) -> None:
        self.raises_at, self.dies_at = raises_at, dies_at

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> Tensor:
        if index == self.raises_at:
            raise LookupError("no such sample")
        if index == self.dies_at:
            os._exit(4)
        return torch.full((3,), float(index))


def loader(*, persistent: bool = False, **faults: int) -> DataLoader[Tensor]:
    return DataLoader(Numbers(**faults), batch_size=4, num_workers=2, persistent_workers=persistent)


def recipe(train: Any, validation: Any = None) -> Recipe:
    model = nn.Linear(3, 1)
    return Recipe(
        model=model,
        dataset=train,
        training_step=lambda model, x: model(x).square().mean(),
        optimizer=torch.optim.SGD(model.parameters(), lr=1e-4),
        validation=validation,
        validation_step=None if validation is None else lambda model, x: model(x).square().mean(),
    )


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("timeline_bytes", [0, 2**24])
@pytest.mark.parametrize(
    ("train", "validation", "steps"),
    [
        ({}, None, 2),
        ({}, None, 8),
        ({"persistent": True}, None, 2),
        ({"raises_at": 9}, None, 3),
        ({"dies_at": 9}, None, 3),
        ({}, {"persistent": True}, 2),
        ({}, {"raises_at": 9}, 2),
    ],
    ids=["amid a pass", "two passes", "persistent", "raising", "died", "persistent validation", "raising validation"],
)
def test_none_is_left(
    train: dict[str, Any], validation: dict[str, Any] | None, steps: int, timeline_bytes: int
) -> None:
    before = set(multiprocessing.active_children())
    parts = recipe(loader(**train), None if validation is None else loader(**validation))
    with Session(parts, timeline_bytes=timeline_bytes) as session:
        failures = []
        for _ in range(steps):
            try:
                session.next_batch()
                if validation is not None:
                    session.validate()
            except UserCodeFailed as failure:
                failures.append(failure)
        assert set(multiprocessing.active_children()) - before or "dies_at" in train
    left = set(multiprocessing.active_children()) - before
    end = time.monotonic() + 2
    while left and time.monotonic() < end:
        with contextlib.suppress(Exception):
            left = {process for process in left if process.is_alive()}
    assert not left
    # What was raised has a traceback, whose frames hold the iterator.
    assert bool(failures) == any("at" in key for key in [*train, *(validation or {})])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_session_that_has_drawn_nothing_leaves_the_workers_of_a_loader_alone() -> None:
    train, validation = loader(persistent=True), loader(persistent=True)
    passes = [iter(train), iter(validation)]
    Session(recipe(train, validation)).close()
    assert [len(list(one)) for one in passes] == [6, 6]
    for one in passes:
        one._shutdown_workers()
