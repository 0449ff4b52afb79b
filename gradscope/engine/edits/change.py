"""What an edit leaves behind: its words and its exact inverse; and the history of edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradscope.protocol.messages.edits import EditMade
from gradscope.protocol.numbers import shortened_numbers


@dataclass(frozen=True, kw_only=True)
class Change:
    """An edit that has been made."""

    text: str
    """What has changed, and what that does."""
    undo: Callable[[], str | None]
    """Put back what was there before; a sentence if there is something to say of it."""


@dataclass(kw_only=True)
class EditRecord:
    """One edit in the history of a session."""

    number: int
    step: int
    """The step that was next (or under way) when it was made."""
    text: str
    undone_at: int | None = None
    """The step that was next (or under way) when it was undone; None while it counts."""

    def as_message(self) -> EditMade:
        return EditMade(number=self.number, step=self.step, text=self.text, undone_at=self.undone_at)


def set_attributes(thing: Any, **values: Any) -> Callable[[], None]:
    """Set some attributes; the inverse is returned."""
    before = {name: getattr(thing, name) for name in values}
    for name, value in values.items():
        setattr(thing, name, value)

    def undo() -> None:
        for name, value in before.items():
            setattr(thing, name, value)

    return undo


_MISSING = object()


def set_item(content: dict[str, Any], name: str, value: Any) -> Callable[[], None]:
    """Set one entry, that may not be there yet; the inverse is returned."""
    before = content.get(name, _MISSING)
    content[name] = value

    def undo() -> None:
        if before is _MISSING:
            content.pop(name, None)
        else:
            content[name] = before

    return undo


def arrow(before: object, after: object) -> str:
    """ "0.1 → 0.01"."""
    return shortened_numbers(f"{before} → {after}")


def counted(count: int, noun: str) -> str:
    """ "1 parameter", "2 parameters"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def sentence(parts: Sequence[str]) -> str:
    """Clauses that are there, joined."""
    return "; ".join(part for part in parts if part)
