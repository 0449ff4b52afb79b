"""Where the training of each file is to stop, also when the app is started again: a JSON text in the settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gradscope.protocol.stops.point import MAX_STOPS
from gradscope.state.stops import Wanted
from gradscope.ui.look.settings import Setting, Settings

MAX_FILES = 100
MAX_CHARACTERS = 400
"""Of a stop's text, or of a path."""


class StopMemory:
    """The files whose stops were changed last are kept, MAX_FILES of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._unkept: dict[str, tuple[Wanted, ...]] = {}
        """Of what has no file, as long as the app runs."""

    def recall(self, file: str) -> tuple[Wanted, ...]:
        """Nothing where nothing is known of the file, or nothing that can be understood."""
        if not _can_be_kept(file):
            return self._unkept.get(file, ())
        found = []
        entries = self._known().get(file)
        for entry in entries if isinstance(entries, list) else ():
            match entry:
                case [str(text), bool(is_enabled), int(every)] if 0 < len(text) <= MAX_CHARACTERS and every > 0:
                    found.append(Wanted(text=text, is_enabled=is_enabled, every=every))
        return tuple(found[:MAX_STOPS])

    def remember(self, file: str, stops: Sequence[Wanted]) -> None:
        if not _can_be_kept(file):
            self._unkept[file] = tuple(stops)
            return
        known = self._known()
        known.pop(file, None)
        kept = list(known.items())[-(MAX_FILES - 1) :]
        if stops:
            kept.append((file, [[stop.text, stop.is_enabled, stop.every] for stop in stops]))
        self._settings.set(Setting.STOPS, json.dumps(dict(kept)))

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self._settings.get(Setting.STOPS))
        except (ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}


def _can_be_kept(file: str) -> bool:
    return 0 < len(file) <= MAX_CHARACTERS
