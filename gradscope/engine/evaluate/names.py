"""What evaluated code can use by name in every training: gradients and activations of layers, the losses, the clock."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.book.book import Book
from gradscope.engine.book.values import ValuesUnavailable, values_of
from gradscope.engine.evaluate.place import Place
from gradscope.protocol.failure import BadInput
from gradscope.protocol.subjects import SubjectKey, SubjectKind

ALWAYS = ("activation", "epoch", "grad", "loss", "np", "output", "step", "torch")
"""Beside those of the place."""
_COSTLY = frozenset(["output"])
"""Made only where it is asked for: it is copied."""


class Lookup:
    """`grad` and `activation`, of one evaluation. What they return are copies: the code may write to them."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.given: dict[int, tuple[Tensor, SubjectKey]] = {}
        """By their ids, the copies that were given, and what they are of."""

    def grad(self, name: str, call: int = 0) -> Tensor:
        """The gradient of a layer's output, or of a parameter, as the newest backward has left it: not clipped, and divided
        by the loss scale. `call`: which call of the layer, from 0. Raises BadInput where there is none."""
        observer = self._book.observer
        if name in observer.tensors():
            return self._copy_of(SubjectKey(SubjectKind.GRAD, name))
        return self._of_layer(SubjectKind.ACTIVATION_GRAD, name, call)

    def activation(self, name: str, call: int = 0) -> Tensor:
        """What a layer has put out in the newest forward. `call`: which call of it, from 0. Raises BadInput as `grad`."""
        return self._of_layer(SubjectKind.ACTIVATION, name, call)

    def output(self) -> Any:
        """What the model has put out in the newest forward: a tensor, or a dict of its tensors by their paths; None where
        that is not known."""
        found = {}
        for key in _keys(self._book, SubjectKind.ACTIVATION, "", 0):
            kept = self._book.keeper.get(key)
            if kept is not None:
                found[key.leaf] = self._copy_of(key)
        if not found:
            return None
        return next(iter(found.values())) if list(found) == [""] else found

    def _of_layer(self, kind: SubjectKind, name: str, call: int) -> Tensor:
        if not isinstance(name, str):
            raise BadInput(
                f'{kind.value} was asked for of {name!r:.80}; expected the name of a layer, as in grad("fc1")'
            )
        observer = self._book.observer
        if name not in observer.modules():
            known = [*observer.modules(), *observer.tensors()]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"There is no layer {name!r:.80} in the model{hint}")
        keys = _keys(self._book, kind, name, call)
        kept = [key for key in keys if self._book.keeper.get(key) is not None]
        return self._copy_of(kept[0] if kept else keys[0])

    def _copy_of(self, key: SubjectKey) -> Tensor:
        try:
            with torch.no_grad():
                copy = values_of(self._book, key).detach().clone()
        except ValuesUnavailable as reason:
            raise BadInput(str(reason)) from None
        self.given[id(copy)] = copy, key
        return copy


def provided(place: Place, lookup: Lookup, used: frozenset[str]) -> dict[str, Any]:
    """By their names; what is costly only where it is among the `used` ones."""
    book = place.book
    position = book.position
    found: dict[str, Any] = {
        "torch": torch,
        "np": np,
        "grad": lookup.grad,
        "activation": lookup.activation,
        "step": position.step,
        "epoch": position.epoch,
        "loss": _loss_of(book),
        **place.names(),
    }
    return found | ({"output": lookup.output()} if "output" in used else {})


def wanted_subjects(book: Book, layers: Iterator[tuple[str, str]]) -> Iterator[SubjectKey]:
    """What `grad(name)` and `activation(name)` read, given as ("grad", name), where it is gone after its phase."""
    for function, name in layers:
        if name in book.observer.modules():
            kind = SubjectKind.ACTIVATION if function == "activation" else SubjectKind.ACTIVATION_GRAD
            yield from _keys(book, kind, name, 0)


def _loss_of(book: Book) -> Tensor | None:
    """A tensor of its own: a backward from the training's would use up its graph."""
    loss = book.driver.loss
    return None if loss is None else torch.tensor(loss, dtype=torch.float64, device="cpu")


def _keys(book: Book, kind: SubjectKind, name: str, call: int) -> list[SubjectKey]:
    """Of a layer's call, as far as its leaves are known."""
    first = SubjectKey(kind, name, call)
    rows = book.observer.tables.subjects.rows
    known = dict.fromkeys(
        row.key for row in rows if row.key.name == name and row.key.kind is kind and row.key.call == call
    )
    return list(known) or [first]
