"""Reads a report page as strictly as a test wants it: every element closed, in order, and none but those we write."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img"}
_WRITTEN = """
html head title style body main header section div span p h1 h2 h3 dl dt dd ul li code figure figcaption details summary
table thead tbody tr th td svg g path text circle
"""
_ATTRIBUTES = """
class lang charset name content http-equiv open title alt src width height loading role aria-hidden viewbox d x y cx cy r
text-anchor
"""
KNOWN = VOID | set(_WRITTEN.split())
ATTRIBUTES = set(_ATTRIBUTES.split())


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None]
    content: list[Element | str] = field(default_factory=list)

    @property
    def children(self) -> list[Element]:
        return [part for part in self.content if isinstance(part, Element)]

    def all(self, name: str) -> list[Element]:
        found = [self] if self.name == name else []
        return found + [element for child in self.children for element in child.all(name)]

    @property
    def text(self) -> str:
        """Its own text and that of everything inside."""
        return "".join(part if isinstance(part, str) else part.text for part in self.content)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.stack = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in KNOWN, f"<{tag}>"
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        element = Element(tag, dict(attrs))
        self.stack[-1].content.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop().name == tag, f"</{tag}>"

    def handle_data(self, data: str) -> None:
        self.stack[-1].content.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def parse(page: str) -> Element:
    """The page as a tree. Fails on elements and attributes that no report has, and on any that is not closed in order."""
    assert page.startswith("<!DOCTYPE html>\n")
    page.encode("utf-8")
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert len(parser.stack) == 1, [element.name for element in parser.stack]
    (html,) = (child for child in parser.stack[0].children)
    return html
