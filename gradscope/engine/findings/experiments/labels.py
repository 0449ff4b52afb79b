"""Do the targets follow from the inputs? They do not where all of this holds: first visits of batches get no better than
always saying the same; one batch can be learnt by heart; simple methods on the raw inputs find nothing; and a net that has
learnt several batches knows nothing about the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gradscope.engine.findings.bench import Bench, Change
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.probes import best_lag, chance_of, probe, standard_errors
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.statistics import mean, standard_error
from gradscope.protocol.findings import Curve, Evidence

BY_HEART = 0.2
"""Of the baseline: one batch alone is learnt."""
FITTED = 0.7
"""Of the baseline: several batches are on their way to be learnt."""
CHANCE = 3.0
"""Standard errors above chance are more than chance."""
KNOWS = 1.64
"""So far above, a net may know something: one in twenty that know nothing is there too, and rather missed than named."""
FEWEST_STEPS = 12
"""In the first pass over the data."""
FEWEST = 100
"""Samples that a net has not seen; among fewer, what it has learnt would not show."""
HEART_STEPS, FIT_STEPS = 150, 300
FAST = 3e-3
"""Of Adam, for nets that the training's own optimizer is too slow for."""
OTHERS = 24
"""Batches on which a net is asked that has learnt others."""


@dataclass(frozen=True)
class _Fit:
    batches: int
    loss: float
    errors: float
    """Standard errors above chance on other batches."""
    samples: int


def find_unrelated(bench: Bench, record: Record) -> Iterable[Draft]:
    inputs, targets = _data(bench)
    base = record.baseline.value if record.baseline is not None else None
    if base is None or base <= 0:
        raise CannotJudge("there is no yardstick for these targets")
    late = _first_visits(bench, record, base)
    if late is None:
        return []
    found = probe(inputs, targets)
    if found is not None and found > CHANCE:
        return []
    heart = _learnt_by_heart(bench)
    if not mean(heart[-5:]) < BY_HEART * base:
        return []
    fit = _fitted(bench, base)
    if fit is None or fit.errors > KNOWS:
        return []
    more = _fitted_on_half(bench, base)
    if more is not None and more.errors > KNOWS:
        return []
    return [_draft(base, late, heart, fit, found, best_lag(inputs, targets))]


def _data(bench: Bench) -> tuple[Tensor, Tensor]:
    """Inputs and targets, one after the other. One target for each sample: of a text, every token is one."""
    pairs = [bench.parts(batch) for batch in bench.batches]
    inputs, targets = [x for x, _ in pairs if x is not None], [y for _, y in pairs if y is not None]
    if len(inputs) < len(pairs) or len(targets) < len(pairs) or len(pairs) < 4:
        raise CannotJudge("the batches are no pairs of tensors, or too few")
    if any(part.shape[1:] != parts[0].shape[1:] for parts in (inputs, targets) for part in parts):
        raise CannotJudge("the samples are of different shapes")
    x, y = torch.cat(inputs).detach().cpu(), torch.cat(targets).detach().cpu()
    if _has_many(y):
        raise CannotJudge("there is more than one target for each sample")
    if not y.is_floating_point() and bool((y < 0).any()):
        raise CannotJudge("some classes are negative: the loss may leave those samples out")
    return x, y


def _has_many(y: Tensor) -> bool:
    """Targets for each sample, or none at all."""
    return y.dim() < 1 or not len(y) or y[0].numel() > (4 if y.is_floating_point() else 1)


