"""`gradscope run` where NaN or Inf begins: it stops there, says so in the same words everywhere, and writes its outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gradscope import cli
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot
from tests.faulty_recipes import NAN_IN_THE_STEP

FORWARD = """
import torch
from torch import nn
from gradscope import Recipe

class Log(nn.Module):
    def forward(self, x):
        return x.log()

def recipe():
    m = nn.Sequential(nn.Linear(2, 4), Log(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(8, 2)
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    return Recipe(model=m, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(m.parameters(), 0.1))
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forward.py").write_text(FORWARD, encoding="utf-8")
    (tmp_path / "step.py").write_text(NAN_IN_THE_STEP, encoding="utf-8")
    return tmp_path


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_stops_where_nan_begins(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = ["--jsonl", "out.jsonl", "--export", "out.zip", "--save-checkpoint", "out.pt"]
    assert cli.main(["run", "forward.py", "--steps", "10", *outputs]) == 3
    told = capsys.readouterr()
    lines = lines_of(written / "out.jsonl")
    assert len(lines) == 3, "the step in which it was found is completed"
    (first,) = [line["first_nonfinite"] for line in lines if "first_nonfinite" in line]
    assert lines[0]["first_nonfinite"] == first, "in the line of the forward"
    assert (first["step"], first["phase"], first["place"]) == (0, "forward", "1 (Log)")
    assert first["nan"] > 0 and first["count"] == 32
    assert first["subject"] == {"kind": "activation", "name": "1", "call": 0, "leaf": ""}
    assert first["operation"] == {"name": "log", "source": "forward.py, line 8", "code": "return x.log()"}
    assert first["sentence"].startswith("First NaN: step 0, forward, 1 (Log): ")
    assert told.err.count(first["sentence"]) == 1
    assert "stopped after 1 of 10 steps" in told.err and "--keep-going" in told.err
    assert (written / "out.pt").exists()
    assert open_snapshot(written / "out.zip").manifest


def test_a_step_that_makes_nan_is_told_in_that_step(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "step.py", "--steps", "5", "--quiet", "--jsonl", "out.jsonl"]) == 3
    (first,) = [line["first_nonfinite"] for line in lines_of(written / "out.jsonl") if "first_nonfinite" in line]
    assert (first["step"], first["phase"], first["place"], first["nan"], first["count"]) == (
        0,
        "update",
        "weight",
        1,
        2,
    )
    assert first["sentence"] in capsys.readouterr().err


def test_keep_going(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "forward.py", "--steps", "4", "--keep-going", "--jsonl", "out.jsonl"]) == 0
    lines = lines_of(written / "out.jsonl")
    assert len(lines) == 12 and sum("first_nonfinite" in line for line in lines) == 1
    assert capsys.readouterr().err.count("First NaN") == 1


def test_a_failure_to_write_counts_more(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "forward.py", "--steps", "4", "--save-checkpoint", "no/folder/out.pt"]) == 2
    capsys.readouterr()


def test_the_help_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--keep-going" in told and "3 stopped at a --break, or after the step" in told


BUFFER = """
import torch
from torch import nn
from gradscope import Recipe

class Grows(nn.Module):
    calls = 0
    def forward(self, x):
        self.calls += 1
        return x * 1e25 if self.calls > 1 else x

def recipe():
    m = nn.Sequential(nn.Linear(2, 4), Grows(), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = torch.randn(8, 2)
    data = torch.utils.data.TensorDataset(x, x[:, :1])
    return Recipe(model=m, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(m.parameters(), 0.1), batch_size=8)
"""


def test_a_running_variance_that_becomes_infinite(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (written / "buffer.py").write_text(BUFFER, encoding="utf-8")
    assert cli.main(["run", "buffer.py", "--steps", "9", "--jsonl", "out.jsonl", "--export", "out.zip"]) == 3
    lines = lines_of(written / "out.jsonl")
    (first,) = [line["first_nonfinite"] for line in lines if "first_nonfinite" in line]
    assert (first["step"], first["phase"], first["place"]) == (1, "forward", "2.running_var")
    assert first["subject"] == {"kind": "buffer", "name": "2.running_var", "call": 0, "leaf": ""}
    assert capsys.readouterr().err.count(first["sentence"]) == 1
    counters = [
        subject["max"] for line in lines for subject in line["subjects"] if subject["name"] == "2.num_batches_tracked"
    ]
    assert counters == [1, 2], "once in each forward, in no other line"
    key = SubjectKey(SubjectKind.BUFFER, "2.running_var")
    assert np.isinf(open_snapshot(written / "out.zip").values(key)).all()
