"""gradscope: a desktop debugger for the PyTorch training step.

`from gradscope import Recipe, Session, load_recipe` gives the engine to scripts and notebooks; `gradscope.watch(model,
optimizer)` follows a training of theirs, and `@gradscope.finding(...)` makes a rule of a function of theirs. Nothing is
imported until it is asked for: `import gradscope` alone loads neither torch nor Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.version import __version__

if TYPE_CHECKING:
    from gradscope.engine.recipe.loading import load_recipe
    from gradscope.engine.recipe.own_rules import finding
    from gradscope.engine.recipe.recipe import Recipe
    from gradscope.engine.session import Session
    from gradscope.engine.watching.watch import attach, watch
    from gradscope.protocol.failure import BadInput, GradscopeError, Interrupted, UserCodeFailed

__all__ = [
    "BadInput",
    "GradscopeError",
    "Interrupted",
    "Recipe",
    "Session",
    "UserCodeFailed",
    "__version__",
    "attach",
    "finding",
    "load_recipe",
    "watch",
]

_HOMES = {
    "Recipe": "gradscope.engine.recipe.recipe",
    "Session": "gradscope.engine.session",
    "attach": "gradscope.engine.watching.watch",
    "finding": "gradscope.engine.recipe.own_rules",
    "load_recipe": "gradscope.engine.recipe.loading",
    "watch": "gradscope.engine.watching.watch",
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
