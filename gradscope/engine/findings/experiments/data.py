"""A pass over the data, without the model: what all samples share, and in which order they come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import torch
from torch import Tensor, nn

from gradscope.engine.findings import yardstick
from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.data_facts import DataFacts
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.statistics import mean
from gradscope.engine.findings.tracing import motion
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.protocol.failure import UserCodeFailed
from gradscope.protocol.findings import Evidence, Severity

FEWEST = 8
"""Samples; fewer may well be alike."""
EFFECTIVE = 1.5
"""exp(entropy) of the tokens: text has hundreds; below this, nearly all are one."""
VOCABULARY = 20
"""Rows of an embedding that is made for text."""
ONE_CLASS = 0.6
"""So many batches with one class are no chance where a random order would give more than 1.5 classes."""
_LITTLE = 0.5
"""Half of what the loss has fallen: a model that says the same always keeps all of it without its inputs."""
_FALLEN = 0.3
"""Of the first loss: less may be chance."""
_LOOKED_AT = 4
"""Batches."""
FAR = 25.0
"""mean^2 over variance: the offset is five times what there is to learn."""
WIDE = 1e4
"""Variance: as far as a net of the usual initial scale (outputs about 1) is from it, in squares."""


@dataclass(frozen=True)
class DataSample:
    """Inputs and targets of the kept batches, one after the other, on the CPU; None where they do not fit together."""

    inputs: tuple[Tensor, ...]
    """Of each tensor of an input."""
    targets: Tensor | None
    batch_targets: tuple[Tensor, ...]

    @staticmethod
    def of(bench: Bench) -> DataSample:
        """Raises CannotJudge where the batches are no pairs."""
        pairs = [batch for batch in bench.batches if isinstance(batch, (list, tuple)) and len(batch) == 2]
        if not pairs or len(pairs) < len(bench.batches):
            raise CannotJudge("the batches are no pairs of input and target")
        columns = [[tensor.detach().cpu() for _, tensor in tensor_leaves(x)] for x, _ in pairs]
        if len({len(column) for column in columns}) > 1:
            raise CannotJudge("the inputs differ from batch to batch")
        inputs = [_joined(list(parts)) for parts in zip(*columns, strict=True)]
        targets = [y.detach().cpu() for _, y in pairs if isinstance(y, Tensor)]
        return DataSample(
            tuple(part for part in inputs if part is not None),
            _joined(targets) if len(targets) == len(pairs) else None,
            tuple(targets),
        )


def _joined(parts: list[Tensor]) -> Tensor | None:
    fits = all(part.dim() >= 1 and part.shape[1:] == parts[0].shape[1:] for part in parts)
    return torch.cat(parts) if parts and fits else None


def look_at_data(bench: Bench, record: Record) -> Iterable[Draft]:
    """Also writes `record.data` and `record.baseline`."""
    sample = DataSample.of(bench)
    _write_facts(sample, record)
    same = _constant_input(sample)
    yield from same
    if not same:
        yield from _constant_target(sample, bench, record)
    yield from _one_token(sample, bench)
    yield from _class_by_class(sample, bench)
    yield from _target_not_scaled(sample, record)


def _write_facts(sample: DataSample, record: Record) -> None:
    y = sample.targets
    if y is None or not y.numel() or y.is_complex():
        return
    call = next((call for call in record.losses if not call.layer), None)
    function, options = (call.function, call.options) if call is not None else ("", {})
    counts: dict[int, int] = {}
    is_binary = y.is_floating_point() and bool(((y == 0) | (y == 1)).all())
    if not y.is_floating_point() or is_binary:
        kept = y[(y != options.get("ignore_index", -100)) & (y >= 0)] if y.dtype is not torch.bool else y
        ids, times = kept.long().unique(return_counts=True)
        counts = dict(zip(ids.tolist(), times.tolist(), strict=True))
    values = y.flatten().double() if y.is_floating_point() else None
    record.data = DataFacts(len(y), values, counts)
    if record.baseline is None and record.is_plain and not record.has_other_targets:
        record.baseline = yardstick.baseline([y], function=function, options=options)


# ---------------------------------------------------------------------------------------------- all the same


def _constant_input(sample: DataSample) -> list[Draft]:
    """Every tensor of the input: one of several may well be the same for all."""
    inputs = sample.inputs
    if not inputs or len(inputs[0]) < FEWEST or any(len(part) != len(inputs[0]) for part in inputs):
        return []
    if not all(part.numel() and _is_one_row(part) for part in inputs):
        return []
    count = len(inputs[0])
    evidence = Evidence(
        name="different inputs", value=1, threshold=2, text=f"all {count} inputs of the pass are equal, bit for bit"
    )
    return [
        Draft(
            id="constant-input",
            evidence=(evidence,),
            do="Look at the dataset's __getitem__: does it use its index, and read more than one file?",
            instead="It is no constant column: every value of every input is the same in all samples.",
        )
    ]


def _is_one_row(part: Tensor) -> bool:
    return bool((part == part[:1]).all())


def _constant_target(sample: DataSample, bench: Bench, record: Record) -> list[Draft]:
    y = sample.targets
    if y is None or len(y) < FEWEST or not y.numel() or not _is_one_row(y) or not bench.has_whole_pass:
        return []
    is_one = bool((y == y.flatten()[0]).all())
    what = f"{float(y.flatten()[0]):g}" if is_one else "the same values"
    if not _matters(bench):
        return []
    regained = _regained_without_inputs(bench, record)
    if regained is not None and regained < _LITTLE:
        # To rank, "the first one" is what all samples are asked for, and what comes first is in the inputs.
        return []
    evidence = [
        Evidence(name="different targets", value=1, threshold=2, text=f"all {len(y)} targets of the pass are {what}")
    ]
    if regained is not None:
        evidence.append(
            Evidence(
                name="what was learnt without the inputs",
                value=100 * regained,
                threshold=100 * _LITTLE,
                unit="%",
                text=f"of what the loss has fallen, {regained:.0%} stays where the inputs of a batch are mixed up",
            )
        )
    return [
        Draft(
            id="constant-target",
            evidence=tuple(evidence),
            # As long as nothing has been learnt, it may be a question that all samples are asked.
            severity=Severity.INFO if regained is None else None,
            do="Look at how the targets are made: is it the right column, and is it parsed?",
            instead="The loss depends on the targets: they are no stand-in that it ignores.",
        )
    ]


def _regained_without_inputs(bench: Bench, record: Record) -> float | None:
    """How much of what the loss has fallen is still there where each column of a batch's inputs comes from other samples: all
    of it where the model only says the same always. None where it has not fallen yet."""
    losses = record.own_losses
    if len(losses) < 2 * FEWEST or not isfinite(record.end):
        return None
    start = mean(losses[: FEWEST // 2])
    generator = torch.Generator().manual_seed(0)
    as_it_is, mixed = [], []
    for x, y in list(bench.batches)[-_LOOKED_AT:]:
        if not isinstance(x, Tensor) or x.dim() < 2:
            return None
        flat = x.flatten(1)
        order = torch.rand(flat.shape, generator=generator).argsort(0).to(flat.device)
        as_it_is.append(float(bench.loss((x, y), with_grad=False)[0]))
        mixed.append(float(bench.loss((flat.gather(0, order).view_as(x), y), with_grad=False)[0]))
    fallen = start - mean(as_it_is)
    if fallen < _FALLEN * abs(start):
        return None
    return max(0.0, min(1.0, (start - mean(mixed)) / fallen))


def _matters(bench: Bench) -> bool:
    """Whether the loss depends on the target at all."""
    x, y = bench.batches[0]
    other = y + 1 if y.is_floating_point() else torch.where(y > 0, y - 1, y + 1)
    try:
        # The gradient, not the loss: one that only adds a constant has nothing to say.
        before, output = bench.loss((x, y))
        grads = [bench.gradient(before, output)] if output is not None and output.requires_grad else [before.detach()]
        after, output = bench.loss((x, other))
        grads += [bench.gradient(after, output)] if output is not None and output.requires_grad else [after.detach()]
    except (UserCodeFailed, RuntimeError):
        # There is no other class.
        return True
    known = [grad for grad in grads if grad is not None]
    # A loss that the output has no part in: nothing can be told.
    return len(known) < 2 or motion(*known) > 0.0


def _one_token(sample: DataSample, bench: Bench) -> list[Draft]:
    if len(sample.inputs) != 1 or not isinstance(bench.model, nn.Module):
        return []
    x = sample.inputs[0]
    if x.is_floating_point() or x.dtype is torch.bool or x.dim() != 2 or len(x) < FEWEST or x.shape[1] < 2:
        return []
    fits = (
        (n, m)
        for n, m in bench.model.named_modules()
        if isinstance(m, nn.Embedding) and m.num_embeddings > int(x.max())
    )
    name, embedding = next(fits, ("", None))
    if embedding is None or embedding.num_embeddings < VOCABULARY or _is_one_row(x):
        return []
    is_real = ~_padding(x, embedding.padding_idx)
    ids, counts = x[is_real].unique(return_counts=True)
    if not len(ids):
        return []
    shares = counts.double() / counts.sum()
    effective = float((-(shares * shares.log()).sum()).exp())
    token, rows = int(ids[counts.argmax()]), embedding.num_embeddings
    blank = float(((x == token) | ~is_real).all(1).double().mean())
    # Events that are rare by nature still tell one sample from another.
    if effective >= EFFECTIVE or blank < 0.5:
        return []
    return [
        Draft(
            id="one-token",
            where=name,
            evidence=(
                Evidence(
                    name="effective number of tokens, exp(entropy)",
                    value=effective,
                    threshold=EFFECTIVE,
                    text=f"id {token} is {float(shares.max()):.1%} of the tokens; {len(ids)} of {rows} ids occur",
                ),
                Evidence(
                    name="samples that consist of it alone",
                    value=blank,
                    threshold=0.5,
                    text=f"{blank:.0%} of the samples hold nothing else",
                ),
            ),
            do=f"Compare the tokenizer with the vocabulary: id {token} is probably the unknown token.",
            instead="It is no padding: runs of one id at the ends are left out.",
        )
    ]


def _padding(x: Tensor, padding: int | None) -> Tensor:
    """Where one id runs to the end of the rows, from different places, and stands nowhere else."""
    pad = x[:, -1].mode().values if padding is None else torch.tensor(padding)
    if padding is not None:
        return x == pad
    run = (x == pad).flip(1).cumprod(1).flip(1).bool()
    is_elsewhere = bool(((x == pad) & ~run).any())
    return torch.zeros_like(run) if is_elsewhere or bool(run.all(1).any()) else run


# ---------------------------------------------------------------------------------------------- order and scale


def _class_by_class(sample: DataSample, bench: Bench) -> list[Draft]:
    classes = [found for found in map(_classes_of, sample.batch_targets) if found is not None]
    whole = [batch for batch in classes if len(batch) == len(classes[0])]
    # The last batch may be a smaller one.
    if len(whole) < max(4, len(sample.batch_targets) - 1) or len(whole[0]) < 2:
        return []
    size = len(whole[0])
    singles = [int(batch[0]) for batch in whole if _is_one_row(batch)]
    ids, counts = torch.cat(whole).unique(return_counts=True)
    shares = counts.double() / counts.sum()
    expected = float((1 - (1 - shares) ** size).sum())
    if len(ids) < 2 or len(singles) <= ONE_CLASS * len(whole) or expected <= 1.5:
        return []
    # Batches of one class each that come in random order are the work of a sampler.
    changes = sum(a != b for a, b in pairwise(singles))
    if changes > 0.5 * (1 - float((shares**2).sum())) * (len(singles) - 1):
        return []
    evidence = Evidence(
        name="batches that hold one class only",
        value=len(singles) / len(whole),
        threshold=ONE_CLASS,
        text=f"{len(singles)} of {len(whole)} batches hold one class; shuffled, they would hold {expected:.1f} of {len(ids)}",
    )
    return [
        Draft(
            id="single-class-batches",
            evidence=(evidence,),
            do="Shuffle the data: shuffle=True of the recipe or DataLoader.",
            instead=f"It is no sampler that picks a class for each batch: the class changes {changes} times only.",
        )
    ]


def _classes_of(y: Tensor) -> Tensor | None:
    """One class for each sample; None for other targets."""
    flat = y.flatten() if y.dim() >= 1 and y.numel() == len(y) else None
    if flat is None or (flat.is_floating_point() and not bool(((flat == 0) | (flat == 1)).all())):
        return None
    return flat.long()


def _target_not_scaled(sample: DataSample, record: Record) -> list[Draft]:
    y, baseline, measures = sample.targets, record.baseline, record.measures
    if y is None or baseline is None or baseline.kind != "regression" or len(measures) < 20 or not record.is_plain:
        return []
    columns = y.double().reshape(len(y), -1)
    mean, variance = columns.mean(0), columns.var(0)
    is_far = (variance > 0) & ((mean**2 > FAR * variance) | (variance > WIDE))
    # It has tried, and has not even come to the mean.
    if not bool(is_far.any()) or not record.end > baseline.value or not record.moved > 0.01:
        return []
    worst = int((mean**2 + variance).argmax())
    centre, deviation = float(mean[worst]), float(variance[worst]) ** 0.5
    return [
        Draft(
            id="target-not-scaled",
            evidence=(
                Evidence(
                    name="size of the targets",
                    value=centre**2 / max(deviation**2, 1e-30),
                    threshold=FAR,
                    unit="mean^2 over variance",
                    text=f"the targets are about {centre:.4g} with a deviation of {deviation:.3g}",
                ),
                Evidence(
                    name="squared error at the end",
                    value=record.end,
                    threshold=baseline.value,
                    text=f"the squared error is still {record.end:.4g}; always saying the mean gets {baseline.value:.4g}",
                ),
            ),
            do=f"Train on (y - {centre:.4g}) / {deviation or 1.0:.3g}, and undo it for predictions.",
            instead="The weights do move: it is the way to go that is long.",
        )
    ]


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    return (0, 0)


EXPERIMENTS.append(
    Experiment(
        ids=("constant-input", "constant-target", "one-token", "single-class-batches", "target-not-scaled"),
        title="Do the samples differ, and are they shuffled and scaled?",
        run=look_at_data,
        passes=_passes,
    )
)
