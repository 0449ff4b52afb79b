"""Parameters as a step has left them, and what it has added to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from torch import Tensor

from gradscope.engine.capture.native.library import Taps
from gradscope.engine.capture.record import PhaseRecord, Slot
from gradscope.engine.capture.sites import Sites
from gradscope.engine.model.parameters import PreviousValues
from gradscope.protocol import absences


def take(
    record: PhaseRecord, tensors: Mapping[str, Tensor], sites: Sites, previous: PreviousValues, taps: Taps | None
) -> None:
    """Into the record of the step, in the order of the parameters."""
    if taps is None:
        record.take_parameters(_with_changes(record, tensors.items(), sites, previous))
        return
    named, at, count = list(tensors.items()), 0, 1
    while at < len(named):
        taken = record.take_by(partial(taps.take_changes, named, at, *previous.known()))
        # What is not plain, or was not seen in this form before, is seldom alone.
        count, at = 1 if taken else 2 * count, at + taken
        record.take_parameters(_with_changes(record, named[at : at + count], sites, previous))
        at += count


def _with_changes(
    record: PhaseRecord, named: Iterable[tuple[str, Tensor]], sites: Sites, previous: PreviousValues
) -> Iterator[tuple[Slot, Tensor, Slot, Tensor | None]]:
    for name, tensor in named:
        site = sites.of_parameter(name)
        pair = previous.pair(name, tensor)
        if pair is None and previous.knows(name):
            record.tell_absent(site.change.key, absences.REPLACED)
        yield site.parameter, tensor, site.change, None if pair is None else pair[1]
