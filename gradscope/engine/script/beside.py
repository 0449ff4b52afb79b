"""Where a script may be held beside the ends of its phases: at what it does between them, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradscope.engine.script.stations import Station
from gradscope.protocol.phases import BEGINS, Rest, SubStep

if TYPE_CHECKING:
    from torch import nn

    from gradscope.engine.script.following import Following


class Beside:
    """Of one script. Nothing is asked while nobody wants to stop."""

    def __init__(self, following: Following) -> None:
        self._following = following

    def begins(self, kind: SubStep) -> None:
        """The script is about to come through it."""
        if (book := self._following.book) is not None:
            book.pass_beside(kind, BEGINS)

    def done(self, station: Station) -> None:
        """The script has come through it. Where no training is known yet, that is told with the first forward."""
        if (book := self._following.book) is not None:
            station.is_told = True
            book.pass_beside(station.kind)

    def evaluation_begins(self, module: nn.Module) -> None:
        """A model is called without gradients."""
        book = self._following.book
        if book is not None and book.is_armed and self._following.found.root(module).name:
            book.pass_beside(SubStep.EVALUATE, BEGINS)

    def forward_begins(self) -> None:
        """Of another micro-batch: the first one of a step is seen where the step before ends."""
        book = self._following.book
        if book is not None and book.rest is Rest.BACKWARD:
            book.pass_beside(SubStep.FORWARD, BEGINS)

    def retell(self) -> None:
        """A forward is open: what the script has come through before belongs to it."""
        book = self._following.book
        assert book is not None
        for station in self._following.journal.stations:
            told = book.pass_again if station.is_told else book.observer.passing
            told(station.kind, detail=station.detail, line=station.line)
