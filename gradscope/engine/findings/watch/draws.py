"""Follows noise that is drawn in a step: does the model get it, where it is asked to say it?

A denoiser is given what the noise has made of the data, and has to say the noise. Where the noise that it is asked for was
drawn for itself, nothing that the model is given depends on it: the best answer is 0.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradscope.engine.findings.record import DrawnTarget, Record
from gradscope.engine.findings.watch.marks import Marks, tensors_of

_DRAWS = frozenset(("randn", "randn_like", "normal_"))
"""Around 0, and the same on both sides: what is multiplied by it without being given it cannot be told either."""
_COMPARING = frozenset(("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "sub", "rsub"))
_STAYING = frozenset(
    [
        "view", "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "permute", "contiguous", "to", "float", "double",
        "detach", "clone", "neg", "mul", "mul_", "div", "div_", "truediv", "expand", "expand_as", "chunk", "split", "unbind",
    ]
)  # fmt: skip
"""What is made of noise by these is still noise around 0. (Sorted or squared, it can be told in part.)"""
_LEAVING = frozenset(("numpy", "tolist", "item", "data_ptr", "__array__"))
_EMPTY = frozenset[int]()


class Draws:
    def __init__(self, record: Record, step: int, turn: str) -> None:
        self._record, self._step, self._turn = record, step, turn
        self._noise: Marks[frozenset[int]] = Marks()
        """Tensor -> the draws that it is, but for known factors."""
        self._made: Marks[frozenset[int]] = Marks()
        """Tensor -> the draws that it depends on in any way."""
        self._used: set[int] = set()
        """Draws that what is learnt may depend on."""
        self._asked: list[tuple[frozenset[int], tuple[int, ...], float]] = []
        self._count = 0

    def see(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, *, is_inside: bool) -> None:
        if name in _DRAWS and isinstance(result, Tensor) and not result.requires_grad:
            self._count += 1
            self._noise.put(result, frozenset((self._count,)))
            self._made.put(result, frozenset((self._count,)))
            return
        if not self._count:
            return
        given = list(tensors_of((*args, *kwargs.values())))
        draws = _EMPTY.union(*(self._made.get(tensor) or _EMPTY for tensor in given))
        if not draws:
            return
        if is_inside or name in _LEAVING:
            self._used |= draws
            return
        made = list(tensors_of(result))
        if any(tensor.requires_grad for tensor in given):
            if self._asks(name, args, kwargs, given):
                return
            # Something that is learnt has met it: it may be the model itself, written as functions.
            self._used |= draws
        written = (
            [args[0]] if args and isinstance(args[0], Tensor) and (name.endswith("_") or name == "setitem") else []
        )
        for tensor in (*made, *written, *tensors_of(kwargs.get("out"))):
            self._made.put(tensor, draws | (self._made.get(tensor) or _EMPTY))
        noise = [self._noise.get(tensor) for tensor in given if self._made.get(tensor)]
        stays = name in _STAYING and all(noise) and len(noise) == 1
        for tensor in (*made, *written):
            if stays:
                self._noise.put(tensor, noise[0] or _EMPTY)
            else:
                self._noise.drop(tensor)

    def _asks(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], given: list[Tensor]) -> bool:
        """Whether it compares what is learnt with noise. What comes of that is the loss: it goes back into no model."""
        if name not in _COMPARING or len(given) != 2:
            return False
        learnt, other = (given[0], given[1]) if given[0].requires_grad else (given[1], given[0])
        noise = self._noise.get(other)
        if (
            noise is None
            or other.requires_grad
            or learnt.shape != other.shape
            or noise & (self._made.get(learnt) or _EMPTY)
        ):
            return False
        size = float(other.detach().float().square().mean())
        off = float((learnt.detach().float() - other.detach().float()).square().mean())
        self._asked.append((noise, tuple(other.shape), off / size if size > 0 else 0.0))
        return True

    def given(self, inputs: Any) -> None:
        """A layer has got these: what it does with them may be out of sight, as in code that is compiled."""
        for tensor in tensors_of(inputs):
            self._used |= self._made.get(tensor) or _EMPTY

    def finish(self) -> None:
        """The forward is over, with its loss."""
        for noise, shape, share in self._asked:
            if not noise & self._used:
                self._record.drawn_targets.append(
                    DrawnTarget(step=self._step, turn=self._turn, shape=shape, share=share)
                )

    def clear(self) -> None:
        self._noise.clear()
        self._made.clear()
