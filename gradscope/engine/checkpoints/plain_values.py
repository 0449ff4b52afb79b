"""State as plain values: what `torch.load(weights_only=True)` reads, and back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMBERS: tuple[type[Any], ...] = (bool, int, float, complex, str)


class _NotPlain(Exception):
    """A value has no plain form."""


def plain(value: Any, left_out: list[str], where: str = "") -> Any:
    """The same in tensors (on the CPU), numbers, strings, lists, tuples and dicts.

    What has no such form, as a function, is left out of its dict, and None elsewhere; its place is added to `left_out`.
    """
    try:
        return _plain(value, left_out, where)
    except _NotPlain:
        left_out.append(where)
        return None


def _plain(value: Any, left_out: list[str], where: str) -> Any:
    if value is None or type(value) in _NUMBERS:
        return value
    if isinstance(value, Tensor):
        return _plain_tensor(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(np.array(value))
    if isinstance(value, np.generic):
        return _plain(value.item(), left_out, where)
    for kind in _NUMBERS:
        # Of enums, and of others that are numbers too.
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return _plain_dict(value, left_out, where)
    if isinstance(value, (list, tuple, set, frozenset)) or type(value).__name__ == "deque":
        items = [plain(item, left_out, f"{where}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise _NotPlain


def _plain_dict(value: Mapping[Any, Any], left_out: list[str], where: str) -> dict[Any, Any]:
    found: dict[Any, Any] = OrderedDict() if hasattr(value, "_metadata") else {}
    for key, item in value.items():
        inside = f"{where}.{key}" if where else str(key)
        try:
            found[_plain(key, left_out, inside)] = _plain(item, left_out, inside)
        except (_NotPlain, TypeError):
            left_out.append(inside)
    if hasattr(value, "_metadata"):
        # The versions of a state_dict's modules.
        found._metadata = plain(dict(value._metadata), [])  # type: ignore[attr-defined]
    return found


def _plain_tensor(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    if type(tensor) is not Tensor:
        tensor = tensor.as_subclass(Tensor)
    if tensor.layout is torch.strided and tensor.untyped_storage().nbytes() > tensor.numel() * tensor.element_size():
        # A view would bring everything that it is a view of.
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor


def like(own: Any, saved: Any) -> Any:
    """`saved` with the containers and numbers of `own`, whose plain form it was."""
    if isinstance(own, Mapping) and isinstance(saved, Mapping):
        found = {key: like(own.get(key), item) for key, item in saved.items()}
        return found if type(own) in (dict, OrderedDict) else type(own)(found)  # type: ignore[call-arg]
    if isinstance(own, np.ndarray) and isinstance(saved, Tensor):
        return saved.numpy().astype(own.dtype)
    if isinstance(own, np.generic) and isinstance(saved, (bool, int, float, complex)):
        return type(own)(saved)
    if isinstance(own, Tensor) and isinstance(saved, Tensor):
        return saved.to(own.device)
    if isinstance(saved, (list, tuple)):
        if isinstance(own, (list, tuple)) and len(own) == len(saved):
            items = [like(mine, item) for mine, item in zip(own, saved, strict=True)]
        else:
            items = list(saved)
        if isinstance(own, (list, tuple, set, frozenset)) or type(own).__name__ == "deque":
            return type(own)(items) if not hasattr(own, "_fields") else type(own)(*items)
        return type(saved)(items)
    return saved
