"""`gradscope train.py ARGS...` as a shell sees it: which words are ours, and what the window is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope import cli, own_options, preflight
from gradscope.own_options import Command
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.ui import app

SCRIPT = "print('training')\n"
RECIPE = "def recipe(): ...\n"


def split(*given: str) -> Command:
    parser = argparse.ArgumentParser()
    options = [
        parser.add_argument("--seed", type=int),
        parser.add_argument("--capture"),
        parser.add_argument("--quiet", action="store_true"),
        parser.add_argument("--quick", action="store_true"),
        parser.add_argument("--version", action="version", version="1"),
    ]
    return own_options.split(given, options)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), Command(own=[])),
        (("--seed", "3"), Command(own=["--seed", "3"])),
        (("a.py",), Command(own=[], name="a.py")),
        (("a.py", "--seed", "3"), Command(own=[], name="a.py", rest=("--seed", "3"))),
        (("--seed", "3", "a.py", "x"), Command(own=["--seed", "3"], name="a.py", rest=("x",))),
        (("--seed=3", "a.py"), Command(own=["--seed=3"], name="a.py")),
        (("--se", "3", "a.py"), Command(own=["--se", "3"], name="a.py")),
        (("--quiet", "a.py"), Command(own=["--quiet"], name="a.py")),
        (("--qui", "a.py"), Command(own=["--qui"], name="a.py")),
        (("--version", "a.py"), Command(own=["--version"], name="a.py")),
        (("--unknown", "a.py"), Command(own=["--unknown"], name="a.py")),
        (("-h", "a.py"), Command(own=["-h"], name="a.py")),
        (("--", "--odd.py", "--", "x"), Command(own=[], name="--odd.py", rest=("--", "x"))),
        (("--",), Command(own=[])),
        (("-", "x"), Command(own=[], name="-", rest=("x",))),
        (("-m", "pkg.train", "-m", "x"), Command(own=[], name="pkg.train", is_module=True, rest=("-m", "x"))),
        (("-mpkg.train",), Command(own=[], name="pkg.train", is_module=True)),
        (("--seed", "3", "-m", "a"), Command(own=["--seed", "3"], name="a", is_module=True)),
        (("-m",), Command(own=[], name="", is_module=True)),
        (("a.py", "-m", "b"), Command(own=[], name="a.py", rest=("-m", "b"))),
        (("--seed",), Command(own=["--seed"])),
        (("", "x"), Command(own=[], name="", rest=("x",))),
    ],
)
def test_a_command_line_is_split_at_the_file(given: tuple[str, ...], expected: Command) -> None:
    assert split(*given) == expected


Opened = Callable[..., app.Options]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """What the window is asked for by a command line, in a folder with a script, a recipe and a notebook."""
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "book.ipynb").write_text("{}")
    (tmp_path / "noted").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preflight, "problem", lambda: None)
    asked: list[app.Options] = []

    def run(options: app.Options) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(app, "run", run)

    def open_with(*given: str) -> app.Options:
        assert cli.main(list(given)) == 0
        return asked.pop()

    return open_with


def test_everything_behind_a_script_is_the_script_s(opened: Opened, tmp_path: Path) -> None:
    options = opened("--capture", "norms", "train.py", "--capture", "x", "--seed", "1", "--help", "-m", "--", "a b", "")
    assert options == app.Options(
        script=Script(
            kind=ScriptKind.FILE,
            name="train.py",
            arguments=("--capture", "x", "--seed", "1", "--help", "-m", "--", "a b", ""),
            folder=str(tmp_path),
        ),
        capture="norms",
    )
    assert opened("--python", sys.executable, "./train.py").script == Script(
        kind=ScriptKind.FILE, name="train.py", folder=str(tmp_path)
    )
    assert opened("noted", "x").script is not None


def test_a_module_and_a_notebook(opened: Opened, tmp_path: Path) -> None:
    assert opened("-m", "pkg.train", "--lr", "0.1").script == Script(
        kind=ScriptKind.MODULE, name="pkg.train", arguments=("--lr", "0.1"), folder=str(tmp_path)
    )
    assert opened("--capture", "layers:head", "book.ipynb", "x").script == Script(
        kind=ScriptKind.NOTEBOOK, name="book.ipynb", arguments=("x",), folder=str(tmp_path)
    )


def test_options_may_follow_what_is_no_script(opened: Opened, tmp_path: Path) -> None:
    recipe = str(tmp_path / "recipe.py")
    assert opened("recipe.py", "--seed", "3", "--device", "cuda:0") == app.Options(file=recipe, seed=3, device="cuda:0")
    assert opened("--seed", "3", "recipe.py", "--capture", "off") == app.Options(file=recipe, seed=3, capture="off")
    sample = opened("digits_mlp", "--seed", "4")
    assert sample.script is None and Path(sample.file or "").stem == "digits_mlp" and sample.seed == 4
    assert opened(str(tmp_path), "--capture", "off").file == str(tmp_path), "a folder is a snapshot"
    assert opened() == app.Options()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--seed", "3", "train.py"), "--seed: The script sets its own seed"),
        (("--device", "cpu", "-m", "pkg"), "--device: The script chooses its own device"),
        (("--seed", "3", "book.ipynb"), "The script sets its own seed"),
        (("-m",), "-m: expected the name of a module"),
        (("trian.py", "--lr", "0.1"), "trian.py is neither a file nor a sample; expected a training script"),
        (("--python", "/nowhere/python", "train.py"), "--python: /nowhere/python does not exist"),
        (("--capture", "half", "train.py"), "'half' is no capture level"),
        (("--capture", "layers:a"), "expected its recipe or script on the command line"),
        (("--unknown", "train.py"), "unrecognized arguments: --unknown"),
        (("recipe.py", "--lr", "0.1"), "unrecognized arguments: --lr 0.1"),
        (("train.py", "x" * 10_001), "Argument 1 has 10001 characters"),
    ],
)
def test_what_is_refused(
    opened: Opened, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], sentence: str
) -> None:
    assert cli.main(list(given)) == 2
    told = capsys.readouterr()
    assert sentence in told.err and "Traceback" not in told.err and told.out == ""


@pytest.mark.parametrize("given", [("--help",), ("--help", "train.py"), ("nowhere.py", "--help"), ("recipe.py", "-h")])
def test_help(opened: Opened, capsys: pytest.CaptureFixture[str], given: tuple[str, ...]) -> None:
    assert cli.main(list(given)) == 0
    assert "SCRIPT.py ARGS..." in capsys.readouterr().out


def test_a_folder_that_is_gone(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert cli.main([str(tmp_path / "train.py")]) == 2
