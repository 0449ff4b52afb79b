"""Two real snapshots with known differences."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import FetchDifferencePicture, Picture, Unavailable
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.against import OtherSnapshots, difference, difference_picture, our_values
from gradscope.snapshots.reader import open_snapshot
from tests.snapshots import made

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "0.weight")
BIAS = SubjectKey(SubjectKind.PARAMETER, "2.bias")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `folder`, but for two numbers of one weight, a NaN in a bias, and a parameter of another shape."""
    import torch

    with made.session() as session:
        model = session.recipe.model
        assert isinstance(model, torch.nn.Module)
        with torch.no_grad():
            parameters = dict(model.named_parameters())
            parameters["0.weight"][1, 2] += 0.5
            parameters["0.weight"][3, 0] = 0
            parameters["2.bias"][1] = math.nan
            model[0].bias.data = torch.zeros(5)  # type: ignore[index]
        path = tmp_path_factory.mktemp("against") / "changed.zip"
        made.save(session, path)
    return path


def test_two_snapshots(folder: Path, changed: Path) -> None:
    ours, theirs = open_snapshot(folder), open_snapshot(changed)
    found = {row.key: difference(row.key, our_values(ours), theirs) for row in ours.rows if ours.info(row.key)}
    a, b = ours.values(WEIGHT).astype(np.float64), theirs.values(WEIGHT).astype(np.float64)
    gap = np.abs(a - b)
    weight = found[WEIGHT]
    assert (weight.count, weight.differing, weight.absolute) == (24, 2, gap.max())
    assert weight.at == np.unravel_index(gap.argmax(), gap.shape)
    assert (weight.ours, weight.theirs) == (a[weight.at], b[weight.at])
    assert weight.relative == (gap / np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-300)).max()
    assert (found[BIAS].differing, found[BIAS].absolute, found[BIAS].at) == (1, math.inf, (1,))
    assert found[SubjectKey(SubjectKind.PARAMETER, "0.bias")].problem == "The shapes are (4) and (5)"
    # An update is the difference to the parameter before, so that the changed ones have others.
    others = [d for key, d in found.items() if key.kind is not SubjectKind.UPDATE and key not in (WEIGHT, BIAS)]
    others = [d for d in others if not d.problem]
    assert len(others) > 10 and not any(d.differing for d in others)


def test_a_snapshot_is_identical_to_itself(folder: Path, archive: Path) -> None:
    ours, theirs = open_snapshot(folder), open_snapshot(archive)
    found = [difference(row.key, our_values(ours), theirs) for row in ours.rows if ours.info(row.key)]
    assert found and all((d.differing, d.problem) == (0, "") for d in found)


def test_what_is_missing_on_one_side(folder: Path) -> None:
    snapshot, nobody = open_snapshot(folder), SubjectKey(SubjectKind.PARAMETER, "nobody")
    assert "no values" in difference(nobody, our_values(snapshot), snapshot).problem


def test_the_picture(folder: Path, changed: Path) -> None:
    ours, theirs = open_snapshot(folder), open_snapshot(changed)
    request = FetchDifferencePicture(path="", subject=WEIGHT)
    picture = difference_picture(request, (4, 6), ours.plane(WEIGHT), theirs)
    assert isinstance(picture, Picture) and picture.block == (1, 1)
    expected = ours.values(WEIGHT) - theirs.values(WEIGHT)
    np.testing.assert_array_equal(picture.values, expected)
    assert np.count_nonzero(picture.values) == 2
    small = difference_picture(
        FetchDifferencePicture(path="", subject=WEIGHT, side=1), (4, 6), ours.plane(WEIGHT), theirs
    )
    assert isinstance(small, Picture) and small.values.tolist() == [[expected.flat[np.abs(expected).argmax()]]]
    other = difference_picture(request, (4, 7), np.zeros((4, 7)), theirs)
    assert isinstance(other, Unavailable) and "(4, 7) and (4, 6)" in other.reason


def test_the_last_one_stays_open_until_it_is_another(folder: Path, changed: Path, tmp_path: Path) -> None:
    others = OtherSnapshots()
    path = tmp_path / "x.zip"
    shutil.copy(changed, path)
    first = others.open(str(path))
    assert others.open(str(path)) is first
    assert others.open(str(folder)) is not first
    path.write_bytes(b"no zip at all")
    with pytest.raises(BadInput, match=r"x\.zip is damaged"):
        others.open(str(path))
