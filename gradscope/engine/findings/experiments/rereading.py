"""Does reading a sample change it? One that is handed out is kept, another one is read, and then the same one again: what was
handed out before has to stay as it was."""

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


def find_changing(bench: Bench, record: Record) -> Iterable[Draft]:
    changes = bench.beside_data(_changes)
    if changes is None:
        raise CannotJudge("the samples cannot be asked for by index")
    if not all(changes):
        return []
    return [
        Draft(
            id="data-changed-by-reading",
            evidence=(
                Evidence(
                    name="change of a sample by reading it once more",
                    value=min(changes),
                    threshold=0.0,
                    unit="of its spread",
                    text=f"what was read before has changed by {min(changes):.2g} of its spread, of {len(changes)} samples",
                ),
            ),
            instead="It is no buffer that samples are read into: another sample leaves it as it is.",
        )
    ]


def _changes(data: Any) -> list[float] | None:
    """Of two samples, how far reading each again has changed what was read of it before; 0 where it has not each time."""
    count = len(data)
    if count < 4:
        return None
    return [_change(data, own, other) for own, other in ((0, count // 2), (count - 1, count // 3))]


def _change(data: Any, own: int, other: int) -> float:
    handed_out = [leaf for leaf in tree_leaves(data[own]) if isinstance(leaf, (Tensor, np.ndarray))]
    first = list(map(_copy, handed_out))
    data[other]
    if not all(map(_equal, handed_out, first)):
        return 0.0
    data[own]
    second = list(map(_copy, handed_out))
    data[own]
    moved = [_motion(a, b) for a, b in zip(first, second, strict=True)]
    # A cache is filled once.
    again = [_motion(a, b) for a, b in zip(second, handed_out, strict=True)]
    return max((min(pair) for pair in zip(moved, again, strict=True)), default=0.0)


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value.copy()


def _numbers(value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value, dtype=np.float64))
    return tensor.detach().double().flatten()


def _equal(a: Any, b: Any) -> bool:
    return _motion(a, b) == 0.0


def _motion(a: Any, b: Any) -> float:
    one, other = _numbers(a), _numbers(b)
    if one.shape != other.shape or not len(one):
        return 0.0
    spread = float(one.std()) if len(one) > 1 else 0.0
    moved = float((one - other).abs().nan_to_num().max())
    return moved / (spread or 1.0)


EXPERIMENTS.append(
    Experiment(
        ids=("data-changed-by-reading",),
        title="Does reading a sample change it?",
        run=find_changing,
        passes=lambda bench, record: (0, 0),
    )
)
