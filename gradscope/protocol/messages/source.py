"""Where the user's code stands, and the text of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gradscope.protocol.limits import AtMost, CutAt, Path, Sentence
from gradscope.protocol.source import MAX_SOURCE, MAX_STACK, StackFrame


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """Event: the lines of the user's at which training has been stopped; none once it goes on."""

    stack: Annotated[tuple[StackFrame, ...], AtMost(MAX_STACK)] = ()
    """The innermost first."""


@dataclass(frozen=True, kw_only=True)
class FetchSource:
    """The text of a file that a place, a report or a stack has named, or of the recipe itself. No other is read.

    Reply: SourceText or NoSource.
    """

    file: Path


@dataclass(frozen=True, kw_only=True)
class SourceText:
    """As the file was when it was run, as far as that is known."""

    file: Path
    text: Annotated[str, CutAt(MAX_SOURCE)]
    """Line breaks are "\\n"."""
    truncated: bool = False
    """There is more than is sent."""


@dataclass(frozen=True, kw_only=True)
class NoSource:
    """Why the text of a file cannot be had."""

    file: Path
    reason: Sentence
