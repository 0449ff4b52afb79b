"""What is picked out of probabilities in a loss written by hand: along the dimension over which they sum to 1?"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradscope.engine.findings.record import SoftmaxUse
from gradscope.engine.findings.watch.marks import Marks, tensors_of

_SOFTMAX = frozenset(("log_softmax", "softmax"))
_CHOICES = frozenset(
    ("argmax", "argmin", "max", "min", "topk", "sort", "msort", "argsort", "kthvalue", "median", "mode", "nonzero")
)
"""What says where numbers are, for each class of its own: pooling over the best places picks with that."""


class Picks:
    def __init__(self, step: int) -> None:
        self._step = step
        self._dims: Marks[int] = Marks()
        self._choices: Marks[bool] = Marks()
        """Positions that were found in numbers, and what was made of them: they are no classes that somebody has given."""

    def see(
        self, name: str, layer: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, *, is_inside: bool
    ) -> SoftmaxUse | None:
        """The use that is wrong; None where there is none."""
        self._follow_choices(name, args, kwargs, result)
        given = kwargs.get("input", args[0] if args else None)
        if not isinstance(given, Tensor) or not isinstance(result, Tensor) or not given.dim():
            return None
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if not isinstance(dim, int):
            return None
        dim %= given.dim()
        if name in _SOFTMAX:
            self._dims.put(result, dim)
        elif name == "gather" and not is_inside and result.requires_grad:
            index, softmax_dim = kwargs.get("index", args[2] if len(args) > 2 else None), self._dims.get(given)
            if softmax_dim is None or softmax_dim == dim or self._choices.get(index):
                return None
            if _picks_classes(given, index, softmax_dim, dim):
                return SoftmaxUse(
                    step=self._step,
                    layer=layer,
                    dim=softmax_dim,
                    contracted=dim,
                    shape=tuple(given.shape),
                    is_pick=True,
                )
        return None

    def _follow_choices(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        made = [tensor for tensor in tensors_of(result) if not tensor.is_floating_point()]
        if made and (
            name in _CHOICES
            or (self._choices and any(self._choices.get(t) for t in tensors_of((*args, *kwargs.values()))))
        ):
            for tensor in made:
                self._choices.put(tensor, True)

    def clear(self) -> None:
        self._dims.clear()
        self._choices.clear()


def _picks_classes(given: Tensor, index: object, softmax_dim: int, dim: int) -> bool:
    """Whoever picks positions takes the same for all classes. Of a square, as contrastive losses make it, the diagonal may be
    picked along either side."""
    size, picked = given.shape[softmax_dim], given.shape[dim]
    if not isinstance(index, Tensor) or index.dim() != given.dim() or 1 in (size, picked) or size == picked:
        return False
    return bool((index != index.narrow(softmax_dim, 0, 1)).any())
