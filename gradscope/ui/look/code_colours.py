"""The colours of source code, made from those of the theme: each is legible on the surface, and on the current line."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.ui.look.colours import Theme, blend


@dataclass(frozen=True, kw_only=True)
class CodeColours:
    """Each as "#rrggbb"."""

    current_line: str
    """Behind it."""
    text: str
    keyword: str
    name: str
    """Of a function or a class, where it is defined."""
    builtin: str
    decorator: str
    string: str
    number: str
    comment: str


def code_colours(theme: Theme) -> CodeColours:
    return CodeColours(
        current_line=blend(theme.selection, theme.surface, 0.5),
        text=theme.text,
        keyword=theme.series[6],
        name=theme.accent,
        builtin=theme.series[0],
        decorator=theme.series[3],
        string=theme.good,
        number=theme.warning,
        comment=theme.muted,
    )
