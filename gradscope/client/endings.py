"""How a process ended, in words."""

from __future__ import annotations

import re

from gradscope.protocol.last_place import place_in_words
from gradscope.protocol.phases import Position
from gradscope.protocol.signals import name_and_meaning, name_of

_MAX_LAST_OUTPUT = 400
_LAST_OUTPUT = ". Last error output: "
_LAST_LINES = 40
_FATAL = "Fatal Python error:"
"""How faulthandler begins."""
_FATAL_IN_A_LINE = re.compile(rf"(?<=[^\n])(?={_FATAL})")
_OWN_WORDS = "gradscope engine: "
"""What the engine itself prints before it gives up."""
_FRAME = re.compile(r'\s*File "(?P<path>.+)", line (?P<line>\d+) in (?P<function>.+)')
"""A frame as faulthandler prints it, the innermost first."""
_NOT_THE_USERS = re.compile(r"[/\\](site-packages|dist-packages|gradscope[/\\]engine|lib[/\\]python3[.\d]*)[/\\]|^<")


def describe_end(*, exit_code: int, crashed: bool, was_ready: bool = True, of_script: bool = False) -> str:
    """One sentence without a full stop. On Unix a crash's `exit_code` is the signal's number.

    An engine that was never ready has run none of the user's code, so that is not to blame. One that runs a script can be
    ended by it, as by os._exit().
    """
    if crashed:
        return _describe_signal(exit_code) + ("" if was_ready else " while it was starting")
    if of_script and was_ready:
        return f"The process of the script has ended with exit code {exit_code}, and its values are gone with it"
    if not was_ready:
        return f"The engine has ended while it was starting, with exit code {exit_code}"
    return f"The engine has ended with exit code {exit_code}, and has not said why"


def in_its_own_words(words: str, sentence: str) -> str:
    """What the engine has said when it ended by itself, where it has; else the sentence. Further lines stay."""
    if not words:
        return sentence
    _, newline, lines = sentence.partition("\n")
    return f"The engine has ended: {words}{newline}{lines}"


def with_ended(sentence: str, number: int) -> str:
    """The sentence, and how many processes that the engine had left behind were ended. Further lines stay."""
    if not number:
        return sentence
    first, newline, lines = sentence.partition("\n")
    ended = (
        "A process that it had started was ended"
        if number == 1
        else f"{number} processes that it had started were ended"
    )
    return f"{first}. {ended} with it{newline}{lines}"


def with_place(sentence: str, place: Position | None) -> str:
    """The sentence, and where training stood. Further lines stay."""
    where = place_in_words(place)
    if not where:
        return sentence
    first, newline, lines = sentence.partition("\n")
    how, output, gist = first.partition(_LAST_OUTPUT)
    return f"{how}. It was in {where}{output}{gist}{newline}{lines}"


def last_lines(output: str, *, crashed: bool) -> list[str]:
    """Of the error output, what may tell how it ended; after a crash that is all of faulthandler's dump.

    It can be long: every thread is in it, and what the engine's workers print may come after it.
    """
    # Where the code was ended in the middle of a line of its own, the dump goes on in that line.
    lines = _FATAL_IN_A_LINE.sub("\n", output).splitlines()
    return lines[min(_last_fatal(lines) if crashed else len(lines), max(0, len(lines) - _LAST_LINES)) :]


def with_last_output(sentence: str, lines: list[str], *, was_ready: bool = True) -> str:
    """The sentence with the gist of the last error output; from the second line on, that output itself."""
    lines = [line.rstrip() for line in lines if line.strip() and not line.startswith("Extension modules:")]
    if not lines:
        return sentence
    if not was_ready and lines[-1].startswith(_OWN_WORDS):
        return lines[-1].removeprefix(_OWN_WORDS)
    gist = _gist_of_dump(lines) or " / ".join(line.strip() for line in lines[-3:])
    if len(gist) > _MAX_LAST_OUTPUT:
        # From a whole word on.
        gist = "... " + (gist[-_MAX_LAST_OUTPUT:].partition(" ")[2] or gist[-_MAX_LAST_OUTPUT:])
    return "\n".join([f"{sentence}{_LAST_OUTPUT}{gist}", *lines])


def _describe_signal(number: int) -> str:
    if name_of(number) is None:
        return f"The engine has crashed (code {number})"
    return f"The engine was killed by {name_and_meaning(number)}"


def _last_fatal(lines: list[str]) -> int:
    """Where the last dump begins; behind the end if there is none."""
    return max((i for i, line in enumerate(lines) if line.startswith(_FATAL)), default=len(lines))


def _gist_of_dump(lines: list[str]) -> str | None:
    """What faulthandler wrote, in one line: the error, and the user's innermost line. None if it wrote nothing."""
    dump = lines[_last_fatal(lines) :]
    if not dump:
        return None
    # Only of the thread that crashed: it comes last, and other threads have their own heading.
    crashed = next((i for i, line in enumerate(dump) if line.startswith("Current thread")), 0)
    frames = [match for line in dump[crashed:] if (match := _FRAME.match(line))]
    place = next((frame for frame in frames if not _NOT_THE_USERS.search(frame["path"])), None)
    if place is None:
        return dump[0]
    return f"{dump[0]}, in {place['function']} ({place['path']}, line {place['line']})"
