"""The user's code as seen from outside: which frames are theirs, and their traceback cut to them.

Nothing here raises, whatever the error is like: it is asked when something has gone wrong already.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections import deque
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from gradscope.engine.surroundings.error_parts import (
    class_name,
    first_argument,
    frames_of,
    grouped,
    is_text,
    linked,
    message_of,
    notes_of,
    place_of_syntax_error,
    qualified_name,
    safe_text,
    safely,
    shortened,
    wire_text,
)

_PACKAGE = str(Path(__file__).resolve().parents[2])
LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_CAUGHT = re.compile(r"Caught \w+ (in .+)\.\nOriginal Traceback \(most recent call last\):\n")
"""How torch passes on what was raised in a worker process or another thread: as a text."""
_FILE_LINE = re.compile(r'  File "(?P<path>.+)", line (?P<line>\d+)')
_CELL = re.compile(r"<.+\.ipynb, cell \d+>")
"""A code cell of a notebook that is run as a script."""
_TYPED = re.compile(r"<(console|watch) \d+>")
"""What a person has typed to have it evaluated."""
_MAX_FRAMES, _MAX_LINE = 30, 300
_MAX_CHARACTERS = 50_000
_MAX_DEPTH = 3
"""Of groups in groups."""


@lru_cache(maxsize=4096)
def is_users_file(filename: str) -> bool:
    """True for code that is neither Python's, nor an installed package's, nor gradscope's."""
    if filename.startswith("<"):
        # At a prompt: Python's, that of Python 3.13, IPython's.
        return (
            filename == "<stdin>"
            or filename.startswith(("<python-input", "<ipython"))
            or _CELL.fullmatch(filename) is not None
            or _TYPED.fullmatch(filename) is not None
        )
    path = _resolved(filename)
    if path is None or is_our_file(filename):
        return False
    if path.startswith(_PACKAGE + "/") or path.startswith(_PACKAGE + "\\"):
        return True
    if "site-packages" in path or "dist-packages" in path:
        return False
    return not path.startswith(tuple(library + ("\\" if "\\" in library else "/") for library in LIBRARIES))


@lru_cache(maxsize=4096)
def is_our_file(filename: str) -> bool:
    """True for gradscope's own code; the samples that come with it are as a user's."""
    if filename.startswith("<"):
        return False
    path = _resolved(filename)
    if path is None or not (path.startswith(_PACKAGE + "/") or path.startswith(_PACKAGE + "\\")):
        return False
    return "_bundled" not in Path(path).parts


def _resolved(filename: str) -> str | None:
    """None for what can be no file's name."""
    try:
        return str(Path(filename).resolve())
    except (OSError, ValueError, RuntimeError):
        return None


def cut_traceback(error: BaseException, *, only_users: bool = True) -> str:
    """The traceback with only the user's own frames (torch's where none is theirs), what it came from included; or with
    the innermost frames of anybody's."""
    before, has_more = linked(error)
    parts = ["(more exceptions before)"] if has_more else []
    for other, how in reversed(before):
        parts += [_part(other, only_users), how]
    parts.append(_part(error, only_users))
    text = "\n\n".join(parts)
    if len(text) > _MAX_CHARACTERS:
        half = _MAX_CHARACTERS // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text


def _part(error: BaseException, only_users: bool, depth: int = 0) -> str:
    """One exception: its frames, what it says, its notes, and those that it holds."""
    stack = safely(lambda: _stack(error, only_users), "(its frames cannot be shown)\n")
    head = f"Traceback (most recent call last):\n{stack}" if stack else ""
    message = message_of(error)
    name = qualified_name(type(error))
    lines = [head + _source_of(error) + (f"{name}: {message}" if message else name), *notes_of(error)]
    inside, count = grouped(error)
    if inside and depth < _MAX_DEPTH:
        for number, other in enumerate(inside, 1):
            part = _part(other, only_users, depth + 1).replace("\n", "\n  | ")
            lines.append(f"  +-- {number} of {count}\n  | {part}")
    return "\n".join(lines)


def _stack(error: BaseException, only_users: bool) -> str:
    own: deque[TracebackType] = deque(maxlen=_MAX_FRAMES)
    rest: deque[TracebackType] = deque(maxlen=_MAX_FRAMES)
    for trace in frames_of(error):
        file = trace.tb_frame.f_code.co_filename
        if is_users_file(file):
            own.append(trace)
        if not only_users or not (is_our_file(file) or file.startswith("<")):
            rest.append(trace)
    shown = own if own and only_users else rest
    frames = [frame for trace in shown for frame in traceback.extract_tb(trace, limit=1)]
    return wire_text("".join(traceback.StackSummary.from_list(frames).format()), _MAX_CHARACTERS)


def _source_of(error: BaseException) -> str:
    place = place_of_syntax_error(error)
    if place is None:
        return ""
    file, line, source = place
    return f'  File "{file}", line {line}\n' + (f"    {source}\n" if source else "")


def last_user_line(error: BaseException) -> tuple[str, int] | None:
    """(file name, line number) of the innermost frame of the user's, or None."""
    place = place_of_syntax_error(error)
    if place is not None:
        return Path(place[0]).name, place[1]
    found = None
    for trace in frames_of(error):
        file = trace.tb_frame.f_code.co_filename
        if is_users_file(file):
            found = wire_text(Path(file).name, 200), trace.tb_lineno or 0
    return found


def describe_error(error: BaseException) -> str:
    """`ValueError: shapes do not match (model.py, line 12)`, in one line."""
    elsewhere = _raised_elsewhere(error)
    if elsewhere is not None:
        return elsewhere
    if issubclass(type(error), SystemExit):
        code = safely(lambda: error.code, None)  # type: ignore[attr-defined]
        text = f"sys.exit({shortened(safe_text(code, repr), _MAX_LINE)}) was called"
    else:
        name, message = class_name(type(error)), message_of(error)
        text = f"{name}: {_first_line(message)}" if message else name
    where = last_user_line(error)
    return f"{text} ({where[0]}, line {where[1]})" if where else text


def _first_line(message: str) -> str:
    line = message.splitlines()[0]
    return shortened(line, _MAX_LINE)


def _raised_elsewhere(error: BaseException) -> str | None:
    """`ValueError: sample 40 is bad (data.py, line 7), in DataLoader worker process 0`; None if it was raised here."""
    argument = first_argument(error)
    message = wire_text(argument, _MAX_CHARACTERS) if is_text(argument) else message_of(error)
    caught = _CAUGHT.match(message)
    if caught is None:
        return None
    lines = message[caught.end() :].splitlines()
    frames = [i for i, line in enumerate(lines) if _FILE_LINE.match(line)]
    # Below the last frame: its source, indented deeper, and then the error itself.
    rest = [line for line in lines[frames[-1] + 1 if frames else 0 :] if line and not line.startswith("    ")]
    places = [found for i in frames if (found := _FILE_LINE.match(lines[i])) and is_users_file(found["path"])]
    where = f" ({Path(places[-1]['path']).name}, line {places[-1]['line']})" if places else ""
    return f"{_first_line(rest[0]) if rest else class_name(type(error))}{where}, {caught[1]}"
