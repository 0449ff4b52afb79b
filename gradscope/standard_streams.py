"""Standard output and error of the command line, where they are closed, full, or a pipe that nobody reads any more, and
where they have an encoding that knows only some letters.

What cannot be written to standard output is told in one sentence; what cannot be written to standard error is told nowhere,
and changes nothing else. Python itself would answer with tracebacks, and once more while it ends.
"""

import contextlib
import io
import os
import sys
from typing import TextIO

from gradscope.protocol.visible import visible

_ERRORS: list[tuple[io.TextIOWrapper, str | None]] = []
"""What the streams did with letters without a code, before they were made whole."""


def make_whole() -> None:
    """A descriptor that is closed leads to nowhere from now on, and a letter that has no code is written as Python would.

    The next file that is opened would get its number, and whatever is printed. `sys.stdout` stays None, which print() leaves
    alone; with `sys.stderr` None it would print to standard output.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            _ERRORS.append((stream, stream.errors))
            stream.reconfigure(errors="backslashreplace")
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def as_python_has_them() -> None:
    """A script is to find that a letter has no code, as it would without gradscope."""
    while _ERRORS:
        stream, errors = _ERRORS.pop()
        if errors is not None:
            stream.reconfigure(errors=errors)


def tell(sentence: str) -> None:
    """To standard error, if anybody hears it. No name in it can drive a terminal."""
    with contextlib.suppress(OSError):
        print(visible(f"gradscope: {sentence}"), file=sys.stderr, flush=True)


def flush() -> str | None:
    """What is still to be written is written now; one sentence if standard output did not take it."""
    problem = None
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            if stream is sys.stdout:
                problem = unwritable(error)
            _lead_to_nowhere(stream)
    return problem


def unwritable(error: OSError) -> str:
    return f"standard output cannot be written: {error.strerror or error}"


def _lead_to_nowhere(stream: TextIO) -> None:
    """So that Python can flush it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
