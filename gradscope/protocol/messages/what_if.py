"""Steps that are tried and taken back, the loss around a step, and a batch that is run again after each step.

Everything but SetProbe leaves all as it was; what runs is cancelled by CancelWhatIf, or an Interrupt, and replies Cancelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from gradscope.protocol.limits import AtMost, Between, Count, Seed, Unfit
from gradscope.protocol.what_if.tried import (
    AS_IT_IS,
    MAX_ALTERNATIVES,
    MAX_OTHER_BATCHES,
    MAX_POINTS,
    MAX_SIDE,
    USUAL,
    AlongUpdate,
    Alternative,
    Directions,
    Mode,
    ProbeRecord,
    ProbeSetting,
    Surface,
    TrialProgress,
    Trials,
)

MAX_PROBE_RECORDS = 10_000


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """Try the step that comes in several ways. WhatIfProgress on the way; reply: WhatIfDone, Cancelled or Failed."""

    alternatives: Annotated[tuple[Alternative, ...], AtMost(MAX_ALTERNATIVES)] = USUAL
    other_batches: Annotated[int, Between(0, MAX_OTHER_BATCHES)] = 0


@dataclass(frozen=True, kw_only=True)
class WhatIfDone:
    trials: Trials


@dataclass(frozen=True, kw_only=True)
class LossAlong:
    """The loss along a step. WhatIfProgress on the way; reply: LossAlongDone, Cancelled or Failed."""

    alternative: Alternative = AS_IT_IS
    low: float = -1.0
    high: float = 3.0
    points: Annotated[int, Between(2, MAX_POINTS - 2)] = 41

    def check(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise Unfit("has ends that are not finite")


@dataclass(frozen=True, kw_only=True)
class LossAlongDone:
    along: AlongUpdate


@dataclass(frozen=True, kw_only=True)
class LossSurface:
    """A slice of the loss surface. WhatIfProgress on the way; reply: LossSurfaceDone, Cancelled or Failed."""

    directions: Directions = Directions.UPDATE_AND_GRADIENT
    mode: Mode = Mode.TRAIN
    side: Annotated[int, Between(2, MAX_SIDE)] = 25
    reach: float | None = None
    """None is what is usual for the directions."""
    seed: Seed = 0

    def check(self) -> None:
        if self.reach is not None and not math.isfinite(self.reach):
            raise Unfit("has a reach that is not finite")


@dataclass(frozen=True, kw_only=True)
class LossSurfaceDone:
    surface: Surface


@dataclass(frozen=True, kw_only=True)
class CancelWhatIf:
    """Break off what was asked for before. Answered by the reader thread; what runs replies Cancelled."""


@dataclass(frozen=True, kw_only=True)
class WhatIfProgress:
    """Event: how far it is, a few times a second."""

    progress: TrialProgress


@dataclass(frozen=True, kw_only=True)
class SetProbe:
    """Pin the newest batch as a probe, or take the probe away. Reply: ProbeSet, Cancelled or Failed.

    ProbeRecorded comes for each time that it was run; the first one before the reply.
    """

    is_pinned: bool = True
    every: Count = 1
    """Steps between two runs; 0: when asked only."""
    mode: Mode = Mode.EVAL


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    setting: ProbeSetting | None
    """None: there is none."""


@dataclass(frozen=True, kw_only=True)
class RunProbe:
    """Run the pinned batch once more. Reply: ProbeSet, Cancelled or Failed; ProbeRecorded comes before it."""


Trial = WhatIf | LossAlong | LossSurface | SetProbe | RunProbe
"""What takes the user's code to be run beside the training."""


@dataclass(frozen=True, kw_only=True)
class ProbeRecorded:
    """Event: the probe was run. Earlier records of this step and of later ones are of another way through the steps."""

    record: ProbeRecord
