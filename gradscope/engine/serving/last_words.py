"""The engine ends by itself, and says why: to the app, and on standard error. Callable in any thread.

The user's code may have replaced builtins or modules, or closed every file: what is needed here is held from the start.
"""

from __future__ import annotations

import os
from typing import NoReturn

from gradscope.protocol.last_place import LastPlace

EXIT_APP_GONE = 4
"""The connection to the app is lost, or useless."""
_write, _exit, _BaseException, _type = os.write, os._exit, BaseException, type


class LastWords:
    """Without a place that the app can read, they are on standard error only."""

    def __init__(self, place: LastPlace | None) -> None:
        self._place = place
        self._is_ending = False

    def end(self, sentence: str, error: BaseException | None = None) -> NoReturn:
        """End the process now; `error` is told after the sentence. Only the first call is heard."""
        try:
            if not self._is_ending:
                self._is_ending = True
                words = sentence.encode() if error is None else (sentence + ": " + _in_words(error)).encode()
                if self._place is not None:
                    self._place.say(words)
                _write(2, b"gradscope engine: " + words + b"\n")
        finally:
            _exit(EXIT_APP_GONE)

    def leave(self) -> NoReturn:
        """It was asked to end, and there is nobody to tell."""
        _exit(0)


def _in_words(error: BaseException) -> str:
    try:
        return _type(error).__name__ + ": " + error.__str__()
    except _BaseException:
        return "an error that cannot be told"
