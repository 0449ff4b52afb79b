"""Measures with a number for each unit, sample or position, which no report has: asked of the model after its steps."""

from __future__ import annotations

from unittest import mock

import torch
from torch import Tensor

from docs.finding_pictures.by_layer import outputs_of_layers
from docs.finding_pictures.runs import Run
from docs.finding_pictures.values import Values


def firing(run: Run) -> Values:
    """For each unit of the ReLU: the percentage of samples for which it is above 0, the most first."""
    shares = (outputs_of_layers(run, run.data(512)[0])["1"] > 0).double().mean(0).sort(descending=True).values
    return Values(tuple((100 * shares).tolist()), first=1)


def units_of_one_sample(run: Run) -> Values:
    return Values(tuple(outputs_of_layers(run, run.data(1)[0])["1"][0].tolist()), first=1)


def histogram_of_tanh(run: Run) -> Values:
    values = outputs_of_layers(run, run.data(512)[0])["1"]
    counts = torch.histc(values, bins=20, min=-1, max=1)
    return Values(tuple((100 * counts / counts.sum()).tolist()), first=-1, last=1)


def between_two_evaluations(run: Run) -> Values:
    """For each of 24 samples: how far two outputs of the same model in eval mode are apart."""
    run.model.eval()
    x = run.data(24)[0]
    with torch.no_grad():
        return Values(tuple((run.model(x) - run.model(x)).norm(dim=1).tolist()), first=1)


def row_sums(run: Run) -> Values:
    return Values(tuple(run.data(24)[1].sum(1).tolist()), first=1)


def attention_sums(run: Run) -> Values:
    """What the weights of each position of one sample sum to: those that the softmax has made, over its last dimension."""
    made: list[Tensor] = []
    softmax = torch.softmax

    def kept(weights: Tensor, dim: int) -> Tensor:
        made.append(softmax(weights, dim))
        return made[-1]

    with mock.patch.object(torch, "softmax", kept), torch.no_grad():
        run.model(run.data(1)[0])
    return Values(tuple(made[0][0].sum(-1).tolist()), first=1)


def moved_by_sample(run: Run) -> Values:
    """How far the output of each of 24 samples moves when sample 8 is another one."""
    x = run.data(24)[0]
    other = x.clone()
    other[7] = -x[7]
    with torch.no_grad():
        return Values(tuple((run.model(x) - run.model(other)).norm(dim=1).tolist()), first=1)


def moved_by_position(run: Run) -> Values:
    """How far the output at each position moves when the token at position 6 is another one: the mean over samples."""
    x = run.data(64)[0]
    other = x.clone()
    other[:, 5] = (x[:, 5] + 1) % 9
    with torch.no_grad():
        moved = (run.model(x) - run.model(other)).norm(dim=1).mean(0)
    return Values(tuple(moved.tolist()), first=1)


def heard_tokens(run: Run) -> Values:
    """For each position: the percentage of samples whose output moves when the token there is another one."""
    x = run.data(256)[0]
    shares = []
    for position in range(11):
        rows = x[x[:, position] != 0]
        other = rows.clone()
        other[:, position] = rows[:, position] % 9 + 1
        with torch.no_grad():
            moved = (run.model(rows) - run.model(other)).abs().amax(1) > 1e-6
        shares.append(100 * moved.double().mean().item())
    return Values(tuple(shares), first=1)


def counted_padding(run: Run) -> Values:
    """For each position: the percentage of samples whose padding there the loss looks at."""
    x, y = run.data(256)
    out = run.model(x).detach().requires_grad_(True)
    loss = run.recipe.loss(out, y)  # type: ignore[misc]
    (gradient,) = torch.autograd.grad(loss, out)
    counted = (gradient.abs().amax(2) > 0) & (y == 0)
    return Values(tuple((100 * counted.double().mean(0)).tolist()), first=1)


def tokens(run: Run) -> Values:
    """The percentage of each of the twelve most frequent tokens."""
    counts = torch.bincount(run.data(512)[0].flatten()).sort(descending=True).values[:12]
    return Values(tuple((100 * counts / (512 * 8)).tolist()), first=1)


def recalls(run: Run) -> Values:
    """The percentage of each class's samples that is told right."""
    x, y = run.data(1600)
    with torch.no_grad():
        right = run.model(x).argmax(1) == y
    shares = [100 * right[y == label].double().mean().item() for label in (0, 1)]
    return Values(tuple(shares), ("the common one", "the rare one"))


def nearest_in_training(run: Run) -> Values:
    """For each of 24 samples of the validation: its distance to the nearest one of the training data."""
    held_out, known = run.recipe.validation.tensors[0][:24], run.recipe.dataset.tensors[0]  # type: ignore[union-attr]
    # The plain way: the product of matrices that is used for many points makes equal ones differ.
    distances = torch.cdist(held_out, known, compute_mode="donot_use_mm_for_euclid_dist")
    return Values(tuple(distances.amin(1).tolist()), first=1)
