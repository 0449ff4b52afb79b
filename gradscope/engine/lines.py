"""Reports as JSON lines: one strict JSON object a phase (NaN and Inf do not exist in JSON: undefined numbers are null)."""

from __future__ import annotations

import json
import math
from typing import Any

from gradscope.engine.report import PhaseReport, Subject

_FIELDS = (
    "kind",
    "name",
    "call",
    "leaf",
    "shape",
    "dtype",
    "count",
    "nan",
    "inf",
    "zero",
    "min",
    "max",
    "mean",
    "std",
    "l2",
)


def line_of(report: PhaseReport) -> str:
    """The report as one line of JSON, without the line break.

    `{"step", "phase", "epoch", "batch", "loss", "lr", "subjects": [...]}`; "not_seen" lists what could not be captured;
    "loss_text" is there when the loss is NaN or infinite (and "loss" therefore null); "failed" is true when the
    phase was broken off.
    """
    content: dict[str, Any] = {
        "step": report.step,
        "phase": report.phase.value,
        "epoch": report.epoch,
        "batch": report.batch,
        "loss": _number(report.loss),
        "lr": [_number(rate) for rate in report.lr],
        "subjects": [_subject(subject) for subject in report.subjects],
    }
    if report.loss is not None and not math.isfinite(report.loss):
        content["loss_text"] = str(report.loss)
    if report.absent:
        content["not_seen"] = [
            {"kind": absence.kind, "name": absence.name, "reason": absence.reason} for absence in report.absent
        ]
    if not report.raw.complete:
        content["failed"] = True
    return json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


def _subject(subject: Subject) -> dict[str, Any]:
    content: dict[str, Any] = {name: getattr(subject, name) for name in _FIELDS}
    # The L2 norm of large doubles may lie beyond what a double can hold.
    content["l2"] = _number(subject.l2)
    content["shape"] = list(subject.shape)
    if subject.note:
        content["note"] = subject.note
    return content


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
