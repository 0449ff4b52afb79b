"""`gradscope run` and what it writes: refused before the first step where that can be known, and none lost with another."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.test_cli_run import in_process


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
