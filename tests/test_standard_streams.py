"""What a shell sees of standard output and error that are closed, full, a pipe that nobody reads, or have few letters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import patient
from tests.torch_python import engine_python

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")

ROOT = Path(__file__).parents[1]
FULL = "gradscope: standard output cannot be written: No space left on device\n"
BROKEN = "gradscope: standard output cannot be written: Broken pipe\n"
RUN = "run linear_regression --steps 2"


def shell(command: str, *, python: str = sys.executable, **environ: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `gradscope ...` with the shell's redirections."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {python} -m gradscope.cli {command}"],
        cwd=ROOT,
        env={**environment, **environ},
        capture_output=True,
        text=True,
        timeout=patient(120),
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_output_that_is_full_or_broken_is_one_sentence(unbuffered: str) -> None:
    assert shell("samples >/dev/full", PYTHONUNBUFFERED=unbuffered) == (2, "", FULL)
    # Python waits until nobody reads the pipe.
    assert shell("samples 3>&1 | (exec <&-; sleep 3)", PYTHONUNBUFFERED=unbuffered) == (2, "", BROKEN)


@pytest.mark.parametrize("option", ["--version", "--help", "run --help"])
def test_what_argparse_prints_too(option: str) -> None:
    assert shell(f"{option} >/dev/full") == (2, "", FULL)


def test_closed_output_wants_nothing() -> None:
    assert shell("samples >&-") == (0, "", "")


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_an_error_that_nobody_hears_keeps_its_code(closed: str) -> None:
    assert shell(f"nowhere.py {closed}") == (2, "", "")
    assert shell(f"run --steps {closed}") == (2, "", "")


# --------------------------------------------------------------------------------------------------------------- runs


def test_a_run_whose_output_is_full(tmp_path: Path) -> None:
    shot = tmp_path / "shot.zip"
    code, _, told = shell(f"{RUN} --export {shot} >/dev/full", python=engine_python())
    assert code == 2 and told.lower() == FULL.lower() and shot.is_file(), "what was to be written is written"


@pytest.mark.parametrize(("output", "told"), [(">/dev/full", FULL), (">&-", "which is closed; expected one")])
def test_json_lines_that_standard_output_does_not_take(output: str, told: str) -> None:
    code, _, sentence = shell(f"{RUN} --jsonl - {output}", python=engine_python())
    assert code == 2 and told in sentence and sentence.count("\n") == 1


def test_json_lines_in_a_pipe_that_breaks(tmp_path: Path) -> None:
    code, _, told = shell("run linear_regression --steps 2000 --jsonl - | head -c 1", python=engine_python())
    assert code == 2 and "Broken pipe" in told and "Traceback" not in told and told.count("\n") == 1


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_notes_that_nobody_hears_do_not_stop_a_run(closed: str) -> None:
    """mixed_precision has something to say in its first step."""
    code, said, _ = shell(f"run mixed_precision --steps 2 {closed}", python=engine_python())
    assert code == 0 and said.startswith("Mixed precision: 2 steps, loss")


def test_closed_descriptors_are_not_given_to_files(tmp_path: Path) -> None:
    """Else what C code prints would end up between the JSON lines."""
    recipe, lines = tmp_path / "recipe.py", tmp_path / "lines.jsonl"
    recipe.write_text(PRINTING)
    streams = "<&- >&- 2>&-"
    assert shell(f"run {recipe} --steps 1 --jsonl {lines} {streams}", python=engine_python()) == (0, "", "")
    assert [line[:7] for line in lines.read_text().splitlines()] == 3 * ['{"step"']


PRINTING = """
import os
import torch
from gradscope import Recipe

def loss(output, target):
    for number in range(3):
        try:
            os.write(number, b"from below")
        except OSError:
            pass
    print("a word")
    return output.sum()

def recipe():
    model = torch.nn.Linear(2, 1)
    return Recipe(model=model, dataset=[(torch.ones(2), torch.ones(1))] * 2, loss=loss, batch_size=1,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_names_that_standard_output_has_no_letters_for(encoding: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.py"
    recipe.write_text(CYRILLIC, encoding="utf-8")
    python, environment = engine_python(), {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    code, said, told = shell(f"run {recipe} --steps 1", python=python, **environment)
    name = "модель" if encoding == "utf-8" else "модель".encode("ascii", "backslashreplace").decode()
    assert (code, said.partition(":")[0], told) == (0, name, "")
    code, said, told = shell(f"run {recipe} --steps 1 --jsonl -", python=python, **environment)
    assert (code, told) == (0, "") and said.isascii() == (encoding != "utf-8")
    names = {subject["name"] for line in said.splitlines() for subject in json.loads(line)["subjects"]}
    assert "слой🙂.weight" in names


CYRILLIC = """
import torch
from gradscope import Recipe

def recipe():
    model = torch.nn.Sequential()
    model.add_module("слой🙂", torch.nn.Linear(2, 1))
    return Recipe(model=model, dataset=[(torch.ones(2), torch.ones(1))] * 2, loss=torch.nn.MSELoss(), batch_size=1,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1), name="модель")
"""
