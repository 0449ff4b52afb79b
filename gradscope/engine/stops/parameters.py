"""Summaries of parameters, their changes and what the optimizer remembers of them, as soon as it has moved them.

A phase takes these at its end, after validation and schedule: too late for who wants to stop before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor

from gradscope.engine.book.book import Book
from gradscope.engine.capture.record import Slot, record_outside
from gradscope.protocol.stops.quantities import Summary
from gradscope.protocol.subjects import SubjectKey, SubjectKind


def parameters_now(book: Book, kinds: Collection[SubjectKind]) -> list[tuple[SubjectKey, Summary]]:
    """Of what is captured; of the optimizer's state only if it is among `kinds`. On a device, its work is waited for."""
    observer = book.observer
    if observer.capture.is_off:
        return []
    record = record_outside(observer.tables, observer.keeper, observer.capture)

    def work() -> None:
        record.take_parameters(_parameters_and_changes(book))
        if SubjectKind.OPTIMIZER_STATE in kinds and not observer.capture.norms_only:
            states = book.driver.gradients.optimizer_state()
            record.take_all((observer.tables.slot(key), tensor) for key, tensor in states if observer.wants(key.name))

    observer.guarded(work)
    collected, rows = record.finish(), observer.tables.subjects.rows
    return [(rows[n].key, row) for n, row in zip(collected.subjects.tolist(), collected.summaries, strict=True)]


def _parameters_and_changes(book: Book) -> Iterator[tuple[Slot, Tensor, Slot, Tensor | None]]:
    observer = book.observer
    for name, tensor in observer.tensors().items():
        if observer.wants(name):
            slots = [
                observer.tables.slot(SubjectKey(kind, name)) for kind in (SubjectKind.PARAMETER, SubjectKind.UPDATE)
            ]
            pair = observer.previous.pair(name, tensor)
            yield slots[0], tensor, slots[1], None if pair is None else pair[1]
