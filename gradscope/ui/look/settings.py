"""The table of settings: what is remembered between two starts of the app. App process, GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QObject, QSettings, QStandardPaths, Signal

from gradscope.protocol.capture import CaptureLevel

MAX_RECENT_FILES = 10
MAX_BUDGET_MB = 1024 * 1024


class ThemeChoice(StrEnum):
    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class Setting(StrEnum):
    """Every setting, by the key under which it is stored."""

    PYTHON = "engine/python"
    """The interpreter that runs the engine; "" is the one that runs the app."""
    SPARE_ENGINE = "engine/spare"
    """Keep an engine in reserve, where the machine has the memory for it."""
    SEED = "session/seed"
    DEVICE = "session/device"
    CAPTURE = "session/capture"
    """The level that new sessions begin with; not LAYERS, since the names of layers belong to one model."""
    BUDGET_MB = "session/budget_mb"
    """For copies of activations and their gradients, in units of 1024 * 1024 bytes."""
    TIMELINE_MB = "session/timeline_mb"
    """For states of the training that one can go back to, in the same units; 0 keeps none."""
    THEME = "window/theme"
    RUN_STEPS = "run/steps"
    FINDINGS = "session/findings"
    """Look along the way for what is wrong with a training."""
    DISMISSED = "findings/dismissed"
    """Findings that were dismissed, by file; see dismissals.py."""
    STOPS = "stops/kept"
    """Where trainings are to stop, by file; see stop_memory.py."""
    CONSOLE = "console/remembered"
    """What was evaluated and is watched, by file; see console_memory.py."""
    STOP_AT_NONFINITE = "run/stop_at_nonfinite"
    """Run and Next batch stop where the first NaN or Inf is found."""
    RECENT_FILES = "files/recent"
    SCRIPTS = "files/scripts"
    """How scripts were started; see script_memory.py."""
    LAST_FOLDER = "files/folder"
    EXPORT_FOLDER = "files/export_folder"
    EXPORT_AS_ZIP = "files/export_as_zip"
    EXPORT_WITHOUT = "files/export_without"
    """Parts of a snapshot that are not wanted."""
    RUNS_FOLDER = "files/runs_folder"
    """Where event files go."""
    CHECKPOINT_FOLDER = "files/checkpoint_folder"
    SCRIPT_FOLDER = "files/script_folder"
    """Where "Save as script..." has written last."""
    COMPARED_RUNS = "files/compared_runs"
    """The two files that "Compare two runs..." has been given last."""
    GEOMETRY = "window/geometry"
    LAYOUT = "window/layout"
    LAYOUT_SHARES = "window/layout_shares"
    """Of the window that each panel at its edges has taken; see dock_shares.py."""
    TREES = "layers/remembered"
    """What is unfolded and selected in the Layers panel, by recipe; see tree_memory.py."""


@dataclass(frozen=True)
class _Row:
    default: Any
    read: Callable[[Any], Any]
    """From what QSettings gives back (text, texts, bytes) to the setting's type; raises on nonsense."""


def _texts(value: Any) -> list[str]:
    # An INI file does not tell a list of one from a text.
    return [str(item) for item in ([value] if isinstance(value, str) else value or []) if item]


def _flag(value: Any) -> bool:
    # An INI file holds "true" and "false".
    return value if isinstance(value, bool) else str(value).lower() == "true"


def _positive(value: Any) -> int:
    number = int(value)
    if number < 1:
        raise ValueError(number)
    return number


def _seed(value: Any) -> int:
    seed = int(value)
    if not 0 <= seed < 2**32:
        raise ValueError(seed)
    return seed


def _level(value: Any) -> CaptureLevel:
    level = CaptureLevel(value)
    if level is CaptureLevel.LAYERS:
        raise ValueError(level)
    return level


def _megabytes(value: Any) -> int:
    number = _positive(value)
    if number > MAX_BUDGET_MB:
        raise ValueError(number)
    return number


