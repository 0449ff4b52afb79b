"""The kinds of subjects, and the tables that say something of each."""

import ast
from pathlib import Path

import gradscope
from gradscope.protocol.subjects import SubjectKind

PACKAGE = Path(gradscope.__file__).parent


def tables() -> dict[str, set[str]]:
    """Of each table in the code whose keys are kinds: which."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Dict):
                keys = [key for key in node.keys if isinstance(key, ast.Attribute) and isinstance(key.value, ast.Name)]
                kinds = {key.attr for key in keys if isinstance(key.value, ast.Name) and key.value.id == "SubjectKind"}
                if kinds:
                    found[f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno}"] = kinds
    return found


def test_a_table_of_most_kinds_has_every_kind() -> None:
    """A table of a few kinds says something of those few; one of most of them was meant to have them all."""
    every = {kind.name for kind in SubjectKind}
    lacking = {where: every - kinds for where, kinds in tables().items() if len(kinds) > len(every) / 2}
    assert len(lacking) > 10
    assert {where: kinds for where, kinds in lacking.items() if kinds} == {}
