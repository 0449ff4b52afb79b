"""Weights that started equal and drift apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import ParameterFacts, Record
from gradscope.engine.findings.telling import SOME_STEPS, need_steps, seen
from gradscope.protocol.findings import Severity
from gradscope.protocol.phases import Phase

_APART = 1e-4
"""Of their size: many times what rounding does."""
_LEAST = 16
"""Elements: smaller ones may be equal by chance, or by the same simple formula."""
_SAYS_SO = re.compile(r"(^|_)(tie|ties|tied|tying|share|shared|sharing)(_|$)", re.IGNORECASE)


def _judge(record: Record) -> Iterator[Draft]:
    need_steps(record, SOME_STEPS)
    groups: dict[tuple[int, float], list[ParameterFacts]] = {}
    for p in record.parameters.values():
        is_random = len(p.shape) == 2 and p.start_std > 0 and p.tensor.numel() >= _LEAST
        if is_random and p.requires_grad and p.is_trained:
            groups.setdefault((p.tensor.numel(), round(p.start_l2, 6)), []).append(p)
    pairs = [(a, b) for group in groups.values() for i, a in enumerate(group) for b in group[i + 1 :]]
    if any(a.start is None or b.start is None for a, b in pairs):
        raise CannotJudge("there was no room for a copy of the weights at the start")
    for a, b in pairs:
        draft = _of_pair(record, a, b)
        if draft is not None:
            yield draft


def _of_pair(record: Record, a: ParameterFacts, b: ParameterFacts) -> Draft | None:
    if a.start is None or b.start is None or a.tensor.data_ptr() == b.tensor.data_ptr():
        return None
    kinds = {record.layers[p.layer].kind for p in (a, b)}
    # Copies of one layer start equal on purpose: ensembles, target networks.
    is_straight = a.shape == b.shape and len(kinds) > 1 and torch.equal(a.start, b.start)
    is_turned = a.shape == b.shape[::-1] and a.shape[0] != a.shape[1] and torch.equal(a.start, b.start.t())
    if not is_straight and not is_turned:
        return None
    other = b.tensor.detach() if is_straight else b.tensor.detach().t()
    apart = float((a.tensor.detach() - other).norm() / (a.tensor.detach().norm() + 1e-12))
    if not apart > _APART:
        return None
    # A decoder that only begins as its encoder's transpose is meant, unless the code says that they are to be tied.
    is_meant = is_straight or _speaks_of_ties(record)
    return Draft(
        id="tie-broken",
        where=b.layer,
        near=(a.layer,),
        severity=None if is_meant else Severity.INFO,
        phase=Phase.STEP,
        evidence=(
            seen(
                "distance over size",
                apart,
                _APART,
                text=f"{b.name} from {a.name}{'' if is_straight else ' transposed'}",
            ),
            seen("distance at the start", 0.0),
        ),
        do=f"Assign the parameter itself: {b.name} = {a.name}."
        if is_straight
        else f"Compute with {a.name}.t() in {b.layer}.",
        instead="They are layers of different kinds, or one is the other transposed: no ensemble of equal copies.",
    )


def _speaks_of_ties(record: Record) -> bool:
    """A method or an attribute of a module of the user's that is named so."""
    return any(_SAYS_SO.search(name) for layer in record.layers.values() for name in _own_names(layer.module))


def _own_names(module: Any) -> list[str]:
    classes = [cls for cls in type(module).__mro__ if not cls.__module__.startswith("torch.")]
    return [name for cls in classes if cls is not object for name in vars(cls)] + list(
        vars(module) if classes[:-1] else ()
    )


RULES.append(Rule(ids=("tie-broken",), judge=_judge))
