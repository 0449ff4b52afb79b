"""Follows what layers put out, whose gradients are all 0, to a function whose derivative is 0 everywhere."""

from __future__ import annotations

from typing import Any

from gradscope.engine.findings.record import Record
from gradscope.engine.findings.watch.marks import Marks, tensors_of

_FLAT = frozenset(("round", "sign", "sgn", "floor", "ceil", "trunc", "fix"))
"""Steps: between two of them nothing changes. (Comparisons cut the graph; `Cuts` sees them.)"""


class FlatSteps:
    """A straight-through estimator lets gradients past the step, and a step beside another way to the loss harms nothing: in
    both cases the gradients are not 0, and nobody is followed. Nor is a step at fault where a layer gets to a loss without
    one, as a part does whose loss weighs 0 for a while, and whose hits are counted by rounding."""

    def __init__(self, record: Record) -> None:
        self._record = record
        mine: dict[str, list[bool]] = {}
        for p in record.parameters.values():
            if p.requires_grad and p.is_trained:
                mine.setdefault(p.layer, []).append(bool(p.grads) and not any(norm for _, norm in p.grads))
        self._suspects = {layer for layer, are_zero in mine.items() if all(are_zero)}
        self._sources: Marks[frozenset[str]] = Marks()
        """The suspects that a tensor is made of without a step."""
        self._steps: dict[str, str] = {}
        """Suspect -> the first step behind it."""
        self._arrived: set[str] = set()
        """Suspects that a single number is made of without a step: it may be the loss, or a part of it."""

    def see(self, name: str, layer: str, args: tuple[Any, ...], result: Any) -> None:
        if not self._suspects:
            return
        known = (self._sources.get(tensor) for tensor in tensors_of(args))
        own = frozenset((layer,) if layer in self._suspects else ())
        layers = own.union(*(source for source in known if source))
        if not layers:
            return
        is_step = name.rstrip("_") in _FLAT
        for made in tensors_of(result):
            if not made.requires_grad:
                continue
            if is_step:
                self._sources.drop(made)
                for found in layers:
                    self._steps.setdefault(found, name.rstrip("_"))
                continue
            self._sources.put(made, layers)
            if not made.dim():
                self._arrived |= layers

    def finish(self) -> None:
        """The forward is over, with its loss."""
        for layer, step in self._steps.items():
            if layer not in self._arrived:
                self._record.flattened.setdefault(layer, step)
        for layer in self._arrived:
            self._record.flattened.pop(layer, None)

    def clear(self) -> None:
        self._sources.clear()
