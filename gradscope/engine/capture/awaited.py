"""Gradients of outputs that have not arrived yet: a hook on each tensor, and the reason should it never be called."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from gradscope.engine.capture.absences import why_no_gradient
from gradscope.engine.capture.record import Slot
from gradscope.protocol import absences


class Handle(Protocol):
    """Of a hook, as a RemovableHandle is."""

    def remove(self) -> None: ...


class OutputGradientListener(Protocol):
    def gradient_arrived(self, slot: Slot, of_pass: int, gradient: Tensor) -> None: ...


class AwaitedGradients:
    """Of the newest forward. `listener` is told of each gradient that arrives, also of one of an older pass."""

    def __init__(self, listener: OutputGradientListener) -> None:
        self._listener = listener
        self._reasons: dict[Slot, str] = {}
        self._leaf_handles: list[Handle] = []
        self._handles: list[Handle] = []
        """Of the newest forward."""
        self.of_pass = 0
        """Number of the newest forward."""

    def begin_pass(self) -> None:
        self.of_pass += 1
        self._reasons.clear()
        # They end with the graph.
        self._handles.clear()
        self._remove(self._leaf_handles)

    def expect(self, slot: Slot, tensor: Tensor) -> None:
        """From now on; a hook on the tensor belongs to that value also when the model changes it in place later."""
        self._reasons[slot] = why_no_gradient(tensor)
        if not tensor.requires_grad:
            return
        # Asked before: of a view whose base was changed in place since, torch makes the graph anew when it is asked for, and
        # ends the process where a hook is put on it first.
        is_leaf = tensor.grad_fn is None
        handle = tensor.register_hook(_GradientTap(self._listener, slot, self.of_pass))
        # A hook on a leaf (a layer that returns its own weight) outlives the graph.
        (self._leaf_handles if is_leaf else self._handles).append(handle)

    def expect_again(self, slot: Slot, tensor: Tensor, *, is_only_call: bool) -> None:
        """From an output that was computed once more. Where the layer has several calls, it is not known which this was."""
        if self._reasons.get(slot, absences.WITHOUT_GRAPH) != absences.WITHOUT_GRAPH:
            # The forward's own output has a graph (a checkpoint that is not reentrant): its gradient is the one.
            return
        if is_only_call:
            self.expect(slot, tensor)
        else:
            self.explain(slot, absences.WHICH_CALL)

    def explain(self, slot: Slot, reason: str) -> None:
        """Should it never arrive."""
        self._reasons[slot] = reason

    def explain_inner(self, slot: Slot) -> None:
        """It was taken inside of the forward (a gradient penalty), and is not the loss's."""
        if slot in self._reasons:
            self._reasons[slot] = absences.INNER_GRADIENT

    def arrived(self, slot: Slot) -> None:
        self._reasons.pop(slot, None)

    def missing(self) -> Iterator[tuple[Slot, str]]:
        """Those that are still waited for, and why they have not come."""
        yield from self._reasons.items()

    def remove_hooks(self) -> None:
        """Also where the graph of the newest forward is kept by somebody."""
        self._remove(self._leaf_handles)
        self._remove(self._handles)

    def _remove(self, handles: list[Handle]) -> None:
        for handle in handles:
            handle.remove()
        handles.clear()


class _GradientTap:
    """The tensor hook of one output. Weak: the collector cannot see through a graph that holds what holds the graph."""

    __slots__ = ("_listener", "_pass", "_slot")
    __torch_unserializable__ = True
    """torch need not warn that it does not save this with a tensor."""

    def __init__(self, listener: OutputGradientListener, slot: Slot, of_pass: int) -> None:
        self._listener, self._slot, self._pass = weakref.ref(listener), slot, of_pass

    def __call__(self, gradient: Tensor) -> None:
        listener = self._listener()
        if listener is not None:
            listener.gradient_arrived(self._slot, self._pass, gradient)
