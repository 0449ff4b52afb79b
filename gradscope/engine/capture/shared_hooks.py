"""Layers known by identity, for one pair of hooks that all modules share: nothing is hung on a module of the user's."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from torch import nn

from gradscope.engine.capture.hooks import LayerListener
from gradscope.engine.model.leaves import Inputs


class SharedHooks:
    """What `ModuleHooks` is where each module has its own. Whoever owns the shared hooks calls `entered` and `left`."""

    runs_eagerly = False
    """What torch.compile has compiled stays so: only its outermost call is seen."""

    def __init__(self, modules: Mapping[str, nn.Module], listener: LayerListener, wants: Callable[[str], bool]) -> None:
        self._listener = weakref.ref(listener)
        self._wants = wants
        self._names: dict[int, str] = {}
        self._followed: Mapping[str, nn.Module] = {}
        self.follow(modules)

    def follow(self, modules: Mapping[str, nn.Module]) -> set[str]:
        """Know those that are wanted; the names of what is new. `modules`: all that the model has now, by name; the same
        object only where nothing has changed. It keeps them alive, so that nothing else gets their ids."""
        if modules is self._followed:
            return set()
        before = set(self._names.values())
        self._followed = modules
        self._names = {id(module): name for name, module in modules.items() if self._wants(name)}
        return set(self._names.values()) - before

    def entered(self, module: nn.Module) -> None:
        name, listener = self._names.get(id(module)), self._listener()
        if name is not None and listener is not None:
            listener.layer_entered(name)

    def left(self, module: nn.Module, inputs: Inputs, output: object) -> None:
        name, listener = self._names.get(id(module)), self._listener()
        if name is not None and listener is not None:
            listener.layer_left(name, output, inputs)

    def lifted(self) -> AbstractContextManager[object]:
        """There is nothing on any module."""
        return contextlib.nullcontext()

    def end_lift(self) -> None:
        """Nothing was lifted."""

    def remove(self) -> None:
        self._names, self._followed = {}, {}