def _megabytes_or_none(value: Any) -> int:
    return 0 if int(value) == 0 else _megabytes(value)


_TABLE: dict[Setting, _Row] = {
    Setting.PYTHON: _Row("", str),
    Setting.SPARE_ENGINE: _Row(True, _flag),
    Setting.SEED: _Row(0, _seed),
    Setting.DEVICE: _Row("cpu", str),
    Setting.CAPTURE: _Row(CaptureLevel.FULL, _level),
    Setting.BUDGET_MB: _Row(256, _megabytes),
    Setting.TIMELINE_MB: _Row(1024, _megabytes_or_none),
    Setting.THEME: _Row(ThemeChoice.SYSTEM, ThemeChoice),
    Setting.RUN_STEPS: _Row(100, _positive),
    Setting.FINDINGS: _Row(True, _flag),
    Setting.DISMISSED: _Row("", str),
    Setting.STOPS: _Row("", str),
    Setting.CONSOLE: _Row("", str),
    Setting.STOP_AT_NONFINITE: _Row(True, _flag),
    Setting.RECENT_FILES: _Row([], _texts),
    Setting.SCRIPTS: _Row("", str),
    Setting.LAST_FOLDER: _Row("", str),
    Setting.EXPORT_FOLDER: _Row("", str),
    Setting.EXPORT_AS_ZIP: _Row(False, _flag),
    Setting.EXPORT_WITHOUT: _Row([], _texts),
    Setting.RUNS_FOLDER: _Row("", str),
    Setting.CHECKPOINT_FOLDER: _Row("", str),
    Setting.SCRIPT_FOLDER: _Row("", str),
    Setting.COMPARED_RUNS: _Row([], _texts),
    Setting.GEOMETRY: _Row(QByteArray(), QByteArray),
    Setting.LAYOUT: _Row(QByteArray(), QByteArray),
    Setting.LAYOUT_SHARES: _Row("", str),
    Setting.TREES: _Row("", str),
}


def settings_path() -> Path:
    """Where the settings are kept: gradscope/settings.ini in the user's configuration folder."""
    location = QStandardPaths.StandardLocation.GenericConfigLocation
    return Path(QStandardPaths.writableLocation(location)) / "gradscope" / "settings.ini"


class Settings(QObject):
    """The settings, typed; a value that cannot be read is its default."""

    changed = Signal(str)
    """The key of the setting that has another value now."""

    def __init__(self, path: Path | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._store = QSettings(str(path or settings_path()), QSettings.Format.IniFormat)
        self._overrides: dict[Setting, Any] = {}

    def get(self, key: Setting) -> Any:
        if key in self._overrides:
            return self._overrides[key]
        row = _TABLE[key]
        value = self._store.value(key.value)
        if value is None:
            return row.default
        try:
            return row.read(value)
        except (TypeError, ValueError, OverflowError):
            return row.default

    def set(self, key: Setting, value: Any) -> None:
        value = _TABLE[key].read(value)
        if value == self.get(key):
            return
        self._overrides.pop(key, None)
        self._store.setValue(key.value, value.value if isinstance(value, StrEnum) else value)
        self.changed.emit(key.value)

    def override(self, key: Setting, value: Any) -> None:
        """Give a setting a value until it is set again, or the app ends; nothing is stored (the command line's)."""
        self._overrides[key] = _TABLE[key].read(value)
        self.changed.emit(key.value)

    def add_recent_file(self, path: str) -> None:
        """Put a file at the top of the recent ones."""
        others = [recent for recent in self.get(Setting.RECENT_FILES) if recent != path]
        self.set(Setting.RECENT_FILES, [path, *others][:MAX_RECENT_FILES])

    def remove_recent_file(self, path: str) -> None:
        others = [recent for recent in self.get(Setting.RECENT_FILES) if recent != path]
        self.set(Setting.RECENT_FILES, others)

    def sync(self) -> None:
        """Write to the file now."""
        self._store.sync()
