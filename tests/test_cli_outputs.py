"""`gradscope run` and what it writes: refused before the first step where that can be known, and none lost with another."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.patience import patient
from tests.test_cli_run import ROOT, in_process


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names")
@pytest.mark.parametrize("flag", ["--save-checkpoint", "--export", "--tensorboard"])
def test_what_is_no_regular_file_is_left_alone(flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe, lines = tmp_path / "pipe", tmp_path / "lines"
    os.mkfifo(pipe)
    done = in_process(capsys, "run", "linear_regression", "--steps", "2", flag, pipe, "--jsonl", lines)
    assert done.returncode == 2 and done.stdout == ""
    assert str(pipe) in done.stderr and len(done.stderr.splitlines()) == 1
    assert pipe.is_fifo()
    assert not lines.exists() or lines.read_text() == "", "before the first step"


def test_optimizers_taking_turns_need_whole_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, lines = tmp_path / "c.pt", tmp_path / "lines"
    done = in_process(capsys, "run", "gan", "--steps", "3", "--save-checkpoint", checkpoint, "--jsonl", lines)
    assert done.returncode == 2 and not checkpoint.exists() and not lines.exists()
    assert "--steps is 3; expected a multiple of 2" in done.stderr and "discriminator, generator" in done.stderr
    done = in_process(capsys, "run", "gan", "--steps", "2", "--save-checkpoint", checkpoint, "--quiet")
    assert done.returncode == 0 and checkpoint.exists()
    done = in_process(capsys, "run", "gan", "--steps", "1", "--export", tmp_path / "s", "--quiet")
    assert done.returncode == 0 and (tmp_path / "s").exists()


def test_an_output_that_fails_takes_no_other_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gradscope.engine.checkpoints.file.torch.save", full)
    outputs = ("--save-checkpoint", tmp_path / "c.pt", "--export", tmp_path / "s.zip")
    done = in_process(capsys, "run", "linear_regression", "--steps", "1", *outputs)
    assert done.returncode == 2 and "No space left on device" in done.stderr
    assert f"Snapshot written to {tmp_path / 's.zip'}" in done.stdout and not (tmp_path / "c.pt").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupted_run_says_what_was_not_written(tmp_path: Path) -> None:
    checkpoint, lines = tmp_path / "c.pt", tmp_path / "lines"
    options = ["--steps", "1000000", "--quiet", "--save-checkpoint", str(checkpoint), "--jsonl", str(lines)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gradscope.cli", "run", "linear_regression", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + patient(60)
    while not (lines.exists() and lines.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=patient(60))
    assert process.returncode == 130 and not checkpoint.exists()
    assert f"nothing was written to {checkpoint}: that is done after the last step" in told
    assert re.search(r"has ended after [1-9]\d* of 1000000", told) and "interrupted" in told
