"""A snapshot and a checkpoint that an older gradscope has written, kept in tests/kept beside the recipe they are of.

They were written at step 5 of `two_layers.py` with seed 3, on 2026-11-29, by the last version whose engine was one folder.
What it went on to do is here in numbers; another machine may round them differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gradscope import Session, load_recipe
from gradscope.protocol.messages import FetchPage, Page
from gradscope.protocol.phases import Phase, Rest
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.looking import look
from gradscope.snapshots.reader import open_snapshot
from gradscope.snapshots.snapshot import Snapshot

KEPT = Path(__file__).parents[1] / "kept"
LOSSES = [3.550466299057007, 1.1944040060043335, 2.632969379425049, 1.7257442474365234, 3.3565754890441895]
NEXT_LOSSES = [0.035680800676345825, 1.198598861694336, 0.8650270104408264]


@pytest.fixture
def snapshot() -> Snapshot:
    return open_snapshot(KEPT / "snapshot.zip")


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(load_recipe(KEPT / "two_layers.py", seed=3)) as session:
        yield session


def page(snapshot: Snapshot, key: SubjectKey) -> torch.Tensor:
    found = look(snapshot, FetchPage(subject=key))
    assert isinstance(found, Page)
    return torch.from_numpy(found.values.copy())


def test_an_older_snapshot_opens(snapshot: Snapshot) -> None:
    assert snapshot.session.name == "Two layers" and snapshot.session.seed == 3
    assert snapshot.position.rest is Rest.BACKWARD and snapshot.position.step == 5
    assert snapshot.steps.loss.tolist() == LOSSES
    assert set(snapshot.reports) == {Phase.FORWARD, Phase.BACKWARD, Phase.STEP}
    names = [parameter.name for parameter in snapshot.session.parameters]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]
    assert page(snapshot, SubjectKey(SubjectKind.ACTIVATION, "0")).shape == (4, 4)


def test_an_older_checkpoint_is_gone_on_with(session: Session, snapshot: Snapshot) -> None:
    loaded = session.load_checkpoint(KEPT / "checkpoint.pt")
    assert session.position.step == 5 and set(loaded.loaded) >= {"weights", "optimizer", "scheduler"}
    session.forward()
    session.backward()
    for name, tensor in session.recipe.model.named_parameters():  # type: ignore[union-attr]
        theirs = page(snapshot, SubjectKey(SubjectKind.PARAMETER, name))
        assert torch.equal(theirs, tensor.detach().double().reshape(theirs.shape))
        theirs = page(snapshot, SubjectKey(SubjectKind.GRAD, name))
        gradient = session.values(SubjectKey(SubjectKind.GRAD, name)).double().reshape(theirs.shape)
        torch.testing.assert_close(theirs, gradient, rtol=1e-4, atol=1e-5)
    session.step()
    session.next_batch()
    session.next_batch()
    assert [record.loss for record in session.history] == pytest.approx(NEXT_LOSSES, rel=1e-4)


def test_a_run_from_the_start_comes_to_the_same(session: Session) -> None:
    for _ in range(8):
        session.next_batch()
    assert [record.loss for record in session.history] == pytest.approx([*LOSSES, *NEXT_LOSSES], rel=1e-4)
