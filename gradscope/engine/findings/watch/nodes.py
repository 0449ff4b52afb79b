"""What the graph of autograd says of how a tensor was made. Nothing is computed, and no tensor is kept."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

_PASSING = frozenset(
    [
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "T",
        "Permute",
        "Select",
        "Slice",
        "Clone",
        "ToCopy",
        "Alias",
        "Expand",
        "AsStrided",
        "Unbind",
        "Split",
        "SplitWithSizes",
        "Index",
        "Copy",
    ]
)
"""They only show the same numbers in another shape, type or order."""
_MOST = 12
"""Steps that are followed: views of views are rarely deeper."""


def kind(node: Any) -> str:
    """ "Sigmoid" of SigmoidBackward0; "" of None."""
    return "" if node is None else re.sub(r"Backward\d*$", "", str(node.name()))


def before(node: Any) -> Any:
    """The node that the first input of `node` comes from; None for a leaf, or where there is none."""
    following = node.next_functions if node is not None else ()
    return following[0][0] if following else None


def maker(node: Any, passing: frozenset[str] = _PASSING) -> Any:
    """The first node, from this one on, that is more than another view of the same numbers."""
    for _ in range(_MOST):
        if kind(node) not in passing:
            return node
        node = before(node)
    return None


def maker_names(tensor: Tensor) -> tuple[str, str]:
    """The names of the node that made it, and of the one before that, views passed over: ("SigmoidBackward0", "Addmm...")."""
    node = maker(tensor.grad_fn)
    if node is None or kind(node).endswith("AccumulateGrad"):
        return "", ""
    inner = maker(before(node))
    return str(node.name()), "" if inner is None else str(inner.name())


def is_parameter(tensor: Tensor) -> bool:
    """A leaf that is learnt, or only a view of one."""
    if tensor.grad_fn is None:
        return tensor.requires_grad
    return kind(maker(tensor.grad_fn)).endswith("AccumulateGrad")
