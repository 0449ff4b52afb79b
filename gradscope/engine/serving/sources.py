"""The texts of the user's files, for the app to show. Main thread of the engine."""

from __future__ import annotations

import linecache
from pathlib import PurePath

from gradscope.engine.surroundings.error_parts import wire_text
from gradscope.protocol.messages import NoSource, SourceText
from gradscope.protocol.source import MAX_SOURCE

_MOST_KEPT = 32_000_000
"""Characters of all files together that are kept as they were; what is beyond is read when it is asked for."""


class Sources:
    """Only of files that the app has been told of: it cannot ask for any other."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        """Each as it was when it was told of first, which is near to when it was run; "" where that is not kept."""
        self._kept = 0

    def note(self, file: str) -> None:
        """The app is told of a line in this file."""
        if file and file not in self._texts:
            text = _read(file)
            if self._kept + len(text) > _MOST_KEPT:
                text = ""
            self._texts[file] = text
            self._kept += len(text)

    def answer(self, file: str) -> SourceText | NoSource:
        is_file = not file.startswith("<")
        name = PurePath(file).name if is_file else file
        if file not in self._texts:
            return NoSource(file=file, reason=f"{name} is no file that this training has run")
        text = self._texts[file] or _read(file)
        if not text:
            why = "there is no such file any more, or it is no text" if is_file else "Python has not kept it"
            return NoSource(file=file, reason=f"The source of {name} cannot be read: {why}")
        if len(text) <= MAX_SOURCE:
            return SourceText(file=file, text=text)
        # Whole lines, where there are lines.
        end = text.rfind("\n", 0, MAX_SOURCE) + 1
        return SourceText(file=file, text=text[: end or MAX_SOURCE], truncated=True)


def _read(file: str) -> str:
    """As Python has it, which also knows cells of notebooks; at most a little more than is shown."""
    try:
        # What an earlier session has read may have been written anew since.
        linecache.checkcache(file)
        lines = linecache.getlines(file)
    except Exception:
        # Not even the name of a file.
        return ""
    text = "".join(lines).replace("\r\n", "\n").replace("\r", "\n")
    return wire_text(text[: MAX_SOURCE + 1], MAX_SOURCE + 1)
