"""Is the answer in how large a sample is, or at which level it lies, and has a normalisation taken just that away? The output
stays the same where every sample is made larger or shifted, while its size alone tells most of the answer of samples that
have not been seen, and the training has settled near what always saying the same would get."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gradscope.engine.findings import probes
from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.statistics import is_lower, last
from gradscope.engine.findings.tracing import input_of, motion, spread
from gradscope.protocol.findings import Evidence

BATCHES = 32
SAMPLES = 200
"""For a share of the variance, or of right answers, to be sure of."""
ELEMENTS = 8
"""Of a sample: the size of fewer is not one number about many."""
BLIND = 1e-3
"""Of the output's spread: what the eps of a normalisation lets through."""
TOLD = 0.7
"""Of the variance, or of the way from the most frequent class to all right: a trace of the answer (louder recordings of one
speaker) may be taken away on purpose, the answer itself is not."""
LEARNT_NOTHING = 0.8
"""Of always saying the same."""
LEAST_STEPS = 16
MOST_CLASSES = 1000
"""Of more, four columns of one number tell none from another."""
_WORDS = {"size": ("made up to three times as large", "its spread"), "level": ("shifted", "its mean")}


def find_wiped(bench: Bench, record: Record) -> Iterable[Draft]:
    x = input_of(bench)
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() < 2 or x[0].numel() < ELEMENTS:
        raise CannotJudge("the inputs are no samples of many numbers")
    if not _has_yardstick(record):
        raise CannotJudge("it takes a yardstick, and 16 steps")
    if not _is_stuck(record):
        return
    blind = [kind for kind in _WORDS if _is_blind(bench, x, kind)]
    for kind in blind:
        told = _told(bench, x, kind)
        if told is not None and told > TOLD:
            yield _draft(record, kind, told)
            return


def _has_yardstick(record: Record) -> bool:
    return record.is_plain and record.baseline is not None and len(record.measures) >= LEAST_STEPS


def _is_stuck(record: Record) -> bool:
    if not _has_yardstick(record) or record.baseline is None:
        return False
    return record.end >= LEARNT_NOTHING * record.baseline.value and _has_settled(record.measures)


def _has_settled(measures: Sequence[float]) -> bool:
    newest = last(measures)
    return all(map(math.isfinite, newest)) and not is_lower(newest, measures[-2 * len(newest) : -len(newest)])


def _is_blind(bench: Bench, x: Tensor, kind: str) -> bool:
    """The output of each sample stays, and is another one for another sample."""
    output = bench.evaluate(x, keeps_layers=False).output
    exchanged = bench.evaluate(x.roll(1, 0), keeps_layers=False).output
    factor = torch.linspace(1, 3, len(x), dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.dim() - 1))
    changed = x * factor if kind == "size" else x + (factor - 1) * x.std()
    other = bench.evaluate(changed, keeps_layers=False).output
    if output is None or exchanged is None or other is None or not output.is_floating_point():
        return False
    if output.shape != other.shape or len(output) != len(x):
        return False
    scale = spread(output)
    return bool(motion(output, other) < BLIND * scale < motion(output, exchanged) / 10)


def _told(bench: Bench, x: Tensor, kind: str) -> float | None:
    """What that one number tells of the answers of samples that have not been seen, from 0 (nothing) to 1 (all). None where
    there are too few, or more than one answer for each."""
    numbers, targets = [], []
    for batch in list(bench.batches)[:BATCHES]:
        given, y = bench.parts(batch)
        if given is None or y is None or given.shape[1:] != x.shape[1:] or len(y) != len(given):
            return None
        if y.numel() != len(y):
            return None
        rows = given.detach().cpu().double().flatten(1)
        numbers.append(rows.std(1) if kind == "size" else rows.mean(1))
        targets.append(y.detach().cpu().flatten())
    value, y = torch.cat(numbers), torch.cat(targets)
    if len(y) < SAMPLES or not bool(torch.isfinite(value).all()):
        return None
    z = probes.standardised(value[:, None])
    columns = torch.cat([z, z**2, z**3, value.abs().clamp_min(1e-12).log()[:, None]], 1)
    half, solved = len(y) // 2, probes.ridge(probes.standardised(columns), len(y) // 2)
    if y.is_floating_point():
        wanted = y.double()
        left = ((solved @ wanted[:half, None])[:, 0] - wanted[half:]).pow(2).mean() / wanted[half:].var()
        return 1 - float(left)
    # Whole numbers may be large, as counts are, and need not be classes.
    classes, y = y.unique(return_inverse=True)
    if len(classes) > MOST_CLASSES:
        return None
    hits = float(((solved @ F.one_hot(y, len(classes)).double()[:half]).argmax(1) == y[half:]).double().mean())
    chance = probes.chance_of(y) or 0.0
    return (hits - chance) / max(1 - chance, 1e-12)


def _draft(record: Record, kind: str, told: float) -> Draft:
    changed, number = _WORDS[kind]
    assert record.baseline is not None
    where = next((facts.name for facts in record.order if "Norm" in facts.kind and facts.is_leaf), "")
    return Draft(
        id="size-invisible",
        where=where,
        evidence=(
            Evidence(
                name="how far the output moves, of its spread",
                value=0.0,
                threshold=BLIND,
                text=f"Each sample may be {changed}",
            ),
            Evidence(
                name="what one number tells of the answer",
                value=100 * told,
                threshold=100 * TOLD,
                unit="%",
                text=f"{number} alone tells {told:.0%} of the answers of samples that were not seen",
            ),
            Evidence(name="yardstick now", value=record.end, threshold=LEARNT_NOTHING * record.baseline.value),
        ),
        why=f"The {kind} of a sample is the answer, or most of it, and a normalisation takes it away before it is seen.",
        do=f"Leave the {kind} in: normalise by numbers of the whole training data, not of each sample; or give {number} as "
        "an input besides.",
        instead="It is no trace beside others: nothing else has been learnt, and the loss falls no more.",
    )


EXPERIMENTS.append(
    Experiment(
        ids=("size-invisible",),
        title="Is the answer in the size of a sample, and can the model see it?",
        run=find_wiped,
        passes=lambda bench, record: (6 if _is_stuck(record) else 0, 0),
        is_of_dynamics=True,
    )
)
