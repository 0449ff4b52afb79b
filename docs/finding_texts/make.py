"""Makes docs/findings from the catalogue and the texts beside this file: `python docs/finding_texts/make.py`.

A text has an example, which is a whole recipe but for its imports, and the lines that differ in the nearest healthy one. The
pictures, and the lines below them, are of `docs/finding_pictures`, which has a script of its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.finding_pictures.table import PICTURES  # noqa: E402
from gradscope.engine.findings.catalogue import CATALOGUE, Entry  # noqa: E402
from gradscope.protocol.findings import Certainty, Source  # noqa: E402

TEXTS, PAGES = Path(__file__).parent, ROOT / "docs" / "findings"
SECTIONS = (
    "What it is",
    "An example that fires",
    "The nearest one that does not",
    "What it is judged by",
    "What to do",
)
_SOURCES = {
    Source.MONITOR: "seen along the way",
    Source.EXPERIMENT: "found by an experiment",
    Source.DATA: "found in the data",
}
_CERTAINTIES = {Certainty.EXACT: "exact", Certainty.WINDOW: "over a window", Certainty.EXPERIMENT: "tried"}
_CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
_DIFF = re.compile(r"```diff\n(.*?)```", re.DOTALL)
_TABLE = "<!-- table -->"
_BEFORE_EXAMPLE = "## An example that fires\n"


def example(id: str) -> str:
    """The recipe that fires, with its imports."""
    return _with_imports(_section(id, _CODE))


def healthy(id: str) -> str:
    """The nearest one that does not. Raises ValueError where its lines do not fit the example."""
    code = _section(id, _CODE)
    for old, new in _hunks(_section(id, _DIFF)):
        if code.count(old) != 1:
            raise ValueError(f"{id}: {old!r} is not in the example, or more than once")
        code = code.replace(old, new)
    return _with_imports(code)


def pages() -> dict[str, str]:
    """Every file of docs/findings, by its name."""
    made = {f"{id}.md": _page(entry) for id, entry in CATALOGUE.items()}
    return {**made, "README.md": (TEXTS / "README.md").read_text(encoding="utf-8").replace(_TABLE, _table())}


def _page(entry: Entry) -> str:
    text = _CODE.sub(lambda found: f"```python\n{_with_imports(found[1])}```", _text(entry.id))
    if entry.id in PICTURES:
        text = text.replace(_BEFORE_EXAMPLE, _picture(entry.id) + _BEFORE_EXAMPLE, 1)
    return (
        f"# {entry.title}\n\n"
        f"`{entry.id}` · {entry.severity.value} · {_SOURCES[entry.source]} · {_CERTAINTIES[entry.certainty]}\n\n"
        f"**{entry.why}** {entry.do}\n\n"
        f"{text}\n"
        "---\n\n"
        "Save the example as `recipe.py`, and run `gradscope check recipe.py`. [All findings](README.md)\n"
    )


def _picture(id: str) -> str:
    picture = PICTURES[id]
    return f"![{picture.title}](pictures/{id}.svg)\n\n*{picture.line}*\n\n"


def _table() -> str:
    rows = [
        f"| [{e.id}]({e.id}.md) | {e.title} | {e.severity.value} | {_SOURCES[e.source]}, {_CERTAINTIES[e.certainty]} |"
        for e in CATALOGUE.values()
    ]
    return "\n".join(["| id | what is wrong | severity | how it is known |", "|---|---|---|---|", *rows])


def _with_imports(code: str) -> str:
    lines = ["import torch"]
    if "F." in code:
        lines.append("import torch.nn.functional as F")
    lines.append("from torch import nn")
    if "TensorDataset(" in code:
        lines.append("from torch.utils.data import TensorDataset")
    break_ = "\n\n\n" if code.startswith(("class", "def")) else "\n"
    return "\n".join([*lines, "", "import gradscope"]) + break_ + code


def _hunks(diff: str) -> list[tuple[str, str]]:
    """What stands there, and what is to stand there: whole lines."""
    hunks: list[tuple[list[str], list[str]]] = []
    for line in diff.splitlines():
        if line.startswith("-") and (not hunks or hunks[-1][1]):
            hunks.append(([], []))
        hunks[-1][0 if line.startswith("-") else 1].append(line[1:] + "\n")
    return [("".join(old), "".join(new)) for old, new in hunks]


def _section(id: str, pattern: re.Pattern[str]) -> str:
    found = pattern.search(_text(id))
    if found is None:
        raise ValueError(f"{id} has no block of {pattern.pattern[3:9]}")
    return found[1]


def _text(id: str) -> str:
    return (TEXTS / f"{id}.md").read_text(encoding="utf-8")


def main() -> None:
    PAGES.mkdir(exist_ok=True)
    made = pages()
    for old in PAGES.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (PAGES / name).write_text(text, encoding="utf-8")
    print(f"{len(made)} pages in {PAGES.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
