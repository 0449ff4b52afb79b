"""The code of the user's that a training goes by: the classes of its modules, and the user's files as they were imported."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from torch import nn


def put_modules(modules: Mapping[str, ModuleType | None]) -> None:
    """`sys.modules` has these under their names; None: nothing."""
    for name, found in modules.items():
        if found is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = found


@dataclass(frozen=True)
class Code:
    classes: tuple[tuple[nn.Module, type], ...]
    """The class that each module is of."""
    modules: dict[str, ModuleType | None]
    """What `sys.modules` has under these names; None: nothing."""

    def as_it_is(self) -> Code:
        """The same modules and names, as they are now."""
        return Code(
            tuple((module, type(module)) for module, _ in self.classes),
            {name: sys.modules.get(name) for name in self.modules},
        )

    def put(self) -> None:
        """Make it so. Raises TypeError where a module cannot be of another class; then all are as before."""
        before = [(module, type(module)) for module, _ in self.classes]
        try:
            for module, cls in self.classes:
                if type(module) is not cls:
                    # Past the module's own __setattr__.
                    object.__setattr__(module, "__class__", cls)
        except BaseException:
            for module, cls in before:
                object.__setattr__(module, "__class__", cls)
            raise
        put_modules(self.modules)
