"""Does one column of the targets drown the others in a squared error? Are those learnt where all are on one scale?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradscope.engine.findings.bench import Bench, Change
from gradscope.engine.findings.counterfactual import horizon, passes_of, short
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.protocol.findings import Evidence

APART = 100.0
"""Times the spread, 10,000 times the squared error: what a small column adds to the loss is below the noise of the large one.
Columns of one unit are rarely so far apart."""
LEARNT = 0.5
"""Of a column's variance, the error that is left: half of it, as for a whole training."""
BETTER = 0.5
"""Of the error that is left, at most, where the columns are on one scale."""
MOST_COLUMNS = 16
"""Pixels and spectra are one thing in many columns, some of which hardly ever change, and that is fine."""
FEWEST = 100
"""Samples: fewer can be learnt by heart in a short run."""


@dataclass(frozen=True)
class _Columns:
    mean: Tensor
    spread: Tensor
    """Of each column; 1 for one that is always the same."""
    small: tuple[int, ...]
    large: int


def run(bench: Bench, record: Record) -> Iterable[Draft]:
    columns = _columns(bench, record)
    if columns is None:
        return
    steps = horizon(bench, record)
    left = _left(bench, lambda y: y)
    drowned = [] if left is None else [column for column in columns.small if float(left[column]) > LEARNT]
    if left is None or not drowned:
        return

    def standardised(y: Tensor) -> Tensor:
        return ((y - columns.mean.to(y)) / columns.spread.to(y)).to(y.dtype)

    _, then = bench.after(steps, Change(targets=standardised), lambda: _left(bench, standardised))
    learnt = [] if then is None else [c for c in drowned if float(then[c]) < min(LEARNT, BETTER * float(left[c]))]
    if not learnt:
        return
    column, large = max(learnt, key=lambda c: float(left[c])), columns.large
    yield Draft(
        id="target-not-scaled",
        evidence=(
            Evidence(
                name="largest over smallest spread of a column",
                value=float(columns.spread[large] / columns.spread[column]),
                threshold=APART,
                unit="x",
                text=f"column {large} of the targets spreads by {short(float(columns.spread[large]))}, column {column} by "
                f"{short(float(columns.spread[column]))}",
            ),
            Evidence(
                name=f"squared error of column {column}, of its variance",
                value=float(left[column]),
                threshold=LEARNT,
                text=f"the squared error of column {column} is {float(left[column]):.0%} of its variance; after "
                f"{steps} steps over the same batches with every column on the scale 1, {float(then[column]):.0%}",
            ),
        ),
        why=f"The squared error is that of column {large}: what column {column} adds to it is less than noise.",
        do="Train on (y - y.mean(0)) / y.std(0), of the training data, and undo it for predictions; or weigh the columns.",
        instead="The inputs tell it: the same model, rate and data learn it where the columns are on one scale.",
    )


def _columns(bench: Bench, record: Record) -> _Columns | None:
    """None where no column can drown another one."""
    baseline, call = record.baseline, record.loss_call
    if not record.is_plain or baseline is None or baseline.kind != "regression":
        return None
    if call is not None and call.function != "mse_loss":
        return None
    pairs = [bench.parts(batch) for batch in bench.batches]
    targets = [y for _, y in pairs if y is not None and y.dim() == 2 and y.is_floating_point()]
    if len(targets) < len(pairs) or not targets or any(y.shape[1] != targets[0].shape[1] for y in targets):
        return None
    y = torch.cat(targets).double()
    if not 2 <= y.shape[1] <= MOST_COLUMNS or len(y) < FEWEST or not bool(torch.isfinite(y).all()):
        return None
    spread = y.std(0)
    large = int(spread.argmax())
    small = tuple(c for c in range(y.shape[1]) if 0 < float(spread[c]) * APART < float(spread[large]))
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    return _Columns(y.mean(0), spread, small, large) if small else None


def _left(bench: Bench, change: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Of each column's variance, the squared error that is left, in eval mode; None where outputs and targets do not fit."""
    errors, targets = [], []
    for batch in bench.batches:
        x, y = bench.parts(batch)
        output = None if x is None else bench.evaluate(x, keeps_layers=False).output
        if output is None or y is None or output.shape != y.shape:
            return None
        wanted = change(y).double()
        errors.append((output.double() - wanted) ** 2)
        targets.append(wanted)
    variance = torch.cat(targets).var(0)
    return torch.cat(errors).mean(0) / torch.where(variance > 0, variance, torch.ones_like(variance))


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    try:
        return passes_of(bench, 1) if _columns(bench, record) is not None else (0, 0)
    except CannotJudge:
        return 0, 0


EXPERIMENTS.append(
    Experiment(
        ids=("target-not-scaled",),
        title="Does one column of the targets drown the others?",
        run=run,
        passes=_passes,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)
