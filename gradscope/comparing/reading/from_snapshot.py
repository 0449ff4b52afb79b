"""A run from a snapshot: the app's history where it is in there, the table of steps, and the newest reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.comparing.reading.collecting import Numbers, SubjectRows
from gradscope.comparing.reading.run import Run, first_weights_fact, said, settings_of
from gradscope.comparing.sheets import (
    STAGE_OF_KIND,
    WHOLE_STEP,
    Sheet,
    sheet_of_numbers,
)
from gradscope.protocol.messages import Report
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.subjects import COLUMNS, SubjectKind
from gradscope.snapshots.format.saved_history import SavedBlock, SavedHistory
from gradscope.snapshots.reader import open_snapshot
from gradscope.snapshots.snapshot import Snapshot

_CURVES = (
    ("loss", SubStep.LOSS, "loss", 1),
    ("scale", SubStep.BACKWARD, "loss scale", 1),
    ("clipping", SubStep.CLIP, "norm of all gradients", 1),
    ("lr", SubStep.STEP, "learning rate", None),
)


def read_snapshot(path: Path) -> Run:
    """Raises BadInput, as `open_snapshot` does."""
    snapshot = open_snapshot(path)
    session = snapshot.session
    groups = [(group.optimizer, _named(group.options), len(group.parameters)) for group in session.groups]
    environment, numerics = snapshot.environment, snapshot.manifest.get("numerics")
    settings = {name: value for name, value in vars(session).items() if name != "batch_size" or value is not None}
    return Run(
        path=str(path),
        form="snapshot",
        name=session.name,
        sheets=list(_sheets(snapshot)),
        facts={
            "versions": _named(environment.versions),
            "machine": {
                "device": environment.device,
                "platform": environment.platform,
                **(_named(numerics) if isinstance(numerics, Mapping) else {}),
            },
            "recipe": {"name": session.name, "sha256": said(session.sha256), "seed": said(environment.seed)},
            "settings": settings_of(settings, groups),
            **first_weights_fact(environment.first_weights),
            "edits": {"by hand": said("; ".join(_edits(snapshot)))},
        },
        forms={row.key: (row.shape, row.dtype) for row in snapshot.rows},
        snapshot=snapshot,
        notes=tuple(f"{path}: {remark}" for remark in snapshot.remarks),
    )


def _edits(snapshot: Snapshot) -> Iterator[str]:
    for edit in snapshot.edits:
        undone = "" if edit.undone_at is None else f", undone at step {edit.undone_at}"
        yield f"step {edit.step}: {edit.text}{undone}"


def _named(content: Mapping[str, Any]) -> dict[str, str]:
    return {str(name).replace("_", " "): said(value) for name, value in content.items()}


def _sheets(snapshot: Snapshot) -> Iterator[Sheet]:
    has_loss = False
    if snapshot.history is not None:
        has_loss = "loss" in snapshot.history.curves
        yield from _of_history(snapshot.history)
    rows: dict[SubjectKind, SubjectRows] = {}
    for report in snapshot.reports.values():
        _take(rows, snapshot, report)
    yield from (own.sheet() for own in rows.values())
    numbers = Numbers()
    table = snapshot.steps
    if table.rates.size:
        yield sheet_of_numbers(SubStep.STEP, "learning rate", table.step, table.rates)
    for column, stage, name in (
        (table.loss if not has_loss else None, SubStep.LOSS, "loss"),
        (table.grad_l2, SubStep.BACKWARD, "norm of the parameters' gradients"),
        (table.scale, SubStep.BACKWARD, "loss scale"),
        (table.clip_norm, SubStep.CLIP, "norm of all gradients"),
        (table.update_l2, SubStep.STEP, "norm of the update"),
    ):
        if column is not None and not np.isnan(column).all():
            yield sheet_of_numbers(stage, name, table.step, column[:, None])
    for validation in snapshot.validations:
        numbers.add(SubStep.VALIDATE, "validation loss", validation.step, validation.loss)
        for name, value in validation.metrics.items():
            numbers.add(SubStep.VALIDATE, f"validation {name}", validation.step, value)
    yield from numbers.sheets()


def _take(rows: dict[SubjectKind, SubjectRows], snapshot: Snapshot, report: Report) -> None:
    micro = WHOLE_STEP if report.phase is Phase.STEP else report.micro
    for row, summary in zip(snapshot.rows_of(report), report.summaries, strict=True):
        kind = row.key.kind
        rows.setdefault(kind, SubjectRows(kind)).add(report.step, micro, row.key, summary)


def _of_history(history: SavedHistory) -> Iterator[Sheet]:
    for kind, block in history.blocks.items():
        if len(block.steps) and block.keys:
            yield _of_block(kind, block)
    for own, stage, name, width in _CURVES:
        curve = history.curves.get(own)
        if curve is not None and len(curve.steps):
            yield sheet_of_numbers(stage, name, curve.steps, curve.values[:, :width])


def _of_block(kind: SubjectKind, block: SavedBlock) -> Sheet:
    steps = block.steps
    firsts = (
        steps if block.stride == 1 else np.concatenate([[max(0, int(steps[0]) - block.stride + 1)], steps[:-1] + 1])
    )
    return Sheet(
        stage=STAGE_OF_KIND[kind],
        kind=kind,
        keys=block.keys,
        columns=COLUMNS,
        steps=steps,
        first_steps=firsts,
        micros=np.full(len(steps), WHOLE_STEP, dtype=np.int64),
        values=block.values,
    )
