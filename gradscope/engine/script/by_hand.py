"""Steps without an optimizer: `w -= lr * w.grad`, `p.data.add_(...)`, and gradients that are cleared or changed by hand.

Only where a parameter has a gradient and no optimizer holds it. That it has moved is found by its value, at the next
forward or backward: right, but late. The moment itself is seen by a mode of torch's, below all others, and left there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import _pop_mode, _push_mode

from gradscope.engine.capture.native.looking_on import LookingOn
from gradscope.engine.script.finding.batches import pointer_of
from gradscope.engine.script.finding.naming import variable_named, variable_of
from gradscope.engine.script.finding.optimizers import gradient_identity
from gradscope.engine.script.following import Following
from gradscope.engine.surroundings.frames import locals_of, users_frames
from gradscope.protocol.phases import SubStep

_SET_GRADIENT, _SET_DATA = (vars(torch._C.TensorBase)[name].__set__ for name in ("grad", "data"))


class ByHandWatch:
    """Of one script. `is_quiet` tells whether what happens now is gradscope's own doing; `safely` does such
    work, of which nothing may reach the script."""

    def __init__(self, following: Following, is_quiet: Callable[[], bool], safely: Callable[..., Any]) -> None:
        self._following, self.is_quiet, self.safely = following, is_quiet, safely
        self._watched: dict[int, tuple[Tensor, Tensor]] = {}
        """Tensors that no optimizer holds and the newest backward has reached, with copies of them."""
        self._taken: dict[int, Tensor] = {}
        """Those of which gradients were taken since the newest step."""
        self._pointers: set[int] = set()
        self._gradients: set[int] = set()
        """Ids of those tensors whose gradient is there."""
        self._gradient_pointers: set[int] = set()
        self._are_gradients_there = False
        self._before: dict[int, tuple[int, int]] = {}
        self._foreign: list[Tensor] = []
        self._foreign_at = -1, -1
        self._mode: _HandMode | None = None
        self.is_by_torch = False
        """What happens to gradients now is zero_grad or clipping, which is told elsewhere."""

    # ------------------------------------------------------------------------------------------ around a backward

    def before_backward(self) -> None:
        self._before = {id(tensor): gradient_identity(tensor) for tensor in self._not_held()}

    def after_backward(self) -> None:
        self._are_gradients_there = True
        self._taken.clear()
        touched = [
            t for t in self._not_held() if t.grad is not None and gradient_identity(t) != self._before.get(id(t))
        ]
        self._watched = {id(tensor): (tensor, tensor.detach().clone()) for tensor in touched}
        self._pointers = {pointer_of(tensor) for tensor in touched}
        self._gradients = set(self._watched)
        self._gradient_pointers = {pointer_of(tensor.grad) for tensor in touched if tensor.grad is not None}
        if touched:
            self._look_closely()

    def after_taken(self, tensors: list[Tensor]) -> None:
        """Their gradients were taken by `torch.autograd.grad`, and not added to `.grad`."""
        optimizers = self._following.found.optimizers
        self._taken |= {id(tensor): tensor for tensor in tensors if not optimizers.hold(tensor)}
        new = [tensor for key, tensor in self._taken.items() if key not in self._watched]
        self._watched |= {id(tensor): (tensor, tensor.detach().clone()) for tensor in new}
        self._pointers |= {pointer_of(tensor) for tensor in new}
        if new:
            self._look_closely()

    def _look_closely(self) -> None:
        if self._mode is None and torch._C._len_torch_function_stack() == 0:
            self._mode = _HandMode(self)
            self._mode.__enter__()  # type: ignore[no-untyped-call]

    def _not_held(self) -> list[Tensor]:
        found = self._following.found
        now = found.changes, found.optimizers.changes
        if now != self._foreign_at:
            parameters = {id(p): p for p in found.model.parameters()}
            trained = (p for p in parameters.values() if p.requires_grad and p.is_leaf)
            self._foreign = [p for p in trained if not found.optimizers.hold(p)]
            self._foreign_at = now
        return self._foreign

    def are_held_now(self, tensors: list[Tensor]) -> None:
        """An optimizer moves these: nobody does by hand."""
        for tensor in tensors if self._watched else ():
            if self._watched.pop(id(tensor), None) is not None:
                self._pointers.discard(pointer_of(tensor))

    # ------------------------------------------------------------------------------------------ noticing

    def settle(self, *, is_exact: bool = False) -> None:
        """Before the next forward or backward, or right when the last of them has moved: was there a step by hand?"""
        if not self._watched:
            return
        watched, self._watched = self._watched, {}
        self._pointers.clear()
        moved = {key: pair for key, pair in watched.items() if not _is_same(pair[0].detach(), pair[1])}
        if not moved:
            return
        self._taken.clear()
        tensors = [tensor for tensor, _ in watched.values()]
        self._following.step_by_hand(
            tensors,
            _mover() if is_exact else "(by hand)",
            [(tensor, copy) for tensor, copy in watched.values()],
        )
        self.notice_cleared()

    def end(self) -> None:
        """The script has: what has moved since its last backward?"""
        self.settle()
        following = self._following
        if following.backwards and not following.found.optimizers.are_any:
            now = [variable_named(name) for name in following.found.model._parameters]
            following.renew([tensor for tensor in now if isinstance(tensor, Tensor)])

    def notice_cleared(self) -> None:
        """`p.grad = None` is no call that could be tapped."""
        if not self._are_gradients_there:
            return
        parameters = list(self._following.found.model.parameters())
        # Inside torch.func.functional_call a model holds others, of which torch warns whoever asks for their gradients: of
        # its own nothing is known then.
        if all(t.is_leaf for t in parameters) and not any(t.grad is not None for t in parameters):
            self._are_gradients_there = False
            # They may be gone with their model.
            if parameters:
                self._following.gradient_calls.cleared([], detail="by hand")

    def note_cleared(self) -> None:
        """Somebody has, in a way that was seen."""
        self._are_gradients_there = False

    def changed(self, tensor: Tensor, operation: str) -> None:
        """In place."""
        pointer = pointer_of(tensor)
        if pointer in self._pointers:
            self.moved(tensor)
        elif pointer in self._gradient_pointers and not self.is_by_torch:
            if operation == "zero_":
                self._cleared()
            else:
                stations = self._following.journal.stations
                if not stations or stations[-1].kind is not SubStep.CLIP:
                    self._following.pass_station(SubStep.CLIP, detail=f"by hand: {operation} on .grad")

    def moved(self, tensor: Tensor) -> None:
        pointer = pointer_of(tensor)
        if pointer in self._pointers:
            self._pointers.discard(pointer)
            if not self._pointers:
                self.settle(is_exact=True)

    def lost_gradient(self, tensor: Tensor) -> None:
        """`.grad` was set to None."""
        if id(tensor) in self._gradients:
            self._gradients.discard(id(tensor))
            self._cleared()

    def _cleared(self) -> None:
        if self._are_gradients_there and not self.is_by_torch and not self._has_begun_to_move():
            self._are_gradients_there = False
            self._following.gradient_calls.cleared([], detail="by hand")

    def _has_begun_to_move(self) -> bool:
        """One parameter after the other is moved and its gradient cleared: that is told after the step."""
        return bool(self._pointers) and len(self._pointers) < len(self._watched)

    @property
    def is_waiting(self) -> bool:
        return bool(self._pointers or self._gradients)

    def look_again(self) -> None:
        """A person has changed tensors while the script stood still, which is none of its steps."""
        self._watched = {key: (tensor, tensor.detach().clone()) for key, (tensor, _) in self._watched.items()}

    def forget(self) -> None:
        """Hold nothing of the script's until the next backward."""
        self._watched, self._pointers, self._gradients = {}, set(), set()
        self._taken.clear()
        self._foreign, self._foreign_at = [], (-1, -1)

    def remove(self) -> None:
        """Take the mode away, if it is one of this thread's; another thread's stays, and does nothing."""
        self.forget()
        mode, self._mode = self._mode, None
        if mode is None:
            return
        modes = [_pop_mode() for _ in range(torch._C._len_torch_function_stack())]
        for other in reversed(modes):
            if other is not mode:
                _push_mode(other)


