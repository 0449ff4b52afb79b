"""`gradscope compare`: two runs, told on standard output and written as JSON or as a page. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gradscope.comparing.comparison import Comparison, compare
from gradscope.comparing.telling.json_form import json_of
from gradscope.comparing.telling.page import page_of
from gradscope.comparing.telling.text import text_of
from gradscope.protocol.failure import BadInput, GradscopeError
from gradscope.standard_streams import tell, unwritable

EXIT_SAME, EXIT_DIFFERENT, EXIT_BAD_INPUT = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What the command line asks for. "-" is standard output, which then has nothing else."""

    ours: str
    theirs: str
    rtol: float = 0.0
    json: str | None = None
    html: str | None = None
    quiet: bool = False
    """Nothing on standard output: the exit code says it."""


def run_compare(options: CompareOptions) -> int:
    """The exit code, as that of diff: 0 the same, 1 they differ, 2 bad input. Sentences go to standard error."""
    try:
        if options.json == options.html == "-":
            raise BadInput("--json and --html are both -; expected one of them at most on standard output")
        comparison = compare(options.ours, options.theirs, rtol=options.rtol)
        _write("--json", options.json, json_of(comparison) if options.json else "")
        _write("--html", options.html, page_of(comparison) if options.html else "")
        if not options.quiet and "-" not in (options.json, options.html):
            _say(text_of(comparison))
    except GradscopeError as error:
        tell(str(error))
        return EXIT_BAD_INPUT
    return code_of(comparison)


def code_of(comparison: Comparison) -> int:
    return EXIT_SAME if comparison.is_same else EXIT_DIFFERENT


def _write(option: str, name: str | None, content: str) -> None:
    if name is None:
        return
    if name == "-":
        _say(content)
        return
    try:
        Path(name).expanduser().write_text(content, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{option}: {name} cannot be written: {reason}") from error


def _say(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except OSError as error:
        sentence = unwritable(error)
        raise BadInput(sentence[0].upper() + sentence[1:]) from error
