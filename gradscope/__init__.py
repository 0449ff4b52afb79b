"""gradscope: a desktop debugger for the PyTorch training step.

`from gradscope import Recipe, Session, load_recipe` gives the engine to scripts and notebooks. Nothing is imported until
it is asked for: `import gradscope` alone loads neither torch nor Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.version import __version__

if TYPE_CHECKING:
    from gradscope.engine.recipe.loading import load_recipe
    from gradscope.engine.recipe.recipe import Recipe
    from gradscope.engine.session import Session
    from gradscope.protocol.failure import BadInput, GradscopeError, Interrupted, UserCodeFailed

__all__ = [
    "BadInput",
    "GradscopeError",
    "Interrupted",
    "Recipe",
    "Session",
    "UserCodeFailed",
    "__version__",
    "load_recipe",
]

_HOMES = {
    "Recipe": "gradscope.engine.recipe.recipe",
    "Session": "gradscope.engine.session",
    "load_recipe": "gradscope.engine.recipe.loading",
    "BadInput": "gradscope.protocol.failure",
    "GradscopeError": "gradscope.protocol.failure",
    "Interrupted": "gradscope.protocol.failure",
    "UserCodeFailed": "gradscope.protocol.failure",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradscope' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
