"""Tensors that get gradients and that nobody trains: they are neither in the model nor in an optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from gradscope.engine.aside.places import Place
from gradscope.engine.aside.walk import Reached
from gradscope.engine.book.turns import Turn
from gradscope.engine.stepping.training import Training
from gradscope.engine.wording import listed
from gradscope.protocol.visible import visible


class ForeignLeaves:
    """Looks at the graphs of the first two forwards of each turn: a leaf that is in both is kept from one step to the next,
    and so is no input that merely asks for a gradient."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._first: dict[str, list[Tensor]] = {}
        self._done: set[str] = set()

    def look(self, turn: Turn, loss: Tensor, parameters: Iterable[Tensor]) -> list[str]:
        """What is to be said of the forward of this loss; `parameters` are the model's."""
        if turn.name in self._done:
            return []
        known = {id(tensor) for tensor in parameters} | {id(t) for own in self._training.turns for t in own.parameters}
        found = [leaf for leaf in leaves_of(loss) if id(leaf) not in known]
        first = self._first.pop(turn.name, None)
        if first is None:
            self._first[turn.name] = found
            return []
        self._done.add(turn.name)
        before = {id(leaf) for leaf in first}
        return self._told([leaf for leaf in found if id(leaf) in before])

    def _told(self, leaves: list[Tensor]) -> list[str]:
        if not leaves:
            return []
        places = places_of(self._training.roots(), leaves)
        unknown = [f"one of shape {tuple(leaf.shape)}" for leaf in leaves if id(leaf) not in places]
        names = [*(visible(str(place)) for place in places.values()), *unknown]
        one = len(leaves) == 1
        return [
            f"{len(leaves)} tensor{'' if one else 's'} outside the model get{'s' if one else ''} gradients: {listed(names)}. "
            "No optimizer moves them, and their gradients add up; to be trained, layers in a list belong in an "
            "nn.ModuleList, and a tensor in an nn.Parameter"
        ]


def leaves_of(result: Tensor) -> list[Tensor]:
    """Every leaf that a backward from here gives a gradient to, in no particular order."""
    found: list[Tensor] = []
    waiting: list[Any] = [result.grad_fn]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # A function of the user's may have something of that name.
        if type(node).__name__ == "AccumulateGrad":
            found.append(node.variable)
        waiting += [inner for inner, _ in node.next_functions]
    return found


def places_of(roots: Mapping[str, object], tensors: Iterable[Tensor]) -> dict[int, Place]:
    """Where tensors are held, by their ids, the nearest first; not of those that are not found."""
    wanted = {id(tensor) for tensor in tensors}
    reached = Reached(copies_parameters=False, only_looks=True)
    reached.look_from(roots)
    return {id(tensor): place for place, tensor in reached.values if id(tensor) in wanted}


@dataclass(frozen=True)
class Held:
    """Where a tensor is held, and by which module as a parameter or buffer; None: by none."""

    place: Place
    module: nn.Module | None

    def is_in(self, root: str) -> bool:
        """Under the root of that name, not in a variable or a global of the code that it names."""
        outermost = self.place
        while outermost.parent is not None:
            outermost = outermost.parent
        return outermost.key == root and not outermost.owner


def held_by(roots: Mapping[str, object], tensors: Iterable[Tensor]) -> dict[int, Held]:
    """By the ids of the tensors; without those that are not found."""
    wanted = {id(tensor) for tensor in tensors}
    reached = Reached(copies_parameters=False, only_looks=True)
    reached.look_from(roots)
    modules = {id(own): module for module in reached.modules for own in module.parameters(recurse=False)}
    return {id(t): Held(place, modules.get(id(t))) for place, t in reached.values if id(t) in wanted}


def kept_results(roots: Mapping[str, object]) -> list[Place]:
    """Where a module, or the code, keeps tensors together with the graphs that they were computed in."""
    reached = Reached(copies_parameters=False, only_looks=True)
    reached.look_from(roots)
    return [place for place, tensor in reached.values if tensor.grad_fn is not None]
