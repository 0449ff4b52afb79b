"""Reports as JSON lines: one strict JSON object a phase (NaN and Inf do not exist in JSON: undefined numbers are null)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from gradscope.engine.reports.report import PhaseReport, Subject
from gradscope.protocol.messages import Validated
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import Phase
from gradscope.protocol.visible import visible_json

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


def line_of(report: PhaseReport, more: Mapping[str, Any] | None = None) -> str:
    """The report as one line of JSON, without the line break.

    `{"step", "phase", "epoch", "batch", "micro", "loss", "lr", "subjects": [...]}`; "step" counts optimizer steps, "micro"
    the micro-batches of a step, both from 0. Where it applies: "optimizer" (whose turn it is), "scale" (the loss scale,
    by which all gradients are divided), "notes" (sentences); on step lines "clip" (`{"norm", "coefficient"}` of all
    gradients together), "skipped" (with "scale": whether the scaler left the step out), "evaluations" (of a closure).
    The first line of a run has "run" (see `run_of`). On forward lines of a recipe "data" is a digest of the batch as it was
    loaded (see `engine.data.digest`).
    "not_seen" lists what could not be captured (`{"kind", "name", "reason"}`; the reasons are those of
    `gradscope.protocol.absences`, the kind "compiled" means that the layer ran eagerly instead); "loss_text" is there
    when the loss is NaN or infinite (and "loss" therefore null); "failed" is true when the phase was broken off.
    "first_nonfinite" is on one line of a run at most: where NaN or Inf began (`{"sentence", "step", "phase", "place", "nan",
    "inf", "count"}`, the counts being of one tensor, and "subject" (`{"kind", "name", "call", "leaf"}`) and "operation"
    (`{"name", "source", "code"}`) where these are known).

    `more` is added to it. Of a script: "line" (`{"file", "line", "function"}`, where it stood when the phase ended),
    "stations" (`[{"kind", "line"}]`, what it has come through since the phase before), on forward lines "calls" (the models
    that it has called), on forward and backward lines "loss_name", and a list as "loss" where backward began at several
    tensors, on step lines "backwards" (since the step before); "epoch" and "batch" are null where no DataLoader tells.
    """
    content: dict[str, Any] = {
        "step": report.step,
        "phase": report.phase.value,
        "epoch": report.epoch,
        "batch": report.batch,
        "micro": report.micro,
        "loss": _number(report.loss),
        "lr": [_number(rate) for rate in report.lr],
        "subjects": [_subject(subject) for subject in report.subjects],
    }
    if report.optimizer:
        content["optimizer"] = report.optimizer
    if report.scale is not None:
        content["scale"] = _number(report.scale)
    if report.phase is Phase.STEP:
        content.update(_of_step(report))
    if report.notes:
        content["notes"] = list(report.notes)
    if report.first_nonfinite is not None:
        content["first_nonfinite"] = _first_nonfinite(report.first_nonfinite)
    if report.loss is not None and not math.isfinite(report.loss):
        content["loss_text"] = str(report.loss)
    if report.absent:
        content["not_seen"] = [
            {"kind": absence.kind, "name": absence.name, "reason": absence.reason} for absence in report.absent
        ]
    if not report.raw.complete:
        content["failed"] = True
    content.update(more or {})
    return _line(content)


def run_of(content: Mapping[str, Any], initial: Iterable[Subject]) -> dict[str, Any]:
    """What the first line of a run has as "run": `{"format", "kind", "name", "path", "sha256", "step", "seed", "device",
    "versions", "platform", "numerics", "settings", "initial": [...]}`.

    "kind" is "recipe" or "script"; "sha256" is that of the file; "step" is the number of the first step; "seed" is the
    session's, of a script what it has given to `torch.manual_seed`, or what torch has drawn. "numerics" are torch's own
    settings; "settings" those of the training, with "groups" (`[{"optimizer", "options", "parameters"}]`) of its optimizers.
    "first_weights" (`{"step", "digest"}`) is a digest of all parameters before their first step, where there is one.
    "initial" are the parameters and buffers before the first step, as the "subjects" of other lines. "checkpoint" is the
    file that was loaded first, if there was one.
    """
    return {**content, "initial": [_subject(subject) for subject in initial]}


def end_line(content: Mapping[str, Any]) -> str:
    """The last line of a script: `{"phase": "end", "exit_code", "stations"}`, and, where an exception has ended it, "failure"
    (`{"sentence", "layer", "call"}`)."""
    return _line({"phase": "end", **content})


def stopped_line(content: Mapping[str, Any]) -> str:
    """The last line of a run that a `--break` has stopped: `{"phase": "stopped", "step", "where", "stops": [{"break",
    "subject", "sentence"}]}`; "where" is as "in backward" inside a phase, with "substep", "event" and, at a layer, "layer"
    and "call". What the phase had shown up to there is in the line before.
    """
    return _line({"phase": "stopped", **content})


def validation_line(validation: Validated) -> str:
    """A validation as one line of JSON: `{"step", "phase": "validation", "epoch", "loss", "metrics", "batches", "samples"}`.

    "step" is the newest step that was done before it.
    """
    content = {
        "step": validation.step,
        "phase": "validation",
        "epoch": validation.epoch,
        "loss": _number(validation.loss),
        "metrics": {name: _number(value) for name, value in validation.metrics.items()},
        "batches": validation.batches,
        "samples": validation.samples,
        "best": validation.is_best,
    }
    return _line(content)


def _line(content: dict[str, Any]) -> str:
    # Standard output may be a terminal.
    return visible_json(json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False))


def _of_step(report: PhaseReport) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if report.clip is not None:
        content["clip"] = {"norm": _number(report.clip.norm), "coefficient": _number(report.clip.coefficient)}
    if report.scale is not None:
        content["skipped"] = report.is_skipped
    if report.raw.evaluations:
        content["evaluations"] = report.raw.evaluations
    return content


def _first_nonfinite(first: FirstNonFinite) -> dict[str, Any]:
    content: dict[str, Any] = {
        "sentence": first.sentence,
        "step": first.step,
        "phase": first.stage.value,
        "place": first.place,
        "nan": first.nan,
        "inf": first.inf,
        "count": first.count,
    }
    subject, operation = first.subject, first.operation
    if subject is not None:
        content["subject"] = {
            "kind": subject.kind.value,
            "name": subject.name,
            "call": subject.call,
            "leaf": subject.leaf,
        }
    if operation is not None:
        content["operation"] = {"name": operation.name, "source": operation.source, "code": operation.code}
    return content


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