class _HandMode(LookingOn):
    """At the bottom of the modes, so that it is not in the way of a `with torch.device(...)` of the script's."""

    def __init__(self, watch: ByHandWatch) -> None:
        super().__init__()
        self._watch = watch

    def after(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        watch = self._watch
        if args and watch.is_waiting and not watch.is_quiet():
            watch.safely(self._note, func, args)

    def _note(self, func: Any, args: Any) -> None:
        watch, name = self._watch, getattr(func, "__name__", "")
        if name == "__set__":
            if func == _SET_DATA:
                watch.moved(args[0])
            elif func == _SET_GRADIENT and args[1] is None:
                watch.lost_gradient(args[0])
        elif name.endswith("_") and (not name.startswith("__") or name.startswith("__i")):
            first = args[0]
            for tensor in first if isinstance(first, (list, tuple)) else (first,):
                if isinstance(tensor, Tensor):
                    watch.changed(tensor, name)


def _is_same(now: Tensor, before: Tensor) -> bool:
    """Also where both are NaN."""
    if torch.equal(now, before):
        return True
    return now.shape == before.shape and bool(((now == before) | ((now != now) & (before != before))).all())


def _mover() -> str:
    """The object of the script's in whose method parameters are moved: an optimizer of its own making."""
    for frame in users_frames():
        names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        owner = locals_of(frame).get("self") if "self" in names else None
        if owner is not None and not isinstance(owner, nn.Module):
            return variable_of(owner) or type(owner).__name__
    return "(by hand)"
