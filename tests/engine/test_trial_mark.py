"""The mark of a trial that may take the process with it: it outlives such a process, and no other."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gradscope.engine.quantities.trial_mark import TriedInVain, marked


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_there_inside_only(folder: Path) -> None:
    for _ in range(2):
        with marked("NVIDIA Some/GPU torch.float32", lambda: False):
            (mark,) = folder.iterdir()
            assert mark.read_text() == str(os.getpid()) and "NVIDIA-Some-GPU-torch.float32" in mark.name
        assert not list(folder.iterdir())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_that_does_no_harm_takes_it_away(folder: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), marked("gpu", lambda: error is RuntimeError):
        raise error
    assert not list(folder.iterdir())


def test_after_a_harmful_error_nobody_tries_again(folder: Path) -> None:
    with pytest.raises(RuntimeError), marked("gpu", lambda: False):
        raise RuntimeError
    (mark,) = folder.iterdir()
    with pytest.raises(TriedInVain, match=str(mark)), marked("gpu", lambda: True):
        pytest.fail("it was tried again")
    with marked("another gpu", lambda: True):
        pass
    mark.unlink()
    with marked("gpu", lambda: True):
        pass


def test_after_a_death_nobody_tries_again(folder: Path) -> None:
    code = (
        "import os\n"
        "from gradscope.engine.quantities.trial_mark import marked\n"
        "with marked('gpu', lambda: True): os._exit(11)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(folder)}, check=False)
    assert done.returncode == 11
    with pytest.raises(TriedInVain), marked("gpu", lambda: True):
        pytest.fail("it was tried again")


def test_a_trial_of_another_process_is_none_of_ours(folder: Path) -> None:
    with marked("gpu", lambda: True):
        (mark,) = folder.iterdir()
        mark.write_text(str(os.getppid()))
        with marked("gpu", lambda: True):
            pass
        assert mark.exists()


def test_without_room_for_a_mark_it_is_tried_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with marked("gpu", lambda: True):
        pass
