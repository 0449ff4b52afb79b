"""Are the inputs on very different scales, or on a very large or small one? Was the training far better with standardised
inputs?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench, Change
from gradscope.engine.findings.counterfactual import curves, ends, horizon, is_better, passes_of, short
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.protocol.failure import UserCodeFailed
from gradscope.protocol.findings import Evidence

WIDE = 1e3
"""Between the largest and the smallest spread of a column: weights of one size cannot serve both."""
LARGE = 50.0
"""Initialisations are made for inputs around 1."""
SMALL = 1e-2
"""Spread of all inputs together: what they add to a layer is lost beside its bias."""
CRUSHED = 0.05
"""Middle half of a column over its spread: a normal one has 1.35, an exponential one 1.1. Where it is so little, some
values far away make the spread, and all others are next to each other."""
FAR = 5.0
"""To what values far away are cut in the run beside it, in spreads of the middle half."""
_NORMAL = 1.35


@dataclass(frozen=True)
class _Scale:
    mean: Tensor
    spread: Tensor
    wide: float
    largest: float
    all_spread: float
    middle: Tensor
    """The median of each column."""
    half: Tensor
    """How far its middle half reaches; 0 where half of it is one value."""

    @property
    def is_odd(self) -> bool:
        return self.wide > WIDE or self.largest > LARGE or self.all_spread < SMALL or self.is_crushed

    @property
    def shares(self) -> Tensor:
        """Of each column: its middle half over its spread; Inf where half of it is one value, as in columns of a few ones."""
        return torch.where(self.half > 0, self.half / self.spread, math.inf).flatten()

    @property
    def is_crushed(self) -> bool:
        return float(self.shares.min()) < CRUSHED

    def standardise(self, x: Tensor) -> Tensor:
        is_crushed = (self.half > 0) & (self.half < CRUSHED * self.spread)
        centre = torch.where(is_crushed, self.middle, self.mean)
        z = (x.double() - centre) / torch.where(is_crushed, self.half / _NORMAL, self.spread)
        return torch.where(is_crushed, z.clamp(-FAR, FAR), z).to(x.dtype)


def run(bench: Bench, record: Record) -> Iterable[Draft]:
    if not record.is_unsolved:
        return
    parts = [bench.parts(batch) for batch in bench.batches]
    inputs = [x for x, _ in parts if x is not None and x.is_floating_point() and x.dim() > 1]
    if not inputs or any(x.shape[1:] != inputs[0].shape[1:] for x in inputs):
        raise CannotJudge("The inputs are no numbers of one shape")
    if any(x is not None and y is not None and _are_same(x, y) for x, y in parts):
        raise CannotJudge("The inputs are the targets: their scale is that of the output")
    scale = _scale(torch.cat(inputs).double())
    if scale is None or not scale.is_odd or _is_normalised(record):
        return
    steps = horizon(bench, record)
    as_it_is = bench.unchanged(steps)
    try:
        with_it = bench.train(steps, Change(inputs=scale.standardise))
    except UserCodeFailed as error:
        # Whole numbers, say, that are looked up in a table.
        raise CannotJudge("The model does not run with standardised inputs") from error
    if is_better(with_it, as_it_is, record):
        yield Draft(
            id="input-not-scaled",
            evidence=(_evidence(scale), ends(as_it_is, with_it, "with standardised inputs")),
            do=_what_to_do(scale),
            instead="Only the inputs were shifted and scaled: rate, model and targets are the same.",
            curves=curves(as_it_is, with_it, "with standardised inputs"),
        )


def _scale(x: Tensor) -> _Scale | None:
    """By column: the last dimension of rows and sequences, the channels of images."""
    feature = 1 if x.dim() >= 4 else x.dim() - 1
    over = [dim for dim in range(x.dim()) if dim != feature]
    if not bool(torch.isfinite(x).all()) or x.numel() // x.shape[feature] < 2:
        return None
    mean, spread = x.mean(over, keepdim=True), x.std(over, keepdim=True)
    moving = spread[spread > 0]
    if not moving.numel():
        return None
    middle, half = _middle(x, feature)
    return _Scale(
        mean=mean[0],
        # A column that is always the same stays at 0.
        spread=torch.where(spread > 0, spread, torch.ones_like(spread))[0],
        wide=float(moving.max() / moving.min()),
        largest=float(x.abs().max()),
        all_spread=float(x.std()),
        middle=middle,
        half=half,
    )


def _middle(x: Tensor, feature: int) -> tuple[Tensor, Tensor]:
    """(median, distance of the quartiles) of each column, shaped as a row of x."""
    columns = x.movedim(feature, 0).flatten(1).sort(1)[0]
    count = columns.shape[1]
    low, middle, high = (columns[:, min(count - 1, round(q * (count - 1)))] for q in (0.25, 0.5, 0.75))
    shape = [-1 if dim == feature else 1 for dim in range(x.dim())]
    return middle.view(shape)[0], (high - low).view(shape)[0]


def _evidence(scale: _Scale) -> Evidence:
    if scale.is_crushed:
        return Evidence(
            name="middle half of a column over its spread",
            value=float(scale.shares.min()),
            threshold=CRUSHED,
            text=f"Half of column {int(scale.shares.argmin())} lies within {short(float(scale.shares.min()))} of its spread; "
            "a normal distribution has 1.35",
        )
    if scale.wide > WIDE:
        return Evidence(name="largest over smallest spread of a column", value=scale.wide, threshold=WIDE, unit="x")
    if scale.largest > LARGE:
        return Evidence(name="largest input", value=scale.largest, threshold=LARGE)
    return Evidence(name="spread of the inputs", value=scale.all_spread, threshold=SMALL)


def _what_to_do(scale: _Scale) -> str:
    spread = scale.spread.flatten()
    if scale.is_crushed:
        column = int(scale.shares.argmin())
        return (
            f"A few values of column {column} lie far from all others and make its spread (is -9999 or the like written for "
            "what is missing?): fill or cut them first, and standardise then."
        )
    if scale.wide > WIDE:
        high = int(spread.argmax())
        low = int(torch.where(spread < spread.max(), spread, spread.max()).argmin())
        return (
            f"Standardise each column by its mean and spread over the training data: column {high} spreads by "
            f"{short(float(spread[high]))}, column {low} by {short(float(spread[low]))}."
        )
    if scale.largest > LARGE and spread.numel() > 1:
        # One column of years among others.
        centre = scale.mean.flatten()
        far = int((centre.abs() + spread).argmax())
        return (
            f"Standardise each column by its mean and spread over the training data: column {far} is about "
            f"{short(float(centre[far]))}, give or take {short(float(spread[far]))}."
        )
    return (
        f"Subtract the mean of the training inputs and divide by their spread ({short(scale.all_spread)}; the largest is "
        f"{short(scale.largest)})."
    )


def _are_same(x: Tensor, y: Tensor) -> bool:
    """Also where one is the other without its channel, or flattened."""
    return x.numel() == y.numel() and y.is_floating_point() and bool(torch.equal(x.flatten(), y.flatten()))


def _is_normalised(record: Record) -> bool:
    """The first layer that is called normalises."""
    leaves = (facts for facts in record.order if facts.is_leaf and facts.parameters)
    first = next(leaves, None)
    norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm, nn.GroupNorm)
    return first is not None and isinstance(first.module, norms)


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    x, _ = bench.newest
    if not record.is_unsolved or _is_normalised(record) or x is None or not x.is_floating_point() or x.dim() < 2:
        return 0, 0
    scale = _scale(x.double())
    return passes_of(bench, 1) if scale is not None and scale.is_odd else (0, 0)


EXPERIMENTS.append(
    Experiment(
        ids=("input-not-scaled",),
        title="Would the training be better with standardised inputs?",
        run=run,
        passes=_passes,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)
