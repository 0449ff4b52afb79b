"""Worker processes of DataLoaders end with the session that has started them, whatever they are at."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import time
from pathlib import Path
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


def samples(session: Session) -> list[float]:
    """Of the batch of the next step."""
    session.next_batch()
    return session.loop.batch[:, 0].tolist()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("timeline_bytes", [0, 2**24])
def test_two_sessions_over_one_loader_do_not_touch_each_other(timeline_bytes: int) -> None:
    both = loader(persistent=True)
    passes = [[float(n) for n in range(first, first + 4)] for first in range(0, 24, 4)]
    first = Session(recipe(both), timeline_bytes=timeline_bytes)
    second = Session(recipe(both), timeline_bytes=timeline_bytes)
    assert [samples(first) for _ in range(2)] == passes[:2]
    assert [samples(second) for _ in range(3)] == passes[:3]
    assert [samples(first) for _ in range(5)] == [*passes[2:], passes[0]]
    assert len(list(both)) == 6, "a loop of the user's own beside them"
    first.close()
    assert [samples(second) for _ in range(4)] == [*passes[3:], passes[0]]
    second.close()
    both._iterator._shutdown_workers()


class DiesOnce(Numbers):
    """Where there is this file: then it is gone, and the worker is, too."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def __getitem__(self, index: int) -> Tensor:
        if index == 9 and self.file.exists():
            self.file.unlink()
            os._exit(4)
        return super().__getitem__(index)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("timeline_bytes", [0, 2**24])
def test_after_a_worker_has_died_others_are_started(tmp_path: Path, timeline_bytes: int) -> None:
    train = DataLoader(DiesOnce(tmp_path / "dies"), batch_size=4, num_workers=2, persistent_workers=True)
    with Session(recipe(train), timeline_bytes=timeline_bytes) as session:
        assert [samples(session)[0] for _ in range(6)] == [0, 4, 8, 12, 16, 20]
        (tmp_path / "dies").touch()
        with pytest.raises(UserCodeFailed, match="DataLoader worker"):
            [samples(session) for _ in range(4)]
        assert [samples(session)[0] for _ in range(7)] == [0, 4, 8, 12, 16, 20, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("persistent", [False, True])
def test_closing_in_a_forked_process_leaves_the_workers_to_the_one_that_has_started_them(*, persistent: bool) -> None:
    session = Session(recipe(loader(persistent=persistent), loader(persistent=True)))
    session.next_batch()
    session.validate()
    child = os.fork()
    if not child:
        session.close()
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert [samples(session)[0] for _ in range(6)] == [4.0, 8.0, 12.0, 16.0, 20.0, 0.0]
    session.validate()
    session.close()
