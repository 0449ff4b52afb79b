"""What Python writes when the app itself dies of a signal; shown at the next start."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from pathlib import Path
from typing import IO

from PySide6.QtCore import QStandardPaths


def crash_folder() -> Path:
    location = QStandardPaths.StandardLocation.GenericDataLocation
    return Path(QStandardPaths.writableLocation(location)) / "gradscope" / "crashes"


class CrashFile:
    """One file for each running app, named after its process; gone after a clean end."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or crash_folder()
        self._path = self._folder / f"{os.getpid()}.txt"
        self._file: IO[str] | None = None

    def take_last_report(self) -> str | None:
        """The report of an app that has crashed, and remove what dead ones have left behind.

        What cannot be removed would be told at every start: it is left alone.
        """
        report = None
        for path in sorted(self._folder.glob("*.txt")):
            if not path.stem.isdecimal() or _is_alive(int(path.stem)):
                continue
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
                path.unlink()
            except OSError:
                continue
            report = text if text.strip() else report
        return report

    def enable(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8")
        except OSError:
            # No place to write: the report goes to standard error, if there is one.
            if sys.stderr is not None:
                faulthandler.enable()
            return
        faulthandler.enable(self._file)

    def close(self) -> None:
        """A clean end."""
        faulthandler.disable()
        if self._file is not None:
            self._file.close()
            self._file = None
            # What it leaves behind is empty, and no report.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    if os.name == "nt":
        # Signal 0 would end the process there; the file of one that runs cannot be removed, and is no report.
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
