"""Records as a training would have written them, made up for tests of single rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

import gradscope.engine.findings.rules  # noqa: F401
from gradscope.engine.findings.draft import RULES, CannotJudge, Draft
from gradscope.engine.findings.record import LayerFacts, LossCall, ParameterFacts, Record, StepFacts
from gradscope.engine.findings.yardstick import Baseline, Measure

CALL = LossCall(
    step=0,
    turn="",
    function="cross_entropy",
    layer="",
    input_shape=(8, 3),
    target_shape=(8,),
    class_dim=1,
    requires_grad=True,
    made_by="AddmmBackward0",
    rows_sum_to_one=False,
    is_in_unit=False,
    logsumexp=2.0,
    input_low=-2.0,
    input_high=2.0,
    target_low=float("nan"),
    target_high=float("nan"),
    target_sums=None,
    is_relayout=False,
    options={},
)


def record_of(model: nn.Module, steps: int = 40, *, losses: Sequence[float] | None = None, **more: Any) -> Record:
    """A training that gets nowhere: a yardstick of 1 at each step, and so is what chance gets."""
    record = Record(baseline=Baseline("classes", 1.0, 3), optimizers={"": None})
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad] or [torch.zeros(1)], lr=0.1)
    record.optimizers = {"": optimizer}
    for place, (name, module) in enumerate(model.named_modules()):
        mine = tuple(f"{name}.{key}".strip(".") for key, _ in module.named_parameters(recurse=False))
        is_leaf = not any(True for _ in module.children())
        record.layers[name] = LayerFacts(
            name, type(module).__name__, is_leaf, mine, is_training=True, calls=steps, place=place, module=module
        )
    for name, p in model.named_parameters():
        record.parameters[name] = parameter_of(name, p, steps)
    for step in range(steps):
        value = 1.0 if losses is None else losses[step]
        record.steps.append(
            StepFacts(step, "", value, Measure("classes", value, classes=3), (0.1,), group_moves=(0.01,))
        )
    for key, value in more.items():
        setattr(record, key, value)
    return record


def parameter_of(name: str, p: nn.Parameter, steps: int) -> ParameterFacts:
    value = p.detach()
    rows = value.flatten(1) if value.dim() > 1 else value
    size = float(value.norm())
    facts = ParameterFacts(
        name,
        name.rpartition(".")[0],
        tuple(p.shape),
        "float32",
        p.requires_grad,
        p.requires_grad,
        0,
        "",
        size,
        float(value.std()) if value.numel() > 1 else 0.0,
        value.dim() > 1 and value.shape[0] > 1 and bool((rows == rows[:1]).all()),
        p,
        value.clone(),
    )
    facts.grads = [(step, 0.1) for step in range(steps)]
    facts.updates = [(step, 0.01 * size) for step in range(steps)]
    facts.norms = [(step, size) for step in range(steps)]
    return facts


def calls(count: int = 4, **changes: Any) -> list[LossCall]:
    """The same call in so many steps."""
    return [replace(CALL, step=step, **changes) for step in range(count)]


def found(record: Record, id: str) -> list[Draft]:
    """What the rules for this id say; nothing where they cannot judge."""
    drafts: list[Draft] = []
    for rule in RULES:
        if id in rule.ids:
            try:
                drafts += [draft for draft in rule.judge(record) if draft.id == id]
            except CannotJudge:
                continue
    return drafts


def loud(record: Record, id: str) -> list[str]:
    """The places of those that are more than a note."""
    return [draft.where for draft in found(record, id) if draft.severity is None or draft.severity.counts]
