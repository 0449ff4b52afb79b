"""Snapshots of format version 1, as far as they go: their summaries are a table, and of the model only names are known."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from gradscope.protocol.messages import ModuleInfo, ParameterInfo, Report, SessionInfo
from gradscope.protocol.phases import Phase, Position, Rest
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow
from gradscope.snapshots.format import json_files, names
from gradscope.snapshots.format.content import Content, StepTable
from gradscope.snapshots.format.damage import Damaged
from gradscope.snapshots.format.files import MAX_TABLE_BYTES, SnapshotFiles
from gradscope.snapshots.format.source import MANIFEST
from gradscope.snapshots.format.tensor_file import TensorInfo

MAX_ROWS = 100_000
"""Lines of summaries.csv: some 300 MB of summaries and empty histograms."""
_HEADER = ["step", "phase", "kind", "name", "call", "leaf", "shape", "dtype", *COLUMNS, "note"]


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    name: str = ""
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Moment:
    rest: Rest
    step: int
    epoch: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    recipe: _Recipe
    moment: _Moment
    device: str = ""
    seed: int = 0
    loss: float | None = None
    rates: tuple[float | None, ...] = ()
    optimizer: str = ""
    scheduler: str | None = None


@dataclass
class _Table:
    """The lines of one phase."""

    step: int
    subjects: list[int] = field(default_factory=list)
    summaries: list[list[float]] = field(default_factory=list)


def content(
    files: SnapshotFiles, raw: Mapping[str, Any], steps: StepTable, tensors: Mapping[str, Mapping[str, TensorInfo]]
) -> Content:
    """Raises BadInput. Histograms are all zero and say that no element was looked at; there are no places."""
    with files.told(MANIFEST):
        manifest = json_files.typed(_Manifest, raw, [], "manifest")
    rows: list[SubjectRow] = []
    tables: dict[Phase, _Table] = {}
    if names.SUMMARIES in files.sizes:
        with files.opened(names.SUMMARIES, MAX_TABLE_BYTES) as file:
            tables = _tables(file, rows)
    moment = manifest.moment
    position = Position(rest=moment.rest, step=moment.step, epoch=moment.epoch, batch=moment.batch)
    session = _session(manifest, rows, tensors.get(names.TENSOR_FILES[SubjectKind.PARAMETER], {}))
    reports = {phase: _report(phase, table, manifest) for phase, table in tables.items()}
    with files.told(MANIFEST):
        session, position = json_files.checked(session, "session"), json_files.checked(position, "moment")
    with files.told(names.SUMMARIES):
        table = tuple(json_files.checked(row, f"line {number}") for number, row in enumerate(rows, start=2))
        reports = {phase: json_files.checked(report, phase.value) for phase, report in reports.items()}
    return Content(
        manifest=raw, session=session, position=position, rows=table, places=(), reports=reports, steps=steps
    )


def _tables(file: BinaryIO, rows: list[SubjectRow]) -> dict[Phase, _Table]:
    tables: dict[Phase, _Table] = {}
    try:
        with io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            lines = csv.reader(text, strict=True)
            if next(lines, []) != _HEADER:
                raise Damaged(f"its first line is not {','.join(_HEADER)}")
            for number, line in enumerate(lines, start=2):
                try:
                    phase, row, step, summary = _line(line)
                except ValueError as error:
                    raise Damaged(f"line {number}: {error}") from None
                if len(rows) == MAX_ROWS:
                    raise Damaged(f"it has more than {MAX_ROWS:,} lines")
                table = tables.setdefault(phase, _Table(step))
                table.subjects.append(len(rows))
                table.summaries.append(summary)
                rows.append(row)
    except UnicodeDecodeError:
        raise Damaged("it is not UTF-8") from None
    except csv.Error as error:
        raise Damaged(f"it is not CSV ({error})") from None
    return tables


def _line(line: list[str]) -> tuple[Phase, SubjectRow, int, list[float]]:
    step, phase, kind, name, call, leaf, shape, dtype, *numbers, note = line
    if len(numbers) != len(COLUMNS):
        raise ValueError(f"it has {len(line)} cells; expected {len(_HEADER)}")
    sides = tuple(int(side) for side in shape.split("x")) if shape else ()
    key = SubjectKey(SubjectKind(kind), name, int(call), leaf)
    summary = [float(cell) if cell else math.nan for cell in numbers]
    return Phase(phase), SubjectRow(key, sides, dtype, note), int(step), summary


def _report(phase: Phase, table: _Table, manifest: _Manifest) -> Report:
    count = len(table.subjects)
    return Report(
        phase=phase,
        step=table.step,
        epoch=manifest.moment.epoch,
        batch=manifest.moment.batch,
        loss=manifest.loss,
        lr=tuple(math.nan if rate is None else rate for rate in manifest.rates),
        subjects=np.array(table.subjects, dtype=np.int64),
        summaries=np.array(table.summaries, dtype=np.float64).reshape(count, len(COLUMNS)),
        histograms=np.zeros((count, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.zeros(count, dtype=np.int64),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3), dtype=np.float64),
    )


def _session(manifest: _Manifest, rows: list[SubjectRow], parameters: Mapping[str, TensorInfo]) -> SessionInfo:
    layers = dict.fromkeys(row.key.name for row in rows if row.key.kind is SubjectKind.ACTIVATION)
    return SessionInfo(
        name=manifest.recipe.name or "Untitled",
        description="",
        path=manifest.recipe.path or "",
        sha256=manifest.recipe.sha256 or "",
        seed=manifest.seed,
        device=manifest.device,
        modules=tuple(ModuleInfo(name=name, type="", description="") for name in layers),
        parameters=tuple(
            ParameterInfo(name=name, shape=info.shape, dtype=info.dtype.label, requires_grad=True, group=None)
            for name, info in parameters.items()
        ),
        groups=(),
        optimizer=manifest.optimizer,
        scheduler=manifest.scheduler,
        loss="",
        scheduler_unit="step",
        batches_per_epoch=None,
    )
