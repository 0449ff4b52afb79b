"""Notices that a file has another content than the one that is known. GUI thread; the file is read, and never kept open."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal, Slot

_MAX_BYTES = 4 * 1024 * 1024
"""Read in one go; a larger recipe is not watched."""
_PAUSE_MS = 150
"""From the first sign of a change to looking at it: a file that is saved gives several signs."""


def digest_of(path: str) -> str:
    """The SHA-256 of a file's content, in hex; "" where there is no such file, or none that can be read."""
    try:
        file = Path(path)
        about = file.stat()
        # Another kind of file may never come to an end.
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MAX_BYTES:
            return ""
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError):
        return ""


class FileWatch(QObject):
    """Watches one file, and its folder as well: editors write another file and rename it, or remove it first."""

    changed = Signal()
    """There is another content, or another one is known."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._path = self._known = self._seen = ""
        self._stamp: tuple[int, int, int] | None = None
        self._watcher = QFileSystemWatcher(self)
        self._watcher.fileChanged.connect(self._on_sign)
        self._watcher.directoryChanged.connect(self._on_sign)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self.look)

    @property
    def has_changed(self) -> bool:
        """There is a content, and it is not the known one. A file that is away has not changed."""
        return bool(self._seen) and self._seen != self._known

    @property
    def seen(self) -> str:
        """The digest of what is in the file now, as far as it has been looked at."""
        return self._seen

    def watch(self, path: str, known: str) -> None:
        """Watch this file, whose known content has this digest, and no other; "" watches none."""
        if (path, known) == (self._path, self._known):
            return
        if path != self._path:
            watched = [*self._watcher.files(), *self._watcher.directories()]
            if watched:
                self._watcher.removePaths(watched)
            self._path, self._stamp, self._seen = path, None, ""
        self._known = known
        self._read()
        self.changed.emit()

    @Slot()
    def look(self) -> None:
        """Look at the file now. Also worth doing now and then: not every file system gives signs."""
        before = self._seen
        self._read()
        if self._seen != before:
            self.changed.emit()

    @Slot(str)
    def _on_sign(self, _path: str) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _read(self) -> None:
        self._timer.stop()
        if not self._path:
            return
        # Before it is read: what is written after that gives another sign.
        self._listen()
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp, self._seen = stamp, "" if stamp is None else digest_of(self._path)

    def _listen(self) -> None:
        """A file that was removed or replaced has fallen out of the watcher, even if there is another in its place."""
        file = Path(self._path)
        known = {*self._watcher.files(), *self._watcher.directories()}
        missing = [str(path) for path in (file, file.parent) if str(path) not in known and path.exists()]
        if missing:
            self._watcher.addPaths(missing)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        about = Path(path).stat()
    except (OSError, ValueError):
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino
