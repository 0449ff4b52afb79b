"""The log: what the user's code printed, and what gradscope has to say. Bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from gradscope.protocol.visible import visible

MAX_LINES = 5000
MAX_LINE_CHARACTERS = 2000
MAX_WORDS = 200
"""Characters of what a divider says."""
_RULE = "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * 8


class Source(StrEnum):
    STDOUT = "stdout"
    STDERR = "stderr"
    GRADSCOPE = "gradscope"


@dataclass(frozen=True)
class Line:
    source: Source
    text: str
    is_warning: bool = False
    is_divider: bool = False
    """What follows belongs to another session."""


class Log:
    """The newest MAX_LINES lines; `total` counts all that ever came, so that a view can append only what is new."""

    def __init__(self) -> None:
        self.lines: deque[Line] = deque(maxlen=MAX_LINES)
        self.total = 0
        self._open: dict[Source, str] = {}

    def add(self, text: str, *, source: Source = Source.GRADSCOPE, is_warning: bool = False) -> None:
        for part in self._newest(text.splitlines() or [""]):
            self.lines.append(Line(source, part[:MAX_LINE_CHARACTERS], is_warning))
            self.total += 1

    def say(self, sentence: str, *, is_warning: bool = False) -> None:
        """A sentence of gradscope's own: one line, whatever the names in it are."""
        self.add(visible(sentence), is_warning=is_warning)

    def divide(self, words: str) -> None:
        """A line across the log: what follows belongs to something else. What was printed before is finished."""
        self.flush()
        self.lines.append(Line(Source.GRADSCOPE, f"{_RULE} {visible(words)[:MAX_WORDS]} {_RULE}", is_divider=True))
        self.total += 1

    def feed(self, text: str, *, source: Source) -> None:
        """Text as it arrives from a stream: an unfinished last line waits for its end (a carriage return starts anew)."""
        *complete, rest = (self._open.get(source, "") + text).replace("\r\n", "\n").split("\n")
        for line in self._newest(complete):
            self.add(line.rpartition("\r")[2], source=source)
        self._open[source] = rest[-MAX_LINE_CHARACTERS:]

    def flush(self) -> None:
        """Unfinished lines are finished (the process has ended)."""
        for source, rest in self._open.items():
            if rest:
                self.add(rest, source=source)
        self._open.clear()

    def since(self, total: int) -> list[Line]:
        """The lines that came after the first `total`, as far as they are still kept."""
        new = min(self.total - total, len(self.lines))
        return list(self.lines)[len(self.lines) - new :] if new > 0 else []

    def _newest(self, texts: list[str]) -> list[str]:
        """Those that would be kept; the others are only counted."""
        passed_over = max(0, len(texts) - MAX_LINES)
        self.total += passed_over
        return texts[passed_over:]
