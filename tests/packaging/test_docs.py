"""The pages for people who work on gradscope: every path and every name of the code in them is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gradscope

PACKAGE = Path(gradscope.__file__).parent
ROOT = PACKAGE.parent
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"])
MARKED = set((ROOT / "tests" / "scripts" / "marked").glob("*.py"))
"""Users' scripts with marks in them; one is a notebook, and no Python."""
SOURCES = sorted({*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")} - MARKED - {Path(__file__)})

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
_WORD = re.compile(r"[^\s\"'`(),;:<>\[\]{}=*]+")
_SUFFIXES = (".c", ".h", ".md", ".py", ".svg", ".toml", ".yaml")
_DOTTED = re.compile(r"(?<![\w/.-])gradscope(?:\.[A-Za-z_]\w*)+")
_MEMBER = re.compile(r"([A-Z]\w+)\.(\w+)(?:\(.*\))?")
_FUNCTION = re.compile(r"([a-z_]\w*)\(\)")
_CLASS = re.compile(r"[A-Z][a-z]\w*")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")

OF_THE_READER = {"recipe.py", "my_model.py", "my_recipe.py", "script.py", "train.py"}
"""Files that a page speaks of and that are the reader's own."""
OF_OTHERS = {"backward", "breakpoint", "input"}
"""Functions of Python and torch."""


# ------------------------------------------------------------------------------------------ what a page names


def spans(text: str) -> Iterator[str]:
    """What is in backticks within a line."""
    for match in _CODE.finditer(_FENCE.sub("", text)):
        yield match[1]


def paths(text: str) -> set[str]:
    """What looks like the path of a file or folder of this repository: in backticks, in links, in blocks of code."""
    found = {target.partition("#")[0] for link in _LINK.findall(text) for target in link if target}
    for code in [*spans(text), *(match[0] for match in _FENCE.finditer(text))]:
        for word in _WORD.findall(code):
            path = word.rstrip(".").partition("::")[0]
            if re.fullmatch(r"[\w.-]*(?:/[\w.-]+)+/?", path) or path.endswith(_SUFFIXES):
                found.add(path)
    return {path for path in found if path and "://" not in path and not path.startswith(("/", "-", "."))} | {
        path for path in found if path.startswith(".ci/")
    }


def is_there(path: str, page: Path) -> bool:
    """From the top, from the page's folder, or in the package."""
    return path in OF_THE_READER or any((folder / path).exists() for folder in (ROOT, page.parent, PACKAGE))


# ------------------------------------------------------------------------------------------ what the code has


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def bound(body: list[ast.stmt]) -> Iterator[str]:
    """The names that these statements bind, in `if` and `try` too."""
    for node in body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))
            case ast.Import() | ast.ImportFrom():
                yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            case ast.If() | ast.Try():
                yield from bound([*node.body, *node.orelse])


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    found: dict[str, list[ast.ClassDef]] = {}
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


@cache
def functions() -> frozenset[str]:
    return frozenset(
        node.name for path in SOURCES for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)
    )


@cache
def words() -> frozenset[str]:
    """Also what is in texts: variables of the environment, classes of torch and Qt."""
    return frozenset(
        re.findall(r"\w+", "\n".join(path.read_text("utf-8") for path in [*SOURCES, ROOT / ".ci" / "run"]))
    )


def has_member(name: str, member: str) -> bool:
    """Whether a class of that name, or one that it is derived from, has a method, field or attribute of that name."""
    for node in classes().get(name, []):
        attributes = {
            part.attr
            for part in ast.walk(node)
            if isinstance(part, ast.Attribute)
            and isinstance(part.ctx, ast.Store)
            and isinstance(part.value, ast.Name)
            and part.value.id == "self"
        }
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        if member in attributes | set(bound(node.body)) or any(has_member(base, member) for base in bases):
            return True
    return False


def is_module_or_in_one(dotted: str) -> bool:
    """`gradscope.a.b.name`: a package, a module, or a name that a module binds; what is behind that is not looked at."""
    place = ROOT
    for part in dotted.split("."):
        if (place / part).is_dir():
            place /= part
        elif (place / f"{part}.py").is_file():
            place /= f"{part}.py"
        else:
            source = place if place.is_file() else place / "__init__.py"
            return part in bound(parsed(source).body)
    return True


def missing_names(text: str) -> set[str]:
    """The names of the code in a page that are not in the code."""
    missing = {dotted for dotted in _DOTTED.findall(text) if not is_module_or_in_one(dotted)}
    for span in spans(text):
        if span.endswith(_SUFFIXES):
            continue
        if match := _MEMBER.fullmatch(span):
            known = has_member(match[1], match[2])
        elif match := _FUNCTION.fullmatch(span):
            known = match[1] in functions() | OF_OTHERS
        elif _CONSTANT.fullmatch(span) or _CLASS.fullmatch(span):
            known = span in words()
        else:
            continue
        if not known:
            missing.add(span)
    return missing


# ------------------------------------------------------------------------------------------ tests


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_is_there(page: Path) -> None:
    found = paths(page.read_text("utf-8"))
    assert found
    assert {path for path in found if not is_there(path, page)} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_name_of_the_code_is_there(page: Path) -> None:
    assert missing_names(page.read_text("utf-8")) == set()


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in linked:
            linked.add(page)
            targets = {(page.parent / path).resolve() for path in paths(page.read_text("utf-8"))}
            waiting += [target for target in targets if target.suffix == ".md" and target in PAGES]
    assert linked == set(PAGES)


def test_every_variable_of_the_environment_is_explained() -> None:
    found = {name for path in SOURCES for name in re.findall(r"\"(GRADSCOPE_[A-Z_]+)\"", path.read_text("utf-8"))}
    found -= {name for name in found if name.endswith("_")}
    assert len(found) > 8
    text = (ROOT / "docs" / "debugging.md").read_text("utf-8")
    assert found - set(re.findall(r"\w+", text)) == set()


def test_what_is_not_there_is_noticed() -> None:
    """Each kind of name, as it is after somebody has renamed something."""
    page = ROOT / "docs" / "page.md"
    text = (
        "`gradscope/engine/lop.py` and `engine/book/bok.py`, [a page](adding_.md), `.ci/rn`, `conftest_.py`,\n"
        "`Controller.goo`, `Verb.FORWARDS`, `Topic.HISTRY`, `Loop.forward`, `gradscope.engine.sesion`,\n"
        "`gradscope.Recipes`, `check_anser()`, `GRADSCOPE_KERNELS`, `MESSAGE_TYPE`, `Steppper`, `Go`, `encode()`\n"
        "```sh\npython tests/fuzz/wires.py --count 5\n```\n"
    )
    assert {path for path in paths(text) if not is_there(path, page)} == {
        "gradscope/engine/lop.py",
        "engine/book/bok.py",
        "adding_.md",
        ".ci/rn",
        "conftest_.py",
        "tests/fuzz/wires.py",
    }
    assert missing_names(text) == {
        *("Controller.goo", "Verb.FORWARDS", "Topic.HISTRY", "gradscope.engine.sesion", "gradscope.Recipes"),
        *("check_anser()", "GRADSCOPE_KERNELS", "MESSAGE_TYPE", "Steppper"),
    }
