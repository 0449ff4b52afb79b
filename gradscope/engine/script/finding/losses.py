"""The loss of a script: the tensor that backward was called on, and what is known of it."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.script.finding.found import loss_name
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.surroundings.frames import locals_of, users_frame

_MOST_NODES = 50_000
"""Of a graph that is looked through for the tensors that it ends in."""


@dataclass(frozen=True)
class Loss:
    name: str
    """What the script calls it."""
    value: float | None
    """None where it is not one number."""
    scale: float | None
    """What it is multiplied with for the backward."""
    parts: tuple[float | None, ...] = ()
    """Where backward begins at several tensors; then `value` is their sum."""
    notes: tuple[str, ...] = ()


class Scaled:
    """Which tensors a gradient scaler has made of which. None is kept alive by it."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[weakref.ref[Tensor], weakref.ref[Tensor], float]] = {}

    def note(self, scaled: Tensor, loss: Tensor, scale: float) -> None:
        self._of = {key: known for key, known in self._of.items() if known[0]() is not None}
        self._of[id(scaled)] = weakref.ref(scaled), weakref.ref(loss), scale

    def loss_of(self, tensor: Tensor) -> tuple[Tensor, float | None]:
        """(what was scaled, the scale); the tensor itself where it was not."""
        known = self._of.get(id(tensor))
        if known is None or known[0]() is not tensor:
            return tensor, None
        loss = known[1]()
        # Where the script has kept the scaled one only, its value is known all the same.
        return (tensor.detach() / known[2] if loss is None else loss), known[2]


class Names:
    """What is called how at each place in the script: looked for once, and then only looked at."""

    def __init__(self) -> None:
        self._known: dict[tuple[CodeType, int], str] = {}

    def of(self, loss: Tensor) -> str:
        frame = users_frame()
        if frame is None:
            return loss_name(loss)
        place = frame.f_code, frame.f_lasti
        name = self._known.get(place)
        if name is not None and (not name.isidentifier() or _is_local(frame, name, loss)):
            return name
        name = self._known[place] = loss_name(loss)
        return name


def _is_local(frame: Any, name: str, value: Any) -> bool:
    return locals_of(frame).get(name, frame.f_globals.get(name)) is value


SCALED, NAMES = Scaled(), Names()
"""Of this process, which runs one script."""


def described(tensors: list[Tensor]) -> Loss:
    if not tensors:
        # `torch.autograd.graph.GradientEdge`: it has no value.
        return Loss("", None, None, notes=("backward began at an edge of the graph: there is no loss to be shown",))
    pairs = [SCALED.loss_of(tensor) for tensor in tensors]
    values, notes = [_number(loss) for loss, _ in pairs], []
    value = values[0]
    if len(tensors) > 1:
        known = [number for number in values if number is not None]
        value = sum(known) if len(known) == len(values) else None
        notes.append(f"backward began at {len(tensors)} tensors: the loss that is shown is their sum")
    elif value is None:
        notes.append(f"The loss is a tensor of shape {tuple(tensors[0].shape)}: it is no number that could be shown")
    loss, scale = pairs[0]
    parts = tuple(values) if len(values) > 1 else ()
    return Loss(safely(lambda: NAMES.of(loss), ""), value, scale, parts, tuple(notes))


def is_left_out(optimizer: Any) -> bool:
    """Whether a fused step, which is told by the scaler what it has found, has moved nothing because of that."""
    found = vars(optimizer).get("found_inf")
    return isinstance(found, Tensor) and bool(found.detach().any())


def _number(loss: Tensor) -> float | None:
    return safely(lambda: float(loss.detach()), None) if loss.numel() == 1 else None


def leaves_of_graph(tensors: Collection[Tensor]) -> list[Tensor]:
    """The tensors that a backward from these adds a gradient to."""
    found = {id(tensor): tensor for tensor in tensors if tensor.grad_fn is None and tensor.requires_grad}
    waiting: list[Any] = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen = set(waiting)
    while waiting and len(seen) < _MOST_NODES:
        node = waiting.pop()
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.Tensor):
            found[id(variable)] = variable
        for inner, _ in node.next_functions:
            if inner is not None and inner not in seen:
                seen.add(inner)
                waiting.append(inner)
    return list(found.values())
