"""What is remembered of the Layers panel for each recipe, also when the app is started again: a JSON text in the settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gradscope.ui.look.settings import Setting, Settings

MAX_RECIPES = 30
MAX_NAMES = 300
"""Of a model with more layers unfolded, only the selection is remembered."""
MAX_CHARACTERS = 400
"""Of one name; recipes with longer paths are not remembered."""


@dataclass(frozen=True, kw_only=True)
class TreeShape:
    """What is unfolded in a tree of layers, and what is selected."""

    unfolded: frozenset[str] | None = None
    """Names of layers; None: as it is at first."""
    selected: str | None = None
    is_parameter: bool = False


class TreeMemory:
    """The recipes that were looked at last are kept, MAX_RECIPES of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def recall(self, path: str) -> TreeShape | None:
        """None if nothing is known of the recipe at that path, or nothing that can be understood."""
        return _shape(self._known().get(path))

    def remember(self, path: str, shape: TreeShape) -> None:
        if not path or len(path) > MAX_CHARACTERS:
            return
        known = self._known()
        known.pop(path, None)
        entry: dict[str, Any] = {}
        names = shape.unfolded
        if names is not None and len(names) <= MAX_NAMES and all(len(name) <= MAX_CHARACTERS for name in names):
            entry["unfolded"] = sorted(names)
        if shape.selected is not None and len(shape.selected) <= MAX_CHARACTERS:
            entry |= {"selected": shape.selected, "is_parameter": shape.is_parameter}
        kept = list(known.items())[-(MAX_RECIPES - 1) :]
        self._settings.set(Setting.TREES, json.dumps(dict([*kept, (path, entry)])))

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self._settings.get(Setting.TREES))
        except (ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}


def _shape(entry: object) -> TreeShape | None:
    if not isinstance(entry, dict):
        return None
    unfolded, selected = entry.get("unfolded"), entry.get("selected")
    is_list = isinstance(unfolded, list) and all(isinstance(name, str) for name in unfolded)
    return TreeShape(
        unfolded=frozenset(unfolded[:MAX_NAMES]) if is_list and unfolded is not None else None,
        selected=selected if isinstance(selected, str) else None,
        is_parameter=entry.get("is_parameter") is True,
    )
