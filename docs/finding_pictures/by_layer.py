"""Measures with a number for each layer, or parameter, or call of a layer: most are of the reports of the session."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from docs.finding_pictures.runs import Run
from docs.finding_pictures.values import Values
from gradscope.protocol.subjects import SubjectKind


def by_layer(kind: SubjectKind, root_mean_square: bool) -> Callable[[Run], Values]:
    """For each layer with parameters: the norm over them, or the root of their mean square, averaged over the steps."""

    def measure(run: Run) -> Values:
        layers = [name for name, layer in run.model.named_modules() if next(layer.parameters(False), None) is not None]
        return Values(tuple(_of_parameters(run, kind, name, root_mean_square) for name in layers), tuple(layers))

    return measure


def _of_parameters(run: Run, kind: SubjectKind, layer: str, root_mean_square: bool) -> float:
    per_step = []
    for reports in run.steps:
        found = [s for report in reports for s in report if s.kind == kind and s.name.rpartition(".")[0] == layer]
        square, count = sum((s.l2 or 0.0) ** 2 for s in found), sum(s.count for s in found)
        per_step.append(math.sqrt(square / count if root_mean_square and count else square))
    return sum(per_step) / len(per_step)


def updates_of_weights(run: Run) -> Values:
    """For each parameter but biases: the root of the mean square of its change, averaged over the steps."""
    names = [name for name, _ in run.model.named_parameters() if not name.endswith("bias")]
    moved = []
    for name in names:
        found = [step.get("update", name) for _, _, step in run.steps]
        moved.append(sum((s.l2 or 0.0) / math.sqrt(s.count) for s in found if s is not None) / len(found))
    return Values(tuple(moved), tuple(names))


def spoilt(phase: int, kind: SubjectKind) -> Callable[[Run], Values]:
    """The share of NaN and Inf in the last step, in percent, of layers or of parameters but biases."""

    def measure(run: Run) -> Values:
        owners = run.model.named_modules() if kind is SubjectKind.ACTIVATION else run.model.named_parameters()
        found = {s.name: s for s in run.steps[-1][phase] if s.kind == kind}
        names = [name for name, _ in owners if name in found and name and not name.endswith("bias")]
        return Values(tuple(100 * (found[n].nan + found[n].inf) / found[n].count for n in names), tuple(names))

    return measure


def zeros_of_gradients(run: Run) -> Values:
    """The share of gradients that are exactly 0, in percent, averaged over the steps."""
    names = [name for name, _ in run.model.named_parameters()]
    shares = []
    for name in names:
        found = [backward.get("grad", name) for _, backward, *_ in run.steps]
        shares.append(sum(100 * (s.zero or 0) / s.count for s in found if s is not None) / len(found))
    return Values(tuple(shares), tuple(names))


def of_outputs(what: Callable[[Tensor], float]) -> Callable[[Run], Values]:
    """A number of each layer's output, for 256 samples, in the mode that the training runs in."""

    def measure(run: Run) -> Values:
        outputs = outputs_of_layers(run, run.data(256)[0])
        return Values(tuple(what(output) for output in outputs.values()), tuple(outputs))

    return measure


def spread(output: Tensor) -> float:
    """Over the samples: the standard deviation of each number, averaged."""
    return output.flatten(1).std(0).mean().item()


def by_call(layer: str) -> Callable[[Run], Values]:
    """The norm of the gradient at each call of a layer, in the first step."""

    def measure(run: Run) -> Values:
        found = {s.call: s for s in run.steps[0][1] if s.kind == "activation_grad" and s.name == layer}
        calls = sum(1 for s in run.steps[0][0] if s.kind == "activation" and s.name == layer)
        heights = [found[call].l2 if call in found else 0.0 for call in range(calls)]
        return Values(tuple(height or 0.0 for height in heights), first=1)

    return measure


def outputs_of_layers(run: Run, x: Tensor) -> dict[str, Tensor]:
    """What each layer without layers inside puts out for `x`, by its name."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda layer, args, output: outputs.__setitem__(name, output.detach())

    layers = [(name, layer) for name, layer in run.model.named_modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers]
    try:
        with torch.no_grad():
            run.model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs
