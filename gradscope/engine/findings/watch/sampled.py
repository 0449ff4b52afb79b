"""Follows what is drawn by `sample()` of a distribution of torch's whose numbers are learnt into layers that are trained.

`sample()` cuts the gradient where `rsample()` keeps it. Who rewards a draw takes its log-probability, who feeds it back in
time, or detaches what comes of it, has cut it on purpose; a decoder that is given the draw teaches its encoder nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.record import Record, SampledCut
from gradscope.engine.findings.watch.marks import Marks, tensors_of

_HOME = "torch.distributions"
_DEPTH = 16
"""Frames that are looked through for `sample()`."""
_JOINING = frozenset(("cat", "concat", "concatenate", "stack", "hstack", "column_stack"))
_NONE = frozenset[int]()


@dataclass
class _Draw:
    kind: str
    source: str
    layers_before: int
    """How many layers had been met when it was drawn."""
    layer: str = ""
    """That it went into; "" before that."""
    is_meant: bool = False


class Sampled:
    def __init__(self, record: Record, step: int, turn: str, place: Callable[[Tensor], str]) -> None:
        """`place`: the layer that a tensor comes from."""
        self._record, self._step, self._turn, self._place = record, step, turn, place
        own = {p.layer for p in record.parameters.values() if p.is_trained and p.requires_grad and p.turn == turn}
        self._trained = (
            own if len(record.optimizers) > 1 else {p.layer for p in record.parameters.values() if p.is_trained}
        )
        self._met: dict[str, int] = {}
        """Layer -> its number, in the order in which they are met."""
        self._draws: dict[int, _Draw] = {}
        """By the identity of the call of `sample()`: its frame's."""
        self._made: Marks[frozenset[int]] = Marks()
        """Tensor without a gradient -> the draws that it is made of."""
        self._behind: Marks[frozenset[int]] = Marks()
        """What layers have made of them."""
        self._frames: dict[int, FrameType] = {}

    def see(self, name: str, layer: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if not torch.is_grad_enabled():
            self._drawn(result)
            return
        self._met.setdefault(layer, len(self._met))
        if not self._draws:
            return
        given = list(tensors_of((*args, *kwargs.values())))
        behind = _NONE.union(*(self._behind.get(tensor) or _NONE for tensor in given))
        draws = _NONE.union(*(self._made.get(tensor) or _NONE for tensor in given))
        if name in ("detach", "data"):
            # Of a single number, to write it down.
            self._mean(draws | behind if given[0].dim() else _NONE)
            return
        made = list(tensors_of(result))
        if draws and (name in _JOINING or not any(tensor.requires_grad for tensor in given)):
            for tensor in made:
                self._made.put(tensor, draws)
        elif draws:
            self._go_into(layer, draws)
            behind |= draws
        if behind:
            for tensor in made:
                self._behind.put(tensor, behind)

    def _go_into(self, layer: str, draws: frozenset[int]) -> None:
        for number in draws:
            draw = self._draws[number]
            if layer not in self._trained or not layer or self._met[layer] < draw.layers_before:
                # Its log-probability, a weight by it, or a way back into what has made it.
                draw.is_meant = True
            elif not draw.layer:
                draw.layer = layer

    def _drawn(self, result: Any) -> None:
        frame = _sampling()
        if frame is None or not isinstance(result, Tensor) or not result.is_floating_point():
            return
        own = frame.f_locals.get("self")
        learnt = _learnt(own)
        if learnt is None or not getattr(own, "has_rsample", False):
            return
        number = id(frame)
        if number not in self._draws:
            self._draws[number] = _Draw(type(own).__name__, self._place(learnt), len(self._met))
            # Kept, so that no other frame gets its number.
            self._frames[number] = frame
        self._made.put(result, frozenset((number,)))

    def _mean(self, draws: frozenset[int]) -> None:
        for number in draws:
            self._draws[number].is_meant = True

    def finish(self) -> None:
        """The forward is over, with its loss."""
        for draw in self._draws.values():
            if draw.layer and not draw.is_meant:
                self._record.sampled.append(
                    SampledCut(step=self._step, turn=self._turn, kind=draw.kind, layer=draw.layer, source=draw.source)
                )

    def clear(self) -> None:
        self._made.clear()
        self._behind.clear()
        self._draws.clear()
        self._frames.clear()


def _sampling() -> FrameType | None:
    """The outermost frame of `sample()` of one of torch's distributions that runs now."""
    frame: FrameType | None = sys._getframe(2)
    found = None
    for _ in range(_DEPTH):
        if frame is None:
            break
        if frame.f_code.co_name == "sample" and str(frame.f_globals.get("__name__", "")).startswith(_HOME):
            found = frame
        frame = frame.f_back
    return found


def _learnt(distribution: object, depth: int = 0) -> Tensor | None:
    """One of its numbers that has a gradient; of what it is made of, too."""
    for value in vars(distribution).values() if hasattr(distribution, "__dict__") else ():
        if isinstance(value, Tensor) and value.requires_grad:
            return value
        is_inner = isinstance(value, torch.distributions.Distribution) and depth < 2
        inner = _learnt(value, depth + 1) if is_inner else None
        if inner is not None:
            return inner
    return None
