"""`gradscope run --timeline` as a shell sees it, and going to a step of it in another process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.patience import patient
from tests.test_cli_run import RESUMABLE, ROOT, gradscope, in_process, strict

LARGE = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Sequential(nn.Linear(2, 200), nn.Tanh(), nn.Linear(200, 200))
    data = torch.utils.data.TensorDataset(torch.randn(8, 2), torch.zeros(8, dtype=torch.long))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.Adam(model.parameters()))
"""
"""161 KB of weights, and three times as much after the first step."""

KILLED = (
    RESUMABLE
    + """
import os

class Killed(nn.CrossEntropyLoss):
    def forward(self, output, target):
        if os.environ.get("TEST_KILLED") and self.training and calls.pop() == 16:
            os.kill(os.getpid(), 9)
        return super().forward(output, target)

calls = list(range(40, 0, -1))
made = recipe

def recipe():
    import dataclasses
    return dataclasses.replace(made(), loss=Killed(), validation=None, best_metric=None)
"""
)


def test_a_step_is_gone_to_in_another_process_by_the_checkpoints_that_a_run_has_left(tmp_path: Path) -> None:
    file, folder = tmp_path / "resumable.py", tmp_path / "kept"
    file.write_text(RESUMABLE)
    saving = gradscope("run", file, "--steps", 9, "--jsonl", tmp_path / "whole", "--timeline", folder)
    assert saving.returncode == 0, saving.stderr
    assert (folder / "step-0.pt").is_file() and (folder / "step-9.pt").is_file()
    for step in (4, 5, 6):
        (folder / f"step-{step}.pt").unlink(missing_ok=True)
    whole = [strict(line) for line in (tmp_path / "whole").read_text().splitlines()]
    done = gradscope("run", file, "--load", folder, "--go-to", 6, "--steps", 2, "--jsonl", tmp_path / "rest")
    assert done.returncode == 0, done.stderr
    came = r"before step 6, the state is (\w+) \(the same as then; from the checkpoint of step [0-3]\)"
    said = re.search(came, done.stdout)
    assert said is not None, done.stdout
    rest = [strict(line) for line in (tmp_path / "rest").read_text().splitlines()]
    rest[0].pop("run")
    assert rest == [line for line in whole if line["step"] in (6, 7)]
    # From the beginning it comes to the same state.
    straight = gradscope("run", file, "--go-to", 6, "--steps", 1)
    assert f"the state is {said[1]}\n" in straight.stdout, straight.stdout


def test_a_run_goes_on_from_the_newest_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "resumable.py", tmp_path / "kept"
    file.write_text(RESUMABLE)
    assert in_process(capsys, "run", file, "--steps", 4, "--quiet", "--timeline", folder).returncode == 0
    done = in_process(capsys, "run", file, "--load", folder, "--steps", 2, "--timeline", tmp_path / "more")
    assert done.returncode == 0, done.stderr
    assert (
        "before step 4, the state is" in done.stdout
        and "the same as then; from the checkpoint of step 4" in done.stdout
    )
    assert (tmp_path / "more" / "step-6.pt").is_file()


