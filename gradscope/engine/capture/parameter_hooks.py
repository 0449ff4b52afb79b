"""Hooks on parameters: they see every `.grad` when a backward has added to it, and change nothing."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Protocol

from torch import Tensor
from torch.utils.hooks import RemovableHandle


class GradientListener(Protocol):
    """What the hooks tell. May not change a tensor or draw a random number."""

    def parameter_gradient_arrived(self, name: str, tensor: Tensor) -> None: ...

    def parameter_gradient_seen_again(self, name: str, tensor: Tensor) -> None:
        """After hooks of the user's that may have changed the gradient."""


class ParameterHooks:
    """The hooks on parameters; removes exactly its own."""

    def __init__(self, listener: GradientListener) -> None:
        self._listener = weakref.ref(listener)
        self._hooked: dict[str, tuple[weakref.ref[Tensor], tuple[RemovableHandle, ...]]] = {}

    def follow(self, tensors: Mapping[str, Tensor]) -> None:
        """Hook those that require a gradient and are not hooked yet; unhook what is not among them any more."""
        # A parameter that was replaced, renamed or taken out.
        self._unhook([name for name, (hooked, _) in self._hooked.items() if tensors.get(name) is not hooked()])
        for name, tensor in tensors.items():
            if name not in self._hooked and tensor.requires_grad and tensor.is_leaf:
                self._hooked[name] = weakref.ref(tensor), self._hook(name, tensor)

    def remove(self) -> None:
        self._unhook(list(self._hooked))

    def _hook(self, name: str, tensor: Tensor) -> tuple[RemovableHandle, ...]:
        users = tensor._post_accumulate_grad_hooks
        if not users:
            return (tensor.register_post_accumulate_grad_hook(_AccumulatedTap(self._listener, name)),)
        # The user's own may step an optimizer and drop the gradient: it is looked at before them, and after.
        before = list(users)
        first = tensor.register_post_accumulate_grad_hook(_AccumulatedTap(self._listener, name))
        # Not by move_to_end: autograd reads the dict, and not its links.
        for number in before:
            users[number] = users.pop(number)
        again = _SecondTap(self._listener, name)
        return first, tensor.register_post_accumulate_grad_hook(again)

    def _unhook(self, names: Iterable[str]) -> None:
        for name in names:
            _, handles = self._hooked.pop(name)
            for handle in handles:
                handle.remove()


class _AccumulatedTap:
    """The post-accumulate hook of one parameter. Copies as itself (see hooks._Tap)."""

    __slots__ = ("_listener", "_name")

    def __init__(self, listener: weakref.ref[GradientListener], name: str) -> None:
        self._listener, self._name = listener, name

    def __deepcopy__(self, memo: object) -> _AccumulatedTap:
        return self

    def __call__(self, tensor: Tensor) -> None:
        listener = self._listener()
        if listener is not None:
            listener.parameter_gradient_arrived(self._name, tensor)


class _SecondTap(_AccumulatedTap):
    """The same behind the user's own hooks."""

    __slots__ = ()

    def __call__(self, tensor: Tensor) -> None:
        listener = self._listener()
        if listener is not None:
            listener.parameter_gradient_seen_again(self._name, tensor)
