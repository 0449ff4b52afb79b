"""Does weight decay win against the gradient? Was the training far better without?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from gradscope.engine.findings.bench import Bench, Change
from gradscope.engine.findings.counterfactual import curves, ends, horizon, is_better, passes_of, short, where_of
from gradscope.engine.findings.draft import EXPERIMENTS, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.protocol.findings import Evidence

WINS = 3.0
"""Decay and gradient balance at 1. Three times the gradient's part, step after step, leaves nothing standing."""
FOR_STEPS = 8
"""In so many steps: one of them is chance. Later both are even again, with next to nothing left of the weights."""
HALVED = 0.5
FAST = 50.0
"""Steps in which decay alone takes a weight to a third (1 / (rate x decay)); usual: 1,000 to 100,000."""
NO_USE = 0.9
"""Of the baseline: a model that is not even so much better than always the same answer was not regularised, but wiped out."""


def run(bench: Bench, record: Record) -> Iterable[Draft]:
    groups, decaying, fast, share = _suspicious(record)
    if not decaying:
        return
    steps = horizon(bench, record)
    as_it_is, without = bench.unchanged(steps), bench.train(steps, Change(weight_decay=0.0))
    if not is_better(without, as_it_is, record):
        return
    named = sorted(fast) or decaying
    where, near = where_of(record, named[0]) if len(named) == 1 and len(groups) > 1 else ("", ())
    decay = float(groups[named[0]]["weight_decay"])
    evidence = [ends(as_it_is, without, "without decay")]
    if fast:
        time = min(fast.values())
        text = f"Decay alone takes every weight to a third of its size in {short(time)} steps"
        evidence.insert(0, Evidence(name="1 / (rate x decay)", value=time, threshold=FAST, unit="steps", text=text))
    elif share is not None:
        evidence.insert(
            0, Evidence(name="decay's part of a step over the gradient's", value=share, threshold=WINS, unit="x")
        )
    yield Draft(
        id="weight-decay-too-strong",
        where=where,
        near=near,
        evidence=tuple(evidence),
        do=f"Lower weight_decay from {short(decay)} to 0.01 or less.",
        instead="Only the decay was taken away: the same rate, model and data train without it.",
        curves=curves(as_it_is, without, "without decay"),
    )


def _suspicious(record: Record) -> tuple[list[dict[str, Any]], list[int], dict[int, float], float | None]:
    """(all groups; those that decay, none where that does not look like it hurts; steps to a third of those where that is
    fast; decay's part over the gradient's)."""
    groups = _groups(record)
    decaying = [number for number, group in enumerate(groups) if group.get("weight_decay", 0.0)]
    if not record.is_unsolved or not decaying:
        return groups, [], {}, None
    fast = {number: time for number in decaying if (time := _time(record, groups, number)) < FAST}
    share = _share(record)
    is_wiped_out = share is not None and share > WINS and _is_useless(record) and _have_halved(record)
    return groups, decaying if fast or is_wiped_out else [], fast, share


def _groups(record: Record) -> list[dict[str, Any]]:
    optimizer = next(iter(record.optimizers.values()), None)
    return [] if optimizer is None else list(optimizer.param_groups)


def _time(record: Record, groups: list[dict[str, Any]], number: int) -> float:
    """Steps; Inf where decay does not shrink weights by a share of themselves in each."""
    optimizer = next(iter(record.optimizers.values()))
    group = groups[number]
    is_apart = isinstance(optimizer, (torch.optim.AdamW, torch.optim.SGD)) or group.get("decoupled_weight_decay", False)
    rates = [step.rates[number] for step in record.steps if number < len(step.rates)]
    known = sorted(rate for rate in rates if math.isfinite(rate))
    if not is_apart or not known:
        # In Adam, RMSprop and the like it is a part of the gradient, and is divided by its size.
        return math.inf
    pull = known[len(known) // 2] * float(group["weight_decay"])
    return 1 / pull if pull > 0 else math.inf


def _share(record: Record) -> float | None:
    """What FOR_STEPS steps had at least; None where nobody has measured it."""
    steps = sorted(
        step.decay_share for step in record.steps if step.decay_share is not None and math.isfinite(step.decay_share)
    )
    return steps[-FOR_STEPS] if len(steps) >= FOR_STEPS else None


def _have_halved(record: Record) -> bool:
    """The weights together, as far as they decay."""
    before = now = 0.0
    for facts in record.parameters.values():
        if facts.is_trained and facts.norms:
            before, now = before + facts.start_l2**2, now + facts.norms[-1][1] ** 2
    return math.sqrt(now) < HALVED * math.sqrt(before)


def _is_useless(record: Record) -> bool:
    return record.baseline is None or record.end > NO_USE * record.baseline.value


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    return passes_of(bench, 1 if _suspicious(record)[1] else 0)


EXPERIMENTS.append(
    Experiment(
        ids=("weight-decay-too-strong",),
        title="Would the training be better without weight decay?",
        run=run,
        passes=_passes,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)
