"""Every `.grad` as it was once, for looking at it and for putting it back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gradscope.engine.model.copies import Renewal, put_back


class GradientCopies:
    """Every `.grad` as it was, None included. The copies' memory is used again."""

    def __init__(self) -> None:
        self._tensors: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._copies: dict[str, Tensor] = {}

    def remember(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy the gradients of leaves."""
        # Copies that were broken off must not be put back.
        self._tensors = {}
        leaves = {name: (tensor, tensor.grad) for name, tensor in tensors.items() if tensor.is_leaf}
        known, renewal = self._copies, Renewal()
        self._copies = {
            name: renewal.copy_of(gradient, known.get(name))
            for name, (_, gradient) in leaves.items()
            if gradient is not None
        }
        renewal.finish()
        self._tensors = leaves

    def get(self, name: str) -> Tensor | None:
        """The copy of a gradient; None where there was none, or nothing is remembered."""
        return self._copies.get(name) if name in self._tensors else None

    def restore(self) -> None:
        for name, (tensor, gradient) in self._tensors.items():
            if gradient is not None:
                put_back(gradient, self._copies[name])
            tensor.grad = gradient

    def forget(self, *, keep_memory: bool = False) -> None:
        """`restore` puts nothing back any more."""
        self._tensors = {}
        if not keep_memory:
            self._copies = {}
