"""HTML and SVG built from elements. Text is escaped unless it is Markup, so that no name can become a tag."""

from __future__ import annotations

import html
from collections.abc import Iterable

from gradscope.protocol.visible import visible, visible_lines

_VOID = frozenset({"meta", "img", "br"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable[str]


def escaped(text: str) -> Markup:
    """`text` as HTML that shows it on one line; what a page cannot hold, or does not show, is written out ("\\u202e")."""
    return text if isinstance(text, Markup) else Markup(html.escape(visible(text)))


def in_lines(text: str) -> Markup:
    """The same for a text of several lines."""
    return Markup(html.escape(visible_lines(text)).replace("\n", element("br")))


def element(name: str, /, *content: Content, **attributes: str | float | None) -> Markup:
    """`<name ...>content</name>`.

    Attributes: "class_" is written "class", "stroke_width" "stroke-width"; one that is None is left out, one that is ""
    stands alone ("open").
    """
    opening = name
    for key, value in attributes.items():
        if value is not None:
            key = key.rstrip("_").replace("_", "-")
            opening += f" {key}" if value == "" else f' {key}="{escaped(str(value))}"'
    if name in _VOID:
        return Markup(f"<{opening}>")
    return Markup(f"<{opening}>{joined(*content)}</{name}>")


def joined(*content: Content) -> Markup:
    """The pieces one after the other, each escaped unless it is Markup."""
    return Markup("".join(escaped(part) if isinstance(part, str) else joined(*part) for part in content))


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters, with "…" at the end where some were cut off."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
