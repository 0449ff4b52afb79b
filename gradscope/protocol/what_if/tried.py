"""Steps that are tried and taken back: which can be tried, what each would do to the loss, and the loss around a step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import numpy as np

from gradscope.protocol.arrays import Dims, FloatArray
from gradscope.protocol.checks import check_counts
from gradscope.protocol.limits import AtMost, Between, Count, Name, NestedName, Sentence, Unfit
from gradscope.protocol.numbers import number
from gradscope.protocol.subjects import COLUMNS

MAX_ALTERNATIVES = 64
MAX_OTHER_BATCHES = 64
MAX_POINTS = 1001
"""Of a curve."""
MAX_SIDE = 101
"""Of a surface: ten thousand forwards."""
MAX_PATH = 1000
MAX_NOTES = 100
MAX_PROBE_LAYERS = 256
"""Whose outputs a probe looks at; the first ones that the model calls."""


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """What is different in a step that is tried; the default changes nothing."""

    rate: float = 1.0
    """Factor of every learning rate."""
    clip: bool = True
    """False: gradients are not clipped."""
    weight_decay: bool = True
    """False: it is 0 in every parameter group."""
    optimizer: Name = ""
    """A class of torch.optim ("Adam"), made anew, without state, with the rates that there are; "" is the training's own."""
    batch_size: Count = 0
    """How many samples the gradient is of; 0: those that there are."""

    @property
    def is_as_it_is(self) -> bool:
        return self == AS_IT_IS

    @property
    def words(self) -> str:
        """ "rate x 0.1, without clipping"."""
        parts = [
            f"{self.optimizer} made anew" if self.optimizer else "",
            f"rate x {number(self.rate)}" if self.rate != 1.0 else "",
            "without clipping" if not self.clip else "",
            "without weight decay" if not self.weight_decay else "",
            f"{self.batch_size} samples" if self.batch_size else "",
        ]
        return ", ".join(part for part in parts if part) or "as it is"

    def check(self) -> None:
        if not math.isfinite(self.rate):
            raise Unfit(f"has the factor {self.rate} of its rate; expected a finite number")


AS_IT_IS = Alternative()
USUAL = (
    AS_IT_IS,
    Alternative(rate=0.1),
    Alternative(rate=10.0),
    Alternative(clip=False),
    Alternative(weight_decay=False),
    Alternative(optimizer="SGD"),
    Alternative(optimizer="Adam"),
)
"""What is tried where nobody says what: those that there is no sense in here say why."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What became of one step that was tried."""

    alternative: Alternative
    samples: Count = 0
    """That its gradient is of; 0 where that cannot be told."""
    loss: float | None = None
    """Of the measured batch at the parameters after the step; None where it was not tried."""
    update_norm: float | None = None
    """L2 norm of how far all parameters move."""
    predicted: float | None = None
    """Change of the loss in first order: the loss's gradient times the update."""
    others: float | None = None
    """Mean loss of the other batches after the step; None where none were asked for."""
    is_skipped: bool = False
    """The loss scaler left the step out: a gradient was not finite."""
    refusal: Sentence = ""
    """Why it was not tried; "" where it was."""


class Standing(StrEnum):
    """Where in a step the training stood when something was tried."""

    BETWEEN = "between two steps"
    FORWARD_DONE = "after a forward"
    BACKWARD_DONE = "after a backward"
    """The gradients wait: it is the training's own step that is tried."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What losses were measured on."""

    step: Count
    """The step that comes next, or is under way."""
    standing: Standing
    batch_step: Count
    """The step whose batch it is."""
    samples: Count = 0
    """In the batch; 0 where that cannot be told."""
    micro_batches: Count = 1
    """Of the step that is tried; only the newest is measured."""
    turn: Name = ""
    """The optimizer whose step it is, where there are several."""
    notes: Annotated[tuple[Sentence, ...], AtMost(MAX_NOTES)] = ()
    """What could not be put back, what is different from what one might think."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The same step, tried in several ways."""

    of: Measured
    loss: float
    """Of the measured batch before the step, in train mode, with the random numbers of the newest forward."""
    tried: Annotated[tuple[Tried, ...], AtMost(MAX_ALTERNATIVES)]
    other_batches: Count = 0
    others: float | None = None
    """Mean loss of that many other batches before the step."""

    def change(self, tried: Tried) -> float | None:
        """How far the loss went."""
        return None if tried.loss is None else tried.loss - self.loss

    def ratio(self, tried: Tried) -> float | None:
        """Actual change by predicted change: 1 where the loss is as good as linear along the step. None without one."""
        change = self.change(tried)
        return None if change is None or not tried.predicted else change / tried.predicted

    @property
    def best(self) -> Tried | None:
        """The lowest loss after it, where that is lower than before."""
        known = [tried for tried in self.tried if tried.loss is not None and math.isfinite(tried.loss)]
        lowest = min(known, key=lambda tried: tried.loss or 0.0, default=None)
        return lowest if lowest is not None and (lowest.loss or 0.0) < self.loss else None


