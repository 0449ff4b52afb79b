"""What a snapshot is written of."""

from __future__ import annotations

from typing import Protocol

from gradscope.engine.book.book import Book
from gradscope.protocol.findings import Findings
from gradscope.protocol.messages import SessionInfo
from gradscope.protocol.messages.edits import EditMade


class Matter(Protocol):
    """A session, or whatever else has a book and can describe what is trained."""

    @property
    def book(self) -> Book: ...

    @property
    def info(self) -> SessionInfo: ...

    @property
    def edits_made(self) -> tuple[EditMade, ...]: ...

    def findings(self) -> Findings: ...
