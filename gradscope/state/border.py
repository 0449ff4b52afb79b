"""What a message has to be to what the app knows already. Asked before anything is changed by it: all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gradscope.protocol.checks import check_numbers, check_report
from gradscope.protocol.codec import ProtocolError
from gradscope.protocol.limits import MAX_METRICS, Unfit
from gradscope.protocol.messages import (
    FoundNow,
    InitialParameters,
    Place,
    Places,
    Report,
    ReportHead,
    Reports,
    SessionInfo,
    Subjects,
    Validated,
    WatchValues,
    WeightsRestored,
    WentTo,
    Whereabouts,
)
from gradscope.protocol.messages.edits import EditMade
from gradscope.state.edits import Edits
from gradscope.state.history import History


class Known(Protocol):
    """What the app knows, as far as a message can contradict it."""

    @property
    def session(self) -> SessionInfo | None: ...

    @property
    def history(self) -> History: ...

    @property
    def places(self) -> Sequence[Place]: ...

    @property
    def edits(self) -> Edits: ...


MAX_CURVES = MAX_METRICS + 1
"""A validation's loss and metrics, under all names that have ever come."""


def check(message: object, known: Known) -> None:
    """Raises ProtocolError where a message cannot be true."""
    try:
        match message:
            case Report():
                check_report(message, rows=len(known.history.rows), places=len(known.places))
                _check_head(message, known)
            case Reports():
                for stack in message.stacks:
                    check_numbers(stack.subjects, len(known.history.rows), "subject")
                for head in message.heads:
                    _check_head(head, known)
            case InitialParameters():
                check_numbers(message.subjects, len(known.history.rows), "subject")
            case Subjects(first=first, rows=rows):
                _check_new(known.history.rows, first, rows)
            case Places(first=first, rows=places):
                _check_new(known.places, first, places)
            case EditMade(number=number):
                if number > len(known.edits.made):
                    raise Unfit(f"has the number {number}, and there are {len(known.edits.made)} before it")
            case Validated(metrics=metrics):
                if len(known.history.validations.keys() | metrics.keys()) > MAX_CURVES:
                    raise Unfit(f"has more than {MAX_CURVES} metrics")
            case Whereabouts(stack=stack) if stack and known.session is None:
                raise Unfit("has a stack, and no session is open")
            case WeightsRestored() if known.session is None:
                raise Unfit("has put weights back, and no session is open")
            case WentTo() if known.session is None:
                raise Unfit("has taken a training elsewhere, and no session is open")
            case WatchValues() if known.session is None:
                raise Unfit("has values, and no session is open")
            case FoundNow(findings=found) if found.findings and known.session is None:
                raise Unfit("has findings, and no session is open")
    except Unfit as unfit:
        raise ProtocolError(f"{type(message).__name__} {unfit}") from None


def _check_head(report: ReportHead, known: Known) -> None:
    first = report.first_nonfinite
    if first is not None and first.step != report.step:
        raise Unfit(f"is of step {report.step}, and tells of NaN or Inf in step {first.step}")
    if report.optimizer and known.session is not None and report.optimizer not in known.session.optimizers:
        raise Unfit(f"is of the optimizer {report.optimizer!r:.80}, which the session does not have")


def _check_new(known: Sequence[object], first: int, rows: Sequence[object]) -> None:
    """Rows go on where the table ends; those that come again are the same."""
    if first > len(known):
        raise Unfit(f"begins with row {first}, and the table has {len(known)}")
    if any(new != old for new, old in zip(rows, known[first : first + len(rows)], strict=False)):
        raise Unfit(f"has other rows than before, from row {first} on")
