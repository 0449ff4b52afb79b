"""What is tried beside the training, as the server serves it: progress, cancelling while it runs, and the probe."""

from __future__ import annotations

from typing import Any

from gradscope.engine.serving.beside.interval import Interval
from gradscope.engine.serving.outbox import Outbox
from gradscope.engine.serving.shown import Shown
from gradscope.engine.what_if.bench import TrialCancelled
from gradscope.engine.what_if.probed import NEWEST
from gradscope.protocol import messages
from gradscope.protocol.codec import Frame
from gradscope.protocol.what_if.tried import TrialProgress

TRIES = (messages.WhatIf, messages.LossAlong, messages.LossSurface, messages.SetProbe, messages.RunProbe)
"""What is answered here."""


class WhatIfs:
    """Everything but `cancel` is called by the main thread."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._cancelled_before = 0
        """What has a smaller request number than this is not wanted any more."""

    def cancel(self, number: int) -> None:
        """By the reader thread: request `number` wants nothing that was asked for before it."""
        self._cancelled_before = number

    def run(self, session: Shown, frame: Frame) -> Any:
        """Answer one of TRIES. Raises BadInput where it cannot be done now, and what the user's code raises."""
        interval = Interval()

        def progress(now: TrialProgress) -> bool:
            if interval.is_due(now.what):
                self._outbox.put(messages.WhatIfProgress(progress=now))
            return self._cancelled_before <= frame.number

        try:
            match frame.message:
                case messages.WhatIf(alternatives=wanted, other_batches=others):
                    trials = session.what_if(wanted, other_batches=others, progress=progress)
                    return messages.WhatIfDone(trials=trials)
                case messages.LossAlong() as asked:
                    along = session.loss_along_update(
                        asked.alternative, low=asked.low, high=asked.high, points=asked.points, progress=progress
                    )
                    return messages.LossAlongDone(along=along)
                case messages.LossSurface() as asked:
                    surface = session.loss_surface(
                        asked.directions,
                        mode=asked.mode,
                        side=asked.side,
                        reach=asked.reach,
                        seed=asked.seed,
                        progress=progress,
                    )
                    return messages.LossSurfaceDone(surface=surface)
                case messages.SetProbe(is_pinned=is_pinned, every=every, mode=mode):
                    session.set_probe(NEWEST if is_pinned else None, every=every, mode=mode)
                case _:
                    session.run_probe()
        except TrialCancelled:
            return messages.Cancelled()
        self.tell_probe(session)
        return messages.ProbeSet(setting=session.probe)

    def tell_probe(self, session: Shown) -> None:
        """What the probe has come to since it was told the last time."""
        for record in session.take_untold_of_probe():
            self._outbox.put(messages.ProbeRecorded(record=record))
