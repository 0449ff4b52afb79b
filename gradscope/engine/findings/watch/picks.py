"""What is picked out of probabilities in a loss written by hand: along the dimension over which they sum to 1?"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradscope.engine.findings.record import SoftmaxUse
from gradscope.engine.findings.watch.marks import Marks

_SOFTMAX = frozenset(("log_softmax", "softmax"))


class Picks:
    def __init__(self, step: int) -> None:
        self._step = step
        self._dims: Marks[int] = Marks()

    def see(
        self, name: str, layer: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, *, is_inside: bool
    ) -> SoftmaxUse | None:
        """The use that is wrong; None where there is none."""
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
            if softmax_dim is not None and softmax_dim != dim and _picks_classes(given, index, softmax_dim, dim):
                return SoftmaxUse(
                    step=self._step,
                    layer=layer,
                    dim=softmax_dim,
                    contracted=dim,
                    shape=tuple(given.shape),
                    is_pick=True,
                )
        return None

    def clear(self) -> None:
        self._dims.clear()


def _picks_classes(given: Tensor, index: object, softmax_dim: int, dim: int) -> bool:
    """Whoever picks positions takes the same for all classes. Of a square, as contrastive losses make it, the diagonal may be
    picked along either side."""
    size, picked = given.shape[softmax_dim], given.shape[dim]
    if not isinstance(index, Tensor) or index.dim() != given.dim() or 1 in (size, picked) or size == picked:
        return False
    return bool((index != index.narrow(softmax_dim, 0, 1)).any())
