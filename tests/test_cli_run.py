"""`gradscope run` and its neighbours as a shell sees them: exit codes, JSON lines, sentences, and what is imported."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gradscope import __version__, cli
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.reader import open_snapshot
from tests.patience import patient

ROOT = Path(__file__).parents[1]
TOP = ["step", "phase", "epoch", "batch", "micro", "loss", "lr", "subjects"]
SUBJECT = [
    "kind",
    "name",
    "call",
    "leaf",
    "shape",
    "dtype",
    "count",
    "nan",
    "inf",
    "zero",
    "min",
    "max",
    "mean",
    "std",
    "l2",
]
KINDS = {
    "forward": {"activation", "buffer"},
    "backward": {"activation_grad", "grad", "buffer"},
    "step": {"parameter", "update", "optimizer_state", "buffer"},
}

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

def loss(output, target):
    {loss}

def recipe():
    print("a word of the user's")
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    data = torch.utils.data.TensorDataset(torch.randn(8, 2), torch.zeros(8, dtype=torch.long))
    return Recipe(model=model, dataset=data, loss=loss, optimizer=torch.optim.SGD(model.parameters(), 0.1), batch_size=4)
"""
GOOD = "return nn.functional.cross_entropy(output, target)"


def gradscope(*arguments: str | int | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "gradscope.cli", *map(str, arguments)],
        cwd=cwd or "/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(120),
    )


