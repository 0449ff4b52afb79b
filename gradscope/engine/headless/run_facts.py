"""What a run begins with, told in its first JSON line: versions, settings, seed, and the weights before the first step."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from gradscope.engine.reports.lines import run_of
from gradscope.engine.reports.report import subjects_of
from gradscope.engine.surroundings.numerics import numerics, versions

if TYPE_CHECKING:
    from gradscope.engine.script.session import ScriptSession
    from gradscope.engine.session import Session

FORMAT = 1
_SETTINGS = (
    "optimizer",
    "scheduler",
    "scheduler_unit",
    "scheduler_metric",
    "loss",
    "batch_size",
    "batches_per_epoch",
    "accumulate",
    "zero_grad",
    "clip_norm",
    "clip_value",
    "precision",
    "has_validation",
    "capture",
)
"""Fields of a SessionInfo."""


def run_facts(session: Session | ScriptSession, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """See `run_of`; `more` is added. Asked for before the first step. It looks at every parameter and buffer once."""
    info = session.info
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": "recipe" if info.script is None else "script",
        "name": info.name,
        "path": info.path,
        "sha256": info.sha256,
        "step": session.position.step,
        # A script seeds itself: what is known is what it has told torch.
        "seed": info.seed if info.script is None else torch.initial_seed(),
        "device": info.device,
        "versions": versions(),
        "platform": platform.platform(),
        "numerics": numerics(),
        "settings": {
            **{name: getattr(info, name) for name in _SETTINGS},
            "groups": [
                {"optimizer": group.optimizer, "options": dict(group.options), "parameters": len(group.parameters)}
                for group in info.groups
            ],
        },
        **(more or {}),
    }
    first = session.book.first_weights.told(session.position.step)
    if first is not None:
        content["first_weights"] = {"step": first.step, "digest": first.digest}
    initial = session.initial_parameters()
    return run_of(content, subjects_of(initial, session.book.observer.tables.subjects.rows))
