"""What is told of a moment, as a snapshot has it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
from torch.optim import Optimizer

from gradscope.engine.book.book import Book
from gradscope.engine.book.turns import groups_of, rates_of
from gradscope.engine.export.matter import Matter
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.surroundings.numerics import numerics, versions
from gradscope.protocol.arrays import IntArray
from gradscope.protocol.messages import Place, Report, SessionInfo
from gradscope.protocol.phases import Phase, Position
from gradscope.protocol.subjects import SubjectRow
from gradscope.snapshots.format.content import Content, StepRow
from gradscope.snapshots.format.names import FORMAT, FORMAT_VERSION
from gradscope.snapshots.format.tables import step_table

_Row = TypeVar("_Row", SubjectRow, Place)


def content_of(matter: Matter, left_out: Sequence[str] = ()) -> Content:
    """Everything but tensors and pictures. The manifest still lacks the list of files."""
    book, info = matter.book, matter.info
    reports = book.newest_reports()
    raw = [report.raw for report in reports.values()]
    tables = book.observer.tables
    rows, subjects = _used(tables.subjects.rows, [report.subjects for report in raw])
    places, passed = _used(tables.places.rows, [report.places for report in raw])
    return Content(
        manifest=manifest_of(book, info, reports, left_out),
        session=info,
        position=replace(book.position, running=False),
        rows=rows,
        places=places,
        reports={
            report.phase: replace(report, subjects=own, places=gone)
            for report, own, gone in zip(raw, subjects, passed, strict=True)
        },
        steps=step_table(step_rows(book), groups=rate_groups(book)),
        validations=tuple(book.validations),
        edits=matter.edits_made,
        findings=matter.findings(),
    )


def _used(rows: Sequence[_Row], numbers: Iterable[IntArray]) -> tuple[tuple[_Row, ...], list[IntArray]]:
    """(the rows that are referred to, the same references to these)."""
    given: list[IntArray] = list(numbers)
    used = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *given]))
    return tuple(rows[number] for number in used.tolist()), [np.searchsorted(used, own) for own in given]


def rate_groups(book: Book) -> int:
    """Columns that the learning rates of all steps need."""
    return max((len(record.lr) for record in book.history), default=len(groups_of(_optimizers(book))))


def step_rows(book: Book) -> Iterator[StepRow]:
    for record in book.history:
        yield StepRow(
            step=record.step,
            epoch=record.epoch,
            batch=record.batch,
            loss=record.loss,
            rates=record.lr,
            grad_l2=record.grad_l2,
            update_l2=record.update_l2,
            seconds=record.seconds,
            micro_batches=record.micro_batches,
            clip_norm=record.clip.norm if record.clip is not None else None,
            clip_coefficient=record.clip.coefficient if record.clip is not None else None,
            scale=record.scale,
            is_skipped=record.is_skipped,
            optimizer=record.optimizer,
        )


def manifest_of(
    book: Book, info: SessionInfo, reports: Mapping[Phase, PhaseReport], left_out: Sequence[str]
) -> dict[str, Any]:
    order = list(Phase)
    newest = max(reports.values(), key=lambda report: (report.step, order.index(report.phase)), default=None)
    loss = newest.loss if newest is not None else None
    first = book.first_weights.told(book.step)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "platform": platform.platform(),
        "numerics": numerics(),
        "recipe": {
            "name": info.name,
            "path": info.path or None,
            "sha256": info.sha256 or None,
        },
        "moment": _moment(book.position, [report.raw for report in reports.values()]),
        "device": info.device,
        "seed": info.seed,
        "first_weights": None if first is None else {"step": first.step, "digest": first.digest},
        "loss": None if loss is None else (loss if np.isfinite(loss) else str(loss)),
        "rates": [rate if np.isfinite(rate) else None for rate in rates_of(_optimizers(book))],
        "optimizer": info.optimizer,
        "scheduler": info.scheduler,
        "left_out": list(left_out),
    }


def _moment(position: Position, reports: Iterable[Report]) -> dict[str, Any]:
    return {
        "rest": position.rest.value,
        "step": position.step,
        "epoch": position.epoch,
        "batch": position.batch,
        "micro": position.micro,
        "window": position.window,
        "optimizer": position.optimizer,
        "phases": {report.phase.value: {"step": report.step, "complete": report.complete} for report in reports},
    }


def _optimizers(book: Book) -> list[Optimizer]:
    return [turn.optimizer for turn in book.driver.turns]
