"""The tables of a snapshot as CSV, for spreadsheets and pandas: history.csv (which is read back) and summaries.csv."""

from __future__ import annotations

import csv
import io
import math
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.protocol.limits import MAX_GROUPS
from gradscope.protocol.messages import Report
from gradscope.protocol.subjects import COLUMNS, MIN, SubjectRow
from gradscope.snapshots.format.content import StepRow, StepTable
from gradscope.snapshots.format.damage import Damaged
from gradscope.snapshots.format.reading import Reading

MAX_CELLS = 48_000_000
"""Of history.csv: some 400 MB as arrays."""
_LINES = 20_000
"""That are read at a time."""
_WHOLE = ("step", "epoch", "batch")
_NUMBERS = ("grad_l2", "update_l2", "seconds", "micro_batches", "clip_norm", "clip_coefficient", "scale")
_NEEDED = (*_WHOLE, "loss")
_MAX_COLUMNS = MAX_GROUPS + 1000
"""Rates, and what this and later versions have beside them."""


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


def read_history_csv(file: BinaryIO, reading: Reading | None = None, *, size: int = 0) -> StepTable:
    """Raises Damaged. Columns that are not known are passed over; what is missing is NaN.

    `reading` is told how far in the file, of `size` bytes, it is.
    """
    reading = Reading() if reading is None else reading
    try:
        with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            lines = csv.reader(text, strict=True)
            columns = _columns(next(lines, []))
            pieces, count = [_piece([], columns, first=2)], 0
            while rows := list(islice(lines, _LINES)):
                pieces.append(_piece(rows, columns, first=2 + count))
                count += len(rows)
                if count * len(columns) > MAX_CELLS:
                    raise Damaged(f"it has more than {MAX_CELLS:,} cells")
                reading.advance("history.csv", file.tell() / max(size, 1))
            return StepTable(**{name: _joined([piece[name] for piece in pieces]) for name in pieces[0]})
    except UnicodeDecodeError:
        raise Damaged("it is not UTF-8") from None
    except csv.Error as error:
        raise Damaged(f"it is not CSV ({error})") from None


def _columns(header: list[str]) -> dict[str, int]:
    """name -> position."""
    columns = {name: i for i, name in enumerate(header)}
    missing = [name for name in _NEEDED if name not in columns]
    if missing or len(columns) != len(header) or len(columns) > _MAX_COLUMNS:
        raise Damaged(f"its first line is {','.join(header)!r:.80}; expected {','.join(_NEEDED)} and more")
    return columns


def _piece(rows: list[list[str]], columns: Mapping[str, int], *, first: int) -> dict[str, Any]:
    """Some lines as the fields of a StepTable; `first` is the number of the first of them."""
    for number, row in enumerate(rows, start=first):
        if len(row) != len(columns):
            raise Damaged(f"line {number} has {len(row)} cells; the first line has {len(columns)}")
    # Column by column: a loop over the lines in Python would take ten times as long.
    cells = list(zip(*rows, strict=True)) or [()] * len(columns)

    def numbers(name: str) -> FloatArray:
        return _numbers(cells[columns[name]], first) if name in columns else np.full(len(rows), math.nan)

    def texts(name: str) -> Sequence[str]:
        return cells[columns[name]] if name in columns else ("",) * len(rows)

    found: dict[str, Any] = {name: _whole(cells[columns[name]], first) for name in _WHOLE}
    found |= {name: numbers(name) for name in ("loss", *_NUMBERS)}
    groups = [f"lr_{i}" for i in range(sum(name.startswith("lr_") for name in columns))]
    # Those that the file has come first.
    rates = [numbers(name) for name in sorted(groups, key=lambda name: name not in columns)]
    found["rates"] = np.stack(rates, axis=1) if rates else np.zeros((len(rows), 0))
    found["is_skipped"] = np.array([cell == "1" for cell in texts("is_skipped")], dtype=np.bool_)
    found["optimizer"] = tuple(map(sys.intern, texts("optimizer")))
    return found


def _joined(parts: list[Any]) -> Any:
    return tuple(chain.from_iterable(parts)) if isinstance(parts[0], tuple) else np.concatenate(parts)


def _whole(cells: Sequence[str], first: int) -> IntArray:
    # Not what only looks like a digit, as a superscript.
    if not all(map(str.isdecimal, cells)) or max(map(len, cells), default=0) > 18:
        wrong = ((i, cell) for i, cell in enumerate(cells, start=first) if not cell.isdecimal() or len(cell) > 18)
        number, cell = next(wrong)
        raise Damaged(f"line {number}: {cell!r:.40} is no whole number")
    return np.array(list(map(int, cells)), dtype=np.int64)


def _numbers(cells: Sequence[str], first: int) -> FloatArray:
    try:
        if "" not in cells:
            return np.array(list(map(float, cells)), dtype=np.float64)
        return np.array([float(cell) if cell else math.nan for cell in cells], dtype=np.float64)
    except ValueError:
        number, wrong = next((i, cell) for i, cell in enumerate(cells, start=first) if cell and not _is_number(cell))
        raise Damaged(f"line {number}: {wrong!r:.40} is no number") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


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
