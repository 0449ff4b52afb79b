"""The weights of earlier steps of a script, as the server keeps them and puts them back."""

from __future__ import annotations

from gradscope.engine.script.kept_weights import KeptWeights
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.serving.beside.going_back import MOST_SHARE
from gradscope.engine.serving.outbox import Outbox
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.timeline import RestoreWeights, TimelineState, WeightsRestored

OFF = "Weights of earlier steps are not kept: give them memory in the settings, then press Reset"


class Weights:
    """Of one connection; everything is called by the thread that trains."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._kept: KeptWeights | None = None
        self._told: TimelineState | None = None

    def begin(self, session: ScriptSession, limit_bytes: int) -> None:
        """The script stands before its first step. 0: nothing is kept."""
        if limit_bytes:
            self._kept = KeptWeights(session, limit_bytes)
            self._kept.pace.share = MOST_SHARE
            self._kept.take()

    def after_step(self) -> None:
        if self._kept is not None:
            self._kept.take()

    def tell(self) -> None:
        """What is kept now, where that is something else: when the script is held."""
        kept = self._kept
        if kept is None:
            return
        steps = kept.steps
        state = TimelineState(
            limit_bytes=kept.limit_bytes,
            used_bytes=kept.used_bytes,
            checkpoints=steps,
            earliest=steps[0] if steps else None,
            reason=kept.reason,
        )
        if state != self._told:
            self._told = state
            self._outbox.put(state)

    def restore(self, request: RestoreWeights) -> WeightsRestored:
        """Raises BadInput where they cannot be put back."""
        if self._kept is None:
            raise BadInput(OFF)
        return WeightsRestored(step=request.step, notes=tuple(self._kept.restore(request.step)))
