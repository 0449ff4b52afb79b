"""Does reading a sample change the data? What was handed out is kept, another sample is read, and then the same one again:
what was handed out before has to stay as it was. Where it does not, the sample is read many times more: what is written to
the data adds up, and what a buffer is overwritten with does not. Only what the model is given is looked at: a dataset may
count its readings.

And are a picture and its target turned alike? Where an augmentation flips or rotates the one, the other has to be turned in
the same way each time that a sample is read."""

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
PICTURES = 8
READINGS = 8
"""Of each picture, beside the first."""
FEWEST_APART = 6
"""Readings in which the two are turned differently, and it can be told."""
APART = 0.2
"""Of the readings that can be told: an augmentation that is drawn for each alone does it in half of them and more."""
_SMALLEST = 4
"""Of a side: what is smaller looks the same in many ways."""
_NEAR, _CLEAR = 0.9, 0.2
"""Correlation with the first reading, turned: so near, and so much nearer than in every other way. (Noise may be added.)"""


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


def find_apart(bench: Bench, record: Record) -> Iterable[Draft]:
    if not bench.knows_input:
        raise CannotJudge("what the model is given of a sample is not known, for a step of the recipe's own")
    counts = bench.beside_data(_turns)
    if counts is None:
        raise CannotJudge("the samples are no pairs of pictures of one size that can be asked for by index")
    told, apart, turned_targets = counts
    if apart < FEWEST_APART or apart < APART * told:
        return []
    target_too = "by another draw" if turned_targets else "and the target stays as it is"
    return [
        Draft(
            id="labels-unrelated",
            evidence=(
                Evidence(
                    name="readings in which input and target are turned differently",
                    value=100 * apart / told,
                    threshold=100 * APART,
                    unit="%",
                    text=f"{apart} of {told} readings of {PICTURES} samples; the input is flipped or rotated, {target_too}",
                ),
            ),
            why="Input and target are flipped or rotated differently: what is at a place is not what the target says of it.",
            do="Draw once whether to flip, and do it to both: stack them, turn them together, and take them apart again.",
            instead="Read again without being turned, or turned alike, the two fit.",
        )
    ]


def _turns(data: Any) -> tuple[int, int, int] | None:
    """(readings that can be told, those in which the two are turned differently, those in which the target was turned)."""
    count, told, apart, targets = len(data), 0, 0, 0
    if count < PICTURES:
        return None
    for own in range(0, count - count % PICTURES, count // PICTURES):
        first = _pair(data[own])
        if first is None or _is_itself(*first):
            return None
        for _ in range(READINGS):
            pair = _pair(data[own])
            if pair is None or any(a.shape != b.shape for a, b in zip(first, pair, strict=True)):
                return None
            ways = [_turned(a, b) for a, b in zip(first, pair, strict=True)]
            if None in ways:
                continue
            told, apart, targets = told + 1, apart + (ways[0] != ways[1]), targets + (ways[1] != 0)
    return told, apart, targets


def _pair(sample: Any) -> tuple[Tensor, Tensor] | None:
    """Input and target as (channels, height, width), of one height and width."""
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        return None
    pair = [_picture(part) for part in sample]
    if pair[0] is None or pair[1] is None or pair[0].shape[1:] != pair[1].shape[1:]:
        return None
    return pair[0], pair[1]


def _picture(value: Any) -> Tensor | None:
    if not isinstance(value, (Tensor, np.ndarray)) or value.ndim not in (2, 3) or min(value.shape[-2:]) < _SMALLEST:
        return None
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=np.float64))
    if tensor.is_complex():
        return None
    return tensor.detach().to("cpu", torch.float64, copy=True).reshape(-1, *tensor.shape[-2:])


def _is_itself(x: Tensor, y: Tensor) -> bool:
    """The target is the input, or a part of it: what is to be restored may be upright."""
    return any(
        _alike(a, b) > _NEAR
        for a in (x.mean(0, keepdim=True), x)
        for b in (y.mean(0, keepdim=True), y)
        if a.shape == b.shape
    )


def _ways(x: Tensor) -> list[Tensor]:
    """All ways to flip and rotate it that keep its shape; as it is first."""
    ways = [x, x.flip(-1), x.flip(-2), x.flip(-1, -2)]
    return ways + [way.transpose(-1, -2) for way in ways] if x.shape[-1] == x.shape[-2] else ways


def _turned(first: Tensor, again: Tensor) -> int | None:
    """How it was turned between two readings; None where that cannot be told, as of what looks the same in two ways."""
    likeness = [_alike(way, again) for way in _ways(first)]
    order = sorted(range(len(likeness)), key=lambda way: -likeness[way])
    best, second = likeness[order[0]], likeness[order[1]]
    return order[0] if best > _NEAR and best - second > _CLEAR else None


def _alike(a: Tensor, b: Tensor) -> float:
    """Their correlation; 0 where one is the same everywhere."""
    a, b = a - a.mean(), b - b.mean()
    size = float(a.norm() * b.norm())
    return float((a * b).sum()) / size if size > 0 else 0.0


EXPERIMENTS.append(
    Experiment(
        ids=("labels-unrelated",),
        title="Are pictures and their targets turned alike?",
        run=find_apart,
        passes=lambda bench, record: (0, 0),
    )
)
