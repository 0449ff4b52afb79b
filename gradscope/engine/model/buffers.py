"""The buffers of a model: their names, and whether any has changed since they were last looked at."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from gradscope.engine.model.modules import named_modules
from gradscope.engine.model.parameters import Model, is_uninitialised


def named_buffers(model: Model) -> dict[str, tuple[Tensor, bool, tuple[str, ...]]]:
    """name -> (tensor, whether it is in the state_dict, its other names), each tensor once under its first name."""
    names: dict[int, list[str]] = {}
    found: dict[int, tuple[Tensor, bool]] = {}
    for name, module in named_modules(model, remove_duplicate=False) if isinstance(model, nn.Module) else ():
        for key, tensor in _own(module):
            names.setdefault(id(tensor), []).append(_joined(name, key))
            is_persistent = key not in module._non_persistent_buffers_set
            known = found.get(id(tensor))
            found[id(tensor)] = tensor, is_persistent or (known is not None and known[1])
    return {own[0]: (*found[key], tuple(own[1:])) for key, own in names.items()}


class Buffers:
    """Of one session's model, each once under its first name; those of lazy modules are left out until they have a shape."""

    def __init__(self, modules: Callable[[], Mapping[str, nn.Module]]) -> None:
        """`modules` gives all that the model has now, by name."""
        self._modules = modules
        self._seen: list[tuple[nn.Module, str, weakref.ref[Tensor], int | None]] = []

    def now(self) -> dict[str, Tensor]:
        """name -> tensor. A forward may put another tensor in a buffer's place, so they are looked for each time."""
        return {name: tensor for name, _, _, tensor in self._found()}

    def look(self) -> list[tuple[str, Tensor]]:
        """The same; they are looked at now, and what changes afterwards has moved."""
        found = self._found()
        self._seen = [(module, key, weakref.ref(tensor), _version(tensor)) for _, module, key, tensor in found]
        return [(name, tensor) for name, _, _, tensor in found]

    @property
    def are_any(self) -> bool:
        """Whether there were any then."""
        return bool(self._seen)

    def have_moved(self) -> bool:
        """Whether any has moved since, as far as versions tell: batch normalisation, and whatever writes through `.data`,
        leaves no mark in them."""
        return any(
            (tensor := _at(module, key)) is not seen() or version != _version(tensor)
            for module, key, seen, version in self._seen
        )

    def forget(self) -> None:
        """Hold nothing of the model."""
        self._seen = []

    def _found(self) -> list[tuple[str, nn.Module, str, Tensor]]:
        """(name, module, name in the module, tensor) of each. In a hurry: this is done in every forward."""
        found: list[tuple[str, nn.Module, str, Tensor]] = []
        known: set[int] = set()
        for name, module in self._modules().items():
            # Most modules have none.
            if not module._buffers:
                continue
            for key, tensor in _own(module):
                if id(tensor) not in known and not is_uninitialised(tensor):
                    known.add(id(tensor))
                    found.append((_joined(name, key), module, key, tensor))
        return found


def _own(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((key, tensor) for key, tensor in module._buffers.items() if isinstance(tensor, Tensor))


def _at(module: nn.Module, key: str) -> Tensor | None:
    # `get` is not there for the buffers of a ScriptModule.
    return module._buffers[key] if key in module._buffers else None  # noqa: SIM401


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _version(tensor: Tensor | None) -> int | None:
    """None where there is none: what is changed in an inference tensor cannot be noticed."""
    return None if tensor is None or tensor.is_inference() else tensor._version
