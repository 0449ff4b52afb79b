"""Snapshots of cheaper levels of capture: they are read again, and tables and report say what is not known."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from gradscope.protocol.failure import BadInput
from gradscope.protocol.subjects import COUNT, MEAN, NAN, ZERO, SubjectKind
from gradscope.snapshots.page.remarks import Severity, remarks
from gradscope.snapshots.reader import open_snapshot
from gradscope.snapshots.tensorboard import histogram
from tests.snapshots import made
from tests.snapshots.made import Spoiled
from tests.snapshots.page import parse

LEVELS = ("norms", "off", "layers:0")


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("levels")
    return {level: made.write(folder / level.replace(":", "-"), phases=3, capture=level) for level in LEVELS}


@pytest.mark.parametrize("level", LEVELS)
def test_a_snapshot_remembers_its_level(shots: dict[str, Path], level: str) -> None:
    snapshot = open_snapshot(shots[level])
    assert snapshot.session.capture == level
    kinds = {row.key.kind for row in snapshot.rows}
    assert (kinds == set()) == (level == "off")


def test_a_snapshot_of_before_there_were_levels_is_full(folder: Path, tmp_path: Path) -> None:
    spoiled = Spoiled(folder, tmp_path / "old")

    def forget(content: dict[str, dict[str, object]]) -> None:
        del content["session"]["capture"]

    snapshot = open_snapshot(spoiled.json("session.json", forget))
    assert snapshot.session.capture == "full"


def test_zeros_that_were_not_counted_are_empty_in_the_table(shots: dict[str, Path]) -> None:
    lines = list(csv.DictReader(io.StringIO((shots["norms"] / "summaries.csv").read_text("utf-8"))))
    assert lines
    for line in lines:
        assert line["zero"] == line["min"] == line["mean"] == line["std"] == ""
        assert int(line["count"]) > 0 and line["nan"] == "0" and float(line["l2"]) >= 0


def page(path: Path) -> str:
    return (path / "report.html").read_text("utf-8")


def test_the_report_of_norms_has_dashes(shots: dict[str, Path]) -> None:
    source = page(shots["norms"])
    assert "nan" not in source.lower().replace("nan/", "")
    table = parse(source).all("table")[0]
    numbers = [cell.text for row in table.all("tr")[1:] for cell in row.all("td")]
    assert "–" in numbers and "0" in numbers
    assert not table.all("svg"), "no histogram"
    assert "Only norms were captured: whether something is all zero is not known" in source
    assert "Nothing: every number is finite" not in source


def test_the_report_says_what_was_left_out(shots: dict[str, Path]) -> None:
    assert "Nothing was captured of layers, gradients and parameters" in page(shots["off"])
    assert "Only chosen layers were captured (0): nothing is known of the others" in page(shots["layers:0"])
    for level in LEVELS:
        assert level in [cell.text for cell in parse(page(shots[level])).all("dd")]


def test_nothing_is_remarked_as_all_zero_that_was_not_looked_at(shots: dict[str, Path]) -> None:
    snapshot = open_snapshot(shots["norms"])
    content = snapshot
    found = remarks(content.session, [(r, content.rows_of(r)) for r in content.reports.values()])
    assert [remark.severity for remark in found] == [Severity.NOTE]


def test_other_counts_have_to_be_numbers(shots: dict[str, Path], tmp_path: Path) -> None:
    from gradscope.snapshots.format import checks
    from gradscope.snapshots.format.damage import Damaged

    snapshot = open_snapshot(shots["norms"])
    report = next(iter(snapshot.reports.values()))
    assert np.isnan(report.summaries[:, ZERO]).all()
    checks.check_counts("x", report.summaries, report.histograms, report.sampled)
    for column in (COUNT, NAN):
        summaries = report.summaries.copy()
        summaries[0, column] = np.nan
        with pytest.raises((Damaged, BadInput)):
            checks.check_counts("x", summaries, report.histograms, report.sampled)


def test_there_is_no_histogram_for_tensorboard(shots: dict[str, Path]) -> None:
    pytest.importorskip("tensorboard")
    snapshot = open_snapshot(shots["norms"])
    for report in snapshot.reports.values():
        for i, row in enumerate(snapshot.rows_of(report)):
            assert row.key.kind is not SubjectKind.OPTIMIZER_STATE
            assert histogram("x", report.histograms[i], report.summaries[i], int(report.sampled[i])) is None
            assert np.isnan(report.summaries[i, MEAN])


def test_the_session_file_is_plain(shots: dict[str, Path]) -> None:
    content = json.loads((shots["layers:0"] / "session.json").read_text("utf-8"))
    assert content["session"]["capture"] == "layers:0"
