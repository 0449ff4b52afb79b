"""A mark in the folder for temporary files while something is tried out that may take the process with it."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gradscope.version import __version__


class TriedInVain(Exception):
    """An earlier process has not come to the end of this trial; the text says how to try again."""


@contextlib.contextmanager
def marked(subject: str, is_harmless: Callable[[], bool]) -> Iterator[None]:
    """Raises TriedInVain where the mark of the same subject was left behind by a process that is no more.

    After an error inside, the mark stays unless `is_harmless` says that the process can go on as before.
    """
    path = _path(subject)
    is_ours = _leave(path)
    try:
        yield
    except Exception:
        if is_ours and is_harmless():
            path.unlink(missing_ok=True)
        raise
    except BaseException:
        # It was broken off from outside.
        if is_ours:
            path.unlink(missing_ok=True)
        raise
    if is_ours:
        path.unlink(missing_ok=True)


def _leave(path: Path) -> bool:
    """False: another process is trying at this moment, or there is no room for a mark."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        if _is_running(path):
            return False
        raise TriedInVain(f"a process that tried it out did not survive that (to try again, remove {path})") from None
    except OSError:
        return False
    return True


def _is_running(path: Path) -> bool:
    """Whether the process that has left the mark is still there."""
    try:
        number = int(path.read_text(encoding="utf-8"))
        os.kill(number, 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return number != os.getpid()


def _path(subject: str) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"gradscope {__version__} {user} {subject}")
    return Path(tempfile.gettempdir()) / f"{name}.trial"
