"""Copies of activations and their gradients for looking at their values, under a byte budget."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from gradscope.engine.quantities.values import at_least_float32
from gradscope.protocol.subjects import PARAMETER_KINDS, SubjectKey, SubjectKind

DEFAULT_BUDGET_BYTES = 256 * 1024 * 1024


class Keeper:
    """Clones of what was asked for, the oldest out first. A clone: the model may change the original in place."""

    def __init__(self, *, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self.keeps_all = True
        """Everything, as far as the budget goes; otherwise only what is watched."""
        self.watched: frozenset[SubjectKey] = frozenset()
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[SubjectKey, Tensor] = OrderedDict()
        self._bytes = 0
        self._refused: dict[SubjectKey, str] = {}

    def wants(self, key: SubjectKey) -> bool:
        """Only what is gone after its phase: parameters and what belongs to them can be had at any time."""
        # In this order: most runs watch nothing, and asking a set for a key takes long.
        return (self.keeps_all or (bool(self.watched) and key in self.watched)) and key.kind not in PARAMETER_KINDS

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
        while self._bytes + size > self._budget_bytes:
            oldest = next((k for k in self._kept if k not in self.watched), next(iter(self._kept)))
            self._refused[oldest] = f"newer values needed the {self._budget_bytes >> 20} MB kept for looking at"
            self._drop(oldest)
        with torch.no_grad():
            kept = tensor.detach().clone() if scale is None else tensor.detach().to(at_least_float32(tensor)) / scale
        self._kept[key] = kept
        self._bytes += _bytes_of(kept)

    def get(self, key: SubjectKey) -> Tensor | None:
        return self._kept.get(key)

    def why_not(self, key: SubjectKey) -> str:
        """Why the values of a subject are not here."""
        if key in self._refused:
            return f"The values were not kept: {self._refused[key]}"
        if not self.keeps_all:
            return "A run keeps only the values of what was selected: press Next batch to see these"
        return "Nothing was captured for this in the newest pass"

    def forget(self, *kinds: SubjectKind) -> None:
        """Drop every copy of these kinds: a new pass begins."""
        for key in [key for key in self._kept if key.kind in kinds]:
            self._drop(key)
        self._refused = {key: why for key, why in self._refused.items() if key.kind not in kinds}

    def _drop(self, key: SubjectKey) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._bytes -= _bytes_of(old)


def _bytes_of(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().nbytes() if tensor.is_nested else tensor.numel() * tensor.element_size()
    except (RuntimeError, NotImplementedError):
        return 0
