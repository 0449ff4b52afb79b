"""Copies of activations and their gradients for looking at their values, under a byte budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import Tensor

from gradscope.engine.quantities.values import at_least_float32
from gradscope.protocol.subjects import LAYER_KINDS, SubjectKey, SubjectKind

DEFAULT_BUDGET_BYTES = 256 * 1024 * 1024


class Keeper:
    """Clones of what was asked for. A clone: the model may change the original in place.

    Where the budget is short, what is watched stays, in the order in which it was asked for; of the others, the newest.
    """

    def __init__(self, *, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self.keeps_all = True
        """Everything, as far as the budget goes; otherwise only what is watched."""
        self._watched: tuple[SubjectKey, ...] = ()
        self._also: tuple[SubjectKey, ...] = ()
        self._ranks: dict[SubjectKey, int] = {}
        """What is watched, and how many others come before it."""
        self._watched_in_pass: frozenset[SubjectKey] = frozenset()
        """What was watched when the newest pass began."""
        self._kept_all_in_pass = True
        self._gone: set[SubjectKey] = set()
        """What was kept of an earlier pass, and of no newer one."""
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[SubjectKey, Tensor] = OrderedDict()
        self._bytes = 0
        self._refused: dict[SubjectKey, str] = {}

    @property
    def watched(self) -> tuple[SubjectKey, ...]:
        return self._watched

    def watch(self, subjects: Iterable[SubjectKey]) -> None:
        """Keep these in every pass, and no others than these from now on; the first of them come first."""
        self._watched = tuple(subjects)
        self._rank()

    def watch_also(self, subjects: Iterable[SubjectKey]) -> None:
        """The same for what expressions read, after those."""
        self._also = tuple(subjects)
        self._rank()

    def _rank(self) -> None:
        self._ranks = {key: rank for rank, key in enumerate(dict.fromkeys((*self._watched, *self._also)))}

    def wants(self, key: SubjectKey) -> bool:
        """Only what is gone after its phase: parameters, what belongs to them and buffers can be had at any time."""
        # In this order: most runs watch nothing, and asking a dict for a key takes long.
        return (self.keeps_all or (bool(self._ranks) and key in self._ranks)) and key.kind in LAYER_KINDS

    def keep(self, key: SubjectKey, tensor: Tensor, scale: float | None = None) -> None:
        """Keep a copy, divided by `scale`, if it is wanted and fits."""
        self._drop(key)
        self._refused.pop(key, None)
        if not self.wants(key):
            return
        size = _bytes_of(tensor)
        if size > self._budget_bytes:
            self._refused[key] = (
                f"it has {size >> 20} MB, more than the {self._budget_bytes >> 20} MB kept for looking at"
            )
            return
        if not self._make_room(key, size):
            self._refused[key] = self._went_to_watched()
            return
        with torch.no_grad():
            kept = tensor.detach().clone() if scale is None else tensor.detach().to(at_least_float32(tensor)) / scale
        self._kept[key] = kept
        self._gone.discard(key)
        self._bytes += _bytes_of(kept)

    def get(self, key: SubjectKey) -> Tensor | None:
        return self._kept.get(key)

    def why_not(self, key: SubjectKey) -> str:
        """Why the values of a subject are not here."""
        if key in self._refused:
            return f"The values were not kept: {self._refused[key]}"
        if not self._kept_all_in_pass and key not in self._watched_in_pass:
            return (
                "A run keeps only the values of what was selected or pinned: press Forward or Next batch to see these, or "
                "pin it before the next run"
            )
        if key in self._gone:
            return "These values went when a newer pass began: press Next batch to see new ones"
        return "Nothing was captured for this in the newest pass"

    def forget(self, *kinds: SubjectKind) -> None:
        """Drop every copy of these kinds: a new pass begins."""
        for key in [key for key in self._kept if key.kind in kinds]:
            self._drop(key)
            self._gone.add(key)
        self._refused = {key: why for key, why in self._refused.items() if key.kind not in kinds}
        self._watched_in_pass = frozenset(self._ranks)
        self._kept_all_in_pass = self.keeps_all

    def _make_room(self, key: SubjectKey, size: int) -> bool:
        """Drop what has to give way to a subject. False, and nothing is dropped, where that would not be enough."""
        missing = self._bytes + size - self._budget_bytes
        if missing <= 0:
            return True
        given_up: list[SubjectKey] = []
        for other in self._giving_way(key):
            given_up.append(other)
            missing -= _bytes_of(self._kept[other])
            if missing <= 0:
                break
        else:
            return False
        newer = f"newer values needed the {self._budget_bytes >> 20} MB kept for looking at"
        for other in given_up:
            self._refused[other] = self._went_to_watched() if key in self._ranks else newer
            self._drop(other)
        return True

    def _giving_way(self, key: SubjectKey) -> Iterable[SubjectKey]:
        """What is kept and counts less than a subject: first what nobody watches, the oldest first."""
        yield from (other for other in self._kept if other not in self._ranks)
        rank = self._ranks.get(key)
        if rank is not None:
            later = [other for other in self._kept if self._ranks.get(other, -1) > rank]
            yield from sorted(later, key=self._ranks.__getitem__, reverse=True)

    def _went_to_watched(self) -> str:
        return f"the {self._budget_bytes >> 20} MB kept for looking at went to what is selected or was pinned earlier"

    def _drop(self, key: SubjectKey) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._bytes -= _bytes_of(old)


def _bytes_of(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().nbytes() if tensor.is_nested else tensor.numel() * tensor.element_size()
    except (RuntimeError, NotImplementedError):
        return 0
