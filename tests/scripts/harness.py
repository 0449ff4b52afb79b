"""Runs a script of the corpus plainly and under `gradscope run`, and says in what the two runs differ.

Both runs have the same folder, a fresh copy of the corpus, as working directory, one thread and the same environment.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.scripts.cases import CORPUS, Case
from tests.scripts.moments import Losses

STOPPING = "stopping"
"""Full, and stopped wherever that can be, by `stopping.py`."""
FINDINGS = "findings"
"""All is captured, and the monitors of findings ride along."""
LEVELS = ("full", "norms", "off", STOPPING, FINDINGS)
_OF_FINDINGS = ("finding", "checked")
"""Lines that are about no phase."""
OURS = "gradscope:"
"""With this begins each line that gradscope itself says on the standard error stream."""

_DROPPED = "0010001101111011110010101000010011100101110101010001100100100110"
"""What dropout leaves of 64 numbers with the seed 0, where the truth was made."""
_PROGRESS = re.compile(r"\d*\.?\d+(it/s|s/it)|\?it/s")
# Where anybody listens to a layer, torch calls it on another line of its own.
_FRAME_OF_TORCH = re.compile(
    r'^  File "[^"]*[\\/]torch[\\/]nn[\\/]modules[\\/]module\.py", line \d+, in .*\n(?:    .*\n)*', re.MULTILINE
)
_TIMINGS = re.compile(r"'(train|eval)_(runtime|samples_per_second|steps_per_second)': '?[-+.e\d]+'?")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A run that has ended."""

    code: int
    out: str
    err: str
    secs: float
    lines: list[dict[str, Any]] = field(default_factory=list)
    """The JSON lines that gradscope wrote."""

    @property
    def final(self) -> str:
        """The hash of all trained parameters that the script printed; "" if it printed none."""
        found = re.findall(r"^FINAL (\w+)$", self.out, re.MULTILINE)
        return found[-1] if found else ""


def run_plainly(case: Case, folder: Path, *, timeout_secs: float = 300, python: str = sys.executable) -> Ran:
    """As without gradscope. `folder` is made anew; the same path for both runs gives the same output."""
    return _tried(case, lambda: _run(_plain_command(case, python), _fresh(folder), timeout_secs))


def comparable(case: Case, plain: Ran, *, python: str = sys.executable) -> Losses:
    """How the losses of this machine are to be compared with those of the truth."""
    if plain.final == (case.truth["final"] or ""):
        return Losses.EXACT
    return Losses.CLOSE if _draws_as_the_truth(python) else Losses.OTHER


@functools.cache
def _draws_as_the_truth(python: str) -> bool:
    """Whether that torch draws the random numbers that the truth has: for dropout, 2.6 draws others."""
    drops = "print(torch.nn.functional.dropout(torch.ones(64), 0.5).bool().int().tolist())"
    command = [python, "-c", f"import torch; torch.manual_seed(0); {drops}"]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return "".join(re.findall(r"[01]", drawn)) == _DROPPED


def run_watched(
    case: Case, folder: Path, *, level: str | None, timeout_secs: float = 300, python: str = sys.executable
) -> Ran:
    """Under `gradscope run`, at a capture level; None is without the option."""
    out = folder.parent / f"{folder.name}.jsonl"

    def once() -> Ran:
        out.unlink(missing_ok=True)
        return _run(watched_command(case, out, level, python), _fresh(folder), timeout_secs)

    ran = _tried(case, once)
    try:
        text = out.read_text("utf-8")
    except FileNotFoundError:
        text = ""
    lines = [line for line in map(json.loads, text.splitlines()) if line["phase"] not in _OF_FINDINGS]
    return Ran(code=ran.code, out=ran.out, err=ran.err, secs=ran.secs, lines=lines)


def _tried(case: Case, once: Callable[[], Ran]) -> Ran:
    """torchrun's processes sometimes end each other while they part, also without gradscope: once more then."""
    ran = once()
    for _ in range(2 if case.processes else 0):
        if ran.code == case.exit_code:
            break
        ran = once()
    return ran


def watched_command(case: Case, jsonl: Path, level: str | None, python: str = sys.executable) -> list[str]:
    if level == STOPPING:
        own = str(Path(__file__).with_name("stopping.py"))
        return [*_launcher(case, python), own, "--jsonl", str(jsonl), *_target(case), *case.argv]
    options = ["--findings"] if level == FINDINGS else ["--capture", level] if level else []
    ours = ["-m", "gradscope", "run", *options, "--jsonl", str(jsonl)]
    return [*_launcher(case, python), *ours, *_target(case), *case.argv]


def _plain_command(case: Case, python: str) -> list[str]:
    if case.script.suffix == ".ipynb":
        # No Jupyter is needed: the cells, in order, without the magic lines.
        return [python, "-c", _NOTEBOOK, case.script.name, *case.argv]
    return [*_launcher(case, python), *_target(case), *case.argv]


_NOTEBOOK = """
import json, sys
del sys.argv[0]
sys.path[0] = sys.path[0] or "."
cells = json.load(open(sys.argv[0], encoding="utf-8"))["cells"]
sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
for number, source in enumerate(sources, 1):
    lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\\n")]
    exec(compile("\\n".join(lines), f"<cell {number}>", "exec"), globals())
"""


def _launcher(case: Case, python: str) -> list[str]:
    if not case.processes:
        return [python]
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(case.processes)]


def _target(case: Case) -> list[str]:
    return ["-m", case.module] if case.module else [case.script.relative_to(CORPUS).as_posix()]


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CORPUS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _run(command: list[str], place: Path, timeout_secs: float) -> Ran:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "COLUMNS": "100",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    began = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_secs,
        check=False,
    )
    secs = time.perf_counter() - began
    out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
    return Ran(code=done.returncode, out=out, err=err, secs=secs)


# ------------------------------------------------------------------------------------------------------------ comparison


def differences(case: Case, plain: Ran, watched: Ran) -> list[str]:
    """In what the run under gradscope differs from the plain one: nothing, if all is well."""
    wrong = []
    if plain.code != case.exit_code:
        wrong.append(f"the plain run ended with exit code {plain.code}, not {case.exit_code}: {plain.err[-600:]}")
    if watched.code != plain.code:
        wrong.append(f"exit code {watched.code}, plainly {plain.code}: {watched.err[-600:]}")
    if watched.final != plain.final:
        wrong.append(f"FINAL {watched.final or 'is missing'}, plainly {plain.final or 'it is missing'}")
    wrong += _difference("standard output", told(plain.out), told(watched.out))
    if not case.processes:
        # The launcher puts times and process ids before its lines.
        wrong += _difference("standard error", told(plain.err), told(watched.err))
    return wrong


def told(text: str) -> list[str]:
    """The lines of an output that do not hang on the time that it took, nor are ours."""
    lines = [_TIMINGS.sub("", line) for line in re.split(r"[\r\n]", _FRAME_OF_TORCH.sub("", text))]
    return [line for line in lines if not line.startswith(OURS) and not _PROGRESS.search(line)]


def _difference(what: str, plain: list[str], watched: list[str]) -> list[str]:
    if plain == watched:
        return []
    at = next(
        (i for i, (a, b) in enumerate(zip(plain, watched, strict=False)) if a != b), min(len(plain), len(watched))
    )
    there, here = (lines[at][:200] if at < len(lines) else "nothing more" for lines in (plain, watched))
    return [f"{what}, line {at + 1}: {here!r}, plainly {there!r}"]
