"""The engine compares its session with a snapshot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from peer import Peer
from torch import nn
from torch.utils.data import TensorDataset

from gradscope import BadInput, Recipe, Session
from gradscope.assets import sample_path
from gradscope.engine.export.snapshot import write_snapshot
from gradscope.engine.serving.comparing import Comparer
from gradscope.protocol import messages
from gradscope.protocol.messages import Difference, Differences, FetchDifferencePicture, FetchDifferences, Picture
from gradscope.protocol.phases import Verb
from gradscope.protocol.subjects import SubjectKey, SubjectKind


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 3, sparse=True)
        self.bends = nn.Parameter(torch.randn(3, 3).to(torch.bfloat16))
        self.sides = nn.Parameter(torch.randn(4, 3).T)
        self.turned = Turned()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.table(x)
        return (self.turned(found).abs().sum() + self.bends.float().sum()) * self.sides.sum()


class Turned(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.complex(x, -x).conj()


@pytest.fixture
def session() -> Iterator[Session]:
    torch.manual_seed(0)
    model = Mixed()
    recipe = Recipe(
        model=model,
        dataset=TensorDataset(torch.arange(8), torch.zeros(8)),
        loss=lambda output, target: output,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        batch_size=4,
    )
    with Session(recipe) as session:
        for _ in range(5):
            session.advance()
        yield session


def compare(session: Session, path: Path) -> dict[SubjectKey, Difference]:
    keys = tuple(key for kind in SubjectKind for key in session.known_subjects(kind))
    reply = Comparer().answer(session, FetchDifferences(path=str(path), subjects=keys))
    assert isinstance(reply, Differences) and [item.subject for item in reply.items] == list(keys)
    return {item.subject: item for item in reply.items}


def test_now_is_identical_to_a_snapshot_of_now(session: Session, tmp_path: Path) -> None:
    """Whatever the tensors are: sparse, conjugated, turned, bfloat16."""
    write_snapshot(session, tmp_path / "s")
    found = compare(session, tmp_path / "s")
    assert found[SubjectKey(SubjectKind.GRAD, "table.weight")].count == 150
    assert found[SubjectKey(SubjectKind.ACTIVATION, "turned")].count == 12
    for key, difference in found.items():
        assert not difference.differing and not difference.absolute, key
        assert not difference.problem or key.kind in (SubjectKind.CLIPPED_GRAD,), (key, difference.problem)


def test_known_changes_are_found(session: Session, tmp_path: Path) -> None:
    write_snapshot(session, tmp_path / "s")
    model = session.recipe.model
    assert isinstance(model, Mixed)
    with torch.no_grad():
        model.sides[1, 2] += 1
        model.bends[0, 0] = math.inf
    found = compare(session, tmp_path / "s")
    sides = found[SubjectKey(SubjectKind.PARAMETER, "sides")]
    assert (sides.differing, sides.at) == (1, (1, 2))
    assert sides.ours - sides.theirs == pytest.approx(1) == sides.absolute
    assert found[SubjectKey(SubjectKind.PARAMETER, "bends")].absolute == math.inf
    picture = Comparer().answer(
        session, FetchDifferencePicture(path=str(tmp_path / "s"), subject=SubjectKey(SubjectKind.PARAMETER, "sides"))
    )
    assert isinstance(picture, Picture)
    expected = np.zeros((3, 4))
    expected[1, 2] = sides.ours - sides.theirs
    np.testing.assert_allclose(picture.values, expected, rtol=1e-6)


def test_what_cannot_be_compared(session: Session, tmp_path: Path) -> None:
    write_snapshot(session, tmp_path / "s")
    session.step()
    gone = SubjectKey(SubjectKind.PARAMETER, "nobody")
    comparer = Comparer()
    reply = comparer.answer(session, FetchDifferences(path=str(tmp_path / "s"), subjects=(gone,)))
    assert isinstance(reply, Differences) and reply.items[0].problem
    reply = comparer.answer(session, FetchDifferencePicture(path=str(tmp_path / "s"), subject=gone))
    assert isinstance(reply, messages.Unavailable)
    with pytest.raises(BadInput, match="nowhere"):
        comparer.answer(session, FetchDifferences(path=str(tmp_path / "nowhere"), subjects=(gone,)))


def test_over_the_wire(tmp_path: Path) -> None:
    path, key = sample_path("linear_regression"), SubjectKey(SubjectKind.PARAMETER, "weight")
    assert path is not None
    peer = Peer()
    try:
        refused = peer.ask(FetchDifferences(path="/x", subjects=(key,)))
        assert isinstance(refused, messages.Failed) and "No recipe is open" in refused.failure.sentence
        opened = peer.open(path)
        key = SubjectKey(SubjectKind.PARAMETER, opened.session.parameters[0].name)
        target = str(tmp_path / "s")
        assert isinstance(peer.ask(messages.Export(path=target)), messages.Exported)
        same = peer.ask(FetchDifferences(path=target, subjects=(key,)))
        assert same.items[0].count == 1 and not same.items[0].differing
        peer.go(Verb.NEXT_BATCH)
        other = peer.ask(FetchDifferences(path=target, subjects=(key,)))
        assert other.items[0].differing == 1
        hostile = peer.ask(FetchDifferences(path="/dev/null", subjects=(key,)))
        assert isinstance(hostile, messages.Failed) and "/dev/null" in hostile.failure.sentence
    finally:
        peer.close()
