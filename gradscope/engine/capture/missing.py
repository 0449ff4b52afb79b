"""Gradients that have not come, when a backward is over: what the record says of them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gradscope.engine.capture.absences import why_unreached
from gradscope.engine.capture.awaited import AwaitedGradients
from gradscope.engine.capture.record import PhaseRecord, Slot
from gradscope.protocol import absences

_UNREACHED = frozenset({absences.NO_GRADIENT, absences.NO_GRADIENT_OF_VIEW})


def tell_no_gradient(record: PhaseRecord, slot: Slot, parameter: Tensor, others: Mapping[str, bool]) -> None:
    """Of a parameter without one; nothing where it arrived, and a hook of the user's has used it up."""
    if not record.has(slot.key):
        record.tell_absent(slot.key, _reason(record, slot, _of_parameter(parameter), others))


def tell_missing(record: PhaseRecord, awaited: AwaitedGradients, others: Mapping[str, bool]) -> None:
    """Of the outputs whose gradient is waited for."""
    for slot, reason in awaited.missing():
        record.tell_absent(slot.key, _reason(record, slot, reason, others))


def _of_parameter(parameter: Tensor) -> str:
    return absences.NO_GRADIENT if parameter.requires_grad else absences.FROZEN


def _reason(record: PhaseRecord, slot: Slot, reason: str, others: Mapping[str, bool]) -> str:
    is_unreached = reason in _UNREACHED
    if record.is_late and (is_unreached or reason == absences.INNER_GRADIENT):
        # Nobody has looked while it ran: that a gradient has not come says nothing.
        return absences.SEEN_LATE
    return why_unreached(slot.key.name, others, reason) if is_unreached else reason
