"""The little markup of the samples' docstrings, as HTML for a text view. Everything in it is escaped.

Paragraphs are set apart by empty lines; lines that begin with "* " are items of a list, and what is indented below one goes
on with it; `names` are code. A line that ends in a colon and stands before a list is a heading, and the words of an item
before its first colon (Forward: ...) are set in bold.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from gradscope.protocol.visible import visible_lines

_ITEM = "* "
_CODE = re.compile(r"`([^`]+)`")
_LEAD = re.compile(r"([^.:;`]*(?:`[^`]+`[^.:;`]*)*): ")
"""What comes before the first colon, with no sentence's end in it."""
_LONGEST_LEAD = 60


def html_of(text: str) -> str:
    """One element for each paragraph, heading and list, in order."""
    return "\n".join(_blocks(visible_lines(text).split("\n")))


def plain_paragraphs(text: str) -> str:
    """A text without any markup: its lines as they are, and an element for each paragraph."""
    paragraphs = re.split(r"\n\s*\n", visible_lines(text).strip())
    return "\n".join("<p>" + html.escape(paragraph).replace("\n", "<br>") + "</p>" for paragraph in paragraphs)


def _blocks(lines: list[str]) -> Iterator[str]:
    paragraph: list[str] = []
    items: list[list[str]] = []
    for line in [*lines, ""]:
        if line.startswith(_ITEM):
            yield from _paragraph(paragraph, is_before_list=True)
            items.append([line.removeprefix(_ITEM)])
        elif items and line.startswith(" ") and line.strip():
            items[-1].append(line.strip())
        elif line.strip():
            yield from _list(items)
            paragraph.append(line.strip())
        else:
            yield from _list(items)
            yield from _paragraph(paragraph)


def _paragraph(lines: list[str], *, is_before_list: bool = False) -> Iterator[str]:
    if not lines:
        return
    heading = lines.pop() if is_before_list and lines[-1].endswith(":") else ""
    if lines:
        yield f"<p>{_inline(' '.join(lines))}</p>"
    if heading:
        yield f"<h3>{_inline(heading.removesuffix(':'))}</h3>"
    lines.clear()


def _list(items: list[list[str]]) -> Iterator[str]:
    if items:
        yield "<ul>" + "".join(f"<li>{_item(' '.join(lines))}</li>" for lines in items) + "</ul>"
    items.clear()


def _item(text: str) -> str:
    lead = _LEAD.match(text)
    if lead is None or len(lead[1]) > _LONGEST_LEAD:
        return _inline(text)
    return f"<b>{_inline(lead[1])}:</b> {_inline(text[lead.end() :])}"


def _inline(text: str) -> str:
    # The backquotes come in pairs: every second part is code.
    parts = _CODE.split(text)
    return "".join(
        f"<code>{html.escape(part)}</code>" if i % 2 else html.escape(part, quote=False) for i, part in enumerate(parts)
    )
