"""The folders of the package: each says what lives in it, and none becomes a heap."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gradscope

PACKAGE = Path(gradscope.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
MOST_LINES, MOST_FILES, MOST_LINES_OF_A_FUNCTION = 500, 25, 60


def name(path: Path) -> str:
    return path.relative_to(PACKAGE.parent).as_posix()


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_every_folder_says_what_lives_in_it(folder: Path) -> None:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
    assert docstring is not None and len(docstring.strip().splitlines()) > 1, "what lives there, and what must not"


def test_no_folder_is_a_heap() -> None:
    counts = {name(folder): len(list(folder.glob("*.py"))) for folder in FOLDERS}
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_no_file_and_no_function_is_too_long() -> None:
    files: dict[str, int] = {}
    functions: dict[str, int] = {}
    for path in FILES:
        source = path.read_text("utf-8")
        files[name(path)] = len(source.splitlines())
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                functions[f"{name(path)}: {node.name}"] = node.end_lineno - node.lineno + 1
    assert {file: lines for file, lines in files.items() if lines > MOST_LINES} == {}
    assert {function: lines for function, lines in functions.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}
