"""The tables of a snapshot as CSV, for spreadsheets and pandas: history.csv (which is read back) and summaries.csv."""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from gradscope.protocol.messages import Report
from gradscope.protocol.subjects import COLUMNS, MIN, SubjectRow
from gradscope.snapshots.content import StepRow, StepTable
from gradscope.snapshots.damage import Damaged

_MAX_GROUPS = 4096
_WHOLE = ("step", "epoch", "batch")
_NUMBERS = ("grad_l2", "update_l2", "seconds", "micro_batches", "clip_norm", "clip_coefficient", "scale")
_NEEDED = (*_WHOLE, "loss")


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _cell(number: float | None) -> str:
    """With every digit; empty where there is no such number, which is not the same as NaN."""
    return "" if number is None else repr(number)


# ------------------------------------------------------------------------------------------- history.csv


def history_csv(rows: Iterable[StepRow], *, groups: int) -> bytes:
    """One line a step; `groups` columns of learning rates."""
    rates = [f"lr_{i}" for i in range(groups)]
    header = [*_NEEDED, *rates, *_NUMBERS, "is_skipped", "optimizer"]
    return _csv(chain([header], (_step_line(row, groups) for row in rows)))


def _step_line(row: StepRow, groups: int) -> list[Any]:
    return [
        *(row.step, row.epoch, row.batch),
        _cell(row.loss),
        *(_cell(row.rates[i] if i < len(row.rates) else None) for i in range(groups)),
        *(_cell(getattr(row, name)) for name in _NUMBERS),
        int(row.is_skipped),
        row.optimizer,
    ]


def step_table(rows: Iterable[StepRow], *, groups: int) -> StepTable:
    """The same as arrays."""
    whole = {name: array("q") for name in _WHOLE}
    numbers = {name: array("d") for name in ("loss", *_NUMBERS)}
    rates, skipped, optimizers = array("d"), array("b"), []
    for row in rows:
        for name, column in whole.items():
            column.append(getattr(row, name))
        for name, numeric in numbers.items():
            value = getattr(row, name)
            numeric.append(math.nan if value is None else value)
        padding = [math.nan] * (groups - len(row.rates))
        rates.extend([math.nan if rate is None else rate for rate in row.rates[:groups]] + padding)
        skipped.append(row.is_skipped)
        optimizers.append(row.optimizer)
    arrays: dict[str, Any] = {name: np.array(column, dtype=np.int64) for name, column in whole.items()}
    arrays |= {name: np.array(numeric, dtype=np.float64) for name, numeric in numbers.items()}
    return StepTable(
        **arrays,
        rates=np.array(rates, dtype=np.float64).reshape(len(optimizers), groups),
        is_skipped=np.array(skipped, dtype=np.bool_),
        optimizer=tuple(optimizers),
    )


def read_history_csv(file: BinaryIO) -> StepTable:
    """Raises Damaged. Columns that are not known are passed over; what is missing is NaN."""
    try:
        with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            lines = csv.reader(text, strict=True)
            columns = _columns(next(lines, []))
            groups = sum(name.startswith("lr_") for name in columns)
            return step_table(_step_rows(lines, columns, groups), groups=groups)
    except UnicodeDecodeError:
        raise Damaged("it is not UTF-8") from None
    except csv.Error as error:
        raise Damaged(f"it is not CSV ({error})") from None


def _columns(header: list[str]) -> dict[str, int]:
    """name -> position."""
    columns = {name: i for i, name in enumerate(header)}
    missing = [name for name in _NEEDED if name not in columns]
    if missing or len(columns) != len(header) or len(columns) > _MAX_GROUPS:
        raise Damaged(f"its first line is {','.join(header)!r:.80}; expected {','.join(_NEEDED)} and more")
    return columns


def _step_rows(lines: Iterator[list[str]], columns: Mapping[str, int], groups: int) -> Iterator[StepRow]:
    rates = [columns[name] for name in (f"lr_{i}" for i in range(groups)) if name in columns]
    for number, line in enumerate(lines, start=2):
        if len(line) != len(columns):
            raise Damaged(f"line {number} has {len(line)} cells; the first line has {len(columns)}")

        def cell(name: str, line: list[str] = line) -> str:
            return line[columns[name]] if name in columns else ""

        try:
            numbers: dict[str, Any] = {name: _whole(cell(name)) for name in _WHOLE}
            numbers |= {name: _number(cell(name)) for name in ("loss", *_NUMBERS)}
            yield StepRow(
                **numbers,
                rates=tuple(_number(line[i]) for i in rates),
                is_skipped=cell("is_skipped") == "1",
                optimizer=cell("optimizer"),
            )
        except ValueError as error:
            raise Damaged(f"line {number}: {error}") from None


def _whole(cell: str) -> int:
    if not cell.isdecimal() or len(cell) > 18:
        raise ValueError(f"{cell!r:.40} is no whole number")
    return int(cell)


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


# ----------------------------------------------------------------------------------------- summaries.csv


def summaries_csv(reports: Iterable[tuple[Report, Sequence[SubjectRow]]]) -> bytes:
    """One line a subject, of each report with the rows of its subjects."""
    header = ["step", "phase", "kind", "name", "call", "leaf", "shape", "dtype", *COLUMNS, "note"]
    return _csv([header, *(line for report, rows in reports for line in _summary_lines(report, rows))])


def _summary_lines(report: Report, rows: Sequence[SubjectRow]) -> Iterator[list[Any]]:
    for row, summary in zip(rows, report.summaries.tolist(), strict=True):
        key = row.key
        yield [
            *(report.step, report.phase.value, key.kind.value, key.name, key.call, key.leaf),
            "x".join(str(side) for side in row.shape),
            row.dtype,
            *("" if math.isnan(count) else int(count) for count in summary[:MIN]),
            *("" if math.isnan(number) else repr(number) for number in summary[MIN:]),
            row.note,
        ]
