"""Simple methods on raw inputs: is there anything about the targets in them? Ridge regression, with products of columns, and
nearest neighbours: learnt on one half of the samples, and asked about the other."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_SAMPLES = 2000
MOST_COLUMNS = 3000
MOST_CROSSED = 40
"""Columns whose products are made too."""
FARTHEST = 64
"""Rows that targets may be shifted by."""
CLEAR = 6.0
"""Standard errors: of twice 64 shifts, none gets there by chance."""


def probe(x: Tensor, y: Tensor) -> float | None:
    """How many standard errors above chance the best of them is; None where the inputs are too large, or of no known kind."""
    columns = _columns(x[:MOST_SAMPLES])
    if columns is None or len(columns) < 40:
        return None
    y = y[: len(columns)]
    half = len(columns) // 2
    chance, wanted = chance_of(y), y[half:]
    said = [ridge(part, half) @ _as_columns(y)[:half] for part in _with_products(columns)]
    found = [standard_errors(part, wanted, chance) for part in said]
    nearest = _as_columns(y)[:half][torch.cdist(columns[half:], columns[:half]).argmin(1)]
    by_neighbour = None if chance is None else _sum_of_squares(y)
    return max(*found, standard_errors(nearest, wanted, by_neighbour))


def best_lag(x: Tensor, y: Tensor) -> int | None:
    """By how many rows later the targets fit the inputs clearly, if any."""
    columns = _columns(x[:MOST_SAMPLES])
    if columns is None or len(columns) < 4 * FARTHEST:
        return None
    y = y[: len(columns)]
    half, chance = len(columns) // 2, chance_of(y)
    solved = ridge(columns, half)
    scores = {}
    for lag in (lag for lag in range(-FARTHEST, FARTHEST + 1) if lag):
        turned = y.roll(-lag, 0)
        scores[lag] = standard_errors(solved @ _as_columns(turned)[:half], turned[half:], chance)
    best = max(scores, key=lambda lag: scores[lag])
    return best if scores[best] > CLEAR else None


def chance_of(y: Tensor) -> float | None:
    """The share of the most frequent class; None for values."""
    return None if y.is_floating_point() else float(y.unique(return_counts=True)[1].max()) / y.numel()


def standard_errors(said: Tensor, y: Tensor, chance: float | None) -> float:
    """Above chance: of the hits of a score for each class, or of the correlation with values, the best of their columns."""
    if chance is not None:
        labels = y.flatten().long()
        hits = said.argmax(1) == labels if said.shape[1] > 1 else (said[:, 0] > 0).long() == labels
        return (float(hits.double().mean()) - chance) / math.sqrt(max(chance * (1 - chance), 1e-6) / len(labels))
    values = y.reshape(len(y), -1).double()
    found = [0.0]
    for j in range(min(values.shape[1], said.shape[1])):
        both = torch.stack([said[:, j].double(), values[:, j]])
        correlation = float(torch.corrcoef(both)[0, 1]) if bool((both.std(1) > 0).all()) else 0.0
        found.append(correlation * math.sqrt(len(values)) if math.isfinite(correlation) else 0.0)
    return max(found, key=abs) if len(found) > 1 else 0.0


def _sum_of_squares(y: Tensor) -> float:
    """How often two samples have the same class."""
    shares = y.unique(return_counts=True)[1].double() / y.numel()
    return float((shares * shares).sum())


def _as_columns(y: Tensor) -> Tensor:
    return y.reshape(len(y), -1).double() if y.is_floating_point() else F.one_hot(y.flatten().long()).double()


def _columns(x: Tensor) -> Tensor | None:
    """(samples, columns), each of mean 0 and deviation 1; of tokens, how often each occurs and which stands where."""
    if x.is_floating_point():
        columns = x.double().flatten(1)
    elif x.dim() == 2 and x.numel() and int(x.min()) >= 0 and int(x.max()) < MOST_COLUMNS:
        there = F.one_hot(x.long()).double()
        columns = there.sum(1)
        if there[0].numel() <= MOST_COLUMNS:
            columns = torch.cat([columns, there.flatten(1)], 1)
    else:
        return None
    if columns.shape[1] > MOST_COLUMNS or not bool(torch.isfinite(columns).all()):
        return None
    return standardised(columns)


def standardised(columns: Tensor) -> Tensor:
    return (columns - columns.mean(0)) / (columns.std(0) + 1e-9)


def _with_products(columns: Tensor) -> list[Tensor]:
    if columns.shape[1] > MOST_CROSSED:
        return [columns]
    i, j = torch.triu_indices(columns.shape[1], columns.shape[1])
    return [columns, torch.cat([columns, columns[:, i] * columns[:, j], columns.abs()], 1)]


def ridge(columns: Tensor, half: int) -> Tensor:
    """The matrix that takes the targets of the first half to what is said of the second."""
    a = torch.cat([columns, torch.ones(len(columns), 1, dtype=columns.dtype)], 1)
    known, asked = a[:half], a[half:]
    # In the smaller of the two spaces.
    strength = float(a.shape[1])
    if a.shape[1] <= half:
        gram = known.T @ known + strength * torch.eye(a.shape[1], dtype=a.dtype)
        solved: Tensor = torch.linalg.solve(gram, known.T)
        return asked @ solved
    gram = known @ known.T + strength * torch.eye(half, dtype=a.dtype)
    inverse: Tensor = torch.linalg.inv(gram)
    return asked @ known.T @ inverse
