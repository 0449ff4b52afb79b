"""Is the validation data apart from the training data, and the same every time? By two passes over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.protocol.findings import Evidence

LEAKED = 0.01
"""Of the validation samples; and three times the share of twins inside the training data, which are chance where there are
few possible inputs."""
ALTERED = 0.5
"""Of the validation samples come only in one of the two passes; a sampler that leaves out a last batch changes a few."""


def look_at_validation(bench: Bench, record: Record) -> Iterable[Draft]:
    passes = bench.validation(2)
    if not passes:
        raise CannotJudge("there is no validation data")
    first, second = (_samples(batches) for batches in passes)
    if not first or not second:
        raise CannotJudge("the samples of the validation are no tensors")
    altered = _altered(first, second)
    return altered or _leaked(first, _samples(bench.batches), is_continuous=_is_continuous(bench.batches))


def _samples(batches: Sequence[Any]) -> list[tuple[bytes, bytes, bool]]:
    """(input, target, whether the target is of the input's shape) of each sample, as bytes. Where nobody knows which part is
    the target, all of it is input."""
    found = []
    for batch in batches:
        is_pair = isinstance(batch, (list, tuple)) and len(batch) == 2
        inputs = [tensor for _, tensor in tensor_leaves(batch[0] if is_pair else batch)]
        targets = [tensor for _, tensor in tensor_leaves(batch[1])] if is_pair else []
        size = len(inputs[0]) if inputs and inputs[0].dim() else 0
        if not size or any(part.dim() < 1 or len(part) != size for part in (*inputs, *targets)):
            return []
        is_alike = bool(targets) and targets[0].shape == inputs[0].shape and inputs[0].dim() > 1
        keys = zip(_keys(inputs, size), _keys(targets, size), strict=True)
        found += [(x, y, is_alike) for x, y in keys]
    return found


def _is_continuous(batches: Sequence[Any]) -> bool:
    """One column of the inputs has another value in nearly every sample that is different."""
    inputs = [batch[0] for batch in batches if isinstance(batch, (list, tuple)) and len(batch) == 2]
    parts = [
        x.detach().cpu().flatten(1) for x in inputs if isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 1
    ]
    if not parts or len(parts) < len(batches) or any(part.shape[1] != parts[0].shape[1] for part in parts):
        return False
    columns = torch.cat(parts)
    rows = len(columns.unique(dim=0))
    return any(len(columns[:, j].unique()) > 0.9 * rows for j in range(min(64, columns.shape[1]))) and rows > 20


def _keys(parts: list[Tensor], size: int) -> list[bytes]:
    rows = [part.detach().cpu().contiguous().reshape(size, -1) for part in parts]
    plain = [part.view(torch.int16) if part.dtype is torch.bfloat16 else part for part in rows]
    arrays = [part.numpy() for part in plain]
    return [b"|".join(array[i].tobytes() for array in arrays) for i in range(size)]


def _altered(first: list[tuple[bytes, bytes, bool]], second: list[tuple[bytes, bytes, bool]]) -> list[Draft]:
    """The same targets, other inputs. Where the targets are others too, samples are made up anew; where they look like the
    inputs, the noise between the two may be the task."""
    left_over = Counter(x for x, _, _ in second)
    left_over.subtract(Counter(x for x, _, _ in first))
    share = sum(count for count in left_over.values() if count > 0) / len(second)
    if share <= ALTERED or len(first) != len(second) or any(is_alike for _, _, is_alike in first):
        return []
    if [y for _, y, _ in first] != [y for _, y, _ in second] or len({y for _, y, _ in first}) < 2:
        return []
    evidence = Evidence(
        name="validation samples that are others in a second pass",
        value=share,
        threshold=ALTERED,
        text=f"{share:.0%} of {len(first)} validation inputs differ between two passes; their targets do not",
    )
    return [
        Draft(
            id="validation-random",
            evidence=(evidence,),
            do="Give the validation data a transform of its own, without the random parts.",
            instead="It is no other order of the samples: the inputs themselves are others.",
        )
    ]


def _leaked(
    first: list[tuple[bytes, bytes, bool]], training: list[tuple[bytes, bytes, bool]], *, is_continuous: bool
) -> list[Draft]:
    if not training:
        raise CannotJudge("the samples of the training data are no tensors")
    known = Counter(x for x, _, _ in training)
    if len(known) < 2:
        return []
    twins = 1 - len(known) / len(training)
    both = sum(x in known for x, _, _ in first)
    share = both / len(first)
    # Of continuous values two are never the same by chance: twins are copies there, made before the split.
    threshold = LEAKED if is_continuous else max(LEAKED, 3 * twins)
    if share <= threshold or both < 3:
        return []
    evidence = Evidence(
        name="validation inputs that are in the training data too",
        value=share,
        threshold=threshold,
        text=f"{both} of {len(first)} validation inputs are in the training data, bit for bit "
        f"({twins:.1%} of the training samples are there more than once)",
    )
    return [
        Draft(
            id="validation-leak",
            evidence=(evidence,),
            do=f"Split before anything is duplicated or drawn: {both} samples are in both parts.",
            instead="It is no chance: two of these inputs are never the same, unless one is a copy."
            if is_continuous
            else "It is no chance: inside of the training data hardly two samples are the same.",
        )
    ]


EXPERIMENTS.append(
    Experiment(
        ids=("validation-leak", "validation-random"),
        title="Is the validation data apart, and the same every time?",
        run=look_at_validation,
        passes=lambda bench, record: (0, 0),
    )
)