def in_process(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Faster: torch is imported only once."""
    given = [str(argument) for argument in arguments]
    try:
        code = cli.main(given)
    except SystemExit as left:
        code = int(left.code or 0)
    told = capsys.readouterr()
    return subprocess.CompletedProcess(given, code, told.out, told.err)


@pytest.fixture(autouse=True)
def _imports_as_they_were() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("gradscope_recipe_"):
            del sys.modules[name]


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Path]:
    def write(loss: str = GOOD) -> Path:
        file = tmp_path / "recipe.py"
        file.write_text(RECIPE.format(loss=loss), encoding="utf-8")
        return file

    return write


def strict(text: str) -> Any:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=no_constant)


def check_line(line: dict[str, Any], *, extra: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    assert list(line)[: len(TOP)] == TOP
    of_forward = {"data", "run"} if line["phase"] == "forward" else set()
    assert set(line) - set(TOP) <= {"not_seen", *of_forward, *extra}
    assert all(type(line[name]) is int for name in ("step", "epoch", "batch"))
    assert line["loss"] is None or type(line["loss"]) is float
    assert all(type(rate) is float for rate in line["lr"])
    for subject in line["subjects"]:
        assert list(subject)[: len(SUBJECT)] == SUBJECT and set(subject) - set(SUBJECT) <= {"note"}
        assert subject["kind"] in KINDS[line["phase"]]
        assert type(subject["name"]) is str and type(subject["leaf"]) is str and type(subject["call"]) is int
        assert subject["count"] == math.prod(subject["shape"])
        assert all(type(subject[name]) is int for name in ("count", "nan", "inf", "zero"))
        assert all(
            subject[name] is None or type(subject[name]) is float for name in ("min", "max", "mean", "std", "l2")
        )


def test_json_lines_and_export(tmp_path: Path) -> None:
    done = gradscope(
        "run", "digits_cnn", "--steps", 2, "--seed", 5, "--jsonl", "out.jsonl", "--export", "shot.zip", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Snapshot written to" in done.stdout and "Digits, a CNN: 2 steps, loss" in done.stdout
    lines = [strict(text) for text in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [(line["step"], line["phase"]) for line in lines] == [(s, p) for s in (0, 1) for p in KINDS]
    for line in lines:
        check_line(line)
        assert {subject["kind"] for subject in line["subjects"]} == KINDS[line["phase"]] - (
            {"buffer"} if line["phase"] != "forward" else set()
        )
    assert lines[0]["subjects"][0]["name"] == "conv1" and lines[0]["subjects"][0]["shape"] == [32, 16, 28, 28]
    shot = open_snapshot(tmp_path / "shot.zip")
    assert (shot.environment.seed, shot.manifest["loss"], shot.position.step) == (5, lines[-1]["loss"], 2)
    assert shot.steps.loss.tolist() == [line["loss"] for line in lines if line["phase"] == "step"]
    assert shot.values(SubjectKey(SubjectKind.ACTIVATION, "conv1")).shape == (32, 16, 28, 28)
    assert f"{(tmp_path / 'shot.zip').stat().st_size} bytes" in done.stdout


WHOLE_STEP = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Linear(2, 3)
    data = torch.utils.data.TensorDataset(torch.randn(10, 2), torch.zeros(10, dtype=torch.long))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), optimizer=optimizer, batch_size=2, accumulate=3,
                  clip_norm=0.01, precision="fp16", validation=data,
                  scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3),
                  metrics={"accuracy": lambda output, target: (output.argmax(1) == target).float().mean()})
"""


def test_json_lines_of_the_whole_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "whole.py", tmp_path / "out.jsonl"
    file.write_text(WHOLE_STEP, encoding="utf-8")
    done = in_process(capsys, "run", file, "--steps", 2, "--jsonl", out)
    assert done.returncode == 0, done.stderr
    lines = [strict(text) for text in out.read_text().splitlines()]
    places = [(line["step"], line["phase"], line.get("micro")) for line in lines]
    window = [(0, phase, micro) for micro in range(3) for phase in ("forward", "backward")]
    assert places == [
        *window,
        (0, "step", 2),
        *[(1, phase, micro) for micro in range(2) for phase in ("forward", "backward")],
        (1, "step", 1),
        (1, "validation", None),
    ]
    for line in lines[:-1]:
        assert ("clip" in line) == ("skipped" in line) == (line["phase"] == "step")
        assert ("scale" in line) == (line["phase"] != "forward")
    step = lines[6]
    assert set(step["clip"]) == {"norm", "coefficient"} and step["clip"]["coefficient"] < 1
    assert step["clip"]["norm"] * step["clip"]["coefficient"] == pytest.approx(0.01, rel=1e-3)
    assert step["scale"] == 65536.0 and step["skipped"] is False
    assert step["loss"] == pytest.approx(sum(lines[i]["loss"] for i in (0, 2, 4)) / 3)
    assert {subject["kind"] for subject in step["subjects"]} == {*KINDS["step"], "clipped_grad"} - {"buffer"}
    assert lines[-1]["loss"] > 0 and 0 <= lines[-1]["metrics"]["accuracy"] <= 1
    assert "OneCycleLR ends" not in done.stderr

    done = in_process(capsys, "run", file, "--steps", 4)
    assert "OneCycleLR ends after step 2: it was made for 3 steps, and 4 are asked for" in done.stderr
    assert done.returncode == 1 and "schedule of step 3 failed" in done.stderr


def test_notes_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "manual.py"
    file.write_text(WHOLE_STEP.replace("accumulate=3", 'zero_grad="manual"'), encoding="utf-8")
    done = in_process(capsys, "run", file, "--steps", 3)
    assert done.stderr.count("zero_grad was not called in between") == 1
    assert "step 1: This backward adds to gradients of an earlier step" in done.stderr


def test_json_lines_on_standard_output_stand_alone(recipe: Callable[..., Path]) -> None:
    done = gradscope("run", recipe(), "--steps", 1, "--jsonl", "-", "--quiet")
    assert done.returncode == 0, done.stderr
    lines = [text for text in done.stdout.splitlines() if text.startswith("{")]
    assert [strict(text)["phase"] for text in lines] == list(KINDS)
    assert done.stdout.splitlines() == lines


EVIL = "\x1b[2J\x9b31m\u202egnp\n\x00"
EVIL_RECIPE = f"""
import torch
from torch import nn
from gradscope import Recipe

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("layer" + {EVIL!r}, nn.Linear(2, 3))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3:
            raise ValueError("no more" + {EVIL!r})
        return getattr(self, "layer" + {EVIL!r})(x)

def recipe():
    data = torch.utils.data.TensorDataset(torch.randn(8, 2), torch.zeros(8, dtype=torch.long))
    model = Net()
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), name="recipe" + {EVIL!r}, batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), 0.1))
"""


@pytest.mark.parametrize(("steps", "code"), [(2, 0), (3, 1)])
def test_no_name_drives_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: int, code: int) -> None:
    file = tmp_path / "evil.py"
    file.write_text(EVIL_RECIPE, encoding="utf-8")
    out = tmp_path / "out.jsonl"
    told = in_process(capsys, "run", file, "--steps", steps, "--jsonl", out)
    lines = in_process(capsys, "run", file, "--steps", steps, "--jsonl", "-")
    assert told.returncode == lines.returncode == code
    for text in (told.stdout, told.stderr, lines.stdout, lines.stderr, out.read_text(encoding="utf-8")):
        assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text) is None
    if code == 0:
        assert told.stdout.startswith(r"recipe\x1b[2J\x9b31m\u202egnp\n\x00: 2 steps")
    else:
        assert r"no more\x1b[2J\x9b31m\u202egnp" in lines.stderr
    # Machines read the true names.
    names = {subject["name"] for line in lines.stdout.splitlines() for subject in strict(line)["subjects"]}
    assert "layer" + EVIL in names


