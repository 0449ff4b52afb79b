"""The user's code as seen from outside: which frames are theirs, and their traceback cut to them."""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parents[1])
LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_CAUGHT = re.compile(r"Caught \w+ (in .+)\.\nOriginal Traceback \(most recent call last\):\n")
"""How torch passes on what was raised in a worker process or another thread: as a text."""
_FILE_LINE = re.compile(r'  File "(?P<path>.+)", line (?P<line>\d+)')
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
    elsewhere = _raised_elsewhere(error)
    if elsewhere is not None:
        return elsewhere
    if isinstance(error, SystemExit):
        text = f"sys.exit({error.code!r}) was called"
    else:
        message = (error.msg if isinstance(error, SyntaxError) else str(error)).strip()
        first = message.splitlines()[0][:300] if message else ""
        text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    where = last_user_line(error)
    return f"{text} ({where[0]}, line {where[1]})" if where else text


def _raised_elsewhere(error: BaseException) -> str | None:
    """`ValueError: sample 40 is bad (data.py, line 7), in DataLoader worker process 0`; None if it was raised here."""
    message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    caught = _CAUGHT.match(message)
    if caught is None:
        return None
    lines = message[caught.end() :].splitlines()
    frames = [i for i, line in enumerate(lines) if _FILE_LINE.match(line)]
    # Below the last frame: its source, indented deeper, and then the error itself.
    rest = [line for line in lines[frames[-1] + 1 if frames else 0 :] if line and not line.startswith("    ")]
    places = [found for i in frames if (found := _FILE_LINE.match(lines[i])) and is_users_file(found["path"])]
    where = f" ({Path(places[-1]['path']).name}, line {places[-1]['line']})" if places else ""
    return f"{rest[0][:300] if rest else type(error).__name__}{where}, {caught[1]}"
