"""Where a run without a window writes to, and how it speaks. Imports no torch."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gradscope.protocol.failure import BadInput, Failure
from gradscope.protocol.visible import ascii_json, visible, visible_lines
from gradscope.snapshots.tensorboard import missing, occupied
from gradscope.standard_streams import tell, unwritable

if TYPE_CHECKING:
    from gradscope.engine.reports.report import PhaseReport

EXIT_DONE, EXIT_USER_CODE, EXIT_BAD_INPUT, EXIT_NONFINITE, EXIT_OUR_BUG = 0, 1, 2, 3, 70
EXIT_STOPPED = EXIT_NONFINITE
"""Where a `--break` holds."""


def check_outputs(*, export: str | None, tensorboard: str | None, prefix: str = "--") -> None:
    """Raises BadInput where something is in the way already. `prefix`: how the options are called, before their names."""
    if export is not None and os.path.lexists(Path(export).expanduser()):
        raise BadInput(f"{prefix}export: {export} exists already; expected a new name for the snapshot")
    problem = None if tensorboard is None else missing() or occupied(Path(tensorboard))
    if problem is not None:
        raise BadInput(f"{prefix}tensorboard: {problem}")


@contextlib.contextmanager
def opened(name: str | None, stdout: TextIO | None, *, option: str = "--jsonl") -> Iterator[TextIO | None]:
    """Where JSON lines go: to a file of that name, or to standard output. Raises BadInput."""
    if name is None:
        yield None
    elif name == "-":
        if stdout is None:
            raise BadInput(f"{option}: - is standard output, which is closed; expected one that can be written")
        yield stdout
    else:
        try:
            # By lines: a process that the script forks would write what waits here once more at its end.
            file = Path(name).open("w", buffering=1, encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise BadInput(f"{option}: {name} cannot be written: {error.strerror or error}") from error
        try:
            yield file
        finally:
            try:
                file.close()
            except OSError as error:
                raise BadInput(f"{option}: {name} cannot be written: {error.strerror or error}") from error


def tell_failure(failure: Failure) -> None:
    if failure.traceback:
        with contextlib.suppress(OSError):
            print(visible_lines(failure.traceback), file=sys.stderr)
    tell(failure.sentence)
    if failure.undone:
        tell(failure.undone)


def say(line: str) -> None:
    """On standard output. Raises BadInput."""
    try:
        print(visible(line), flush=True)
    except OSError as error:
        sentence = unwritable(error)
        raise BadInput(sentence[0].upper() + sentence[1:]) from error


def write_line(out: TextIO | None, line: str) -> None:
    if out is None:
        return
    try:
        # JSON is read as UTF-8; standard output may have another encoding.
        is_utf_8 = codecs.lookup(out.encoding or "utf-8").name == "utf-8"
        out.write((line if is_utf_8 else ascii_json(line)) + "\n")
    except OSError as error:
        raise BadInput(f"The JSON lines cannot be written: {error.strerror or error}") from error


class Notes:
    """What a person should know, on standard error: each kind of note once."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._told: set[str] = set()

    def tell(self, report: PhaseReport) -> None:
        if report.first_nonfinite is not None:
            # Also where all else is quiet: it may end the run.
            tell(report.first_nonfinite.sentence)
        for note in report.notes if self._shown else ():
            # Names and counts in brackets may change from step to step.
            kind = note.partition("(")[0]
            if kind not in self._told:
                self._told.add(kind)
                tell(f"note: step {report.step}: {note}")
