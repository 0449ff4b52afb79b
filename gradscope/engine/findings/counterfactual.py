"""Was the training better with one thing changed? What the experiments about rates, decay, scales and schedules share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradscope.engine.findings.bench import Bench, Run
from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.statistics import BETTER, is_lower, last, mean
from gradscope.protocol.findings import Curve, Evidence
from gradscope.protocol.numbers import number

STEPS = 60
"""Long enough for fifteen losses in the last quarter, and short enough to be waited for."""
MOST_STEPS = 300
"""Of a run that has to reach a fault that comes late."""
_FEWEST = 16
"""Two groups of eight losses: below that there is nothing to compare."""
_THROWN = 10.0
"""Times the median: no loss of a training that goes its way is so far from the others."""
_LATE = 15
"""Steps that are run beyond the point at which the training went wrong, so that the last quarter lies behind it."""


def horizon(bench: Bench, record: Record) -> int:
    """How many steps a counterfactual run of this training takes. Raises CannotJudge where that cannot be told."""
    if not record.is_plain:
        raise CannotJudge("Its loss may mean anything: a step of the recipe's own, or several optimizers")
    done = len(record.measures)
    usual = min(max(bench.planned, done), STEPS)
    wrong = went_wrong(record.measures)
    if wrong is None:
        if done < usual or done < _FEWEST:
            raise CannotJudge(f"it takes {max(usual, _FEWEST)} steps, and there were {done}")
        return usual
    needed = max(min(usual, STEPS), wrong + max(_LATE, wrong // 3 + 1))
    if needed > MOST_STEPS:
        raise CannotJudge(f"It went wrong after {wrong} steps, which is more than are run again")
    return max(needed, _FEWEST)


def went_wrong(values: Sequence[float]) -> int | None:
    """The step at which a training that had been better was lost: from where on it is not finite, or its mean over eight
    steps is, to the end, more than twice the lowest such mean before. None where it never was."""
    bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
    if bad is not None:
        return bad
    means = [mean(values[i : i + 8]) for i in range(len(values) - 7)]
    if len(means) < 9:
        return None
    lowest = min(range(len(means) - 8), key=means.__getitem__)
    if not all(value > 2 * abs(means[lowest]) for value in means[-8:]):
        return None
    return next(i for i in range(lowest, len(means)) if all(value > 2 * abs(means[lowest]) for value in means[i:]))


def end(values: Sequence[float]) -> float:
    """The mean of the last quarter; Inf where one is not finite."""
    values = last(values)
    return mean(values) if values and all(map(math.isfinite, values)) else math.inf


def is_better(changed: Run, as_it_is: Run, record: Record, *, factor: float = BETTER) -> bool:
    """Whether the changed run has ended clearly lower: by 30 % and three standard errors by the yardstick, by three standard
    errors by the training's own loss, and not above where it started."""
    ours, theirs = end(changed.measures), end(as_it_is.measures)
    if not math.isfinite(ours) or not math.isfinite(end(changed.own)):
        return False
    if ours > 1.1 * max(changed.measures[0], 0.0 if record.baseline is None else record.baseline.value):
        return False
    if not math.isfinite(theirs) or not math.isfinite(end(as_it_is.own)):
        return True
    # Of a loss that may be negative, a share of its size.
    is_far = theirs - ours > (1 - factor) * abs(theirs)
    measures = last(changed.measures), last(as_it_is.measures)
    own = last(changed.own), last(as_it_is.own)
    return is_far and _is_lower(*measures) and _is_lower(*own)


def _is_lower(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Of a run that is being thrown about, a few losses are many times the others, and their mean tells nothing: the sizes
    are compared instead."""
    if is_lower(ours, theirs):
        return True
    if min(*ours, *theirs) <= 0 or max(theirs) < _THROWN * sorted(theirs)[len(theirs) // 2]:
        return False
    return is_lower([math.log(value) for value in ours], [math.log(value) for value in theirs])


def best_of(runs: Sequence[tuple[float, Run]]) -> tuple[float, Run]:
    """The (factor, run) that has ended lowest."""
    return min(runs, key=lambda pair: end(pair[1].measures))


def curves(as_it_is: Run, changed: Run, name: str) -> tuple[Curve, ...]:
    return (
        Curve(name="as it is", values=tuple(v if math.isfinite(v) else math.nan for v in as_it_is.measures)),
        Curve(name=name, values=tuple(v if math.isfinite(v) else math.nan for v in changed.measures)),
    )


def ends(as_it_is: Run, changed: Run, name: str) -> Evidence:
    """How both runs have ended."""
    ours, theirs = end(changed.measures), end(as_it_is.measures)
    before = short(theirs) if math.isfinite(theirs) else "not finite"
    return Evidence(
        name=f"loss at the end, {name}",
        value=ours,
        threshold=BETTER * theirs if math.isfinite(theirs) else None,
        text=f"{len(changed.measures)} steps over the same batches, {name}: the loss ends at {short(ours)}; "
        f"as it is: {before}",
    )


def short(value: float) -> str:
    """Three digits."""
    return number(value, digits=3)


def about(value: float) -> str:
    """One digit: of a rate that is only roughly known."""
    return number(float(f"{value:.0e}"), digits=1)


def where_of(record: Record, group: int) -> tuple[str, tuple[str, ...]]:
    """The module that holds everything of a parameter group ("" for the whole model), and the layers in it."""
    layers = sorted({facts.layer for facts in record.parameters.values() if facts.group == group})
    if len(layers) == 1:
        return layers[0], ()
    paths = [layer.split(".") for layer in layers]
    shared = 0
    while all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    return ".".join(paths[0][:shared]) if paths else "", tuple(layers)


def moves(record: Record) -> list[float]:
    """How far each parameter group has moved, in sizes of itself: the sum over all steps, an upper bound."""
    steps = [step.group_moves for step in record.steps if step.group_moves]
    return [sum(filter(math.isfinite, column)) for column in zip(*steps, strict=False)]


def passes_of(bench: Bench, runs: float, steps: int = STEPS) -> tuple[int, int]:
    """About how many forwards and backwards so many runs take."""
    each = round(runs * min(max(bench.planned, _FEWEST), steps) * bench.evaluations_per_step)
    return each, each
