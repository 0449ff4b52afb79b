"""`gradscope compare` as a command: its exit codes, its outputs, and that it needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gradscope.cli import main
from tests.comparing.runs import run, write_recipe
from tests.snapshots.page import parse


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run(write_recipe(folder, "one"), steps=2, export="one.zip")
    run(write_recipe(folder, "other", lr=0.3), steps=2)
    return folder


def compared(capsys: pytest.CaptureFixture[str], *given: object) -> tuple[int, str, str]:
    code = main(["compare", *map(str, given)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_same_is_0(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, err = compared(capsys, folder / "one.jsonl", folder / "one.zip")
    assert (code, err) == (0, "")
    assert "All numbers that both runs have are equal to the last digit" in out
    assert "2 steps were compared: steps 0 to 1" in out


def test_a_difference_is_1_and_is_named(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, err = compared(capsys, folder / "one.jsonl", folder / "other.jsonl")
    assert (code, err) == (1, "")
    assert "The runs part at step 0, optimizer step: learning rate: 0.1 and 0.3" in out
    assert "Equal to the last digit up to step 0, backward" in out
    assert "recipe: sha256" in out
    assert "first.weight (parameters)" in out


def test_quiet_says_it_by_the_exit_code(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert compared(capsys, folder / "one.jsonl", folder / "other.jsonl", "--quiet") == (1, "", "")


def test_within_the_tolerance_is_0(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, out, _ = compared(capsys, folder / "one.jsonl", folder / "other.jsonl", "--rtol", 10)
    assert code == 0 and "the same within 10" in out


def test_json(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    code, out, _ = compared(capsys, folder / "one.jsonl", folder / "other.jsonl", "--json", "-")
    told = json.loads(out)
    assert code == 1 and told["same"] is False
    assert told["divergence"]["stage"] == "step" and told["divergence"]["agrees"]["stage"] == "backward"
    assert told["steps"] == {"first": 0, "last": 1, "count": 2}
    assert {row["subject"]["kind"] for row in told["rows"] if row["subject"]} >= {"activation", "grad", "parameter"}
    compared(capsys, folder / "one.jsonl", folder / "one.zip", "--json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text("utf-8"))["divergence"] is None


def test_the_page_needs_nothing_else(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, out, _ = compared(capsys, folder / "one.jsonl", folder / "other.jsonl", "--html", page)
    text = page.read_text("utf-8")
    assert code == 1 and out.startswith("1: ")
    assert "<script" not in text and "http://" not in text
    html = parse(text)
    assert "The runs part at step 0" in html.text and "first.weight (parameters)" in html.text
    assert [heading.text for heading in html.all("h2")] == ["What differs", "Rows"]
    compared(capsys, folder / "one.jsonl", folder / "one.zip", "--html", page)
    assert "equal to the last digit" in parse(page.read_text("utf-8")).text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("missing", "one.jsonl"), "missing does not exist; expected a snapshot"),
        ((".", "one.jsonl"), "is a folder without a manifest.json"),
        (("one.py", "one.jsonl"), "line 2 is no line of a run"),
        (("one.jsonl", "one.jsonl", "--rtol", "-1"), "The tolerance is -1.0; expected a number from 0"),
        (("one.jsonl", "one.jsonl", "--rtol", "nan"), "The tolerance is nan; expected a number from 0"),
        (("one.jsonl", "one.jsonl", "--json", "-", "--html", "-"), "expected one of them at most on standard output"),
        (("one.jsonl", "one.jsonl", "--html", "no/such/page.html"), "--html: no/such/page.html cannot be written"),
    ],
)
def test_bad_input_is_2_and_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    given: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    code, out, err = compared(capsys, *given)
    assert (code, out) == (2, "")
    assert err.startswith("gradscope: ") and said in err and len(err.splitlines()) == 1


def test_without_torch_and_qt(folder: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = sys.modules['PySide6'] = None\n"
        "from gradscope.cli import main\n"
        f"sys.exit(main(['compare', {str(folder / 'one.jsonl')!r}, {str(folder / 'one.zip')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
