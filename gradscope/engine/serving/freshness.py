"""Whether what this process has imported is still what a new process would import."""

from __future__ import annotations

import contextlib
import site
import sys
from pathlib import Path


class Freshness:
    """Takes note of the files of all modules, and of the folders that packages are installed in."""

    def __init__(self) -> None:
        self._seen = _times()

    def holds(self) -> bool:
        """False if one of them was changed since: a package was installed, upgraded or taken away."""
        return all(_time(path) == time for path, time in self._seen.items())


def _times() -> dict[str, int]:
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    # An installed package may also add to where modules are looked for, which is read at the start of Python.
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    return {path: _time(path) for path in {*files, *folders} if isinstance(path, str)}


def _time(path: str) -> int:
    """Nanoseconds; 0 where nothing is."""
    with contextlib.suppress(OSError):
        return Path(path).stat().st_mtime_ns
    return 0
