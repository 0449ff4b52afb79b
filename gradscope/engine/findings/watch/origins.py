"""From which layer a tensor comes, and what became of the outputs of layers that get no gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.record import Record
from gradscope.engine.findings.watch.marks import Marks, tensors_of

_LEAVING = frozenset(("numpy", "tolist", "__array__"))
"""They take the numbers out of torch."""


class Origins:
    """The layer that a tensor comes from: the last leaf, or layer with parameters of its own, on its way."""

    def __init__(self, record: Record) -> None:
        self._layers = record.layers
        self._places: Marks[str] = Marks()

    def place(self, tensor: object) -> str:
        """ "" where it is not known."""
        return self._places.get(tensor) or ""

    def see(self, layer: str, args: tuple[Any, ...], result: Any) -> None:
        facts = self._layers.get(layer) if layer else None
        place = layer
        if facts is None or not (facts.is_leaf or facts.parameters):
            known = (self._places.get(tensor) for tensor in tensors_of(args))
            place = next((place for place in known if place), layer)
        if place:
            for tensor in tensors_of(result):
                self._places.put(tensor, place)

    def clear(self) -> None:
        self._places.clear()


class Cuts:
    """Follows the outputs of layers that got no gradient so far, and keeps how they were cut off where what was made of them
    was used all the same: together with something that gets gradients, inside the model.

    A head whose output the loss does not look at is not used; a teacher's answer is used in the loss, outside the model.
    """

    def __init__(self, record: Record) -> None:
        trained = [p for p in record.parameters.values() if p.requires_grad and p.is_trained]
        reached = {p.layer for p in trained if p.grads}
        self._suspects = {p.layer for p in trained if p.missing} - reached
        self._record = record
        self._sources: Marks[tuple[frozenset[str], str]] = Marks()
        """Tensor -> the layers that it is made of, and by what it was cut off ("" as long as it is not)."""

    def see(self, name: str, layer: str, args: tuple[Any, ...], result: Any, *, is_inside: bool) -> None:
        if not self._suspects:
            return
        known = [(tensor, self._sources.get(tensor)) for tensor in tensors_of(args)]
        sources = [(tensor, source) for tensor, source in known if source is not None]
        layers = frozenset((layer,) if layer in self._suspects else ()).union(*(source[0] for _, source in sources))
        if layer in self._suspects:
            how = "" if torch.is_grad_enabled() else "no_grad"
            for tensor in tensors_of(result):
                self._sources.put(tensor, (layers, how))
            return
        if not sources:
            return
        how = next((source[1] for _, source in sources if source[1]), "")
        if name in _LEAVING and is_inside:
            self._found(layers, name)
        for tensor in tensors_of(result):
            self._pass_on(name, tensor, layers, how, sources, is_inside=is_inside)

    def _pass_on(
        self,
        name: str,
        made: Tensor,
        layers: frozenset[str],
        how: str,
        sources: list[tuple[Tensor, tuple[frozenset[str], str]]],
        *,
        is_inside: bool,
    ) -> None:
        if not made.requires_grad:
            if not how and any(tensor.requires_grad for tensor, _ in sources):
                how = name if torch.is_grad_enabled() or name in ("detach", "data") else "no_grad"
            self._sources.put(made, (layers, how))
            return
        cut = [source for tensor, source in sources if source[1] and not tensor.requires_grad]
        for found, by in cut:
            # What is detached before the loss is a teacher's answer; nobody writes .data for that.
            if is_inside or by == "data":
                self._found(found, by)
        if not cut:
            self._sources.put(made, (layers, how))

    def _found(self, layers: frozenset[str], by: str) -> None:
        for layer in layers:
            self._record.cuts.setdefault(layer, by)

    def clear(self) -> None:
        self._sources.clear()
