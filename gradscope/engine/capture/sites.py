"""What is always the same of a layer's call, a parameter and a buffer, kept so that a hook need not work it out each time."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from gradscope.engine.capture.native.fields import CallFields, ParameterFields
from gradscope.engine.capture.record import Slot, Tables
from gradscope.engine.quantities.values import shape_of
from gradscope.engine.surroundings.source import users_line
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectKind

Leaves = Sequence[tuple[str, Tensor]]
"""(path, tensor) of each tensor in a layer's output."""


class Sites:
    """Of one session."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.calls: dict[tuple[str, int], CallSite] = {}
        self.parameters: dict[str, ParameterSite] = {}
        self._buffers: dict[str, Slot] = {}

    def of_call(self, name: str, call: int) -> CallSite:
        site = self.calls.get((name, call))
        if site is None:
            site = self.calls[name, call] = CallSite(self, self._tables, name, call)
        return site

    def of_parameter(self, name: str) -> ParameterSite:
        site = self.parameters.get(name)
        if site is None:
            site = self.parameters[name] = ParameterSite(self._tables, name)
        return site

    def of_buffer(self, name: str) -> Slot:
        slot = self._buffers.get(name)
        if slot is None:
            slot = self._buffers[name] = self._tables.slot(SubjectKey(SubjectKind.BUFFER, name))
        return slot

    def slots(self, name: str, call: int, leaf: str) -> tuple[Slot, Slot]:
        """Of one tensor of an output, and of its gradient."""
        kinds = SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD
        activation, gradient = (self._tables.slot(SubjectKey(kind, name, call, leaf)) for kind in kinds)
        return activation, gradient


class CallSite(CallFields):
    """One call of one layer in a forward, as it was the last time."""

    __slots__ = ("_form", "_name", "_number", "_sites", "_tables", "slots")

    def __init__(self, sites: Sites, tables: Tables, name: str, number: int) -> None:
        self._sites, self._tables, self._name, self._number = sites, tables, name, number
        self._form: list[tuple[str, torch.dtype, torch.layout, tuple[int, ...]]] | None = None
        self.substep: SubStep | None = None
        self.place = -1
        """The number of its place, with the shapes of its output and the user's line that made the call."""
        self.bytes = math.nan
        """Of its output."""
        self.slots: list[tuple[Slot, Slot]] = []
        """Of each tensor of the output: its own, and its gradient's."""
        self.plain_shape: tuple[int, ...] | None = None
        """Where the output is one tensor of float32, its shape."""
        self.activation: Slot | None = None
        self.gradient: Slot | None = None
        """Of that tensor."""

    def follow(self, substep: SubStep, leaves: Leaves) -> None:
        """Be right for this output."""
        form = [(leaf, tensor.dtype, tensor.layout, shape_of(tensor)) for leaf, tensor in leaves]
        if self._form == form and self.substep is substep:
            return
        shapes = ", ".join(_shape_text(shape) for *_, shape in form[:4]) + (", ..." if len(form) > 4 else "")
        # Here only, not at every call: to look for the line takes a walk through the stack.
        line = users_line(sys._getframe())
        self.place = self._tables.place(substep, self._name, self._number, "call", shapes, line)
        self.bytes = float(sum(_bytes(tensor) for _, tensor in leaves))
        self.slots = [self._sites.slots(self._name, self._number, leaf) for leaf, _ in leaves]
        self._form, self.substep = form, substep
        is_plain = len(form) == 1 and form[0][:3] == ("", torch.float32, torch.strided)
        self.plain_shape = form[0][3] if is_plain else None
        self.activation, self.gradient = self.slots[0] if is_plain else (None, None)


class ParameterSite(ParameterFields):
    """One parameter, with the shape that it had the last time its gradient arrived."""

    __slots__ = ("_name", "_tables")

    def __init__(self, tables: Tables, name: str) -> None:
        self._tables, self._name = tables, name
        self.parameter = tables.slot(SubjectKey(SubjectKind.PARAMETER, name))
        self.change = tables.slot(SubjectKey(SubjectKind.UPDATE, name))
        self.gradient = tables.slot(SubjectKey(SubjectKind.GRAD, name))
        self.shape: tuple[int, ...] | None = None
        self.place = -1
        """Of the gradient of that shape."""

    def place_of(self, tensor: Tensor) -> int:
        """The number of the place where its gradient arrives."""
        if self.shape != tensor.shape:
            self.shape = tensor.shape
            self.place = self._tables.place(SubStep.BACKWARD, self._name, 0, "gradient", _shape_text(tensor.shape))
        return self.place


def _shape_text(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"


def _bytes(tensor: Tensor) -> int:
    return 0 if tensor.layout is not torch.strided else tensor.numel() * tensor.element_size()
