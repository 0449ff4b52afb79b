"""Is the answer in the order of a sequence, and is the model blind to it? Its output is the same for any order, while a
simple method that sees the order says more about samples that it has not seen than the model does about those that it was
trained on, and the training has settled. A set has no order: there the simple method gains nothing by it. Nor does a set that
is stored sorted say more by its order than by its elements; where rows come sorted, nothing is said."""

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
"""For a probe to be sure of."""
BLIND = 1e-3
"""Of the output's spread: sums in another order differ by rounding."""
CLEAR = 6.0
"""Standard errors between the shares of right answers."""
BETTER = 0.1
"""Of all answers: that much more has to be right, too."""
SORTED = 0.8
"""Of all neighbours that differ: where so many rise, or fall, the elements are stored sorted, or hold their own place."""
LEAST_STEPS = 16
"""Two quarters of eight steps, to see whether the loss still falls."""


def find_blind(bench: Bench, record: Record) -> Iterable[Draft]:
    x = input_of(bench)
    if (
        not isinstance(x, Tensor)
        or x.dim() not in (2, 3)
        or x.shape[1] < 3
        or (x.is_floating_point() == (x.dim() == 2))
    ):
        raise CannotJudge("the inputs are no sequences of tokens or vectors")
    if len(record.measures) < LEAST_STEPS:
        raise CannotJudge(f"fewer than {LEAST_STEPS} steps were seen")
    if not _has_settled(record.measures) or _is_sorted(x) or not _is_blind(bench, x):
        return []
    found = _said(bench, x)
    if found is None:
        raise CannotJudge("there are too few samples with one class each")
    ordered, unordered, own = found
    if ordered.is_clearly_above(unordered) and ordered.is_clearly_above(own):
        return [_draft(_first_layer(record), ordered, unordered, own)]
    return []


def _has_settled(measures: Sequence[float]) -> bool:
    """The last quarter is not clearly below the one before."""
    newest = last(measures)
    return not is_lower(newest, measures[-2 * len(newest) : -len(newest)])


def _is_sorted(x: Tensor) -> bool:
    """By one of its columns, by their norm, or by their sum."""
    columns = x[..., None].double() if x.dim() == 2 else x.double()
    keys = torch.cat([columns, columns.norm(dim=-1, keepdim=True), columns.sum(-1, keepdim=True)], -1)
    steps = keys.diff(dim=1).flatten(0, 1)
    rising, falling = (steps > 0).sum(0), (steps < 0).sum(0)
    return bool((torch.maximum(rising, falling) > SORTED * (rising + falling)).any())


def _is_blind(bench: Bench, x: Tensor) -> bool:
    output = bench.evaluate(x, keeps_layers=False).output
    if output is None or not output.is_floating_point() or output.dim() != 2 or len(output) != len(x):
        return False
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(x.shape[:2], generator=generator).argsort(1).to(x.device)
    index = order if x.dim() == 2 else order[..., None].expand_as(x)
    other = bench.evaluate(x.gather(1, index), keeps_layers=False).output
    exchanged = bench.evaluate(x.roll(1, 0), keeps_layers=False).output
    if other is None or exchanged is None or other.shape != output.shape:
        return False
    scale = spread(output)
    return bool(motion(output, other) < BLIND * scale < motion(output, exchanged) / 10)


class _Hits:
    """So many of so many answers were right."""

    def __init__(self, said: Tensor, y: Tensor) -> None:
        self.share, self.count = float((said == y).double().mean()), len(y)

    def is_clearly_above(self, other: _Hits) -> bool:
        gap = self.share - other.share
        error = math.sqrt(sum(max(h.share * (1 - h.share), 1 / h.count) / h.count for h in (self, other)))
        return gap > BETTER and gap > CLEAR * error


def _said(bench: Bench, x: Tensor) -> tuple[_Hits, _Hits, _Hits] | None:
    """What is right: by a method that sees the order and by one that does not, of samples that they have not seen; and by
    the model itself. None where the targets are no classes, or too few."""
    inputs, targets, answers = [], [], []
    for batch in list(bench.batches)[:BATCHES]:
        given, y = bench.parts(batch)
        is_class = y is not None and not y.is_floating_point() and y.dim() == 1
        if given is None or y is None or not is_class or given.shape[1:] != x.shape[1:] or len(y) != len(given):
            return None
        if int(y.min()) < 0:
            return None
        output = bench.evaluate(given, keeps_layers=False).output
        if output is None or output.dim() != 2 or output.shape[1] <= int(y.max()):
            return None
        inputs.append(given.cpu())
        targets.append(y.cpu().long())
        answers.append(output.argmax(1).cpu())
    if sum(map(len, targets)) < SAMPLES:
        return None
    values, y = torch.cat(inputs)[: probes.MOST_SAMPLES], torch.cat(targets)
    own = _Hits(torch.cat(answers), y)
    y = y[: len(values)]
    parts = _columns(values)
    if parts is None:
        return None
    half = len(y) // 2
    known = F.one_hot(y).double()[:half]
    ordered, unordered = (_Hits((probes.ridge(part, half) @ known).argmax(1), y[half:]) for part in parts)
    return ordered, unordered, own


def _columns(x: Tensor) -> tuple[Tensor, Tensor] | None:
    """With the order, and without it."""
    if x.is_floating_point():
        rows = x.double()
        ordered = rows.flatten(1)
        unordered = torch.cat([rows.mean(1), rows.std(1), rows.sort(1).values.flatten(1)], 1)
    elif int(x.min()) >= 0 and int(x.max()) < probes.MOST_COLUMNS // x.shape[1]:
        there = F.one_hot(x.long()).double()
        ordered, unordered = there.flatten(1), torch.cat([there.sum(1), (there.sum(1) > 0).double()], 1)
    else:
        return None
    if ordered.shape[1] > probes.MOST_COLUMNS or not bool(torch.isfinite(ordered).all()):
        return None
    return probes.standardised(ordered), probes.standardised(unordered)


def _first_layer(record: Record) -> str:
    """The one with parameters that was left first."""
    return next((layer.name for layer in record.order if layer.parameters and layer.name), "")


def _draft(where: str, ordered: _Hits, unordered: _Hits, own: _Hits) -> Draft:
    return Draft(
        id="order-invisible",
        where=where,
        evidence=(
            Evidence(
                name="right answers of a linear method that sees the order",
                value=100 * ordered.share,
                threshold=100 * (max(unordered.share, own.share) + BETTER),
                unit="%",
                text=f"{ordered.share:.0%} of samples that it has not seen; without the order {unordered.share:.0%}, "
                f"the model {own.share:.0%} of those that it was trained on",
            ),
        ),
        do=f"Add an embedding of positions to what comes out of `{where}`." if where else "",
        instead="It is no set: for those, the order of the elements would tell nothing of the answer.",
    )


EXPERIMENTS.append(
    Experiment(
        ids=("order-invisible",),
        title="Is the answer in the order, and can the model see it?",
        run=find_blind,
        passes=lambda bench, record: (3, 0),
    )
)
