"""A slice of the loss surface: the losses on a plane through the parameters, and the way of the last steps on it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.what_if.bench import Progressing, StepBench, open_bench
from gradscope.engine.what_if.one_step import OneStep, take
from gradscope.engine.what_if.trials import measured
from gradscope.engine.what_if.vectors import (
    Parameters,
    Vector,
    length,
    minus,
    shares_in_plane,
    times,
    wide,
    without,
)
from gradscope.protocol.failure import BadInput
from gradscope.protocol.what_if.tried import MAX_PATH, MAX_SIDE, Alternative, Directions, Mode, Surface

_PARALLEL = 1e-4
"""Of the gradient's length: what is left of it at right angles to the update is rounding, below that."""
MOST_OF_PATH = 100
"""Steps whose parameters are looked at for the path."""
Past = Sequence[tuple[int, Mapping[str, Tensor]]]
"""(before which step, name -> value) of the parameters, the oldest first."""


def loss_surface(
    stepper: Stepper,
    *,
    directions: Directions,
    mode: Mode,
    side: int,
    reach: float,
    seed: int,
    past: Past = (),
    progress: Progressing | None = None,
) -> Surface:
    """See `Session.loss_surface`. `past`: parameters of earlier steps, beside those before the newest step."""
    _check(side, reach)
    # The middle one of an odd number is 0 to the last bit.
    axis = reach * (np.arange(side) * 2.0 / (side - 1) - 1.0)
    losses = np.empty((side, side))
    known = [*past, *_before_newest(stepper, past)][-(MAX_PATH - 1) :]
    with open_bench(stepper, progress) as bench:
        bench.planned, bench.what = side * side + 2, "the directions"
        first, second, words = _directions(bench, directions, seed)
        bench.what = "the surface"
        for row, b in enumerate(axis.tolist()):
            for column, a in enumerate(axis.tolist()):
                put = partial(bench.parameters.go_to, (a, first), (b, second))
                losses[row, column] = bench.loss(mode=mode, at=put)
        path = _path(bench.parameters, known, first, second)
    return Surface(
        of=measured(bench),
        directions=directions,
        mode=mode,
        first=words[0],
        second=words[1],
        x=axis,
        y=axis.copy(),
        losses=losses,
        path=np.array([[x, y] for x, y, _ in path] + [[0.0, 0.0]]),
        path_shares=np.array([share for _, _, share in path] + [1.0]),
        path_steps=np.array([float(step) for step, _ in known] + [float(bench.place.step)]),
    )


# ------------------------------------------------------------------------------------------ directions


def _directions(bench: StepBench, kind: Directions, seed: int) -> tuple[Vector, Vector, tuple[str, str]]:
    if kind is Directions.RANDOM:
        generator = torch.Generator().manual_seed(seed)
        unit = "1: filter by filter as long as the weights"
        return (
            random_direction(bench.parameters, generator),
            random_direction(bench.parameters, generator),
            (f"random direction ({unit})", f"another random direction ({unit})"),
        )
    gradient = bench.gradient()
    update = bench.parameters.update(take(OneStep(bench, []), Alternative()).after)
    size = length(update)
    if not size or not math.isfinite(size):
        found = "is 0" if not size else "is not finite"
        raise BadInput(
            f"The update {found}, so it spans no plane; expected one that moves the parameters, or random directions"
        )
    rest = without(times(gradient, -1.0), update)
    along = "the update (1: one step)"
    if length(rest) > _PARALLEL * length(gradient) and math.isfinite(length(rest)):
        words = along, "the negative gradient, what of it is at right angles to the update (1: as long as it)"
    else:
        # As of SGD without momentum.
        drawn = _normal(bench.parameters, torch.Generator().manual_seed(seed))
        rest = without(drawn, update)
        if not length(rest) > _PARALLEL * length(drawn):
            raise BadInput(
                "There is only one direction in these parameters; expected at least two numbers to be trained"
            )
        words = (
            along,
            (
                "a random direction at right angles to the update (1: as long as it), since the gradient is parallel to it"
            ),
        )
    return update, times(rest, size / length(rest)), words


def random_direction(parameters: Parameters, generator: torch.Generator) -> Vector:
    """Normal random numbers, each filter of which is as long as the filter of the weights; 0 for what has less than two
    sides: biases, weights of norms.

    Li, Xu, Taylor, Studer, Goldstein: Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 4. A filter is
    what belongs to one index of the first side: an output of a linear layer, a filter of a convolution.
    """
    found = []
    for tensor, origin, drawn in zip(
        parameters.named.values(), parameters.origin, _normal(parameters, generator), strict=True
    ):
        weights = wide(origin)
        if tensor.dim() < 2:
            found.append(torch.zeros_like(weights))
            continue
        rows, drawn_rows = weights.reshape(len(weights), -1), drawn.reshape(len(weights), -1)
        factors = rows.norm(dim=1) / drawn_rows.norm(dim=1).clamp_min(1e-30)
        found.append((drawn_rows * factors[:, None]).reshape(weights.shape))
    if not any(bool(part.any()) for part in found):
        raise BadInput(
            "No parameter has filters (all have less than two sides, or are 0), so no random direction can be scaled"
        )
    return found


def _normal(parameters: Parameters, generator: torch.Generator) -> Vector:
    """Drawn on the CPU, so that it is the same on each device."""
    there = [wide(origin) for origin in parameters.origin]
    return [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device) for x in there]


# ------------------------------------------------------------------------------------------ the path


def _before_newest(stepper: Stepper, past: Past) -> Past:
    """The parameters before the newest step, where a copy of all of them is kept."""
    step = stepper.position.step - 1
    if any(known == step for known, _ in past):
        return []
    found = {}
    for name, tensor in stepper.observer.tensors().items():
        before = stepper.observer.previous.before(name)
        if before is not None and before.shape == tensor.shape and before.dtype is tensor.dtype:
            found[name] = before.clone()
    return [(step, found)] if found and step >= 0 else []


def _path(parameters: Parameters, known: Past, first: Vector, second: Vector) -> list[tuple[float, float, float]]:
    found = []
    origin = [wide(value) for value in parameters.origin]
    for _, values in known:
        then = [
            wide(values[name]) if name in values else here for name, here in zip(parameters.named, origin, strict=True)
        ]
        found.append(shares_in_plane(minus(then, origin), first, second))
    return found


def _check(side: int, reach: float) -> None:
    if type(side) is not int or not 2 <= side <= MAX_SIDE:
        raise BadInput(f"The surface has {side!r:.40} cells on a side; expected 2 to {MAX_SIDE}")
    if not math.isfinite(reach) or reach <= 0:
        raise BadInput(f"The surface reaches {reach!r:.40} far; expected more than 0")
