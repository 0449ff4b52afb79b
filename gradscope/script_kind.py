"""Is a file a recipe, or a training script? And how a script is named, with its arguments, to be started.

Runs in the app, in the command line and in the engine alike, so it stands beside them all: it knows the protocol's `Script`
and the standard library. A file is looked at, never executed.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gradscope.protocol.failure import BadInput
from gradscope.protocol.scripts import MAX_ARGUMENTS, Script, ScriptKind

__all__ = [
    "BadInput",
    "Script",
    "file_of",
    "is_recipe",
    "is_script",
    "join_arguments",
    "script_of",
    "split_arguments",
]

NAME = "recipe"
"""What a recipe's file defines at top level."""
NOTEBOOK = ".ipynb"
SUFFIXES = (".py", ".pyw", NOTEBOOK)
MAX_ARGUMENT = 10_000
"""Characters: as much as the protocol takes."""
_LOOKS_LIKE_A_RECIPE = re.compile(rb"^def recipe\b", re.MULTILINE)
_ZIP = b"PK\x03\x04"
_LITERALS = (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Set, ast.JoinedStr, ast.ListComp, ast.DictComp)
_NEVER_IN_A_RECIPE = ("TYPE_CHECKING",)


def is_script(path: Path) -> bool:
    """Whether a file is a script or a notebook: a file of Python, with or without a suffix, that is no recipe.

    What is not there, or cannot be read, is none, nor is a snapshot.
    """
    suffix = path.suffix.lower()
    if suffix not in ("", *SUFFIXES) or not path.is_file():
        return False
    if suffix == NOTEBOOK:
        return True
    try:
        source = path.read_bytes()
    except OSError:
        return False
    return not source.startswith(_ZIP) and not _defines_recipe(source)


def is_recipe(path: Path) -> bool:
    """Whether a file defines `recipe` at top level, also in an `if`, `try` or `with` there. OSError if it cannot be read.

    Something that cannot be called is no recipe: a module, a text, a number, a dict. Nor is what only `python FILE` defines,
    below `if __name__ == "__main__"`. A file that does not compile is one if a line of it begins with `def recipe`.
    """
    return path.suffix.lower() != NOTEBOOK and _defines_recipe(path.read_bytes())


def script_of(name: str, arguments: Sequence[str] = (), *, folder: str, is_module: bool = False) -> Script:
    """The script of that path (or of that module), to be started in that folder. Raises BadInput, one sentence."""
    kind = ScriptKind.NOTEBOOK if Path(name).suffix.lower() == NOTEBOOK else ScriptKind.FILE
    if len(arguments) > MAX_ARGUMENTS:
        raise BadInput(f"There are {len(arguments)} arguments; a script is given {MAX_ARGUMENTS} at most")
    for number, argument in enumerate(arguments, 1):
        if len(argument) > MAX_ARGUMENT:
            raise BadInput(f"Argument {number} has {len(argument)} characters; {MAX_ARGUMENT} are taken at most")
        if "\0" in argument:
            raise BadInput(f"Argument {number} has a zero byte in it, which no program can be given")
    return Script(kind=ScriptKind.MODULE if is_module else kind, name=name, arguments=tuple(arguments), folder=folder)


def file_of(script: Script) -> Path | None:
    """The absolute path of its file; None of a module, which only Python can find, and of a process that runs already."""
    if script.kind in (ScriptKind.MODULE, ScriptKind.ATTACHED):
        return None
    return Path(os.path.abspath(Path(script.folder, script.name)))  # noqa: PTH100 (links stay as they are)


def split_arguments(line: str) -> tuple[str, ...]:
    """The arguments on a line, as a shell would part them. Raises BadInput, one sentence."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    if os.name == "nt":
        # Paths there are full of them.
        lexer.escape = ""
    try:
        return tuple(lexer)
    except ValueError:
        quote = _open_quote(line)
        what = f"A quote is not closed: expected another {quote}" if quote else "Nothing follows the \\ at the end"
        raise BadInput(what) from None


def join_arguments(arguments: Iterable[str]) -> str:
    """The reverse: quoted where that is needed."""
    if os.name == "nt":
        return " ".join(f'"{text}"' if not text or re.search(r"[\s']", text) else text for text in arguments)
    return shlex.join(arguments)


# ------------------------------------------------------------------------------------------------------ the syntax tree


def _defines_recipe(source: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            # What Python thinks of its escapes it says when it is run.
            warnings.simplefilter("ignore")
            module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _LOOKS_LIKE_A_RECIPE.search(source) is not None
    return any(_binds(statement) for statement in _at_top_level(module.body))


def _at_top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """These statements, and what is below those of them that only group others."""
    for statement in body:
        yield statement
        match statement:
            case ast.If(test=test, body=then, orelse=otherwise):
                yield from () if _is_never_in_a_recipe(test) else _at_top_level(then)
                yield from _at_top_level(otherwise)
            case ast.Try() | ast.TryStar():
                for handler in statement.handlers:
                    yield from _at_top_level(handler.body)
                for part in (statement.body, statement.orelse, statement.finalbody):
                    yield from _at_top_level(part)
            case ast.With(body=inner) | ast.AsyncWith(body=inner):
                yield from _at_top_level(inner)


def _is_never_in_a_recipe(test: ast.expr) -> bool:
    """`__name__ == "__main__"`, and what only a type checker enters."""
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            sides = [left, right]
            is_name = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
            return is_name and any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _NEVER_IN_A_RECIPE
    return False


def _binds(statement: ast.stmt) -> bool:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name == NAME
        case ast.ImportFrom(names=names):
            return any((alias.asname or alias.name) == NAME for alias in names)
        case ast.Assign(targets=targets, value=value):
            return any(_is_target(target, value) for target in targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            return _is_target(target, value)
    return False


def _is_target(target: ast.expr, value: ast.expr) -> bool:
    match target:
        case ast.Name(id=name):
            return name == NAME and not isinstance(value, _LITERALS)
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            pairs = zip(targets, values if len(values) == len(targets) else [value] * len(targets), strict=True)
            return any(isinstance(one, ast.Name) and one.id == NAME and not _is_literal(of) for one, of in pairs)
    return False


def _is_literal(value: ast.expr) -> bool:
    return isinstance(value, _LITERALS)


def _open_quote(line: str) -> str:
    """The quote that is open at the end of a line; "" if none is."""
    quote, is_escaped = "", False
    for letter in line:
        if is_escaped:
            is_escaped = False
        elif letter == "\\" and quote != "'" and os.name != "nt":
            is_escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
    return quote
