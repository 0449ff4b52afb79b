"""Findings in a snapshot: written, read back as they were, shown without an engine, and told in its page."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from gradscope import Session, load_recipe
from gradscope.assets import sample_path
from gradscope.protocol.findings import Findings
from gradscope.snapshots.page.findings_section import MAX_LISTED, findings_section
from gradscope.snapshots.reader import open_snapshot
from gradscope.state.reopened import state_of
from tests.found import DEAD, LEAK, NOTE, RATE, finding, known


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = sample_path("linear_regression")
    assert path is not None
    with Session(load_recipe(path)) as session:
        session.advance()
        odd = replace(RATE, curves=(replace(RATE.curves[0], values=(1.0, float("inf"), float("nan"))),))
        monkeypatch.setattr(session, "findings", lambda: known(LEAK, odd, DEAD, NOTE))
        session.export(tmp_path / "shot.zip")
    return tmp_path / "shot.zip"


def test_they_are_read_back_and_shown_without_an_engine(written: Path) -> None:
    snapshot = open_snapshot(written)
    assert repr(snapshot.findings) == repr(
        known(
            LEAK, replace(RATE, curves=(replace(RATE.curves[0], values=(1.0, float("inf"), float("nan"))),)), DEAD, NOTE
        )
    )
    shown = state_of(snapshot).findings
    assert [finding.id for finding in shown.shown] == ["batch-leak", "lr-too-high", "dead-units", "never-called"]


def test_a_snapshot_of_a_version_without_them_is_opened(written: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.zip"
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(older, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "session.json":
                told = json.loads(data)
                del told["findings"]
                data = json.dumps(told).encode()
            if name == "manifest.json":
                manifest = json.loads(data)
                del manifest["files"]["session.json"]
                data = json.dumps(manifest).encode()
            target.writestr(name, data)
    assert open_snapshot(older).findings is None
    assert state_of(open_snapshot(older)).findings.known == Findings()


def test_the_page_tells_them(written: Path) -> None:
    page = zipfile.ZipFile(written).read("report.html").decode()
    for part in ("Findings", DEAD.title, "Do: Start the bias", "61", "threshold 32", "3 checks in 120 steps"):
        assert part in page


def test_the_section_of_nothing_and_of_much() -> None:
    assert findings_section(None) == "" and findings_section(Findings()) == ""
    assert "Nothing was found by 3 checks in 120 steps; 3 more could not be judged" in findings_section(known())
    many = findings_section(known(*(finding(f"id{n}", where=f"<b>{n}") for n in range(MAX_LISTED + 5))))
    assert "and 5 more" in many and "<b>1" not in many and "&lt;b&gt;1" in many
