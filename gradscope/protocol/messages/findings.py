"""What is wrong with the training, told as it is found; and the check-up, which looks for more between two steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gradscope.protocol.findings import Findings, Planned, Progress
from gradscope.protocol.limits import AtMost, Name

MAX_RULES = 2000
"""Of ours and of the user's together."""


@dataclass(frozen=True, kw_only=True)
class FoundNow:
    """Event: this is known now, in the place of what was told before. None comes where nothing has changed."""

    findings: Findings
    is_watching: bool = True
    """The monitors ride along."""


@dataclass(frozen=True, kw_only=True)
class PlanCheckUp:
    """Which experiments a check-up would run now. Reply: CheckUpPlanned or Failed."""

    only: Annotated[tuple[Name, ...], AtMost(MAX_RULES)] = ()
    """Those that may find these ids; () is all."""


@dataclass(frozen=True, kw_only=True)
class CheckUpPlanned:
    planned: Annotated[tuple[Planned, ...], AtMost(MAX_RULES)]
    """In their order; those that will not be run say why."""


@dataclass(frozen=True, kw_only=True)
class CheckUp:
    """Run experiments on the training as it stands, between two steps, and put everything back bit for bit.

    CheckUpProgress on the way; reply: CheckUpDone, Cancelled or Failed. Training is the same after each of them.
    """

    only: Annotated[tuple[Name, ...], AtMost(MAX_RULES)] = ()
    """Those that may find these ids; () is all."""


@dataclass(frozen=True, kw_only=True)
class CancelCheckUp:
    """Break off the check-ups that were asked for before. Answered by the reader thread; the CheckUp replies Cancelled."""


@dataclass(frozen=True, kw_only=True)
class CheckUpProgress:
    """Event: how far the check-up is, a few times a second."""

    progress: Progress


@dataclass(frozen=True, kw_only=True)
class CheckUpDone:
    findings: Findings
    """Everything that is known now."""