def test_a_checkpoint_file_says_the_same_of_the_state_as_a_straight_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although the gradients of the newest step, which the next one clears, are in no file."""
    file = tmp_path / "resumable.py"
    file.write_text(RESUMABLE)
    saving = ("--steps", 4, "--quiet", "--save-checkpoint", tmp_path / "c.pt")
    assert in_process(capsys, "run", file, *saving).returncode == 0
    states = set()
    for loading in ((), ("--load-checkpoint", tmp_path / "c.pt")):
        for step in (4, 6):
            done = in_process(capsys, "run", file, "--go-to", step, "--steps", 1, *loading)
            states.update(re.findall(r"before step \d, the state is \w+", done.stdout))
    assert len(states) == 2, states


def test_a_recipe_that_was_edited_goes_on_from_a_past_step_where_its_model_is_of_the_same_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The old history stays in its folder; what is not as it was then is said."""
    file, folder = tmp_path / "large.py", tmp_path / "kept"
    file.write_text(LARGE)
    assert in_process(capsys, "run", file, "--steps", 4, "--quiet", "--timeline", folder).returncode == 0
    there = sorted(folder.iterdir())
    file.write_text(LARGE.replace("nn.Tanh()", "nn.ReLU()"))
    done = in_process(capsys, "run", file, "--load", folder, "--go-to", 2, "--steps", 2, "--timeline", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "note: The recipe is another one, or was changed since" in done.stderr
    # On a slow machine not every step has a checkpoint.
    assert re.search(r"\(not the same as then; from the checkpoint of step [012]\)", done.stdout), done.stdout
    assert sorted(folder.iterdir()) == there and (tmp_path / "new" / "step-4.pt").is_file()
    file.write_text(LARGE.replace("200", "100"))
    done = in_process(capsys, "run", file, "--load", folder, "--go-to", 2, "--steps", 2)
    misfit = re.search(r"step-[012]\.pt does not fit: 4 names are of another shape", done.stderr)
    assert done.returncode == 2 and misfit is not None, done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_leaves_whole_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, folder = tmp_path / "killed.py", tmp_path / "kept"
    file.write_text(KILLED)
    monkeypatch.setenv("TEST_KILLED", "1")
    killed = gradscope("run", file, "--steps", 12, "--timeline", folder)
    assert killed.returncode not in (0, 1, 2, 3), killed.stderr
    monkeypatch.delenv("TEST_KILLED")
    done = gradscope("run", file, "--load", folder, "--go-to", 7, "--steps", 3)
    assert done.returncode == 0, done.stderr
    assert "the same as then" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_ends_the_timeline_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text(LARGE)
    script = f"""
        import resource, signal, sys
        sys.path.insert(0, {str(ROOT)!r})
        from gradscope import cli
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        print(cli.main(["run", "large.py", "--steps", "3", "--timeline", "kept"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=patient(120),
    )
    assert "File too large; 1 checkpoint, of step 0, stays there, and the training goes on without it" in done.stderr
    assert "3 steps, loss" in done.stdout and done.stdout.endswith("2\n"), done.stdout
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["step-0.pt", "steps.jsonl"]
    there = gradscope("run", tmp_path / "large.py", "--load", tmp_path / "kept", "--go-to", 1, "--steps", 1)
    assert "the same as then" in there.stdout, there.stdout + there.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--timeline", "."), "--timeline: {} is not empty; expected a new or an empty folder"),
        (("--timeline", "a/b"), "--timeline: {}/a does not exist"),
        (("--timeline-mb", 5), "--timeline-mb is 5; expected --timeline DIR with it"),
        (("--timeline", "new", "--timeline-mb", 0), "--timeline-mb is 0; expected a whole number from 1"),
        (("--load", "empty"), "{}/empty is a folder; expected a checkpoint file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    options: tuple[str | int, ...],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "large.py").write_text(LARGE)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    done = in_process(capsys, "run", "large.py", "--steps", 1, *map(str, options))
    assert done.returncode == 2 and sentence.format(tmp_path) in done.stderr, done.stderr


def test_a_start_that_fails_leaves_the_folder_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the same command works once its cause is mended."""
    (tmp_path / "large.py").write_text(LARGE.replace("torch.zeros(8", "torch.full((8,), 900"))
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    for folder in ("new", "there"):
        done = in_process(capsys, "run", "large.py", "--steps", 2, "--quiet", "--timeline", folder)
        assert done.returncode not in (0, None), done.stderr
    assert not (tmp_path / "new").exists() and not any((tmp_path / "there").iterdir())
    done = in_process(capsys, "run", "large.py", "--steps", 2, "--timeline", "new", "--jsonl", "no/where")
    assert done.returncode == 2 and not (tmp_path / "new").exists()
    (tmp_path / "large.py").write_text(LARGE)
    for folder in ("new", "there"):
        done = in_process(capsys, "run", "large.py", "--steps", 2, "--quiet", "--timeline", folder)
        assert done.returncode == 0 and (tmp_path / folder / "step-2.pt").is_file(), done.stderr


def test_a_script_has_no_timeline_of_this_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.py").write_text("import torch\n")
    done = in_process(capsys, "run", "--timeline", "new", tmp_path / "train.py")
    assert done.returncode == 2 and "--timeline: the state of a script is its own" in done.stderr
