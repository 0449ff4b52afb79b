"""Which layers an expression asks for by `grad("name")` and `activation("name")`, read from its text."""

from __future__ import annotations

import ast

from gradscope.engine.surroundings.error_parts import safely

_FUNCTIONS = ("activation", "grad")


def layers_asked_for(text: str) -> list[tuple[str, str]]:
    """("grad", "fc1") for each such call with a literal name; nothing of a text that is no Python."""
    tree: ast.AST | None = safely(lambda: ast.parse(text.strip()), None)
    found = []
    for node in ast.walk(tree) if tree is not None else ():
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and node.args
        ):
            continue
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            found.append((node.func.id, name.value))
    return found
