"""What is remembered of how scripts were started, by file or module: a JSON text in the settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope.protocol.codec import ProtocolError, from_json, to_json
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.script_kind import NOTEBOOK, file_of, join_arguments
from gradscope.ui.look.settings import Setting, Settings

MAX_SCRIPTS = 30
MAX_CHARACTERS = 4000
"""Of one entry; a script with longer arguments is not remembered."""
MAX_LABEL = 60
_MODULE = "-m "


@dataclass(frozen=True)
class Label:
    """How a recent file is shown: `name`, shortened, the folder, and the whole of it for a tooltip."""

    name: str
    folder: str
    whole: str


def is_module(key: str) -> bool:
    """A path that stands for a module: "-m" and its name."""
    return key.startswith(_MODULE)


def key_of(script: Script) -> str:
    """Under which a script is found again, among the recent files too: its absolute path, or "-m" and the module's name."""
    file = file_of(script)
    return f"{_MODULE}{script.name}" if file is None else str(file)


class ScriptMemory:
    """The scripts that were started last are kept, MAX_SCRIPTS of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def recall(self, key: str) -> Script | None:
        """As it was started the last time; None where nothing is known that can be understood."""
        entry = self._known().get(key)
        if entry is None:
            return None
        try:
            script = from_json(Script, entry, [], "script")
        except ProtocolError:
            return None
        return script if key_of(script) == key else None

    def script_at(self, key: str) -> Script:
        """As it was started the last time; else without arguments, in its own folder."""
        known = self.recall(key)
        if known is not None:
            return known
        if is_module(key):
            return Script(kind=ScriptKind.MODULE, name=key.removeprefix(_MODULE), folder=str(Path.home()))
        path = Path(key)
        kind = ScriptKind.NOTEBOOK if path.suffix.lower() == NOTEBOOK else ScriptKind.FILE
        return Script(kind=kind, name=str(path), folder=str(path.parent))

    def remember(self, script: Script) -> None:
        key, entry = key_of(script), to_json(script, [])
        known = self._known()
        known.pop(key, None)
        if len(json.dumps(entry)) <= MAX_CHARACTERS:
            known[key] = entry
        self._settings.set(Setting.SCRIPTS, json.dumps(dict(list(known.items())[-MAX_SCRIPTS:])))

    def label(self, key: str) -> Label:
        """What a recent file is called: with its arguments where it is a script."""
        script = self.recall(key)
        if script is None:
            path = Path(key)
            return Label(key, "", key) if is_module(key) else Label(path.name, str(path.parent), key)
        arguments = join_arguments(script.arguments)
        name = " ".join(part for part in (key if is_module(key) else Path(key).name, arguments) if part)
        place = script.folder if is_module(key) else str(Path(key).parent)
        short = name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1].rstrip() + "…"
        return Label(short, place, " ".join(part for part in (key, arguments) if part))

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads(self._settings.get(Setting.SCRIPTS))
        except (ValueError, RecursionError):
            return {}
        return known if isinstance(known, dict) else {}
