"""The subjects that a person has pinned: their values are kept in a run, and they are one click away."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from gradscope.protocol.subjects import PARAMETER_KINDS, SubjectKey
from gradscope.state.history import History
from gradscope.state.tree import Node, find


class PinStatus(Enum):
    """What there is of a pinned subject in the session."""

    THERE = auto()
    NOT_SEEN = auto()
    """Its layer is there, but this call of it, or this part of its output, was never seen."""
    GONE = auto()
    """The model has no layer, parameter or buffer of this name."""


class Pins:
    """In the order in which they were pinned."""

    def __init__(self) -> None:
        self._keys: dict[SubjectKey, None] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[SubjectKey]:
        return iter(tuple(self._keys))

    def __len__(self) -> int:
        return len(self._keys)

    def toggle(self, key: SubjectKey) -> None:
        """Pin it, or unpin it where it is pinned."""
        if key in self._keys:
            del self._keys[key]
        else:
            self._keys[key] = None

    def clear(self) -> None:
        self._keys.clear()

    def settle(self, history: History) -> bool:
        """Follow what has turned out: whether any pin means another subject now.

        A layer that is pinned before its first forward may put out a structure: then its first part is meant.
        """
        settled = dict.fromkeys(_meant(history, key) for key in self._keys)
        is_other = list(settled) != list(self._keys)
        self._keys = settled
        return is_other


def status_of(key: SubjectKey, tree: Node, history: History) -> PinStatus:
    """Whether a subject is there."""
    if find(tree, key.name, is_parameter=key.kind in PARAMETER_KINDS) is None:
        return PinStatus.GONE
    is_other_seen = any(other.name == key.name for other in history.subjects(key.kind))
    return PinStatus.NOT_SEEN if is_other_seen and history.latest(key) is None else PinStatus.THERE


def _meant(history: History, key: SubjectKey) -> SubjectKey:
    if key.call or key.leaf or history.latest(key) is not None:
        return key
    return next((other for other in history.subjects(key.kind) if other.name == key.name), key)
