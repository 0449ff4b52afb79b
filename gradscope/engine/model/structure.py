"""The modules and parameters of a model by name, for asking in every phase: the model is walked through again only where
something in it has changed its place."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gradscope.engine.model.modules import modules_in, named_modules
from gradscope.engine.model.parameters import Model, is_uninitialised, named_tensors
from gradscope.engine.quantities.kernel.extension import NATIVE

_Place = tuple[nn.Module, list[str], list[int], list[str], list[int]]
"""A module; the names of its parameters and their ids; the names of the modules right inside it and their ids."""


class Structure:
    """Of one model. What is returned is not to be changed, and is the same object as long as nothing has changed."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.forget()
        self._walk()

    def forget(self) -> None:
        """Hold nothing of the model but itself, until the next question."""
        self._is_known = False
        self._places: list[_Place] = []
        self._known: list[tuple[str, int]] = []
        self._held: list[object] = []
        """What was found, so that nothing else gets its id."""
        self._named: dict[str, tuple[Tensor, tuple[str, ...]]] = {}
        self._tensors: dict[str, Tensor] = {}
        self._has_lazy = False
        self._modules: dict[str, nn.Module] | None = None

    def named(self) -> Mapping[str, tuple[Tensor, tuple[str, ...]]]:
        """`named_tensors` of the model."""
        self._follow()
        return self._named

    def tensors(self) -> Mapping[str, Tensor]:
        """name -> parameter, each once; those of lazy modules are left out until they have a shape."""
        self._follow()
        if self._has_lazy:
            self._sort_out_lazy()
        return self._tensors

    def known(self) -> Mapping[str, Tensor]:
        """What `tensors` had found when it was asked the last time."""
        return self._tensors

    def modules(self) -> Mapping[str, nn.Module]:
        """`named_modules` of the model."""
        self._follow()
        if self._modules is None:
            self._modules = dict(named_modules(self._model)) if isinstance(self._model, nn.Module) else {}
        return self._modules

    def _follow(self) -> None:
        if not self._is_known:
            return self._walk()
        if not isinstance(self._model, nn.Module):
            return self._walk() if self._entries() != self._known else None
        # In a hurry: this is done several times in each step. keys(): those of a ScriptModule cannot be iterated.
        seen = 0 if NATIVE is None else NATIVE.count_unchanged(self._places)
        for module, names, tensors, inner_names, inner in self._places[seen:]:
            own, modules = module._parameters, module._modules
            if (own or names) and ([*own.keys()] != names or [*map(id, own.values())] != tensors):
                return self._walk()
            if (modules or inner_names) and ([*modules.keys()] != inner_names or [*map(id, modules.values())] != inner):
                return self._walk()
        return None

    def _entries(self) -> list[tuple[str, int]]:
        """Of a model that is a dict of tensors."""
        return [(name, id(tensor)) for name, tensor in self._model.items()] if isinstance(self._model, Mapping) else []

    def _walk(self) -> None:
        self._is_known = False
        self._named, self._known = named_tensors(self._model), self._entries()
        self._sort_out_lazy()
        self._places, self._held, self._modules = [], [], None
        for module in modules_in(self._model):
            own, inner = module._parameters, module._modules
            self._held += [*own.values(), *inner.values()]
            self._places.append(
                (module, [*own.keys()], [*map(id, own.values())], [*inner.keys()], [*map(id, inner.values())])
            )
        # Last: named_parameters() may be the user's, and raise.
        self._is_known = True

    def _sort_out_lazy(self) -> None:
        self._tensors = {name: tensor for name, (tensor, _) in self._named.items() if not is_uninitialised(tensor)}
        self._has_lazy = len(self._tensors) < len(self._named)
