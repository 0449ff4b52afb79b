"""Which findings were dismissed for each file, also when the app is started again: a JSON text in the settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gradscope.protocol.findings import Severity
from gradscope.protocol.messages import SessionInfo
from gradscope.state.findings import Key
from gradscope.ui.look.settings import Setting, Settings

MAX_FILES = 100
MAX_DISMISSED = 200
"""Of one file; those that were dismissed last."""
MAX_CHARACTERS = 400
"""Of one name, or of a path."""


def file_of(session: SessionInfo | None) -> str:
    """By what a session is remembered; "" for one that is not."""
    if session is None:
        return ""
    return session.path or ("" if session.script is None else f"-m {session.script.name}")


class Dismissals:
    """The files that something was dismissed for last are kept, MAX_FILES of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def recall(self, file: str) -> dict[Key, Severity]:
        """Nothing where nothing is known of the file, or nothing that can be understood."""
        found: dict[Key, Severity] = {}
        entries = self._known().get(file)
        for entry in entries if isinstance(entries, list) else ():
            match entry:
                case [str(name), str(where), str(severity)] if severity in list(Severity):
                    found[name, where] = Severity(severity)
        return found

    def remember(self, file: str, dismissed: Mapping[Key, Severity]) -> None:
        if not file or len(file) > MAX_CHARACTERS:
            return
        known = self._known()
        known.pop(file, None)
        entries = [
            [*key, severity.value] for key, severity in dismissed.items() if max(map(len, key)) <= MAX_CHARACTERS
        ]
        kept = list(known.items())[-(MAX_FILES - 1) :]
        if entries:
            kept.append((file, entries[-MAX_DISMISSED:]))
        self._settings.set(Setting.DISMISSED, json.dumps(dict(kept)))

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self._settings.get(Setting.DISMISSED))
        except (ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}
