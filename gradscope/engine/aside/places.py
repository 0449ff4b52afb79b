"""Names for what the user's code holds, as one would write them in that code."""

from __future__ import annotations

from typing import NamedTuple

from gradscope.engine.surroundings.error_parts import safe_text

_LONGEST_KEY = 40


class Place(NamedTuple):
    """How something is reached. Written out only where it is told: there are many of them."""

    key: object
    """A name, or what stands in the brackets."""
    parent: Place | None = None
    is_item: bool = False
    owner: str = ""
    """The function or the file in which the outermost name means something."""

    def item(self, key: object) -> Place:
        return Place(key, self, is_item=True)

    def attribute(self, name: object) -> Place:
        return Place(name, self)

    def named(self, what: str) -> str:
        """With what it is, where that is known: "model.memory (a list)"."""
        return f"{self} ({what})" if what else str(self)

    def __str__(self) -> str:
        """As one would write it in the code: "model.memory[0]"."""
        expression, place = "", self
        while place.parent is not None:
            part = f"[{_shown(place.key)}]" if place.is_item else f".{place.key}"
            expression = f"{part}{expression}"
            place = place.parent
        expression = f"{place.key}{expression}"
        return f"{expression} in {place.owner}" if place.owner else expression


def _shown(key: object) -> str:
    shown = safe_text(key, repr) if type(key) in (str, int, float, bool, tuple) else "..."
    return shown if len(shown) <= _LONGEST_KEY else "..."
