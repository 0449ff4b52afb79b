"""What is written comes back: from a folder, from our zip, from a zip made by hand, and from format version 1."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gradscope.protocol.parts import EVERYTHING, Part
from gradscope.protocol.phases import Phase, Rest
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind
from gradscope.snapshots.format.content import StepTable
from gradscope.snapshots.format.damage import Damaged
from gradscope.snapshots.format.tables import read_history_csv
from gradscope.snapshots.reader import is_snapshot, open_snapshot
from gradscope.snapshots.snapshot import Snapshot, ValuesMissing
from tests.snapshots import made
from tests.snapshots.made import Spoiled

if TYPE_CHECKING:
    from gradscope import Session

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "0.weight")


def test_a_snapshot_tells_what_the_session_told(tmp_path: Path) -> None:
    with made.session() as session:
        made.save(session, tmp_path / "shot")
        snapshot = open_snapshot(tmp_path / "shot")
        assert snapshot.session == session.info
        assert snapshot.position == session.position
        assert list(snapshot.reports) == list(Phase)
        for phase, report in session.reports.items():
            read = snapshot.reports[phase]
            assert snapshot.rows_of(read) == report.rows
            np.testing.assert_array_equal(read.summaries, report.raw.summaries)
            np.testing.assert_array_equal(read.histograms, report.raw.histograms)
            np.testing.assert_array_equal(read.sampled, report.raw.sampled)
            np.testing.assert_array_equal(read.times, report.raw.times)
            places = session.observer.tables.places.rows
            assert [snapshot.places[i] for i in read.places] == [places[i] for i in report.raw.places]
            for name in ("step", "epoch", "batch", "loss", "lr", "absent", "seconds", "complete"):
                assert getattr(read, name) == getattr(report.raw, name), name
        assert [(*row[:4],) for row in zip(*columns(snapshot.steps), strict=True)] == [
            (r.step, r.epoch, r.batch, r.loss) for r in session.history
        ]
        assert snapshot.validations == tuple(session.validations)
        assert snapshot.steps.rates.tolist() == [list(record.lr) for record in session.history]
        assert snapshot.environment.versions["torch"] == snapshot.manifest["versions"]["torch"]
        assert snapshot.parts == EVERYTHING - {Part.HISTORY, Part.PLOTS}
        assert snapshot.remarks == ()


def columns(steps: StepTable) -> list[list[float]]:
    return [getattr(steps, name).tolist() for name in ("step", "epoch", "batch", "loss", "grad_l2", "update_l2")]


@pytest.mark.parametrize("phases", range(7))
def test_the_values_of_every_subject(phases: int, tmp_path: Path) -> None:
    with made.session(phases=phases) as session:
        made.save(session, tmp_path / "shot.zip")
        snapshot = open_snapshot(tmp_path / "shot.zip")
        for kind in SubjectKind:
            for key in session.known_subjects(kind):
                same_values(session, snapshot, key)


def same_values(session: Session, snapshot: Snapshot, key: SubjectKey) -> None:
    from gradscope.engine.book.values import ValuesUnavailable

    try:
        expected = session.values(key).numpy()
    except ValuesUnavailable:
        assert snapshot.info(key) is None
        with pytest.raises(ValuesMissing, match="no values"):
            snapshot.values(key)
        return
    info = snapshot.info(key)
    assert info is not None and info.shape == expected.shape
    np.testing.assert_array_equal(snapshot.values(key), expected)
    np.testing.assert_array_equal(snapshot.flat(key)(1, 3), expected.reshape(-1)[1:3])


def test_a_zip_equals_a_folder(folder: Path, archive: Path) -> None:
    assert contents(folder) == contents(archive)


def test_a_zip_made_by_hand_equals_its_folder(folder: Path, tmp_path: Path) -> None:
    expected = contents(folder)
    assert contents(made.zipped(folder, tmp_path / "compressed.zip")) == expected
    assert contents(made.zipped(folder, tmp_path / "inside.zip", prefix="shot/")) == expected
    assert contents(made.zipped(folder, tmp_path / "stored.zip", compression=zipfile.ZIP_STORED)) == expected


def contents(path: Path) -> dict[str, object]:
    """Everything that can be read, comparable; without the moment at which it was written, and how long phases took."""
    snapshot = open_snapshot(path)
    found: dict[str, object] = {
        f"{file} {name}": snapshot.tensor(file, name).tobytes()
        for file, tensors in snapshot.tensors.items()
        for name in tensors
    }
    for phase, report in snapshot.reports.items():
        found[phase] = report.summaries.tobytes(), report.histograms.tobytes(), report.lr, report.loss
    found |= {name: snapshot.picture(name) for name in snapshot.pictures}
    return found | {
        "session": snapshot.session,
        "position": snapshot.position,
        "tables": (snapshot.rows, snapshot.places),
        "parts": snapshot.parts,
        "optimizer": snapshot.optimizer,
        "remarks": snapshot.remarks,
        "steps": snapshot.steps.loss.tolist(),
    }


def test_reading_needs_neither_torch_nor_safetensors(archive: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['safetensors'] = sys.modules['PySide6'] = None\n"
        "from gradscope.snapshots.reader import open_snapshot\n"
        f"print(open_snapshot({str(archive)!r}).session.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "Small\n"


def test_what_was_not_chosen_is_said(tmp_path: Path) -> None:
    with made.session() as session:
        made.save(session, tmp_path / "shot", contents=frozenset({Part.GRADIENTS}))
    snapshot = open_snapshot(tmp_path / "shot")
    assert snapshot.parts == {Part.GRADIENTS}
    with pytest.raises(ValuesMissing, match="written without the parameters"):
        snapshot.values(WEIGHT)
    assert snapshot.reports and snapshot.optimizer is None


def test_what_was_taken_out_is_said(spoiled: Spoiled) -> None:
    (spoiled.path / "parameters.safetensors").unlink()
    shutil.rmtree(spoiled.path / "plots")
    snapshot = open_snapshot(spoiled.path)
    assert snapshot.remarks == (
        "parameters.safetensors has been taken out since it was written",
        "plots/loss.png has been taken out since it was written",
    )
    assert Part.PARAMETERS not in snapshot.parts and Part.PLOTS not in snapshot.parts


def test_what_a_later_version_adds_is_passed_over(spoiled: Spoiled) -> None:
    spoiled.json("session.json", lambda session: session["session"].update(colour="blue"))
    spoiled.json("reports.json", lambda reports: reports["forward"].update(mood=[1, 2]))
    (spoiled.path / "more.bin").write_bytes(b"x")
    assert open_snapshot(spoiled.path).session.name == "Small"


def test_numbers_that_are_not_finite(spoiled: Spoiled) -> None:
    def spoil(reports: dict[str, dict[str, object]]) -> None:
        reports["forward"].update(loss="nan", lr=["inf", "-inf", 1])

    report = open_snapshot(spoiled.json("reports.json", spoil)).reports[Phase.FORWARD]
    assert report.loss is not None and math.isnan(report.loss)
    assert report.lr == (math.inf, -math.inf, 1.0)


def test_format_version_1(folder: Path, tmp_path: Path) -> None:
    snapshot, old = open_snapshot(folder), open_snapshot(version1(folder, tmp_path / "old"))
    assert old.format_version == 1 and old.history is None and old.optimizer is None
    assert old.session.name == "Small" and old.session.optimizer == "Adam"
    assert [m.name for m in old.session.modules] == ["0", "1", "2", ""]
    assert {p.name: p.shape for p in old.session.parameters} == {p.name: p.shape for p in snapshot.session.parameters}
    assert old.position.rest is Rest.BACKWARD and old.position.step == 1
    assert old.parts == snapshot.parts - {Part.OPTIMIZER}
    np.testing.assert_array_equal(old.values(WEIGHT), snapshot.values(WEIGHT))
    for phase, report in snapshot.reports.items():
        assert old.rows_of(old.reports[phase]) == snapshot.rows_of(report)
        np.testing.assert_array_equal(old.reports[phase].summaries, report.summaries)
        assert old.reports[phase].step == report.step
        assert not old.reports[phase].sampled.any()
    assert old.steps.loss.tolist() == snapshot.steps.loss.tolist()
    assert old.steps.rates.tolist() == snapshot.steps.rates.tolist()
    assert np.isnan(old.steps.clip_norm).all() and not old.steps.is_skipped.any()


def version1(folder: Path, target: Path) -> Path:
    """What the first version would have written."""
    spoiled = Spoiled(folder, target)
    for name in ("session.json", "reports.json", "reports.safetensors", "optimizer.json", "optimizer.safetensors"):
        (target / name).unlink()
    manifest = json.loads((target / "manifest.json").read_text("utf-8"))
    del manifest["files"]
    spoiled.bytes("manifest.json", json.dumps(manifest | {"format_version": 1}).encode())
    with (target / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    text = io.StringIO(newline="")
    old = ["step", "epoch", "batch", "loss", "lr_0", "grad_l2", "update_l2", "seconds"]
    writer = csv.DictWriter(text, old, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    (target / "history.csv").write_text(text.getvalue(), newline="")
    return target


def test_version_1_of_a_session_that_has_not_begun(tmp_path: Path) -> None:
    shot = made.write(tmp_path / "shot", phases=0)
    old = open_snapshot(version1(shot, tmp_path / "old"))
    assert old.reports == {} and len(old.steps) == 0 and old.position.rest is Rest.READY


def test_steps_are_read_with_the_difference_between_nothing_and_nan() -> None:
    header = b"step,epoch,batch,loss,lr_0,lr_1,grad_l2,is_skipped,optimizer,later\r\n"
    data = header + b"0,0,0,nan,0.1,,inf,1,d,x\r\n1,0,1,2,0.1,0.2,,0,g,y\r\n"
    steps = read_history_csv(io.BytesIO(data))
    assert (
        steps.step.tolist() == [0, 1] and steps.optimizer == ("d", "g") and steps.is_skipped.tolist() == [True, False]
    )
    np.testing.assert_array_equal(steps.loss, [math.nan, 2])
    np.testing.assert_array_equal(steps.rates, [[0.1, math.nan], [0.1, 0.2]])
    np.testing.assert_array_equal(steps.grad_l2, [math.inf, math.nan])


TABLES = {
    b"": "first line",
    b"a,b\r\n": "first line",
    b"step,epoch,batch,loss,loss\r\n": "first line",
    b"step,epoch,batch,loss\r\n1,2,3\r\n": "line 2 has 3 cells",
    b"step,epoch,batch,loss\r\n1,2,3,4\r\n-1,2,3,4\r\n": "line 3: '-1' is no whole number",
    b"step,epoch,batch,loss\r\n" + b"9" * 30 + b",2,3,4\r\n": "no whole number",
    b"step,epoch,batch,loss\r\n1,2,3,x\r\n": "line 2: 'x' is no number",
    b"step,epoch,batch,loss\r\n1,2,3,\xff\r\n": "not UTF-8",
    b'step,epoch,batch,loss\r\n1,2,3,"4\r\n': "not CSV",
    b"step,epoch,batch,loss\r\n1,2,3," + b"4" * 200_000 + b"\r\n": "not CSV",
}


@pytest.mark.parametrize("data", TABLES, ids=range(len(TABLES)))
def test_a_damaged_table_is_said_to_be_so(data: bytes) -> None:
    with pytest.raises(Damaged, match=TABLES[data]):
        read_history_csv(io.BytesIO(data))


def test_what_looks_like_a_snapshot(folder: Path, archive: Path, tmp_path: Path) -> None:
    assert is_snapshot(folder) and is_snapshot(archive) and is_snapshot(tmp_path / "NOT.ZIP")
    assert not is_snapshot(tmp_path) and not is_snapshot(tmp_path / "recipe.py")


def test_a_summary_has_all_its_columns(folder: Path) -> None:
    with (folder / "summaries.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert header == ["step", "phase", "kind", "name", "call", "leaf", "shape", "dtype", *COLUMNS, "note"]
