"""Doing something right after a module has been imported for the first time: before whoever imports it has gone on."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType


def when_imported(name: str, work: Callable[[], None]) -> Callable[[], None]:
    """Do the work when `name` is imported; at once where it has been. What the work raises is raised by the import. What is
    returned calls it off."""
    finder = _Finder(name, work)
    if name in sys.modules:
        work()
    else:
        sys.meta_path.insert(0, finder)
    return finder.call_off


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, once, by asking the others."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name, self._work = name, work

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None

    def call_off(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def loaded(self, module: ModuleType, loader: importlib.abc.Loader) -> None:
        # It looks as if nobody had been in between.
        module.__loader__ = loader
        if module.__spec__ is not None:
            module.__spec__.loader = loader
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._work()


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, finder: _Finder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._finder.loaded(module, self._loader)
