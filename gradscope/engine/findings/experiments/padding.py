"""Is most of the loss about padding? By the gradient of the loss at the places where targets are only filled up."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.padded import masks_in, padding_of
from gradscope.engine.findings.record import Record
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.protocol.findings import Evidence

MOST = 1 / 3
"""Of the places that the loss is about. A few steps after the end teach a model to stop; a third and more are waste."""


def find_padding(bench: Bench, record: Record) -> Iterable[Draft]:
    if not bench.batches:
        raise CannotJudge("there is no batch")
    batch = bench.batches[0]
    sequences = [tensor for _, tensor in tensor_leaves(batch) if tensor.dim() >= 2 and tensor.shape[1] > 2]
    if not sequences:
        raise CannotJudge("the batch holds no sequences")
    loss, output = bench.loss(batch)
    if output is None or not output.requires_grad:
        raise CannotJudge("the output that the loss was made of is not known")
    gradient = bench.gradient(loss, output)
    if gradient is None:
        raise CannotJudge("the loss does not depend on the output")
    for x in sequences:
        counted = _counted(gradient.detach(), x)
        fill = None if counted is None else _filled(bench, batch, x, sequences)
        if counted is None or fill is None or fill.shape != counted.shape:
            continue
        hit, in_all = int((counted & fill).sum()), int(counted.sum())
        if in_all and hit > MOST * in_all and hit > 0.5 * int(fill.sum()):
            return [_draft(x, fill, hit / in_all)]
    return []


def _filled(bench: Bench, batch: object, x: Tensor, sequences: list[Tensor]) -> Tensor | None:
    """Where both what goes in and what is asked for are filled up; where a mask in the batch says so."""
    size, length = x.shape[:2]
    mask = next(iter(masks_in(batch, (size, length))), None)
    if mask is not None:
        return mask
    own = padding_of(x, _padding_id(bench, x))
    if own is None:
        return None
    for other in sequences:
        if other is not x and other.shape[:2] == x.shape[:2]:
            there = padding_of(other, _padding_id(bench, other))
            # Shifted by one, they differ where the rows end.
            return None if there is None else own & there
    # A batch of tokens alone, which the step shifts itself.
    return own if not x.is_floating_point() else None


def _padding_id(bench: Bench, x: Tensor) -> int | None:
    if x.is_floating_point() or not isinstance(bench.model, nn.Module):
        return None
    known = {m.padding_idx for m in bench.model.modules() if isinstance(m, nn.Embedding) and m.padding_idx is not None}
    return known.pop() if len(known) == 1 else None


def _counted(gradient: Tensor, x: Tensor) -> Tensor | None:
    """(B, T) bool: the places that the loss is about. A step that shifts by itself has an output for T - 1 of them."""
    size, length = x.shape[:2]
    for steps in (length, length - 1):
        by_step = None
        if gradient.shape[:2] == (size, steps):
            by_step = gradient.reshape(size, steps, -1)
        elif gradient.dim() == 3 and gradient.shape[0] == size and gradient.shape[2] == steps:
            by_step = gradient.transpose(1, 2)
        elif gradient.dim() <= 2 and gradient.shape[0] == size * steps:
            by_step = gradient.reshape(size, steps, -1)
        if by_step is not None:
            counted = (by_step != 0).any(-1)
            missing = torch.zeros(size, length - steps, dtype=torch.bool, device=counted.device)
            return torch.cat([missing, counted], 1)
    return None


def _draft(x: Tensor, fill: Tensor, share: float) -> Draft:
    is_ids = not x.is_floating_point()
    token = int(x[fill].mode().values) if is_ids else 0
    return Draft(
        id="loss-over-padding",
        evidence=(
            Evidence(
                name="places of the loss that are padding",
                value=share,
                threshold=MOST,
                text=f"{share:.0%} of the places that the loss is about are padding"
                + (f" (id {token})" if is_ids else " (zeros)")
                + ", and get a gradient",
            ),
        ),
        do=f"Give cross_entropy ignore_index={token}."
        if is_ids
        else "Multiply the loss by the mask, and divide by its sum.",
        instead="It is no token of the text: it stands at the ends of rows only, from different places on.",
    )


EXPERIMENTS.append(
    Experiment(
        ids=("loss-over-padding",),
        title="Is most of the loss about padding?",
        run=find_padding,
        passes=lambda bench, record: (1, 1),
    )
)
