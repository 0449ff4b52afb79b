"""`gradscope run --break`: stops with exit code 3, says where and why, and leaves a snapshot of that moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gradscope import Session, cli, load_recipe
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 3))
    data = torch.utils.data.TensorDataset(torch.randn(24, 6), torch.randint(0, 3, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""

TRAIN = """
import torch
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
try:
    for step in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        print("step", step)
except BaseException:
    print("caught")
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    return tmp_path


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_inside_a_backward_with_a_snapshot_of_it(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["run", "--steps", "9", "--jsonl", "out.jsonl", "--export", "out.zip", "model.py"]
    assert cli.main([*given, "--break", "grad.l2 > 0 in 1.weight and step == 2", "--break", "any nan"]) == 3
    told = capsys.readouterr().err
    assert "gradscope: stopped at step 2, backward, gradient 1.weight: grad.l2 of 1.weight is " in told
    *_, partial, stopped = lines_of(written / "out.jsonl")
    assert (partial["step"], partial["phase"], partial["failed"]) == (2, "backward", False)
    names = {subject["name"] for subject in partial["subjects"]}
    assert "1.weight" in names and "0.0.weight" not in names
    (stop,) = stopped.pop("stops")
    expected = {"phase": "stopped", "step": 2, "where": "in backward", "substep": "backward"}
    assert stopped == {**expected, "event": "gradient", "layer": "1.weight", "call": 0}
    assert stop["break"] == "grad.l2 > 0 in 1.weight and step == 2"
    assert stop["sentence"].endswith(", above 0; step is 2, equal to 2")

    recipe = load_recipe(written / "model.py", 0)
    with Session(recipe) as session:
        for _ in range(2):
            session.next_batch()
        session.forward()
        session.backward()
        assert isinstance(recipe.model, torch.nn.Module)
        gradient = recipe.model.get_parameter("1.weight").grad
        assert gradient is not None
        found = open_snapshot(written / "out.zip")
        page = found.values(SubjectKey(SubjectKind.GRAD, "1.weight"))
        assert np.array_equal(page, gradient.numpy())


def test_between_two_phases(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["run", "--steps", "9", "--jsonl", "out.jsonl", "--save-checkpoint", "out.pt", "model.py"]
    assert cli.main([*given, "--break", "at step 3"]) == 3
    told = capsys.readouterr().err
    assert "stopped before step 3: step 3" in told
    assert "nothing was written to out.pt" in told
    lines = lines_of(written / "out.jsonl")
    assert len(lines) == 3 * 3 + 1
    assert (lines[-1]["where"], lines[-1]["step"]) == ("ready", 3)


def test_a_stop_that_never_holds(written: Path) -> None:
    assert cli.main(["run", "--steps", "2", "model.py", "--break", "loss > 1e9"]) == 0


def test_a_wrong_text_is_said_before_anything_runs(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--steps", "2", "--break", "grad.l2 >", "model.py"]) == 2
    assert capsys.readouterr().err.startswith("gradscope: --break: 'grad.l2 >' ends at column 10; expected a number")
    ended = run_script(written, "--break", "befor step")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("gradscope: --break: 'befor step' has 'befor' at column 1; expected a place")


def test_a_layer_that_a_recipe_does_not_have(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--steps", "2", "--break", "enter conv", "model.py"]) == 2
    assert "cannot hold: nothing here is called conv" in capsys.readouterr().err


def run_script(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gradscope", "run", *given, "train.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_script_is_ended_inside_its_backward(written: Path) -> None:
    ended = run_script(
        written, "--break", "grad.l2 > 0 in *.2.weight and step > 1", "--jsonl", "out.jsonl", "--export", "out"
    )
    assert ended.returncode == 3
    assert ended.stdout == "step 0\nstep 1\n", "its own except sees nothing"
    assert "stopped at step 2, backward, gradient model.2.weight: grad.l2 of model.2.weight is " in ended.stderr
    *_, partial, stopped = lines_of(written / "out.jsonl")
    assert (partial["phase"], partial["failed"]) == ("backward", False)
    assert (stopped["where"], stopped["layer"]) == ("in backward", "model.2.weight")
    snapshot = open_snapshot(written / "out")
    assert snapshot.values(SubjectKey(SubjectKind.GRAD, "model.2.weight")).shape == (3, 6)
    assert snapshot.values(SubjectKey(SubjectKind.ACTIVATION, "model.1")).shape == (8, 6)


def test_a_script_is_ended_between_two_phases(written: Path) -> None:
    ended = run_script(written, "--break", "every 3 steps", "--then", "run")
    assert (ended.returncode, ended.stdout) == (3, "step 0\nstep 1\n")
    assert "stopped before step 3: step 3" in ended.stderr


def test_a_script_that_comes_to_none_ends_as_ever(written: Path) -> None:
    ended = run_script(written, "--break", "enter nowhere")
    assert (ended.returncode, ended.stdout.count("step")) == (0, 4)
    assert "note: --break: The stop 'enter nowhere' cannot hold: nothing here is called nowhere" in ended.stderr


def test_a_script_is_ended_at_what_it_does_between_two_steps(written: Path) -> None:
    ended = run_script(written, "--break", "before zero grad", "--jsonl", "out.jsonl")
    assert (ended.returncode, ended.stdout) == (3, "step 0\n")
    assert "stopped before step 1: before zero grad" in ended.stderr
    stopped = lines_of(written / "out.jsonl")[-1]
    assert (stopped["where"], stopped["substep"], stopped["event"]) == ("ready", "zero grad", "before")
