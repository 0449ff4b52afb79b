"""Copying many tensors into memory that is there."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gradscope.engine.quantities import summary
from gradscope.engine.quantities.kernel.extension import NATIVE
from gradscope.engine.quantities.kernel.library import Copies
from gradscope.engine.quantities.values import plain_address


def copy_all(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Copy the values of each (source, target), which are of one shape, dtype and device. Neither gets a graph."""
    plain: Copies = []
    sources: list[Tensor] = []
    targets: list[Tensor] = []
    with torch.no_grad():
        for source, target in pairs:
            to = plain_address(target) if summary.KERNEL is not None else 0
            if to and (address := plain_address(source)):
                plain.append((address, to, source.numel() * source.element_size()))
            elif type(target) is Tensor:
                sources.append(source.detach())
                targets.append(target)
            else:
                # Distributed tensors and other subclasses know no copy of many at once.
                target.copy_(source.detach())
        if plain and summary.KERNEL is not None:
            summary.KERNEL.copy_all(plain)
        if sources:
            torch._foreach_copy_(targets, sources)


class Renewal:
    """Copies of many tensors, each in the memory of an earlier copy where that fits. Right only after `finish`."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._kernel = summary.KERNEL
        self._plain = None if NATIVE is None or self._kernel is None else NATIVE.Copies()
        """Those that the kernel copies, asked for in C: there are many small ones."""

    def copy_of(self, value: Tensor, known: Tensor | None) -> Tensor:
        """The copy of a tensor; `known` is the earlier one."""
        if self._plain is not None and known is not None and self._plain.add(value, known):
            return known
        if (
            known is None
            or known.shape != value.shape
            or known.dtype != value.dtype
            or known.device != value.device
            or not known.layout is value.layout is torch.strided
        ):
            return value.detach().clone()
        self._pairs.append((value, known))
        return known

    def finish(self) -> None:
        if self._plain is not None and self._kernel is not None:
            self._plain.finish(self._kernel.copy_address)
        if self._pairs:
            copy_all(self._pairs)


def put_back(target: Tensor, copy: Tensor) -> None:
    """Give a tensor the values that it had, in place and without a graph."""
    with torch.no_grad():
        # A sparse tensor that is detached is another one: what is copied into it does not reach the first.
        (target.detach() if target.layout is torch.strided else target).copy_(copy)
