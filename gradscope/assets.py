"""Where the files are that travel with gradscope: icons, translations and sample models.

Runs in the app and in the command line. Standard library only; sample files are read, never executed.
"""

import ast
import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_FINDING = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class SampleGroup(Enum):
    """What a sample is about, from the first look at a gradient to models whose training goes wrong."""

    STEP = "step"
    MODELS = "models"
    LESSONS = "lessons"


_TEACHING_ORDER = {
    SampleGroup.STEP: ("linear_regression", "scalar_graph", "digits_mlp", "accumulation", "mixed_precision"),
    SampleGroup.MODELS: ("digits_cnn", "resnet", "unet_segmentation", "lstm", "char_transformer", "gan"),
    SampleGroup.LESSONS: (
        "vanishing_gradients",
        "exploding_gradients",
        "dead_relu",
        "learning_rate_too_high",
        "forgotten_zero_grad",
        "frozen_by_mistake",
    ),
}


class AssetsMissingError(FileNotFoundError):
    """This installation of gradscope is incomplete; the message is one sentence for the user."""


def resources_dir() -> Path:
    """The absolute path of `resources/`: `icons/`, translations, the desktop entry.

    Raises:
        AssetsMissingError: if neither the wheel's copy nor a checkout's is there.
    """
    return _find("resources")


def pages_dir() -> Path | None:
    """The absolute path of `docs/findings/`: a page for each finding, `ID.md`; None where they are not there."""
    try:
        return _find("docs/findings")
    except AssetsMissingError:
        return None


def sample_models_dir() -> Path:
    """The absolute path of `sample_models/`.

    Raises:
        AssetsMissingError: if neither the wheel's copy nor a checkout's is there.
    """
    return _find("sample_models")


def finding_page(finding: str) -> Path | None:
    """What the documentation says of a finding, by its id: a Markdown file; None where there is no such page."""
    if not _FINDING.fullmatch(finding):
        return None
    folders = [_PACKAGE / "_bundled"]
    if (_PACKAGE.parent / "pyproject.toml").is_file():
        folders.append(_PACKAGE.parent)
    pages = (folder / "docs" / "findings" / f"{finding}.md" for folder in folders)
    return next((page for page in pages if page.is_file()), None)


def sample_paths() -> list[Path]:
    """The sample recipes, in the order in which they teach.

    A sample is a Python file with a `recipe` function at its top level; a file that does not parse is none.
    """
    samples = [path for path in sample_models_dir().glob("*.py") if _sample(path).is_recipe]
    return sorted(samples, key=_teaching_position)


def sample_groups() -> dict[SampleGroup, list[Path]]:
    """The same samples, in the same order, by what they are about. One that is not known comes last."""
    last = list(SampleGroup)[-1]
    group_of = {stem: group for group, stems in _TEACHING_ORDER.items() for stem in stems}
    groups: dict[SampleGroup, list[Path]] = {group: [] for group in SampleGroup}
    for path in sample_paths():
        groups[group_of.get(path.stem, last)].append(path)
    return groups


def sample_path(name: str) -> Path | None:
    """The sample called `name`, with or without its `.py`, or None if there is no such sample."""
    stem = name.removesuffix(".py")
    return next((path for path in sample_paths() if path.stem == stem), None)


def sample_docs(path: Path) -> tuple[str, str]:
    """The title and the text of a sample, from its module docstring.

    The title is the first line without its full stop; the text is what follows the first line. A file without
    a docstring, or one that does not parse, is titled after its name and has no text.
    """
    docstring = _sample(path).docstring
    if not docstring:
        return path.stem.replace("_", " ").capitalize(), ""
    title, _, text = docstring.partition("\n")
    return title.strip().removesuffix("."), text.strip()


def _find(name: str) -> Path:
    bundled = _PACKAGE / "_bundled" / name
    if bundled.is_dir():
        return bundled
    checkout = _PACKAGE.parent
    beside = checkout / name
    # A folder of that name in site-packages would be somebody else's.
    if beside.is_dir() and (checkout / "pyproject.toml").is_file():
        return beside
    raise AssetsMissingError(
        f"gradscope's {name} folder is missing: expected {bundled} or {beside}; install gradscope again."
    )


def _teaching_position(path: Path) -> tuple[int, str]:
    order = [stem for stems in _TEACHING_ORDER.values() for stem in stems]
    return (order.index(path.stem) if path.stem in order else len(order), path.stem)


@dataclass(frozen=True, kw_only=True)
class _Sample:
    is_recipe: bool = False
    docstring: str = ""


def _sample(path: Path) -> _Sample:
    """What a file says of itself; nothing, where it does not parse."""
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _read(path: Path, _mtime_ns: int, _size_bytes: int) -> _Sample:
    """Once for each version of a file: parsing all of them takes longer than anything else on the start page."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):
        return _Sample()
    has_recipe = any(isinstance(node, ast.FunctionDef) and node.name == "recipe" for node in tree.body)
    return _Sample(is_recipe=has_recipe, docstring=ast.get_docstring(tree) or "")
