"""The training scripts of `corpus/`: how each is started, what it needs, and the truth beside it.

`NAME.json` beside a script says what it does, as found out by running a copy with marks in it (see make_truth.py):

* `run`: `argv`; `module` (for `python -m`); `torchrun` (number of processes); `exit_code`;
* `optimizer_steps` (calls, skipped ones too), `training_steps` (as a person counts), `skipped_steps`, `backward_calls`,
  `counts` (of each kind of event), `trained` (parameters, by the script's variables), `after_last_step` (kinds);
* `first_steps`: `phases` and `events` of the first three steps, split after the step, so that a scheduler that follows is in
  the next one; `losses` of their backwards;
* `final`: the hash that it printed on the machine on which this was written;
* where a script makes a mistake that has to be told, `notes`: its words, and the line.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
FRAMEWORKS = ("accelerate", "lightning", "transformers")


@dataclass(frozen=True)
class Case:
    """A script, and one way to start it."""

    name: str
    script: Path
    truth: dict[str, Any]

    @property
    def argv(self) -> list[str]:
        return list(self.truth["run"]["argv"])

    @property
    def module(self) -> str | None:
        return self.truth["run"]["module"]

    @property
    def processes(self) -> int | None:
        """Of torchrun; None for a script that is started alone."""
        return self.truth["run"]["torchrun"]

    @property
    def exit_code(self) -> int:
        return int(self.truth["run"]["exit_code"])

    @property
    def source(self) -> str:
        """Of a notebook: of its code cells."""
        return source_of(self.script)

    @property
    def imports(self) -> frozenset[str]:
        """First parts of the names of all modules that it imports."""
        return _imports(self.script)

    @property
    def is_driven(self) -> bool:
        """Whether a library calls backward and step, and not the script."""
        return bool(self.imports & {"lightning", "transformers"})

    @property
    def missing(self) -> list[str]:
        """What it imports and this Python lacks."""
        own = {path.stem for path in CORPUS.iterdir()}
        return sorted(name for name in self.imports - own if importlib.util.find_spec(name) is None)


def source_of(script: Path) -> str:
    text = script.read_text("utf-8")
    if script.suffix != ".ipynb":
        return text
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join(cells).split("\n")
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)


def cases() -> dict[str, Case]:
    """All of them, by name: that of the file, or of the module."""
    found = {}
    for path in sorted(CORPUS.rglob("*.json")):
        truth = json.loads(path.read_text("utf-8"))
        if "first_steps" in truth:
            name = truth["run"]["module"] or path.stem
            found[name] = Case(name, CORPUS / truth["script"], truth)
    return found


@functools.cache
def _imports(script: Path) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(source_of(script))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return frozenset(names)
