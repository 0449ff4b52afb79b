"""The user's code as seen from outside: which frames are theirs, and their traceback cut to them."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parents[1])
LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_MAX_FRAMES = 30
_MAX_CHARACTERS = 50_000


def is_users_file(filename: str) -> bool:
    """True for code that is neither Python's, nor an installed package's, nor gradscope's."""
    if filename.startswith("<"):
        return filename == "<stdin>" or filename.startswith("<ipython")
    path = str(Path(filename).resolve())
    if path.startswith(_PACKAGE + "/") or path.startswith(_PACKAGE + "\\"):
        return "_bundled" in Path(path).parts
    if "site-packages" in path or "dist-packages" in path:
        return False
    return not path.startswith(tuple(library + ("\\" if "\\" in library else "/") for library in LIBRARIES))


def cut_traceback(error: BaseException) -> str:
    """The traceback with only the user's own frames (torch's where none is theirs), chained errors included."""
    told = traceback.TracebackException.from_exception(error, capture_locals=False)
    part: traceback.TracebackException | None = told
    while part is not None:
        own = [frame for frame in part.stack if is_users_file(frame.filename)]
        rest = [frame for frame in part.stack if not frame.filename.startswith((_PACKAGE, "<"))]
        part.stack = traceback.StackSummary.from_list((own or rest)[-_MAX_FRAMES:])
        part = part.__cause__ or part.__context__
    text = "".join(told.format()).strip()
    if len(text) > _MAX_CHARACTERS:
        half = _MAX_CHARACTERS // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text


def last_user_line(error: BaseException) -> tuple[str, int] | None:
    """(file name, line number) of the innermost frame of the user's, or None."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return Path(error.filename).name, error.lineno
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users_file(frame.filename)]
    if not frames or frames[-1].lineno is None:
        return None
    return Path(frames[-1].filename).name, frames[-1].lineno


def describe_error(error: BaseException) -> str:
    """`ValueError: shapes do not match (model.py, line 12)`, in one line."""
    if isinstance(error, SystemExit):
        text = f"sys.exit({error.code!r}) was called"
    else:
        message = (error.msg if isinstance(error, SyntaxError) else str(error)).strip()
        first = message.splitlines()[0][:300] if message else ""
        text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    where = last_user_line(error)
    return f"{text} ({where[0]}, line {where[1]})" if where else text
