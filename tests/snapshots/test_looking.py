"""A snapshot answers what its session has answered: pages, pictures, histograms of every subject."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.engine.export.snapshot import write_snapshot
from gradscope.engine.serving.looking import look as look_live
from gradscope.protocol.messages import FetchHistogram, FetchPage, FetchPicture, Histogram, Page, Picture, Unavailable
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.looking import look
from gradscope.snapshots.reader import open_snapshot
from gradscope.snapshots.snapshot import Snapshot
from tests.snapshots import made


class Odd(nn.Module):
    """Outputs of many forms."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 2, 7, 300))
        self.one = nn.Parameter(torch.tensor(2.0))
        self.small = nn.Parameter(torch.randn(70, 5).to(torch.bfloat16))
        self.form = Forms()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        forms = self.form(x)
        return x.sum() * self.one * self.weight.mean() + self.small.float().sum() + forms["complex"].abs().sum()


class Forms(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        wild = x.clone()
        wild[0, :3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
        return {
            "wild": wild,
            "long": (10 * x).long(),
            "bool": x > 0,
            "complex": torch.complex(x, -x),
            "empty": x[:0],
            "turned": x.T,
            "half": x.half(),
        }


@pytest.fixture(scope="module")
def live() -> Iterator[Session]:
    torch.manual_seed(0)
    model = Odd()
    recipe = Recipe(
        model=model,
        dataset=TensorDataset(torch.randn(8, 6), torch.zeros(8)),
        loss=lambda output, target: output,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        batch_size=4,
    )
    with Session(recipe) as session:
        for _ in range(5):
            session.advance()
        yield session


@pytest.fixture(scope="module", params=["shot", "shot.zip", "zipped by hand"])
def snapshot(live: Session, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Snapshot:
    folder = tmp_path_factory.mktemp("looking")
    path = folder / request.param
    if request.param == "zipped by hand":
        write_snapshot(live, folder / "shot")
        path = made.zipped(folder / "shot", folder / "own.zip", prefix="shot/")
    else:
        write_snapshot(live, path)
    return open_snapshot(path)


def keys(snapshot: Snapshot) -> list[SubjectKey]:
    return [row.key for row in snapshot.rows if snapshot.info(row.key) is not None]


def test_pages(live: Session, snapshot: Snapshot) -> None:
    assert len(keys(snapshot)) > 15
    for key in keys(snapshot):
        for request in (
            FetchPage(subject=key),
            FetchPage(subject=key, index=(1, 9), row=2, rows=3, column=1, columns=1000),
            FetchPage(subject=key, index=(-4,), row=10**6, column=-3, columns=-1),
        ):
            ours, theirs = look_live(live, request), look(snapshot, request)
            assert isinstance(ours, Page) and isinstance(theirs, Page), key
            for field in ("subject", "shape", "dtype", "index", "row", "column", "integer"):
                assert getattr(ours, field) == getattr(theirs, field), (key, field)
            if key.leaf == ".complex":
                np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-6)
            else:
                np.testing.assert_array_equal(ours.values, theirs.values, err_msg=str(key))
            assert theirs.values.dtype == np.float64


def test_pictures(live: Session, snapshot: Snapshot) -> None:
    for key in keys(snapshot):
        for side in (4, 256):
            request = FetchPicture(subject=key, index=(2,), side=side)
            ours, theirs = look_live(live, request), look(snapshot, request)
            assert isinstance(ours, Picture) and isinstance(theirs, Picture), key
            assert (ours.shape, ours.index, ours.block) == (theirs.shape, theirs.index, theirs.block)
            np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-6, err_msg=str(key))
            assert theirs.values.dtype == np.float32


def test_histograms(live: Session, snapshot: Snapshot) -> None:
    for key in keys(snapshot):
        request = FetchHistogram(subject=key, bins=7)
        ours, theirs = look_live(live, request), look(snapshot, request)
        assert isinstance(ours, Histogram) and isinstance(theirs, Histogram), key
        assert (ours.nan, ours.inf) == (theirs.nan, theirs.inf)
        np.testing.assert_allclose(ours.edges, theirs.edges, rtol=1e-6)
        np.testing.assert_array_equal(ours.counts, theirs.counts)


def test_what_is_not_there_is_said(snapshot: Snapshot) -> None:
    for key in (SubjectKey(SubjectKind.PARAMETER, "nobody"), SubjectKey(SubjectKind.CLIPPED_GRAD, "weight")):
        for request in (FetchPage(subject=key), FetchPicture(subject=key), FetchHistogram(subject=key)):
            reply = look(snapshot, request)
            assert isinstance(reply, Unavailable) and reply.subject == key and "snapshot" in reply.reason
