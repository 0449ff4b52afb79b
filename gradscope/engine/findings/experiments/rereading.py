"""Does reading a sample change the data? What was handed out is kept, another sample is read, and then the same one again:
what was handed out before has to stay as it was. Where it does not, the sample is read many times more: what is written to
the data adds up, and what a buffer is overwritten with does not. Only what the model is given is looked at: a dataset may
count its readings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.protocol.findings import Evidence

SAMPLES = 4
QUARTER = 4
"""Readings: the first four and the last four of sixteen are compared."""
GROWTH = 3.0
"""Of the mean square distance from the first reading: steps that add up get to more than five times, and others to once."""
MOST_ELEMENTS = 0.5
"""Of a sample: so many have moved. A place in it where something is counted is one of a few."""


def find_changing(bench: Bench, record: Record) -> Iterable[Draft]:
    if not bench.knows_input:
        raise CannotJudge("what the model is given of a sample is not known, for a step of the recipe's own")
    growth = bench.beside_data(_growth)
    if growth is None:
        raise CannotJudge("the samples are no pairs that can be asked for by index")
    if growth < GROWTH:
        return []
    return [
        Draft(
            id="data-changed-by-reading",
            evidence=(
                Evidence(
                    name="growth of the distance from the first reading",
                    value=growth,
                    threshold=GROWTH,
                    text=f"the mean square distance of a sample from its first reading grows to {growth:.1f} times, from the "
                    f"first {QUARTER} to the last {QUARTER} of {4 * QUARTER} readings",
                ),
            ),
            instead="It is no buffer that samples are read into: what that is overwritten with does not add up.",
        )
    ]


def _growth(data: Any) -> float | None:
    """Of the mean square distance from the first reading, of all samples that are looked at together; 0 where one of them
    stays as it was handed out, None where there are too few, or they are no pairs."""
    count = len(data)
    if count < 2 * SAMPLES:
        return None
    early = late = 0.0
    for own in range(0, count - count % SAMPLES, count // SAMPLES):
        sample = data[own]
        if not isinstance(sample, (tuple, list)) or len(sample) != 2:
            return None
        given = [leaf for leaf in tree_leaves(sample[0]) if isinstance(leaf, (Tensor, np.ndarray))]
        if not given or not _is_written_to(data, own, given[0]):
            return 0.0
        first, distances = _numbers(given[0]), []
        for _ in range(4 * QUARTER):
            data[own]
            apart = (_numbers(given[0]) - first).nan_to_num()
            distances.append(float(apart.square().sum()))
        if not float((apart != 0).double().mean()) > MOST_ELEMENTS:
            return 0.0
        early, late = early + sum(distances[:QUARTER]), late + sum(distances[-QUARTER:])
    return late / early if early > 0 else 0.0


def _is_written_to(data: Any, own: int, handed_out: Any) -> bool:
    """By reading the same sample again, and by no other."""
    first = _numbers(handed_out)
    data[(own + len(data) // 3) % len(data)]
    if not torch.equal(_numbers(handed_out), first):
        return False
    data[own]
    return not torch.equal(_numbers(handed_out), first)


def _numbers(value: Any) -> Tensor:
    """A copy."""
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=np.float64))
    return tensor.detach().to(torch.float64, copy=True).flatten()


EXPERIMENTS.append(
    Experiment(
        ids=("data-changed-by-reading",),
        title="Does reading a sample change the data?",
        run=find_changing,
        passes=lambda bench, record: (0, 0),
    )
)
