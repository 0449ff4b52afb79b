"""The optimizers as a snapshot has them: what they remember of each parameter, their options, the schedulers' state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.book.book import Book
from gradscope.engine.export.tensors import Fetch
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.surroundings.error_parts import class_name, safe_text
from gradscope.engine.surroundings.unwinding import is_interruption

_MAX_TEXT = 500
_MAX_DEPTH = 8


def optimizers_of(book: Book) -> dict[str, Optimizer]:
    """By the name that the recipe has for each; a single one is called ""."""
    return {turn.name: turn.optimizer for turn in book.driver.turns}


def optimizer_tensors(book: Book) -> Iterator[tuple[str, Fetch]]:
    """`weight.exp_avg`, `weight.step` ..., with the names of the parameters in the model."""
    for optimizer in optimizers_of(book).values():
        names = _names(book, optimizer)
        for parameter, state in optimizer.state.items():
            for key, value in state.items() if isinstance(state, dict) else ():
                for path, tensor in tensor_leaves(value, f".{key}"):
                    yield f"{names.get(id(parameter), '(unknown)')}{path}", tensor.detach


def optimizer_facts(book: Book) -> dict[str, Any]:
    """What is no tensor, as JSON."""
    scaler = book.driver.scaler
    return {
        "optimizers": [
            {
                "name": name,
                "class": type(optimizer).__name__,
                "groups": [_group(group, _names(book, optimizer)) for group in optimizer.param_groups],
                "state": _numbers(optimizer, _names(book, optimizer)),
            }
            for name, optimizer in optimizers_of(book).items()
        ],
        "schedulers": [
            {"name": turn.name, "class": type(turn.scheduler).__name__, "state": _state(turn.scheduler)}
            for turn in book.driver.turns
            if turn.scheduler is not None
        ],
        "scaler": None if scaler is None else _state(scaler),
    }


def _names(book: Book, optimizer: Optimizer) -> dict[int, str]:
    names = {id(tensor): name for name, tensor in book.observer.tensors().items()}
    for i, group in enumerate(optimizer.param_groups):
        for k, tensor in enumerate(group["params"]):
            names.setdefault(id(tensor), f"(optimizer group {i}, parameter {k})")
    return names


def _group(group: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    options = {str(key): plain(value) for key, value in group.items() if key != "params"}
    return {"parameters": [names[id(tensor)] for tensor in group["params"]], **options}


def _numbers(optimizer: Optimizer, names: dict[int, str]) -> dict[str, Any]:
    return {
        names.get(id(parameter), "(unknown)"): {
            str(key): plain(value) for key, value in state.items() if not any(tensor_leaves(value))
        }
        for parameter, state in optimizer.state.items()
        if isinstance(state, dict)
    }


def _state(owner: Any) -> Any:
    try:
        return plain(owner.state_dict())
    except BaseException as error:
        if is_interruption(error):
            raise
        # A scheduler of the user's own.
        return f"(its state_dict() failed: {class_name(type(error))})"


def plain(value: Any, depth: int = 0) -> Any:
    """The same as JSON: a tensor of one element is its number, what JSON has no word for is text."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and depth < _MAX_DEPTH:
        return [plain(item, depth + 1) for item in value]
    return safe_text(value, repr, most=_MAX_TEXT)
