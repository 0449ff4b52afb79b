"""Gradients that a script computes with `torch.func`: `grad`, `grad_and_value` and `vjp` come through `torch.autograd.grad`,
with tensors that a transform has wrapped. In the wrapping are the script's own, and they are followed as if taken without.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath
from types import FrameType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from gradscope.engine.model.leaves import Inputs
from gradscope.engine.model.modules import modules_in
from gradscope.engine.script.taken_gradients import Taken
from gradscope.engine.surroundings import transforms
from gradscope.engine.surroundings.frames import locals_of
from gradscope.protocol.source import SourceLine

if TYPE_CHECKING:
    from gradscope.engine.script.following import Following

_BY_SAMPLE = "sample by sample (vmap): what the script makes of them is not seen"
_INSIDE_OTHERS = "inside of another transform (jvp): what the script makes of them is not seen"
_NOBODYS = "of tensors that neither an optimizer nor a model holds: they are not followed"
_PUT_IN = (
    "of tensors that are put in the places of a model's parameters: values and gradients are shown under the names of these "
    "tensors, and the model's activations are not looked into"
)
_MOST_PLACES = 16
"""Of which it is said that their gradients are not seen."""


class FuncGradients:
    """Of one script: what runs inside of transforms of torch.func."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._put_in: dict[int, weakref.ref[Tensor]] = {}
        """Tensors that were in the places of modules' parameters since the newest gradients, by their ids."""
        self._told: set[SourceLine | None] = set()

    def as_outside(self, module: nn.Module, work: Callable[[nn.Module], None]) -> None:
        """`work(module)`, as if no transform were running: meanwhile the module has the script's own tensors as parameters,
        and not what a transform has made of them."""
        wrapped = _wrapped_in(module)
        own = [transforms.unwrapped(p) for _, _, p in wrapped]
        self._note_put_in(own)
        with transforms.outside():
            try:
                for (part, name, _), tensor in zip(wrapped, own, strict=True):
                    part._parameters[name] = tensor  # type: ignore[assignment]
                work(module)
            finally:
                for part, name, p in wrapped:
                    part._parameters[name] = p  # type: ignore[assignment]

    def _note_put_in(self, tensors: Iterable[Tensor]) -> None:
        self._put_in |= {id(tensor): weakref.ref(tensor) for tensor in tensors if not isinstance(tensor, nn.Parameter)}

    def is_vmapped(self, module: nn.Module) -> bool:
        """Whether it has what `vmap` has made of other tensors in the places of its parameters."""
        if not transforms.are_running() or transforms.grads_running():
            return False
        wrapped = _wrapped_in(module)
        self._note_put_in(transforms.innermost(p) for _, _, p in wrapped)
        return bool(wrapped)

    def is_put_in(self, tensor: Any) -> bool:
        """Whether the newest forward had it in the place of a module's parameter, as functional_call does: so it is one,
        although nobody holds it."""
        reference = self._put_in.get(id(tensor))
        return reference is not None and reference() is tensor

    def begins(self, outputs: Sequence[Any], inputs: Sequence[Any]) -> Taken | None:
        """Inside of transforms gradients are computed of `inputs`. None where nothing of it can be followed."""
        following = self._following
        if transforms.are_running() and transforms.grads_running() != 1:
            if not transforms.grads_running():
                self._begins_inside_others([transforms.innermost(tensor) for tensor in inputs])
            return None
        loss = [transforms.unwrapped(tensor) for tensor in outputs]
        own = [transforms.unwrapped(tensor) for tensor in inputs]
        name = _name_of_function(sys._getframe(1))
        with transforms.outside():
            taken = following.taken.of(loss, own, keeps_graph=False)
            if taken is None and not following.found.optimizers.are_any:
                taken = following.taken.of(loss, own, keeps_graph=False, is_trained=self.is_put_in)
                self._tell(_NOBODYS if taken is None else _PUT_IN)
        self._put_in.clear()
        if taken is None:
            return None
        return replace(taken, by="torch.func", loss=replace(taken.loss, name=taken.loss.name or name))

    def _begins_inside_others(self, inputs: list[Tensor]) -> None:
        following = self._following
        if any(following.taken.is_trained(one) or self.is_put_in(one) for one in inputs):
            self._tell(_BY_SAMPLE if transforms.is_by_sample() else _INSIDE_OTHERS)
            with transforms.outside():
                # What has moved up to here, has by a step that was seen.
                following.renew(inputs)
        self._put_in.clear()

    def _tell(self, what: str) -> None:
        line = self._following.here()
        if line in self._told or len(self._told) >= _MOST_PLACES:
            return
        self._told.add(line)
        where = "" if line is None else f" ({PurePath(line.file).name}, line {line.line})"
        self._following.pending_notes.append(f"Gradients are computed by torch.func{where} {what}")


def plain(inputs: Inputs) -> Inputs:
    """What a module was called with, as it is outside of the transform that runs."""
    if not transforms.are_running():
        return inputs
    found: Inputs = tree_map_only(Tensor, transforms.unwrapped, inputs)
    return found


def _wrapped_in(module: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    """Its parameters that a transform has wrapped, with where they are."""
    return [
        (part, name, p)
        for part in modules_in(module)
        for name, p in part._parameters.items()
        if p is not None and transforms.is_wrapped(p)
    ]


def _name_of_function(frame: FrameType | None) -> str:
    """Of what `grad` differentiates; "" where it has none."""
    while frame is not None:
        if frame.f_code.co_name == "grad_and_value_impl":
            name = getattr(locals_of(frame).get("func"), "__name__", "")
            return f"{name}()" if isinstance(name, str) and name.isidentifier() else ""
        frame = frame.f_back
    return ""
