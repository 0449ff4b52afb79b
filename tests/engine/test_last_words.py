"""Whatever the user's code has replaced, the engine can still say why it ends."""

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import gradscope
from gradscope.engine.__main__ import EXIT_UNFIT
from gradscope.engine.serving import guard
from gradscope.engine.serving.last_words import EXIT_APP_GONE
from gradscope.protocol.last_place import LastPlace
from tests.patience import patient

PREPARE = """
import builtins, os, sys
from gradscope.engine.serving.last_words import LastWords
from gradscope.protocol.last_place import LastPlace
words = LastWords(LastPlace(sys.argv[1]))
error = ValueError("no cheese")
"""


@pytest.mark.parametrize(
    "breakage",
    [
        "pass",
        "builtins.print = builtins.type = builtins.str = builtins.len = builtins.isinstance = None",
        "os.write = os._exit = None; sys.stderr = sys.stdout = None",
        "sys.modules.clear()",
        "os.closerange(0, 1000)",
        "ValueError = None",
    ],
)
def test_words_come_through(breakage: str) -> None:
    place = LastPlace.made()
    assert place is not None
    script = f"{PREPARE}\n{breakage}\nwords.end('it cannot go on', error)"
    done = subprocess.run(
        [sys.executable, "-c", script, place.path], capture_output=True, text=True, timeout=patient(60)
    )
    assert done.returncode == EXIT_APP_GONE
    assert place.words() == "it cannot go on: ValueError: no cheese"
    if "closerange" not in breakage:
        assert done.stderr == "gradscope engine: it cannot go on: ValueError: no cheese\n"
    place.close()


def test_the_end_comes_also_where_nothing_can_be_said() -> None:
    script = f"{PREPARE}\nclass Bad(Exception):\n def __str__(self): raise OSError\nwords.end('it ends', Bad())"
    place = LastPlace.made()
    assert place is not None
    done = subprocess.run(
        [sys.executable, "-c", script, place.path], capture_output=True, text=True, timeout=patient(60)
    )
    assert done.returncode == EXIT_APP_GONE
    assert place.words() == "it ends: an error that cannot be told"
    place.close()


def test_the_guard_is_forked_before_numpy() -> None:
    """Its memory stays beside the engine's, and numpy may be what is missing."""
    script = (
        "import sys, gradscope.engine.serving.guard, gradscope.engine.serving.last_words; print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=patient(60))
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_that_numpy_is_missing_is_one_sentence(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    script = Path(gradscope.__file__).parent / "engine" / "__main__.py"
    done = subprocess.run([python, script], capture_output=True, text=True, timeout=patient(60))
    assert done.returncode == EXIT_UNFIT
    sentence = f"numpy is missing in {python}; install it with: {python} -m pip install numpy torch safetensors"
    assert done.stderr == f"gradscope engine: {sentence}\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")
def test_an_engine_that_is_interrupted_before_it_has_begun_says_nothing(tmp_path: Path) -> None:
    """As the app does with one that it needs no more; on a slow machine it is at its imports for seconds."""
    (tmp_path / "numpy.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n")
    script = Path(gradscope.__file__).parent / "engine" / "__main__.py"
    wanted = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=wanted, capture_output=True, text=True, timeout=patient(60))
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.skipif(sys.platform != "linux", reason="the guard is Linux's")
def test_a_guard_to_which_ended_children_are_left_ignored() -> None:
    """It ends as the engine did, which finds the signal as it was."""
    script = """
import os, signal
from gradscope.engine.serving import guard
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
guard.begin(None)
os._exit(7 if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN else 8)
"""
    wanted = {**os.environ, guard.GUARD_VARIABLE: "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=wanted, capture_output=True, text=True, timeout=patient(60)
    )
    assert (done.returncode, done.stderr) == (7, "")
