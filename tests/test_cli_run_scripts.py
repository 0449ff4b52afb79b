"""`gradscope run train.py` in a process of its own: exit codes, outputs, and what is said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gradscope.snapshots.reader import open_snapshot
from tests.patience import patient

pytestmark = pytest.mark.slow

TRAIN = """\
import sys
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
bad = int(sys.argv[1]) if len(sys.argv) > 1 else -1
for i in range(4):
    optimizer.zero_grad()
    loss = net(torch.randn(5, 3)).pow(2).mean()
    if i == bad:
        loss = loss * float("nan")
    loss.backward()
    optimizer.step()
    print("step", i)
print("FINAL", [round(p.sum().item(), 6) for p in net.parameters()])
"""
CRASH = """\
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(4, 1)
    def forward(self, x):
        return self.b(self.a(x))
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
def train():
    for i in range(2):
        optimizer.zero_grad()
        part = net.a(torch.randn(3, 2))
        part.mean().backward()
        optimizer.step()
    try:
        net(torch.randn(3, 2))
    except RuntimeError as error:
        raise ValueError("the model is wrong") from error
train()
"""
_TORCHS_FRAME = re.compile(r'^  File "[^"]*[\\/]torch[\\/].*\n(?:    .*\n)*', re.MULTILINE)


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def ours(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("gradscope:")]


def run(folder: Path, *given: str, text: str = TRAIN, plainly: bool = False) -> Ran:
    (folder / "train.py").write_text(text)
    command = [sys.executable] + ([] if plainly else ["-m", "gradscope", "run"]) + list(given)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=patient(60))
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_steps_end_the_script(tmp_path: Path) -> None:
    ran = run(tmp_path, "--jsonl", "run.jsonl", "--steps", "2", "train.py")
    assert (ran.code, ran.out, ran.err) == (0, "step 0\n", "")
    lines = lines_of(tmp_path / "run.jsonl")
    assert [line["phase"] for line in lines] == ["forward", "backward", "step"] * 2


def test_after_the_steps_it_may_run_on(tmp_path: Path) -> None:
    plain = run(tmp_path, "train.py", plainly=True)
    ran = run(tmp_path, "--jsonl", "run.jsonl", "--steps", "2", "--then", "run", "train.py")
    assert (ran.code, ran.out, ran.err) == (0, plain.out, "")
    assert [line["phase"] for line in lines_of(tmp_path / "run.jsonl")] == ["forward", "backward", "step"] * 2


def test_nan_is_told_once_and_the_script_goes_on(tmp_path: Path) -> None:
    plain = run(tmp_path, "train.py", "1", plainly=True)
    ran = run(tmp_path, "--jsonl", "run.jsonl", "--on-failure", "nan.zip", "train.py", "1")
    assert (ran.code, ran.out) == (0, plain.out)
    first = "gradscope: First NaN: step 1, loss: the loss is NaN; the outputs of all layers were finite"
    assert ran.ours[0] == first and len(ran.ours) == 2 and "snapshot written to" in ran.ours[1]
    lines = lines_of(tmp_path / "run.jsonl")
    assert [(line["step"], line["phase"]) for line in lines if line.get("first_nonfinite")] == [(1, "forward")]
    assert lines[-1] == {"phase": "end", "exit_code": 0, "stations": []}
    assert (tmp_path / "nan.zip").is_file()


def test_layers_that_are_not_there_are_told(tmp_path: Path) -> None:
    ran = run(tmp_path, "--capture", "layers:net.9", "train.py")
    assert ran.code == 0
    (note,) = ran.ours
    assert note.startswith("gradscope: note: The model has no layer 'net.9' (is it net.")
    assert note.endswith("?), so nothing is captured of it")


def test_stop_at_nan(tmp_path: Path) -> None:
    ran = run(tmp_path, "--jsonl", "run.jsonl", "--stop-at-nan", "train.py", "1")
    assert (ran.code, ran.out) == (3, "step 0\n")
    lines = lines_of(tmp_path / "run.jsonl")
    assert (lines[-1]["step"], lines[-1]["phase"]) == (1, "forward")


def test_a_traceback_is_a_plain_run_s(tmp_path: Path) -> None:
    plain = run(tmp_path, "train.py", text=CRASH, plainly=True)
    ran = run(tmp_path, "train.py", text=CRASH)
    assert ran.code == plain.code == 1
    assert "the model is wrong" in plain.err and "shapes cannot be multiplied" in plain.err
    assert "gradscope" not in ran.err
    assert _TORCHS_FRAME.sub("", ran.err) == _TORCHS_FRAME.sub("", plain.err)


def test_a_crash_leaves_a_snapshot(tmp_path: Path) -> None:
    ran = run(tmp_path, "--on-failure", "crash.zip", "train.py", text=CRASH)
    assert ran.code == 1 and "snapshot written to" in ran.ours[-1]
    snapshot = open_snapshot(tmp_path / "crash.zip")
    assert {parameter.name for parameter in snapshot.session.parameters} >= {"net.a.weight", "net.b.bias"}
    again = run(tmp_path, "--on-failure", "crash.zip", "train.py", text=CRASH)
    assert again.code == 2 and "crash.zip exists already" in again.err and again.out == ""
    fine = run(tmp_path, "--on-failure", "fine.zip", "train.py")
    assert fine.code == 0 and not (tmp_path / "fine.zip").exists()


def test_a_crash_in_the_json_lines(tmp_path: Path) -> None:
    ran = run(tmp_path, "--jsonl", "run.jsonl", "train.py", text=CRASH)
    assert ran.code == 1
    *phases, unfinished, end = lines_of(tmp_path / "run.jsonl")
    assert [line["phase"] for line in phases] == ["forward", "backward", "step"] * 2
    assert (unfinished["phase"], unfinished["step"], unfinished["epoch"], unfinished["batch"]) == (
        "forward",
        2,
        None,
        None,
    )
    assert [subject["name"] for subject in unfinished["subjects"]] == ["net.a"]
    assert (end["phase"], end["exit_code"]) == ("end", 1)
    assert "the model is wrong" in end["failure"]["sentence"]


def test_a_snapshot_at_the_end(tmp_path: Path) -> None:
    ran = run(tmp_path, "--export", "end.zip", "train.py")
    assert ran.code == 0 and "snapshot written to" in ran.ours[-1]
    snapshot = open_snapshot(tmp_path / "end.zip")
    assert snapshot.session.name == "train.py"
    assert {parameter.name for parameter in snapshot.session.parameters} >= {"net.0.weight", "net.2.bias"}
    ran = run(tmp_path, "--export", "steps", "--steps", "3", "--quiet", "train.py")
    assert (ran.code, ran.err) == (0, "") and (tmp_path / "steps" / "manifest.json").is_file()


def test_event_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    ran = run(tmp_path, "--tensorboard", "events", "train.py")
    assert (ran.code, ran.err) == (0, "")
    assert [path.name for path in (tmp_path / "events").rglob("*tfevents*")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_does_not_end_the_script(tmp_path: Path) -> None:
    plain = run(tmp_path, "train.py", plainly=True)
    ran = run(tmp_path, "--jsonl", "/dev/full", "train.py")
    assert (ran.code, ran.out) == (2, plain.out)
    assert ran.err == "gradscope: The JSON lines cannot be written: No space left on device\n"


def test_json_lines_on_standard_output(tmp_path: Path) -> None:
    plain = run(tmp_path, "train.py", plainly=True)
    ran = run(tmp_path, "--jsonl", "-", "train.py")
    assert (ran.code, ran.err) == (0, plain.out)
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert len(lines) == 13 and lines[-1]["phase"] == "end"
    for line in lines[:-1]:
        assert line["line"]["file"] == str(tmp_path / "train.py")


ENDS = """\
import os, sys, torch
from torch import nn
net = nn.Linear(2, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
net(torch.ones(1, 2)).mean().backward()
optimizer.step()
"""


@pytest.mark.parametrize(
    ("last", "code", "err"),
    [
        ("sys.exit(5)", 5, ""),
        ("sys.exit('words')", 1, "words\n"),
        ("os._exit(7)", 7, ""),
        ("sys.exit()", 0, ""),
    ],
)
def test_the_script_s_own_end(tmp_path: Path, last: str, code: int, err: str) -> None:
    ran = run(tmp_path, "--jsonl", "run.jsonl", "train.py", text=f"{ENDS}{last}\n")
    assert (ran.code, ran.err) == (code, err)
    lines = lines_of(tmp_path / "run.jsonl")
    assert [line["phase"] for line in lines] == ["forward", "backward", "step", "end"]
    assert lines[-1]["exit_code"] == code


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--steps", "0", "train.py"), "--steps is 0; expected a whole number from 1"),
        (("--seed", "1", "train.py"), "--seed: the script sets its own seed"),
        (("--keep-going", "train.py"), "--keep-going: a script goes on by itself"),
        (("--jsonl", "no/where", "train.py"), "no/where cannot be written"),
        (("--capture", "half", "train.py"), "'half' is no capture level"),
        (("-m", "no_such_module_of_mine"), "no_such_module_of_mine"),
    ],
)
def test_what_is_refused(tmp_path: Path, given: tuple[str, ...], sentence: str) -> None:
    ran = run(tmp_path, *given)
    assert ran.code in (1, 2) and sentence in ran.err and ran.out == ""


def test_a_script_that_trains_nothing(tmp_path: Path) -> None:
    ran = run(tmp_path, "--jsonl", "run.jsonl", "train.py", text="print('hello')\n")
    assert (ran.code, ran.out) == (0, "hello\n")
    assert ran.err == "gradscope: no training step was seen in this process\n"
    assert lines_of(tmp_path / "run.jsonl") == [{"phase": "end", "exit_code": 0, "stations": []}]
