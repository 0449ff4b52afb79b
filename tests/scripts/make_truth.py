"""Makes scripts of the corpus and the truth beside them: `python tests/scripts/make_truth.py [NAME ...]`.

`marked/NAME.py` is a script with marks: comments that begin with `#: `. Without them it is the script. With the marks made
statements it is the instrumented copy, which notes what it does while it does it (the names are those of `Marks`); what it
prints must be what the script prints. gradscope has no part in this.

`#: T.run(...)` says how the script is started; several of them, each with a `name`, are as many ways. `NAME.ipy` is a
notebook, its cells after `# %%`. For a script whose `json` was written in another way there is nothing in `marked/`.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CORPUS, MARKED = HERE / "corpus", HERE / "marked"
MARK = "#: "
_HEADER = f'T = (__import__("sys").path.append({str(HERE)!r}), __import__("marks").Marks())[1]\n'
_PART = "T.part()"


def plain(text: str) -> str:
    """The script: a marked one without its marks."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith(MARK))


def instrumented(text: str) -> str:
    """The copy that notes what it does. A note is given the line that follows it in the script."""
    result, number = [], 0
    needs_header = _PART not in text
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith(MARK):
            line = line.replace(MARK, "", 1).replace("T.note(", f"T.note({number + 1}, ")
            if _PART in line:
                continue
        else:
            number += 1
            if needs_header and re.match(r"(import|from) (?!__future__)", line):
                result.append(_HEADER)
                needs_header = False
        result.append(line)
    return "".join(result)


def notebook(text: str) -> str:
    """An .ipynb file of a text in cells: `# %%` before code, `# %% [markdown]` before text."""
    cells: list[dict[str, Any]] = []
    for head, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", text, re.MULTILINE):
        source = body.strip("\n").splitlines(keepends=True)
        if "markdown" in head:
            source = [line.removeprefix("# ") for line in source]
            cells.append({"cell_type": "markdown", "metadata": {}, "source": source})
        else:
            cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
            cells.append(cell)
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def marked_files() -> list[Path]:
    return sorted(path for path in MARKED.iterdir() if path.suffix in (".py", ".ipy"))


def script_of(marked: Path) -> tuple[Path, str]:
    """Where the script of a marked file lies, and its text."""
    text = plain(marked.read_text("utf-8"))
    if marked.suffix == ".ipy":
        return CORPUS / f"{marked.stem}.ipynb", notebook(text)
    return CORPUS / marked.name, text


def ways(text: str) -> Iterator[dict[str, Any]]:
    """What the `T.run` of a marked file say."""
    found = re.findall(rf"^{MARK}(T\.run\(.*\))$", text, re.MULTILINE)
    for call in found or ["T.run()"]:
        node = ast.parse(call, mode="eval").body
        assert isinstance(node, ast.Call)
        yield {word.arg or "": ast.literal_eval(word.value) for word in node.keywords}


def make(marked: Path) -> None:
    script, text = script_of(marked)
    script.write_text(text, "utf-8")
    source = marked.read_text("utf-8")
    if _PART in source:
        return
    for way in ways(source):
        argv, code = way.get("argv", []), way.get("exit_code", 0)
        with tempfile.TemporaryDirectory() as folder:
            # The copy runs where the script does, under its name: what it prints may hang on both.
            copy = Path(folder) / "marked" / marked.name
            copy.parent.mkdir()
            for path in CORPUS.iterdir():
                (copy.parent / path.name).symlink_to(path)
            copy.unlink(missing_ok=True)
            ran = []
            for content in (plain(source), instrumented(source)):
                copy.write_text(_without_magic(content) if marked.suffix == ".ipy" else content, "utf-8")
                if ran:
                    _instrument_parts(copy.parent)
                ran.append(_run([sys.executable, copy.name, *argv], copy.parent))
        assert ran[0].returncode == code, f"exit code {ran[0].returncode}, not {code}: {ran[0].stderr[-3000:]}"
        assert ran[1].returncode == code, f"the copy: exit code {ran[1].returncode}: {ran[1].stderr[-3000:]}"
        # Hashes of what lies in memory may be of the marks too.
        assert ran[0].stdout == ran[1].stdout, f"the copy prints something else: {ran[0].stdout}\n{ran[1].stdout}"
        truth = _truth(script, way, json.loads(ran[1].stderr.rpartition("MARKS ")[2]), ran[0].stdout)
        name = f"{marked.stem}-{way['name']}" if "name" in way else marked.stem
        (CORPUS / f"{name}.json").write_text(json.dumps(truth, indent=1) + "\n", "utf-8")
        print(
            name,
            truth["counts"],
            truth["trained"][:3],
            [step["phases"] for step in truth["first_steps"]][:3],
            sep="\n   ",
        )


def _instrument_parts(folder: Path) -> None:
    """Files that scripts import, with the mark `T.part()`: they are given `T` by the script."""
    for part in MARKED.glob("*.py"):
        text = part.read_text("utf-8")
        if _PART in text:
            (folder / part.name).unlink()
            (folder / part.name).write_text(instrumented(text), "utf-8")


def _without_magic(text: str) -> str:
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in text.split("\n"))


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "COLUMNS": "100"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def _truth(script: Path, way: dict[str, Any], noted: dict[str, Any], printed: str) -> dict[str, Any]:
    events = noted["events"]
    steps: list[list[dict[str, Any]]] = [[]]
    for event in events:
        # Steps inside of one backward are one, as a person counts.
        if way.get("steps_inside") and event["kind"] == "forward" and steps[-1]:
            steps.append([])
        steps[-1].append(event)
        if event["kind"] == "step" and not way.get("steps_inside"):
            steps.append([])
    if way.get("steps_inside"):
        steps.append([])
    counts: dict[str, int] = {}
    for event in events:
        counts[event["kind"]] = counts.get(event["kind"], 0) + 1
    final = re.search(r"^FINAL (\w+)$", printed, re.MULTILINE)
    run = {"argv": way.get("argv", []), "module": None, "torchrun": None, "exit_code": way.get("exit_code", 0)}
    return {
        "script": script.name,
        "run": run,
        "batches_come_from": way.get("batches", "own indexing"),
        "final": final[1] if final else None,
        "threads": 1,
        "optimizer_steps": counts.get("step", 0),
        "skipped_steps": sum(event.get("skipped", False) for event in events),
        "training_steps": way.get("training_steps", counts.get("step", 0)),
        "backward_calls": counts.get("backward", 0),
        "trained": noted["trained"],
        "first_steps": [
            {
                "phases": [event["kind"] for event in step],
                "events": step,
                "losses": [event["loss"] for event in step if event["kind"] == "backward"],
            }
            for step in steps[:-1][:3]
        ],
        "after_last_step": [event["kind"] for event in steps[-1]],
        "counts": dict(sorted(counts.items())),
        **({"notes": noted["notes"]} if noted["notes"] else {}),
    }


if __name__ == "__main__":
    for found in marked_files():
        if found.stem in sys.argv[1:] or not sys.argv[1:]:
            make(found)
