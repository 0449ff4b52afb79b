"""The newest step in which a condition held, by the records of the steps: loss, rates, norms, scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from gradscope.engine.book.step_record import StepRecord
from gradscope.protocol.failure import BadInput
from gradscope.protocol.stops.evaluation import quantities_of
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.quantities import Figure, Happening, Summary
from gradscope.protocol.stops.recheck import check_recorded, found_in
from gradscope.protocol.stops.tree import Found, OfSubject, UpdateRatio, leaves
from gradscope.protocol.subjects import SubjectKey, SubjectKind

_OF_THE_WHOLE = "expected loss, lr, grad_norm, scale, scale drop or skipped step, which are of the whole step"


def last_step(text: str, records: Mapping[int, StepRecord], before: int) -> int | None:
    """The newest step before that one in which it held; None where it has not. Raises BadInput for what cannot be read, and
    for what is not in these records: the numbers of single layers and parameters."""
    stop = parse(text)
    check_recorded(stop)
    if stop.condition is not None:
        is_of_subjects = any(isinstance(of, OfSubject | UpdateRatio) for of, _ in quantities_of(stop.condition))
        if is_of_subjects or any(isinstance(leaf, Found) for leaf in leaves(stop.condition)):
            raise BadInput(f"'{text}' is not in the records of the steps; {_OF_THE_WHOLE}")
    for number in sorted((number for number in records if number < before), reverse=True):
        if next(found_in(stop, _Recorded(records[number], records.get(number - 1))), None) is not None:
            return number
    return None


class _Recorded:
    """One step, as far as its record tells of it."""

    def __init__(self, record: StepRecord, before: StepRecord | None) -> None:
        self._record, self._before = record, before

    @property
    def step(self) -> int:
        return self._record.step

    def summary(self, key: SubjectKey, *, of_step_before: bool = False) -> Summary | None:
        return None

    def keys(self, kind: SubjectKind) -> Iterable[SubjectKey]:
        return ()

    def figure(self, figure: Figure, *, of_step_before: bool = False) -> float | None:
        record = self._before if of_step_before else self._record
        if record is None:
            return None
        figures: dict[Figure, float | None] = {
            Figure.LOSS: record.loss,
            Figure.LR: max(record.lr, default=math.nan),
            Figure.GRAD_NORM: record.grad_l2,
            Figure.SCALE: record.scale,
            Figure.STEP: record.step,
            Figure.EPOCH: record.epoch,
            Figure.BATCH: record.batch,
        }
        return figures[figure]

    def happens(self, happening: Happening) -> bool | None:
        if happening in (Happening.SKIPPED_STEP, Happening.SCALE_DROP):
            return self._record.is_skipped
        return None

    def found(self, id: str) -> Mapping[str, str]:
        return {}
