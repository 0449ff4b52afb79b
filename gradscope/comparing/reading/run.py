"""One run, as far as it is known, whatever it was read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradscope.comparing.sheets import WHOLE_STEP, Floats, Sheet
from gradscope.protocol.arrays import IntArray
from gradscope.protocol.phases import SubStep
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind
from gradscope.snapshots.format.content import FirstWeights
from gradscope.snapshots.snapshot import Snapshot

Facts = Mapping[str, Mapping[str, str]]
"""Topic -> name -> what it was, as text."""
INITIAL = "initial weights"
"""The topic of facts about the parameters before the first step."""
Form = tuple[tuple[int, ...], str]
"""Shape and dtype."""


@dataclass(frozen=True, kw_only=True)
class Run:
    path: str
    form: str
    """ "snapshot", or "JSON lines"."""
    name: str
    """What the recipe or the script is called; "" where that is not known."""
    sheets: Sequence[Sheet]
    facts: Facts
    """Versions, machine, recipe, settings, data. What is not known is not there."""
    forms: Mapping[SubjectKey, Form]
    initial: Sheet | None = None
    """Parameters and buffers before the first step; None where nobody has noted them."""
    snapshot: Snapshot | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    """What has to be known of the file itself."""

    @property
    def steps(self) -> IntArray:
        """Every step of which something is known, rising."""
        told = [sheet.steps for sheet in self.sheets if sheet.stage is not SubStep.VALIDATE]
        return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *told]))

    @property
    def keys(self) -> dict[SubjectKey, None]:
        """Every subject, in the order in which they come."""
        return {key: None for sheet in self.sheets for key in sheet.keys if isinstance(key, SubjectKey)}


def sheet_of_subjects(
    stage: SubStep,
    kind: SubjectKind | None,
    keys: Sequence[SubjectKey],
    steps: Sequence[int],
    micros: Sequence[int],
    values: Floats,
) -> Sheet:
    """Summaries of moments that are each of one step; `values` has the shape (columns, subjects, moments)."""
    at = np.array(steps, dtype=np.int64)
    return Sheet(
        stage=stage,
        kind=kind,
        keys=tuple(keys),
        columns=COLUMNS,
        steps=at,
        first_steps=at,
        micros=np.array(micros, dtype=np.int64),
        values=values,
    )


def initial_sheet(keys: Sequence[SubjectKey], rows: Sequence[Floats]) -> Sheet | None:
    """Of the weights before the first step; `rows` are their summaries."""
    if not keys:
        return None
    return sheet_of_subjects(SubStep.BATCH, None, keys, [0], [WHOLE_STEP], np.stack(rows, axis=1)[:, :, None])


def said(value: Any) -> str:
    """A setting as text: "none", "yes", "2.13.0"."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def first_weights_fact(first: FirstWeights | None) -> dict[str, dict[str, str]]:
    """By its topic; nothing where nobody has noted it."""
    return {} if first is None else {INITIAL: {"digest": f"{first.digest} (before step {first.step})"}}


SETTINGS: Mapping[str, str] = {
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "scheduler_unit": "scheduler is stepped per",
    "scheduler_metric": "scheduler goes by",
    "loss": "loss",
    "batch_size": "batch size",
    "batches_per_epoch": "batches in an epoch",
    "accumulate": "micro-batches in a step",
    "zero_grad": "gradients are cleared",
    "clip_norm": "clipped to the norm",
    "clip_value": "clipped to the value",
    "precision": "precision",
    "has_validation": "validation",
    "capture": "capture",
}
"""Fields of a session, and their names for people."""
_MOVED_BY_SCHEDULERS = frozenset({"lr", "betas", "momentum"})
"""They are what they are at the moment when somebody looks."""


def settings_of(fields: Mapping[str, Any], groups: Sequence[tuple[str, Mapping[str, str], int]]) -> dict[str, str]:
    """The settings of a training by their names for people. `groups`: of each parameter group the name of its optimizer, its
    options, and the number of its parameters."""
    found = {name: said(fields[field]) for field, name in SETTINGS.items() if field in fields}
    passed_over = _MOVED_BY_SCHEDULERS if fields.get("scheduler") is not None else frozenset({"lr"})
    for number, (optimizer, options, parameters) in enumerate(groups):
        own = f"group {number}" + (f" ({optimizer})" if optimizer else "")
        found[f"{own}: parameters"] = str(parameters)
        found |= {f"{own}: {name}": value for name, value in options.items() if name not in passed_over}
    return found
