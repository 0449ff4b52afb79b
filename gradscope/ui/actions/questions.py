"""What can be asked of a session besides what moves it: see `Controller.ask`."""

from __future__ import annotations

from gradscope.protocol.messages import (
    CheckUp,
    Complete,
    Evaluate,
    FetchSource,
    PlanCheckUp,
    Reproduce,
    SetStops,
    SetWatches,
)
from gradscope.protocol.messages.timeline import Recompute, RestoreWeights, SetTimeline, Travel
from gradscope.protocol.messages.what_if import Trial
from gradscope.protocol.messages.why import CheckGradient, Explain

Evaluating = Evaluate | Complete | SetWatches
Question = (
    Explain
    | CheckGradient
    | FetchSource
    | PlanCheckUp
    | CheckUp
    | SetStops
    | Travel
    | SetTimeline
    | RestoreWeights
    | Recompute
    | Trial
    | Reproduce
)
