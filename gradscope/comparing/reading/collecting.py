"""Sheets from summaries that come one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradscope.comparing.reading.run import sheet_of_subjects
from gradscope.comparing.sheets import STAGE_OF_KIND, VALUE, WHOLE_STEP, Sheet
from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind

Moment = tuple[int, int]
"""(step, micro-batch or WHOLE_STEP)."""


class SubjectRows:
    """The subjects of one kind."""

    def __init__(self, kind: SubjectKind) -> None:
        self._kind = kind
        self._keys: dict[SubjectKey, int] = {}
        self._rows: dict[Moment, dict[int, FloatArray]] = {}

    def add(self, step: int, micro: int, key: SubjectKey, summary: FloatArray) -> None:
        """One that comes again takes the place of the earlier one."""
        row = self._keys.setdefault(key, len(self._keys))
        self._rows.setdefault((step, micro), {})[row] = summary

    def sheet(self) -> Sheet:
        moments = sorted(self._rows)
        values = np.full((len(COLUMNS), len(self._keys), len(moments)), np.nan)
        for number, moment in enumerate(moments):
            for row, summary in self._rows[moment].items():
                values[:, row, number] = summary
        steps, micros = zip(*moments, strict=True)
        return sheet_of_subjects(STAGE_OF_KIND[self._kind], self._kind, list(self._keys), steps, micros, values)


class Numbers:
    """Numbers by name that belong to no subject."""

    def __init__(self) -> None:
        self._found: dict[tuple[SubStep, str], dict[Moment, float]] = {}

    def add(self, stage: SubStep, name: str, step: int, value: float | None, micro: int = WHOLE_STEP) -> None:
        if value is not None:
            self._found.setdefault((stage, name), {})[step, micro] = value

    def sheets(self) -> Iterator[Sheet]:
        for (stage, name), values in self._found.items():
            for is_whole in (False, True):
                own = {moment: values[moment] for moment in sorted(values) if (moment[1] == WHOLE_STEP) is is_whole}
                if own:
                    yield _numbers(stage, name, own)


def _numbers(stage: SubStep, name: str, values: dict[Moment, float]) -> Sheet:
    steps, micros = (np.array(side, dtype=np.int64) for side in zip(*values, strict=True))
    numbers = np.array(list(values.values()), dtype=np.float64)[None, None]
    return Sheet(
        stage=stage,
        kind=None,
        keys=(name,),
        columns=VALUE,
        steps=steps,
        first_steps=steps,
        micros=micros,
        values=numbers,
    )
