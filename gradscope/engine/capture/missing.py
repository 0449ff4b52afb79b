"""Gradients that have not come, when a backward is over: what the record says of them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gradscope.engine.capture.absences import why_unreached
from gradscope.engine.capture.awaited import AwaitedGradients
from gradscope.engine.capture.record import PhaseRecord, Slot
from gradscope.protocol import absences


def tell_no_gradient(record: PhaseRecord, slot: Slot, parameter: Tensor, others: Mapping[str, bool]) -> None:
    """Of a parameter without one; nothing where it arrived, and a hook of the user's has used it up."""
    if not record.has(slot.key):
        reason = why_unreached(slot.key.name, others) if parameter.requires_grad else absences.FROZEN
        record.tell_absent(slot.key, reason)


def tell_missing(record: PhaseRecord, awaited: AwaitedGradients, others: Mapping[str, bool]) -> None:
    """Of the outputs whose gradient is waited for."""
    for slot, reason in awaited.missing():
        is_unreached = reason in (absences.NO_GRADIENT, absences.NO_GRADIENT_OF_VIEW)
        record.tell_absent(slot.key, why_unreached(slot.key.name, others, reason) if is_unreached else reason)
