"""Do the weights stand still? Is the rate, or that of one group, too small to get anywhere, and does more of it help?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from gradscope.engine.findings.bench import Bench, Change, Run
from gradscope.engine.findings.counterfactual import (
    about,
    best_of,
    curves,
    ends,
    horizon,
    is_better,
    moves,
    passes_of,
    short,
    where_of,
)
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.statistics import has_improved
from gradscope.protocol.findings import Evidence

TINY_MOVE = 2e-3
"""In all steps that are planned: weights that cannot change by more than a five-hundredth of their size learn nothing."""
EPOCHS = 5
"""Few trainings go through their data less often."""
STILL = 1e-4
"""Of one group, where another moves a hundred times as far: twenty times below TINY_MOVE, since a small rate for a part that
is pretrained is usual."""
WANTED_MOVES = (0.3, 3.0)
"""What weights move by in a training that gets somewhere: a third of their size, and three times it."""
ANYTHING = 0.9
"""That the weights stand still is the fault; the run only has to show that there is something to be learnt: 10 %."""
ENDLESS_EPOCHS = 300
"""Few trainings last as long, and a warm-up is a small part of one."""
ENDLESS_STEPS = 150_000
"""Fifteen times what the longest published warm-ups take: who has counted samples in place of steps gets there."""
ENDLESS_TIMES = 100
"""Times as long as the training was so far."""
LOOK_AHEAD = 2000
"""Steps that a warm-up is followed for: on a straight line, it goes on like that."""
STRAIGHT = 1.2
"""Times the least of its slopes, from the start to three places ahead."""
PLAUSIBLE = (1e-5, 1.0)
"""Rates that a training may be meant to have: a warm-up leads to one of them."""
_LITTLE = 0.05
"""Of what the rate is to be in the end."""
_RISING = 3.0
"""A schedule that goes on to more than three times the rate so far is still warming up."""


@dataclass(frozen=True)
class _WarmUp:
    wanted: float
    """The rate that it leads to."""
    steps: int
    """Until then."""
    epochs: int


def run(bench: Bench, record: Record) -> Iterable[Draft]:
    if not record.is_unsolved:
        return
    steps = horizon(bench, record)
    own = moves(record)
    if not own:
        raise CannotJudge("Nobody has measured how far the weights move")
    planned = _planned(bench, record)
    largest = max(own) * planned
    if _stands_still(record, largest):
        is_zero = all(rate == 0 for step in record.steps for rate in step.rates)
        if not (is_zero and _lasts_an_epoch(bench, record)):
            _need_steady_rates(bench, record)
        if max(own) > 0:
            yield from _whole(bench, record, steps, max(own), largest)
        elif is_zero:
            yield _no_rate(bench, record)
    elif len(own) > 1:
        for group in _still_groups(own, planned):
            yield from _group(bench, record, steps, group, own)


def _planned(bench: Bench, record: Record) -> float:
    """How many times as long as it was so far the training is to be."""
    # Where nobody has said how long that is, a training goes through its data a few times at least.
    return max(bench.planned, EPOCHS * (bench.steps_per_epoch or 0), len(record.measures)) / len(record.measures)


def _stands_still(record: Record, largest: float) -> bool:
    return largest < TINY_MOVE and not has_improved(record.measures)


def _still_groups(own: list[float], planned: float) -> list[int]:
    return [group for group, move in enumerate(own) if 0 < move * planned < STILL and max(own) > 100 * move]


def _whole(bench: Bench, record: Record, steps: int, move: float, planned: float) -> Iterable[Draft]:
    as_it_is, rate = bench.unchanged(steps), max(record.steps[0].rates, default=math.nan)
    if bench.clips and is_better(bench.train(steps, Change(clip=False)), as_it_is, record, factor=ANYTHING):
        # Clipping leaves nothing of the steps; the rate is not at fault.
        return
    tried = [(wanted / move, bench.train(steps, Change(rate=wanted / move))) for wanted in WANTED_MOVES]
    factor, best = best_of(tried)
    name, do = f"{short(factor)} times the rate", f"Raise the rate from {short(rate)} to about {about(rate * factor)}."
    newest = max(record.steps[-1].rates, default=rate)
    warm_up = _endless_warm_up(bench, record, newest)
    if warm_up is not None:
        do = (
            f"Shorten the warm-up: after {len(record.measures)} steps the rate is {short(newest)}, and it gets to "
            f"{short(warm_up.wanted)} after {warm_up.steps:,} steps, {warm_up.epochs:,} passes over the data. Is it "
            "counted in samples, and stepped per batch?"
        )
    if is_better(best, as_it_is, record, factor=ANYTHING):
        yield Draft(
            id="lr-too-low",
            evidence=(
                Evidence(
                    name="how far the weights move in all planned steps, in their own size",
                    value=planned,
                    threshold=TINY_MOVE,
                ),
                ends(as_it_is, best, name),
            ),
            do=do,
            instead="The same model, data and order learn with a larger rate: there is something to be learnt.",
            curves=curves(as_it_is, best, name),
        )


def _lasts_an_epoch(bench: Bench, record: Record) -> bool:
    """A warm-up that counts from 0, per epoch, has no rate in the first one; for longer nobody wants to wait."""
    return bench.steps_per_epoch is not None and len(record.measures) > bench.steps_per_epoch


def _no_rate(bench: Bench, record: Record) -> Draft:
    """No factor of 0 is a rate, and no run is needed to see that it trains nothing."""
    seen = len(record.measures)
    ahead = bench.rates_ahead(seen + LOOK_AHEAD)
    later = next((at for at, rate in enumerate(ahead) if at >= seen and rate > 0), None)
    do = "The rate is 0: set it to, say, 0.001 with Adam; does a schedule make it 0?"
    if later is not None:
        do = f"The schedule keeps the rate at 0 up to step {later:,}: is its factor rounded, as by // in place of /?"
    return Draft(
        id="lr-too-low",
        evidence=(Evidence(name="learning rate", value=0.0, text=f"The rate was 0 in all of {seen} steps"),),
        do=do,
    )


def _group(bench: Bench, record: Record, steps: int, group: int, own: list[float]) -> Iterable[Draft]:
    as_it_is, rates = bench.unchanged(steps), record.steps[0].rates
    tried: list[tuple[float, Run]] = [
        (wanted / own[group], bench.train(steps, Change(rate=wanted / own[group], group=group)))
        for wanted in WANTED_MOVES
    ]
    factor, best = best_of(tried)
    if not is_better(best, as_it_is, record):
        return
    where, layers = where_of(record, group)
    fastest = max(range(len(own)), key=own.__getitem__)
    rate = rates[group] if group < len(rates) else math.nan
    other = rates[fastest] if fastest < len(rates) else math.nan
    name = f"{short(factor)} times the rate of group {group}"
    yield Draft(
        id="group-lr-too-low",
        where=where,
        near=layers,
        evidence=(
            Evidence(
                name=f"how far group {group} moves, in its own size",
                value=own[group],
                threshold=STILL,
                text=f"Group {group} (rate {short(rate)}) moves by {short(own[group])} of its size, group {fastest} "
                f"(rate {short(other)}) by {short(own[fastest])}",
            ),
            ends(as_it_is, best, name),
        ),
        do=f"Raise the rate of group {group} from {short(rate)} to about {about(rate * factor)}; were the rates of groups "
        f"{group} and {fastest} swapped?",
        curves=curves(as_it_is, best, name),
    )


def _need_steady_rates(bench: Bench, record: Record) -> None:
    so_far = max((rate for step in record.steps for rate in step.rates if math.isfinite(rate)), default=0.0)
    if _endless_warm_up(bench, record, so_far) is not None:
        return
    ahead = bench.rates_ahead(max(bench.planned, len(record.measures) + 1000))
    if ahead and max(ahead) > _RISING * so_far:
        raise CannotJudge(f"The rate is still rising, to {short(max(ahead))}")


def _endless_warm_up(bench: Bench, record: Record, so_far: float) -> _WarmUp | None:
    """The rate rises along a straight line that gets to the rate that was asked for later than any training ends."""
    per_epoch, seen = bench.steps_per_epoch, len(record.measures)
    wanted = max(
        (group.get("initial_lr", 0.0) for o in record.optimizers.values() for group in o.param_groups), default=0.0
    )
    if per_epoch is None or not 0 < so_far < _LITTLE * wanted or not PLAUSIBLE[0] <= wanted <= PLAUSIBLE[1]:
        return None
    ahead = bench.rates_ahead(seen + LOOK_AHEAD)
    if len(ahead) < seen + LOOK_AHEAD or any(b < a for a, b in pairwise(ahead)):
        return None
    count = len(ahead) - 1
    slopes = [(ahead[at] - ahead[0]) / at for at in (count // 4, count // 2, count)]
    # Up to a curve it would have to be known how it goes on.
    if not 0 < max(slopes) < STRAIGHT * min(slopes):
        return None
    steps = round(wanted / slopes[-1])
    # Who has said how long it is to be has said what a warm-up may take.
    enough = max(ENDLESS_EPOCHS * per_epoch, ENDLESS_STEPS, ENDLESS_TIMES * seen, bench.planned)
    return _WarmUp(wanted, steps, steps // per_epoch) if steps > enough else None


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    own = moves(record) if record.is_unsolved and record.measures else []
    if not own:
        return 0, 0
    planned = _planned(bench, record)
    if _stands_still(record, max(own) * planned):
        return passes_of(bench, 3 if bench.clips else 2)
    return passes_of(bench, 2 * len(_still_groups(own, planned)))


EXPERIMENTS.append(
    Experiment(
        ids=("lr-too-low", "group-lr-too-low"),
        title="Would the training get anywhere with a larger rate?",
        run=run,
        passes=_passes,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)
