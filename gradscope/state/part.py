"""What a part of the state is, that takes in messages of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gradscope.state.log import Log
from gradscope.state.topics import Topic


class Part(Protocol):
    """One matter of a session, in a module of its own. `AppState` makes another one when a session is opened."""

    def hear(self, message: object, log: Log) -> Iterable[Topic]:
        """Take in what is of this matter, and say what views have to redraw; nothing for other messages. It comes after
        `AppState` has taken in the same message."""