def check_axis(places: FloatArray, most: int) -> None:
    """Of a curve or a map. Raises Unfit."""
    if not 2 <= len(places) <= most or not np.isfinite(places).all() or not (places[1:] > places[:-1]).all():
        raise Unfit(f"has {len(places)} places on an axis; expected 2 to {most}, finite and in ascending order")


@dataclass(frozen=True, kw_only=True)
class AlongUpdate:
    """The loss at theta + a * update."""

    of: Measured
    alternative: Alternative
    at: Annotated[FloatArray, Dims("n")]
    """a, ascending; with 0 and 1."""
    losses: Annotated[FloatArray, Dims("n")]
    slope: float
    """At a = 0: the loss's gradient times the update. The tangent is losses[at == 0] + slope * a."""
    update_norm: float

    def check(self) -> None:
        check_axis(self.at, MAX_POINTS)


class Directions(StrEnum):
    """Which two directions span a slice of the loss surface."""

    UPDATE_AND_GRADIENT = "update and gradient"
    """The update; and what of the negative gradient is at right angles to it, as long as the update."""
    RANDOM = "random"
    """Two random ones, filter by filter as long as the weights (Li et al. 2018); nothing for biases and norms."""


class Mode(StrEnum):
    TRAIN = "train"
    """With the random numbers of the newest forward in every place."""
    EVAL = "eval"


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The losses at theta + x * first + y * second."""

    of: Measured
    directions: Directions
    mode: Mode
    first: Sentence
    """What the axes are, in words, with their unit."""
    second: Sentence
    x: Annotated[FloatArray, Dims("columns")]
    y: Annotated[FloatArray, Dims("rows")]
    losses: Annotated[FloatArray, Dims("rows", "columns")]
    """NaN and Inf are what the loss was there."""
    path: Annotated[FloatArray, Dims("points", 2)]
    """Where the parameters were in the last steps, the oldest first, in units of the axes; the last one is (0, 0)."""
    path_shares: Annotated[FloatArray, Dims("points")]
    """How much of the way from there to here lies in this plane: 1 is all of it."""
    path_steps: Annotated[FloatArray, Dims("points")]
    """Before which step the parameters were those."""

    def check(self) -> None:
        check_axis(self.x, MAX_SIDE)
        check_axis(self.y, MAX_SIDE)
        if not 1 <= len(self.path) <= MAX_PATH:
            raise Unfit(f"has a path of {len(self.path)} places; expected 1 to {MAX_PATH}")
        if not (np.isfinite(self.path).all() and np.isfinite(self.path_steps).all()):
            raise Unfit("has a path that is not finite")


@dataclass(frozen=True, kw_only=True)
class TrialProgress:
    """Of something that is tried."""

    what: Sentence
    """What is under way: "rate x 0.1"."""
    done: Count
    """Forwards so far."""
    planned: Count
    """In all; a little more or less in the end."""


@dataclass(frozen=True, kw_only=True)
class ProbeSetting:
    """Which batch is run again, and when."""

    batch_step: Count
    """The step that it was the batch of."""
    every: Annotated[int, Between(0)] = 1
    """After every so many steps; 0: when asked only."""
    mode: Mode = Mode.EVAL
    samples: Count = 0
    has_loss: bool = True
    """False in a script, where only the model's outputs are known."""
    note: Sentence = ""
    """What cannot be done with it here."""


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """What the probe came to at one moment."""

    step: Count
    """Steps that were done."""
    loss: float | None = None
    output: Annotated[FloatArray, Dims("outputs", len(COLUMNS))]
    """The summary of the first tensor that the model gives; no row where there is none."""
    names: Annotated[tuple[NestedName, ...], AtMost(MAX_PROBE_LAYERS)] = ()
    """Layers in the order of their calls."""
    layers: Annotated[FloatArray, Dims("layers", len(COLUMNS))]
    """The summary of the first tensor of each layer's first call."""
    error: Sentence = ""
    """Why there is nothing: the user's code failed."""

    def check(self) -> None:
        if len(self.output) > 1 or len(self.names) != len(self.layers):
            raise Unfit(
                f"has {len(self.output)} outputs, and {len(self.layers)} summaries for {len(self.names)} layers"
            )
        check_counts(self.output)
        check_counts(self.layers)
