"""Which words of a command line are gradscope's own: those before the file; what follows a script is the script's.

Standard library only.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line, split at the file."""

    own: list[str]
    name: str | None = None
    """Of the file, or of the module behind -m; None where neither is given."""
    is_module: bool = False
    rest: tuple[str, ...] = ()
    """What follows it."""


def split(given: Sequence[str], options: Iterable[argparse.Action]) -> Command:
    """Split at the first word that is neither one of the options, which may be abbreviated, nor the value of one.

    `-m` alone, without a module, has the name "".
    """
    with_value = {text: action.nargs is None for action in options for text in action.option_strings}
    own: list[str] = []
    words = iter(given)
    for word in words:
        if word == "--":
            return _command(own, tuple(words))
        if word.startswith("-m") and not word.startswith("--"):
            # As Python takes it, also without a space.
            module = word.removeprefix("-m") or next(words, "")
            return Command(own=own, name=module, is_module=True, rest=tuple(words))
        if not word.startswith("-") or word == "-":
            return _command(own, (word, *words))
        own.append(word)
        if "=" not in word and _takes_value(word, with_value):
            own += [value for value in [next(words, None)] if value is not None]
    return Command(own=own)


def _command(own: list[str], rest: tuple[str, ...]) -> Command:
    return Command(own=own, name=rest[0], rest=rest[1:]) if rest else Command(own=own)


def _takes_value(word: str, with_value: dict[str, bool]) -> bool:
    if word in with_value:
        return with_value[word]
    meant = [takes for text, takes in with_value.items() if text.startswith(word)] if word.startswith("--") else []
    return len(meant) == 1 and meant[0]
