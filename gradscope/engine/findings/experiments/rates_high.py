"""Do the steps overshoot? Was the training far better with a tenth, or a hundredth, of the rate, or of that of one group? Or
with a usual momentum, where each step goes on for hundreds of others?"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from gradscope.engine.findings.bench import Bench, Change, Run
from gradscope.engine.findings.counterfactual import (
    about,
    best_of,
    curves,
    end,
    ends,
    horizon,
    is_better,
    passes_of,
    short,
    went_wrong,
    where_of,
)
from gradscope.engine.findings.draft import EXPERIMENTS, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.rerun import momentum_of
from gradscope.engine.findings.statistics import is_lower, mean
from gradscope.protocol.findings import Evidence
from gradscope.protocol.numbers import number

FACTORS = (0.1, 0.01)
OTHER = 3.0
"""Groups whose rates differ by less have the same one, as far as this goes."""
MOST_GROUPS = 3
MOST_OF_IT = 0.7
"""One group alone is named where lowering its rate does most of the good that lowering all of them does."""
SPIKE = 1.5
"""A loss that is so many times what it was at the start (or what always saying the same gets) has been thrown there; in the
second half, since the first steps of many a good training do that."""
GETTING_ON = 0.95
"""A training that is still 5 % lower in its last quarter than in the one before is on its way, if slower than it could be: a
large rate that is lowered later is often the better plan."""
LONG = 150.0
"""Steps that a gradient goes on for, 1 / (1 - momentum): 10 is usual, 100 is used with the rates made for it."""
USUAL = 0.9


def run(bench: Bench, record: Record) -> Iterable[Draft]:
    if not _is_suspicious(record):
        return
    steps = horizon(bench, record)
    as_it_is = bench.unchanged(steps)
    rates = record.steps[0].rates
    groups = _fast_groups(rates)
    factor, best = _lowered(bench, record, steps, as_it_is, None)
    group: int | None = None
    is_named = is_better(best, as_it_is, record)
    for candidate in groups:
        own_factor, own = _lowered(bench, record, steps, as_it_is, candidate)
        is_enough = not is_named or _gain(own, as_it_is) >= MOST_OF_IT * _gain(best, as_it_is)
        if is_better(own, as_it_is, record) and is_enough:
            factor, best, group, is_named = own_factor, own, candidate, True
            break
    if is_named:
        yield _draft(bench, record, as_it_is, best, factor, group, rates)


def _is_suspicious(record: Record) -> bool:
    return record.is_unsolved and (not _is_getting_on(record) or _was_thrown(record))


def _lowered(bench: Bench, record: Record, steps: int, as_it_is: Run, group: int | None) -> tuple[float, Run]:
    tried: list[tuple[float, Run]] = []
    for factor in FACTORS:
        tried.append((factor, bench.train(steps, Change(rate=factor, group=group))))
        if is_better(tried[-1][1], as_it_is, record):
            break
    return best_of(tried)


def _gain(lowered: Run, as_it_is: Run) -> float:
    """How much lower it ends, at most by what the training has begun with."""
    return min(end(as_it_is.measures), as_it_is.measures[0]) - end(lowered.measures)


def _draft(
    bench: Bench,
    record: Record,
    as_it_is: Run,
    best: Run,
    factor: float,
    group: int | None,
    rates: tuple[float, ...],
) -> Draft:
    whose = "the rate" if group is None else f"the rate of group {group}"
    name = f"{number(factor)} times {whose}"
    rate = max(rates, default=math.nan) if group is None else rates[group]
    do = f"Lower {whose} from {short(rate)} to about {about(rate * factor)}."
    summed = _batch_of_sum(bench) if group is None else None
    if summed is not None:
        do = f"The loss is a sum over the batch of {summed}: take its mean, or lower {whose} to about {about(rate * factor)}."
    wrong = went_wrong(record.measures)
    where, near = ("", ()) if group is None else where_of(record, group)
    return Draft(
        id="lr-too-high",
        where=where,
        near=near,
        evidence=(ends(as_it_is, best, name),),
        do=do,
        instead="The same model, data and order train with smaller steps: neither is at fault.",
        first_step=wrong or 0,
        curves=curves(as_it_is, best, name),
    )


def _fast_groups(rates: tuple[float, ...]) -> list[int]:
    """Those with a clearly larger rate than another, the fastest first; none where all have one rate."""
    known = [rate for rate in rates if math.isfinite(rate) and rate > 0]
    if len(known) < 2:
        return []
    fast = [group for group, rate in enumerate(rates) if rate >= OTHER * min(known)]
    return sorted(fast, key=lambda group: -rates[group])[:MOST_GROUPS]


def _is_getting_on(record: Record) -> bool:
    values = record.measures
    quarter = max(8, len(values) // 4)
    newest, before = values[-quarter:], values[-2 * quarter : -quarter]
    if len(before) < quarter or not all(map(math.isfinite, (*newest, *before))):
        return False
    return mean(newest) < GETTING_ON * mean(before) and is_lower(newest, before)


def _was_thrown(record: Record) -> bool:
    values = record.measures
    level = max(abs(values[0]), 0.0 if record.baseline is None else record.baseline.value)
    return any(not math.isfinite(value) or value > SPIKE * level for value in values[len(values) // 2 :])


def _batch_of_sum(bench: Bench) -> int | None:
    """The size of a batch, where the loss doubles with it."""
    x, y = bench.parts(bench.batches[0])
    if x is None or y is None or not x.dim() or not y.dim() or len(x) != len(y):
        return None
    twice: tuple[Tensor, Tensor] = (torch.cat((x, x)), torch.cat((y, y)))
    once = float(bench.loss((x, y), with_grad=False)[0])
    ratio = float(bench.loss(twice, with_grad=False)[0]) / once if once else math.nan
    # A tenth for what a normalisation over the batch, and rounding, make of it.
    return len(x) if 1.9 < ratio < 2.1 else None


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    # Often the first run tells, and the second is not made.
    return passes_of(bench, 1.5) if _is_suspicious(record) else (0, 0)


EXPERIMENTS.append(
    Experiment(
        ids=("lr-too-high",),
        title="Would the training be better with smaller steps?",
        run=run,
        passes=_passes,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)


def run_with_usual_momentum(bench: Bench, record: Record) -> Iterable[Draft]:
    slow = _with_long_momentum(record)
    if not slow:
        return
    steps = horizon(bench, record)
    as_it_is, usual = bench.unchanged(steps), bench.train(steps, Change(momentum=USUAL))
    if not is_better(usual, as_it_is, record):
        return
    option, (value, other) = next(iter(slow.values()))
    groups = next(iter(record.optimizers.values())).param_groups
    where, near = where_of(record, next(iter(slow))) if len(slow) == 1 < len(groups) else ("", ())
    given = f"betas=({short(value)}, {short(other)})" if option == "betas" else f"momentum={short(value)}"
    is_swapped = option == "betas" and other < value
    yield Draft(
        id="momentum-too-high",
        where=where,
        near=near,
        evidence=(
            Evidence(
                name="1 / (1 - momentum)",
                value=1 / (1 - value) if value < 1 else float("inf"),
                threshold=LONG,
                unit="steps",
                text=f"With {given} a gradient goes on for {short(1 / (1 - value)) if value < 1 else 'all'} steps",
            ),
            ends(as_it_is, usual, f"with a momentum of {short(USUAL)}"),
        ),
        do=f"Exchange them: betas=({short(other)}, {short(value)})."
        if is_swapped
        else f"Lower it from {short(value)} to {short(USUAL)}.",
        instead="Only the momentum was changed: the rate, the model and the data are the same.",
        curves=curves(as_it_is, usual, f"with a momentum of {short(USUAL)}"),
    )


def _with_long_momentum(record: Record) -> dict[int, tuple[str, tuple[float, float]]]:
    """The groups of a single optimizer whose momentum reaches so far back."""
    if len(record.optimizers) != 1:
        return {}
    (optimizer,) = record.optimizers.values()
    found = {number: momentum_of(group) for number, group in enumerate(optimizer.param_groups)}
    return {number: known for number, known in found.items() if (1 - known[1][0]) * LONG < 1 and known[0]}


def _passes_of_momentum(bench: Bench, record: Record) -> tuple[int, int]:
    return passes_of(bench, 1 if _with_long_momentum(record) else 0)


EXPERIMENTS.append(
    Experiment(
        ids=("momentum-too-high",),
        title="Would the training be better with a usual momentum?",
        run=run_with_usual_momentum,
        passes=_passes_of_momentum,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)
