"""Functions and methods of torch's that are replaced for a while, and put back: also where a script has imported them."""

from __future__ import annotations

import gc
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_OWN = "gradscope."
_COMPILED = re.compile(r"Using `torch.compile\(module\)` when there are global hooks")


@dataclass(frozen=True)
class _Replaced:
    owner: Any
    """A class, a module, or the names of one."""
    name: str
    original: Any
    ours: Any


class Replacements:
    """What somebody else has put in the place of ours stays there."""

    def __init__(self) -> None:
        self._done: list[_Replaced] = []
        self._are_names_found = False

    def put(self, owner: Any, name: str, ours: Any) -> None:
        self._done.append(_Replaced(owner, name, vars(owner)[name], ours))
        setattr(owner, name, ours)

    def find_imported(self) -> None:
        """The script has run before this: replace what it has imported under a name of its own, too."""
        self._are_names_found = True
        functions = {id(done.original): done for done in self._done if not isinstance(done.owner, type)}
        for names, name, value in _global_names([done.original for done in functions.values()]):
            done = functions[id(value)]
            names[name] = done.ours
            self._done.append(_Replaced(names, name, value, done.ours))

    def undo(self) -> None:
        originals = {id(done.ours): done.original for done in self._done if not isinstance(done.owner, type)}
        wrappers = [done.ours for done in self._done if id(done.ours) in originals]
        while self._done:
            done = self._done.pop()
            if isinstance(done.owner, dict):
                if done.owner.get(done.name) is done.ours:
                    done.owner[done.name] = done.original
            elif vars(done.owner).get(done.name) is done.ours:
                setattr(done.owner, done.name, done.original)
        if self._are_names_found:
            # Imported by the script in the meantime.
            for names, name, value in _global_names(wrappers):
                names[name] = originals[id(value)]


def _global_names(values: list[Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Where these are global names: of a module, or of code that was executed with names of its own."""
    ids = {id(value) for value in values}
    for holder in gc.get_referrers(*values) if values else ():
        if type(holder) is not dict or "__builtins__" not in holder:
            continue
        if str(holder.get("__name__", "")).startswith(_OWN):
            continue
        for name, value in list(holder.items()):
            if id(value) in ids:
                yield holder, name, value


def is_tap(value: Any) -> bool:
    """Whether a function is one of those that are put in the place of torch's."""
    return hasattr(value, "__gradscope_tap__")


class MutedWarning:
    """A warning of torch's that is of no use where gradscope looks on.

    Not by `warnings.filterwarnings`, which has every warning that was shown once shown again.
    """

    def __init__(self) -> None:
        self._filter: Any = None

    def mute(self) -> None:
        filters: Any = warnings.filters
        known = "ignore", _COMPILED, Warning, None, 0
        if known not in filters:
            self._filter = known
            filters.insert(0, known)

    def restore(self) -> None:
        if self._filter is not None:
            filters: Any = warnings.filters
            filters[:] = [known for known in filters if known is not self._filter]
            self._filter = None