def test_quiet_says_nothing(recipe: Callable[..., Path]) -> None:
    done = gradscope("run", recipe(), "--steps", 1, "--quiet")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "a word of the user's", "")


def test_what_is_undefined_is_null(
    recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    body = "return (output * float('nan')).sum()"
    done = in_process(capsys, "run", recipe(body), "--steps", 2, "--jsonl", out, "--quiet", "--keep-going")
    assert done.returncode == 0, done.stderr
    lines = [strict(text) for text in out.read_text().splitlines()]
    for line in lines:
        check_line(line, extra={"loss_text", "notes", "first_nonfinite"})
        assert line["loss"] is None and line["loss_text"] == "nan"
    gradient = next(s for s in lines[1]["subjects"] if s["kind"] == "grad")
    assert gradient["nan"] == gradient["count"] and gradient["min"] is gradient["l2"] is None


def test_an_infinite_norm_is_null_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "huge.py"
    file.write_text(
        "import torch\nfrom gradscope import Recipe\n"
        "def recipe():\n"
        "    w = torch.full((4,), 1.5e308, dtype=torch.float64, requires_grad=True)\n"
        "    return Recipe(model={'w': w}, dataset=[torch.zeros(1)] * 2, batch_size=1,\n"
        "                  optimizer=torch.optim.SGD([w], 1e-3), training_step=lambda m, b: (m['w'] * 1e-308).sum())\n"
    )
    done = in_process(capsys, "run", file, "--steps", 1, "--jsonl", "-", "--quiet")
    assert done.returncode == 0, done.stderr
    *_, step = (strict(text) for text in done.stdout.splitlines())
    assert step["subjects"][0]["max"] == 1.5e308 and step["subjects"][0]["l2"] is None


def test_failing_user_code_is_1(recipe: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = gradscope("run", recipe("raise ValueError('no loss today')"), "--steps", 3, "--jsonl", out)
    assert done.returncode == 1
    assert "gradscope: The loss of step 0 failed: ValueError: no loss today (recipe.py, line 7)" in done.stderr
    assert "site-packages" not in done.stderr and "gradscope/engine" not in done.stderr
    (line,) = map(strict, out.read_text().splitlines())
    check_line(line, extra={"failed"})
    assert line["failed"] is True and line["loss"] is None and line["subjects"]


RESUMABLE = """
import random
import torch
from torch import nn
from gradscope import Recipe

class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 14

    def __getitem__(self, i):
        return torch.randn(6) + random.random(), torch.tensor(i % 3)

def recipe():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12)
    data = torch.utils.data.TensorDataset(torch.randn(5, 6), torch.zeros(5, dtype=torch.long))
    return Recipe(model=model, dataset=Noisy(), loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=scheduler,
                  batch_size=2, accumulate=2, clip_norm=0.5, precision="fp16", validation=data, best_metric="loss")
"""


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10 steps, or 4, a checkpoint, and 6: the same lines, the same checkpoint in the end."""
    file = tmp_path / "resumable.py"
    file.write_text(RESUMABLE)
    whole, first, rest = (tmp_path / f"{name}.jsonl" for name in ("whole", "first", "rest"))
    for options in (
        ("--steps", 10, "--jsonl", whole, "--save-checkpoint", tmp_path / "whole.pt"),
        ("--steps", 4, "--jsonl", first, "--save-checkpoint", tmp_path / "c.pt"),
        ("--steps", 6, "--jsonl", rest, "--load-checkpoint", tmp_path / "c.pt", "--save-checkpoint", tmp_path / "c.pt"),
    ):
        done = in_process(capsys, "run", file, *options)
        assert done.returncode == 0, done.stderr
        assert "Checkpoint written to" in done.stdout
    lines = [[strict(line) for line in path.read_text().splitlines()] for path in (first, rest, whole)]
    told = [own[0].pop("run") for own in lines]
    assert [run["step"] for run in told] == [0, 4, 0] and told[1]["checkpoint"] == str(tmp_path / "c.pt")
    assert lines[0] + lines[1] == lines[2]
    assert lines[1][0]["step"] == 4
    one, other = (torch.load(tmp_path / name, weights_only=True) for name in ("whole.pt", "c.pt"))
    assert list(one["gradscope"]["loader"]) and flat(one) == flat(other)


def flat(value: Any, where: str = "") -> list[tuple[str, Any]]:
    """(place, type and text) of everything in nested lists and dicts; of tensors the bytes."""
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in flat(item, f"{where}.{key}")]
    if isinstance(value, (list, tuple)):
        return [pair for i, item in enumerate(value) for pair in flat(item, f"{where}[{i}]")]
    return [(where, value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value))]


def test_a_checkpoint_of_another_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "resumable.py"
    file.write_text(RESUMABLE)
    saving = ("--steps", 1, "--quiet", "--save-checkpoint", tmp_path / "c.pt")
    assert in_process(capsys, "run", file, *saving).returncode == 0
    done = in_process(capsys, "run", file, "--steps", 1, "--seed", 3, "--load-checkpoint", tmp_path / "c.pt")
    assert done.returncode == 0
    assert "note: It was saved with the seed 0, and the seed is 3 now" in done.stderr


def test_a_checkpoint_of_another_recipe(
    recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "resumable.py"
    file.write_text(RESUMABLE)
    saving = ("--steps", 1, "--quiet", "--save-checkpoint", tmp_path / "c.pt")
    assert in_process(capsys, "run", file, *saving).returncode == 0
    done = in_process(capsys, "run", recipe(), "--steps", 1, "--load-checkpoint", tmp_path / "c.pt")
    assert done.returncode == 2
    assert "does not fit: " in done.stderr and "Wrong shape:\n  0.weight: (8, 6) in the file, (3, 2)" in done.stderr
    assert "optimizer: the file has a AdamW, and the session has a SGD" in done.stderr


BAD_INPUT = {
    "unknown name": (["run", "digits_mpl", "--steps", "1"], "digits_mpl is neither a file nor a sample"),
    "no steps": (["run", "digits_mlp", "--steps", "0"], "--steps is 0; expected a whole number from 1"),
    "steps missing": (["run", "digits_mlp"], "--steps"),
    "steps as text": (["run", "digits_mlp", "--steps", "many"], "many"),
    "device": (
        ["run", "linear_regression", "--steps", "1", "--device", "gpu"],
        "The device is 'gpu'; this machine has cpu",
    ),
    "seed": (["run", "digits_mlp", "--steps", "1", "--seed", "-1"], "'-1' is no seed"),
    "folder": (["run", "/tmp", "--steps", "1"], "is a folder"),
    "jsonl": (
        ["run", "linear_regression", "--steps", "1", "--jsonl", "/nowhere/x"],
        "--jsonl: /nowhere/x cannot be written",
    ),
    "export": (["run", "linear_regression", "--steps", "1", "--export", "/tmp"], "--export: /tmp exists already"),
    "checkpoint to load": (
        ["run", "linear_regression", "--steps", "1", "--load-checkpoint", "/nowhere/c.pt"],
        "/nowhere/c.pt cannot be read: No such file or directory",
    ),
    "checkpoint to save": (
        ["run", "linear_regression", "--steps", "1", "--save-checkpoint", "/nowhere/c.pt"],
        "--save-checkpoint: /nowhere does not exist; expected an existing folder",
    ),
    "unknown flag": (["run", "digits_mlp", "--steps", "1", "--fast"], "--fast"),
    "no file": (["no_such_file.py"], "neither a file nor a sample"),
    "python": (["--python", "/nowhere/python"], "--python: /nowhere/python does not exist"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, sentence = BAD_INPUT[name]
    done = in_process(capsys, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_broken_recipe_is_told_with_its_lines(
    recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    done = in_process(capsys, "run", recipe("return ("), "--steps", 1)
    assert done.returncode in (1, 2)
    assert "gradscope: recipe.py cannot be compiled: SyntaxError" in done.stderr
    assert "return (" in done.stderr


def test_a_file_called_like_a_command(recipe: Callable[..., Path]) -> None:
    file = recipe()
    file.rename(file.parent / "run.py")
    assert gradscope("run", "./run.py", "--steps", 1, "--quiet", cwd=file.parent).returncode == 0


def test_a_capture_level(capsys: pytest.CaptureFixture[str]) -> None:
    subjects = {}
    for level in ("full", "layers:hidden", "norms", "off"):
        done = in_process(capsys, "run", "digits_mlp", "--steps", 1, "--jsonl", "-", "--capture", level)
        assert done.returncode == 0, done.stderr
        lines = [strict(text) for text in done.stdout.splitlines()]
        subjects[level] = [subject for line in lines for subject in line["subjects"]]
        assert all(line["loss"] is not None and line["lr"] for line in lines)
    assert subjects["off"] == []
    assert subjects["layers:hidden"] and {s["name"] for s in subjects["layers:hidden"]} < {
        s["name"] for s in subjects["full"]
    }
    assert [s for s in subjects["full"] if s["name"] in ("hidden", "hidden.weight", "hidden.bias")] == subjects[
        "layers:hidden"
    ]
    for subject in subjects["norms"]:
        assert type(subject["l2"]) is float and subject["zero"] is subject["mean"] is None
    for level, what in (("half", "is no capture level"), ("layers:9", "has no layer '9'")):
        done = in_process(capsys, "run", "digits_mlp", "--steps", 1, "--capture", level)
        assert done.returncode == 2 and what in done.stderr and "Traceback" not in done.stderr


def test_samples_and_version() -> None:
    done = gradscope("samples")
    assert done.returncode == 0
    names = [line.split()[0] for line in done.stdout.splitlines() if line and not line.startswith("Open")]
    assert names[:3] == ["linear_regression", "scalar_graph", "digits_mlp"] and len(names) == 17
    summaries = r"(torch and numpy \(not built\)|C kernel(, AVX2|, AVX-512)?)"
    hooks = r"(Python \(.*\)|compiled taps)"
    version = gradscope("--version").stdout.strip()
    blocks = r"large blocks of memory: (kept for the next step|given back at once \(.*\))"
    known = (
        rf"gradscope {re.escape(__version__)} \(summaries: {summaries}; hooks: {hooks}(; on a GPU: Triton)?; {blocks}\)"
    )
    assert re.fullmatch(known, version)


LIGHT = {
    "import": "import gradscope; gradscope.__version__; gradscope.BadInput",
    "help": "from gradscope import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass",
    "run help": "from gradscope import cli\ntry: cli.main(['run', '--help'])\nexcept SystemExit: pass",
    "version": "from gradscope import cli\ntry: cli.main(['--version'])\nexcept SystemExit: pass",
    "samples": "from gradscope import cli; assert cli.main(['samples']) == 0",
    "unknown": "from gradscope import cli; assert cli.main(['nowhere.py']) == 2",
}


@pytest.mark.parametrize("name", LIGHT)
def test_what_stays_light(name: str) -> None:
    script = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{LIGHT[name]}\n" + (
        "heavy = {'torch', 'PySide6', 'shiboken6', 'pyqtgraph'} & {m.partition('.')[0] for m in sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/", timeout=patient(60))
    assert done.returncode == 0, done.stderr


def test_a_run_goes_to_a_step_first_from_the_beginning_or_from_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both make the same steps from there; who comes there in the same way says the same of the state."""
    file = tmp_path / "resumable.py"
    file.write_text(RESUMABLE)
    saving = ("--steps", 4, "--quiet", "--save-checkpoint", tmp_path / "c.pt")
    assert in_process(capsys, "run", file, *saving).returncode == 0
    states, lines = [], []
    for name, loading in (("a", ()), ("b", ()), ("c", ("--load-checkpoint", tmp_path / "c.pt"))):
        done = in_process(capsys, "run", file, "--go-to", 6, "--steps", 2, "--jsonl", tmp_path / name, *loading)
        assert done.returncode == 0, done.stderr
        states.append(next(line for line in done.stdout.splitlines() if "before step 6, the state is" in line))
        lines.append([strict(line) for line in (tmp_path / name).read_text().splitlines()])
        lines[-1][0].pop("run")
    assert states[0] == states[1] and lines[0] == lines[1] == lines[2]
    assert {line["step"] for line in lines[0]} == {6, 7}
    done = in_process(capsys, "run", file, "--go-to", 3, "--steps", 1, "--load-checkpoint", tmp_path / "c.pt")
    assert done.returncode == 2 and "stands before step 4; expected that step or a later one, got 3" in done.stderr
