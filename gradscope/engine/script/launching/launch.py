"""Running a script as `python script.py` would, a module as `python -m` would, a notebook cell by cell.

In this process, whose `__main__` it becomes, and stays: a spawned worker and pickle look for classes there.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import json
import linecache
import os
import runpy
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from gradscope.protocol.failure import BadInput
from gradscope.protocol.scripts import Script, ScriptKind

_MAGIC = "%", "!"
"""How a line begins that IPython understands, and Python does not."""


def check(script: Script) -> None:
    """Raises BadInput where there is nothing to run."""
    if script.folder and not Path(script.folder).is_dir():
        raise BadInput(f"The working directory {script.folder} does not exist; expected a folder")
    if script.kind is ScriptKind.MODULE:
        return
    path = Path(script.folder, script.name)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise BadInput(f"{script.name} {what}; expected a Python script or a notebook")


def run(script: Script) -> list[str]:
    """Run it to its end. Raises whatever it raises. Returns what a person should know: the lines of a notebook that were left
    out. Raises BadInput where it cannot be read."""
    if script.folder:
        os.chdir(script.folder)
    sys.argv = [script.name, *script.arguments]
    if script.kind is ScriptKind.MODULE:
        _put_first(str(Path.cwd()))
        # As for `python -m`, whose main module it replaces.
        _new_main(None)
        runpy.run_module(script.name, run_name="__main__", alter_sys=True)
        return []
    # Not resolved: a link is called by its own name, and only its folder is that of the file.
    path = str(Path(script.name).absolute())
    _put_first(str(Path(path).resolve().parent))
    if script.kind is ScriptKind.NOTEBOOK:
        return _run_notebook(path)
    main = _new_main(path)
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        raise BadInput(f"{script.name} cannot be read: {error.strerror or error}") from error
    exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)
    return []


def forget_own_path() -> None:
    """Take away what Python has put first on its path for gradscope's own command, where the script's folder is to be."""
    if not sys.flags.safe_path:
        del sys.path[0]


def _put_first(folder: str) -> None:
    if not sys.flags.safe_path:
        sys.path.insert(0, folder)


def _new_main(path: str | None) -> ModuleType:
    main = ModuleType("__main__")
    attributes: dict[str, Any] = {"__builtins__": builtins, "__spec__": None, "__package__": None, "__cached__": None}
    if path is not None:
        attributes["__file__"] = path
    main.__dict__.update(attributes, __annotations__={})
    sys.modules["__main__"] = main
    return main


def _run_notebook(path: str) -> list[str]:
    cells = [cell for cell in _cells(path) if cell.get("cell_type") == "code"]
    main = _new_main(path)
    # As in Jupyter.
    del main.__file__
    name, left_out = Path(path).name, []
    for number, cell in enumerate(cells, 1):
        source = cell.get("source", "")
        lines = ("".join(source) if isinstance(source, list) else str(source)).split("\n")
        if lines[0].lstrip().startswith("%%"):
            left_out.append(f"cell {number}, all of it: {lines[0].strip()}")
            continue
        for i, line in enumerate(lines):
            if line.lstrip().startswith(_MAGIC):
                left_out.append(f"cell {number}, line {i + 1}: {line.strip()}")
                lines[i] = line[: len(line) - len(line.lstrip())] + "pass"
        exec(_compiled("\n".join(lines), f"<{name}, cell {number}>"), main.__dict__)
    return left_out


def _compiled(text: str, name: str) -> CodeType:
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    return compile(text, name, "exec", dont_inherit=True)


def _cells(path: str) -> list[dict[str, Any]]:
    try:
        with Path(path).open(encoding="utf-8") as file:
            cells = json.load(file)["cells"]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{path} is no notebook; expected JSON with a list of cells") from error
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise BadInput(f"{path} is no notebook; expected JSON with a list of cells")
    return cells
