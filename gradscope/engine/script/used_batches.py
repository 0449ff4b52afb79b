"""Which batch a forward uses, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.engine.model.leaves import Inputs
from gradscope.engine.script.finding.batches import Waiting, WaitingBatches
from gradscope.protocol.phases import SubStep

if TYPE_CHECKING:
    from gradscope.engine.script.following import Following


class UsedBatches:
    """Of one script. A batch of a DataLoader is told when it is used, since many libraries load one ahead."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._waiting = WaitingBatches()

    def loaded(self, waiting: Waiting) -> None:
        """A DataLoader has given one. It is told when it is used, if another waits."""
        if self._waiting.add(waiting):
            waiting.station = self._following.station(SubStep.BATCH)

    def use(self, inputs: Inputs, *, is_forward: bool) -> None:
        """A model was called with these."""
        following = self._following
        is_first = not (is_forward and following.calls)
        used = self._waiting.used_by(inputs, is_first=is_first)
        facts = None if following.session is None else following.session.facts
        if used is None:
            if is_forward and is_first and facts is not None:
                if not facts.batches.is_known:
                    facts.batches.count()
                if not self._waiting.are_any:
                    self._keep(inputs[0])
            return
        stations = following.journal.stations
        if not is_forward:
            if used.station is not None and stations and stations[-1] is used.station:
                stations.pop()
            return
        if used.station is None:
            following.station(SubStep.BATCH)
        if facts is not None:
            facts.batches.use(used.iterator, used.number, used.length)
            self._keep(used.batch())

    def _keep(self, batch: Any) -> None:
        session = self._following.session
        assert session is not None
        # A copy of nothing: it lives a step longer, which is of use only where somebody may look at it.
        session.facts.batch = batch if session.book.keeper.keeps_all else None
