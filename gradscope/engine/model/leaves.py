"""The tensors in a structured output, each with its path: "", "[0]", ".logits", ".hidden[1][0]", ".data"."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

MAX_DEPTH = 8
Inputs = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments of a call."""


def tensor_leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """(path, tensor) of every tensor leaf, in order. Lists and tuples give `[i]`; dicts, dataclasses and objects `.key`.

    Modules, types and functions inside an output are not looked into, nor is anything below MAX_DEPTH levels.
    """
    if isinstance(value, Tensor):
        yield path, value
    elif value is None or isinstance(value, (str, bytes, int, float, complex, nn.Module, type)) or depth >= MAX_DEPTH:
        return
    elif isinstance(value, PackedSequence):
        yield f"{path}.data", value.data
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from tensor_leaves(item, f"{path}[{i}]", depth + 1)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensor_leaves(item, f"{path}.{key}", depth + 1)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensor_leaves(getattr(value, field.name, None), f"{path}.{field.name}", depth + 1)
    elif not callable(value) and hasattr(value, "__dict__"):
        for key, item in vars(value).items():
            yield from tensor_leaves(item, f"{path}.{key}", depth + 1)
