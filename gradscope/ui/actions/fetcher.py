"""One request for values at a time: while one is under way, only the newest wish waits. App process, GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradscope.protocol.messages import FetchDifferencePicture, FetchHistogram, FetchPage, FetchPicture

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

Request = FetchPage | FetchPicture | FetchHistogram | FetchDifferencePicture
OnReply = Callable[[Any], None]


class Fetcher:
    """Never floods the engine, and never delivers what nobody waits for any more."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._generation = 0
        self._is_waiting = False
        self._next: tuple[Request, OnReply] | None = None

    def request(self, message: Request, on_reply: OnReply) -> None:
        """Ask now, or after the request under way; an older wish that still waits is given up, its reply dropped."""
        self._generation += 1
        if self._is_waiting:
            self._next = (message, on_reply)
        else:
            self._send(message, on_reply)

    def forget(self) -> None:
        """Another session or a dead engine: what was asked for may never be answered."""
        self._generation += 1
        self._is_waiting = False
        self._next = None

    def _send(self, message: Request, on_reply: OnReply) -> None:
        self._is_waiting = True
        generation = self._generation

        def on_answer(reply: Any) -> None:
            if generation == self._generation:
                self._is_waiting = False
                on_reply(reply)
            elif self._next is not None:
                message, wanted = self._next
                self._next = None
                self._send(message, wanted)

        self._controller.fetch(message, on_answer)
