"""The modules of some parts of a training, for asking in every forward. Runs in the engine."""

from __future__ import annotations

from torch import nn

from gradscope.engine.model.modules import modules_in


class KnownModules:
    """They are walked through again only where a part is another one, or a module holds other modules than before."""

    def __init__(self) -> None:
        self._parts: tuple[object, ...] = ()
        self._modules: list[nn.Module] = []
        self._inner: list[tuple[nn.Module, list[int]]] = []
        """Each with the ids of the modules right inside it, all of which are in `_modules`."""

    def within(self, *parts: object) -> list[nn.Module]:
        """Every module in those parts that are modules, one part after the other; not to be changed."""
        if self._have_changed(parts):
            self._modules = [module for part in parts for module in modules_in(part)]
            self._inner = [(module, [*map(id, module._modules.values())]) for module in self._modules]
            self._parts = parts
        return self._modules

    def forget(self) -> None:
        """Hold none of them; they are walked through anew when they are asked for."""
        self._parts, self._modules, self._inner = (), [], []

    def _have_changed(self, parts: tuple[object, ...]) -> bool:
        if [*map(id, parts)] != [*map(id, self._parts)]:
            return True
        for module, inner in self._inner:
            # Most have nothing inside. values(): those of a ScriptModule are no dict's.
            modules = module._modules
            if (inner or modules) and [*map(id, modules.values())] != inner:
                return True
        return False