def _first_visits(bench: Bench, record: Record, base: float) -> list[float] | None:
    """The yardstick of the later first visits of batches, if they are no better than always saying the same, and no longer
    falling: before its first visit a batch is data that the model has not seen. None: they are."""
    unseen = record.measures[: bench.steps_per_epoch or len(record.measures)]
    if len(unseen) < FEWEST_STEPS:
        raise CannotJudge(f"fewer than {FEWEST_STEPS} steps were seen in the first pass over the data")
    if not record.moved > 0.02 or not all(map(math.isfinite, unseen)):
        return None
    half = len(unseen) // 2
    gap = mean(unseen[:half]) - mean(unseen[half:])
    is_falling = gap > CHANCE * math.hypot(standard_error(unseen[:half]), standard_error(unseen[half:]))
    late = unseen[half:] if is_falling else unseen[len(unseen) // 3 :]
    slack = 2 * standard_error(late)
    # Arrived there, neither still on the way down to it nor below it already.
    return late if 0.97 * base - slack < mean(late) < 1.1 * base + slack else None


def _learnt_by_heart(bench: Bench) -> list[float]:
    runs = [
        bench.train(HEART_STEPS, Change(batches=1)).measures,
        bench.train(HEART_STEPS, Change(batches=1, adam=FAST)).measures,
    ]
    return min(runs, key=lambda values: mean(values[-5:]) if all(map(math.isfinite, values)) else math.inf)


def _fitted(bench: Bench, base: float) -> _Fit | None:
    """A net that has learnt several batches, asked about others. None where it cannot learn them, or there are no others."""
    count = len(bench.batches)
    for cut in (8, 4):
        fit = _fit(bench, max(2, min(cut, count // 2)))
        if fit is not None and math.isfinite(fit.loss) and fit.loss < FITTED * base:
            return fit
    return None


def _fitted_on_half(bench: Bench, base: float) -> _Fit | None:
    """The same with half of the batches, where that is more: what is rare in the data is not seen by a net that has learnt
    little of it. None where it cannot learn them."""
    kept = len(bench.batches) // 2
    fit = _fit(bench, kept) if kept > 8 else None
    return fit if fit is not None and math.isfinite(fit.loss) and fit.loss < FITTED * base else None


def _fit(bench: Bench, kept: int) -> _Fit | None:
    others = bench.batches[kept : kept + OTHERS]
    if sum(len(y) for _, y in map(bench.parts, others) if y is not None) < FEWEST:
        raise CannotJudge("there are too few samples to ask about")
    run, asked = bench.after(FIT_STEPS, Change(batches=kept, adam=FAST), partial(_asked, bench, others))
    return None if asked is None else _Fit(kept, mean(run.measures[-kept:]), *asked)


def _asked(bench: Bench, others: Sequence[object]) -> tuple[float, int] | None:
    """(standard errors above chance, samples)."""
    said, wanted = [], []
    for batch in others:
        x, y = bench.parts(batch)
        output = bench.evaluate(x, keeps_layers=False).output
        if output is None or y is None or len(output) != len(y):
            return None
        said.append(output.cpu().float().reshape(len(y), -1))
        wanted.append(y.cpu())
    y, out = torch.cat(wanted), torch.cat(said)
    return standard_errors(out, y, chance_of(y)), len(y)


def _draft(
    base: float, late: list[float], heart: list[float], fit: _Fit, found: float | None, lag: int | None
) -> Draft:
    evidence = [
        Evidence(
            name="yardstick on batches that were not seen before",
            value=mean(late),
            threshold=base,
            text=f"batches that were not seen before stay at {mean(late):.3g}; always saying the same gets {base:.3g}",
        ),
        Evidence(
            name="one batch learnt by heart",
            value=mean(heart[-5:]),
            threshold=BY_HEART * base,
            text=f"one batch alone is learnt to {mean(heart[-5:]):.2g} in {HEART_STEPS} steps",
        ),
        Evidence(
            name="what a net knows about other batches",
            value=fit.errors,
            threshold=CHANCE,
            unit="standard errors above chance",
            text=f"a net that has learnt {fit.batches} batches to {fit.loss:.2g} is {fit.errors:.1f} standard errors "
            f"from chance on {fit.samples} other samples",
        ),
    ]
    if found is not None:
        evidence.append(
            Evidence(
                name="what simple methods find in the raw inputs",
                value=found,
                threshold=CHANCE,
                unit="standard errors above chance",
                text=f"ridge regression and nearest neighbours are {found:.1f} standard errors from chance",
            )
        )
    if lag:
        rows = f"{abs(lag)} row{'s' if abs(lag) > 1 else ''} {'later' if lag > 0 else 'earlier'}"
        do = f"The targets fit the inputs if they are taken {rows}: look at how the two are put together."
    else:
        do = "Compare inputs and targets of single samples by eye: was one of the two sorted or shuffled on its own?"
    return Draft(
        id="labels-unrelated",
        evidence=tuple(evidence),
        do=do,
        instead="The model and its optimizer can learn: one batch by heart. It is what they learn that holds for no other.",
        curves=(Curve(name="one batch, again and again", values=tuple(heart)),),
    )


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    base = 0.0 if record.baseline is None else record.baseline.value
    _, y = bench.newest
    if base <= 0 or y is None or _has_many(y) or _first_visits(bench, record, base) is None:
        return 0, 0
    # So many passes are worth a look at the data before they are promised.
    found = probe(*_data(bench))
    if found is not None and found > CHANCE:
        return 0, 0
    each = 2 * HEART_STEPS + 2 * FIT_STEPS
    return each, each


EXPERIMENTS.append(
    Experiment(
        ids=("labels-unrelated",),
        title="Do the targets follow from the inputs?",
        run=find_unrelated,
        passes=_passes,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)
