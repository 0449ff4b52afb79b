"""What was typed into the console for each file, and what is watched there, also when the app is started again: a JSON text
in the settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gradscope.protocol.messages.evaluate import MAX_CODE, MAX_WATCHES, WatchExpression, WatchTime
from gradscope.ui.look.settings import Setting, Settings

MAX_FILES = 50
MAX_TYPED = 100
"""Of one file; what was typed last."""
MAX_CHARACTERS = 2000
"""Of one text, or of a path: a longer one is not remembered."""

Watched = list[tuple[str, WatchTime]]


class ConsoleMemory:
    """The files in which something was typed last are kept, MAX_FILES of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def recall(self, file: str) -> tuple[list[str], Watched]:
        """(what was typed, the oldest first; what is watched). Nothing where nothing is known, or can be understood."""
        typed: list[str] = []
        watched: Watched = []
        match self._known().get(file):
            case {"typed": list(texts), "watched": list(pairs)}:
                typed = [text for text in texts if isinstance(text, str) and len(text) <= MAX_CODE][-MAX_TYPED:]
                for pair in pairs[:MAX_WATCHES]:
                    match pair:
                        case [str(text), str(each)] if each in list(WatchTime) and len(text) <= MAX_CODE:
                            watched.append((text, WatchTime(each)))
        return typed, watched

    def remember(self, file: str, typed: Sequence[str], watches: Sequence[WatchExpression]) -> None:
        if not file or len(file) > MAX_CHARACTERS:
            return
        known = self._known()
        known.pop(file, None)
        kept = list(known.items())[-(MAX_FILES - 1) :]
        texts = [text for text in typed if len(text) <= MAX_CHARACTERS][-MAX_TYPED:]
        pairs = [[watch.text, watch.each.value] for watch in watches if len(watch.text) <= MAX_CHARACTERS]
        if texts or pairs:
            kept.append((file, {"typed": texts, "watched": pairs}))
        self._settings.set(Setting.CONSOLE, json.dumps(dict(kept)))

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self._settings.get(Setting.CONSOLE))
        except (ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}
