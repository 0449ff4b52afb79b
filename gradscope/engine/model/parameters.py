"""The parameters of a model: their names, their `.grad`, and how far each optimizer step moves them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gradscope.engine.model.copies import Renewal, put_back
from gradscope.engine.model.modules import named_parameters, own_name
from gradscope.engine.surroundings.blame import users_code

Model = nn.Module | Mapping[str, Tensor]


def named_tensors(model: Model) -> dict[str, tuple[Tensor, tuple[str, ...]]]:
    """name -> (tensor, its other names), each tensor once under its first name. Tied parameters have several names."""
    if isinstance(model, nn.Module):
        with users_code("The model's named_parameters()"):
            pairs: list[tuple[str, Tensor]] = [(own_name(name), tensor) for name, tensor in named_parameters(model)]
    else:
        pairs = list(model.items())
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for name, tensor in pairs:
        names.setdefault(id(tensor), []).append(name)
        tensors[id(tensor)] = tensor
    return {own[0]: (tensors[key], tuple(own[1:])) for key, own in names.items()}


def is_uninitialised(tensor: Tensor) -> bool:
    """True for a lazy module's parameter before its first forward: it has no shape yet."""
    return bool(is_lazy(tensor))


class PreviousValues:
    """The parameters as they were before the newest optimizer step, in one set of buffers that is allocated once."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._of: dict[str, Tensor] = {}

    def remember(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy the current values (of dense floating-point and complex tensors)."""
        self._of = {}
        for name in self._buffers.keys() - tensors.keys():
            del self._buffers[name]
        renewal = Renewal()
        for name, tensor in tensors.items():
            self._buffers[name] = renewal.copy_of(tensor, self._buffers.get(name))
        renewal.finish()
        # Last: a copy that was broken off must not be put back.
        self._of = dict(tensors)

    def take(self, known: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Of each tensor the value before the newest step, which somebody else has copied."""
        self._buffers |= {name: copy for name, (_, copy) in known.items()}
        self._of = {name: tensor for name, (tensor, _) in known.items()}

    def forget(self) -> None:
        """There is no newest step any more (the buffers stay, for the next one)."""
        self._of = {}

    def knows(self, name: str) -> bool:
        """Whether a parameter of that name was there before the newest step."""
        return name in self._of

    def known(self) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """name -> the parameter before the newest step, and name -> a copy of its value then."""
        return self._of, self._buffers

    def pair(self, name: str, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
        """(the parameter, its value before the newest step); None where that is unknown, or was another tensor, or one of
        another form."""
        if self._of.get(name) is not tensor:
            return None
        now, before = tensor.detach(), self._buffers[name]
        is_same_form = now.shape == before.shape and now.dtype is before.dtype and now.device == before.device
        return (now, before) if is_same_form and now.layout is before.layout else None

    def delta(self, name: str, tensor: Tensor) -> Tensor | None:
        """Value now minus value before the newest step; None as in `pair`."""
        pair = self.pair(name, tensor)
        if pair is None:
            return None
        with torch.no_grad():
            return pair[0] - pair[1]

    def before(self, name: str) -> Tensor | None:
        """The value before the newest step, not to be changed; None where that is unknown."""
        return self._buffers[name] if name in self._of else None

    def restore(self) -> None:
        """Put the values back in place (a step has failed half-way)."""
        for name, tensor in self._of.items():
            put_back(tensor, self._buffers[name])
        self.forget()
