"""What was seen of one training along the way, as plain numbers: all that a rule may judge by.

The watch writes it, rules read it. Steps are counted from where the watch began.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gradscope.engine.findings.data_facts import DataFacts
from gradscope.engine.findings.yardstick import Baseline, Measure
from gradscope.protocol.nonfinite import FirstNonFinite

WINDOW = 20
"""Steps that a verdict about single units looks back: long enough for some hundred samples."""
LOSS_FUNCTIONS = frozenset(
    (
        "cross_entropy",
        "nll_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "kl_div",
        "poisson_nll_loss",
        "gaussian_nll_loss",
    )
)
"""Of torch.nn.functional."""
CHECK_STEPS = frozenset((0, 1, 2, 5, 10, 20, 40, 80, 160))
"""The functions that are called are looked at in these steps only."""


@dataclass
class LayerFacts:
    """One module of the model."""

    name: str
    kind: str
    """The name of its class: "Conv2d"."""
    is_leaf: bool
    """It has no children."""
    parameters: tuple[str, ...]
    """The full names of its own."""
    is_training: bool | None = None
    """Its flag in the first training forward that called it; None before that."""
    calls: int = 0
    """In all steps together."""
    place: int = -1
    """In the order in which layers were first left; -1: never called."""
    module: Any = None
    """The module itself, to be read only: type, p of a dropout, running statistics."""

    def let_go(self) -> None:
        self.module = None


@dataclass
class ParameterFacts:
    """One parameter, each once, under its first name."""

    name: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    requires_grad: bool
    is_trained: bool
    """It is in an optimizer, of whichever turn."""
    group: int | None
    """Its parameter group in that optimizer."""
    turn: str
    """The name of that optimizer; "" also where there is only one."""
    start_l2: float
    start_std: float
    start_rows_equal: bool
    """Two or more rows, and all of them were equal at the start."""
    tensor: Tensor
    """The parameter itself, to be read only."""
    start: Tensor | None = None
    """A copy of its value at the start; None where there was no room for one."""
    grads: list[tuple[int, float]] = field(default_factory=list)
    """(step, L2 norm of .grad as backward left it, unscaled). A step without a gradient is missing."""
    missing: int = 0
    """Backwards of its own turn that left it without a gradient."""
    updates: list[tuple[int, float]] = field(default_factory=list)
    """(step, L2 norm of its change)."""
    norms: list[tuple[int, float]] = field(default_factory=list)
    """(step, its L2 norm after the step)."""
    half: list[tuple[int, float, float]] = field(default_factory=list)
    """Of a float16 gradient: (step, share of exact zeros, largest magnitude)."""

    def let_go(self) -> None:
        self.tensor = None  # type: ignore[assignment]

    @property
    def moved(self) -> float:
        """The sum of its update ratios: an upper bound of how far it has moved, in sizes of itself."""
        norms = dict(self.norms)
        return sum(u / (norms.get(s, 0.0) + 1e-12) for s, u in self.updates if math.isfinite(u))


@dataclass
class UnitFacts:
    """The units of the output of a layer like ReLU, or of what goes into a weight layer."""

    layer: str
    width: int
    is_input: bool
    """What goes into the layer, not what comes out."""
    recent: deque[tuple[int, Tensor, int]] = field(default_factory=lambda: deque(maxlen=4 * WINDOW))
    """(step, how often each unit was not 0 (int64 of `width`), number of samples) of the newest calls."""
    first: list[tuple[int, Tensor, int]] = field(default_factory=list)
    """The same of the first WINDOW calls."""


@dataclass
class StepFacts:
    """One optimizer step (of one turn)."""

    step: int
    turn: str
    loss: float
    """Of the first micro-batch, not divided."""
    measure: Measure | None
    """The yardstick of the same forward; None where there is none for it."""
    rates: tuple[float, ...]
    """Of every parameter group of this turn's optimizer."""
    left_over: float = 0.0
    """L2 norm of the gradients that were there when the window's first forward had been cleared for."""
    clip_norm: float | None = None
    """The norm before clipping; None where nothing is clipped by norm."""
    clip_limit: float | None = None
    is_skipped: bool = False
    scale: float | None = None
    group_moves: tuple[float, ...] = ()
    """Per parameter group: norm of its change over its norm before."""
    decay_share: float | None = None
    """Norm of what weight decay did, over what the gradient did; None without decay."""
    bad_gradients: tuple[str, ...] = ()
    """Parameters whose gradient was not finite."""
    output_std: float = math.nan
    """Of all elements of the model's output; NaN outside of CHECK_STEPS."""
    predictions: Tensor | None = None
    """Of a classifier: the class that was predicted for each target of the newest micro-batch, int64."""
    targets: Tensor | None = None
    """The classes that were to be predicted, flattened alike."""


@dataclass(frozen=True, kw_only=True)
class LossCall:
    """A loss function of torch's that was called in a training step, outside every layer or in one; or a piece of a
    loss that is written by hand, outside of all layers."""

    step: int
    turn: str
    function: str
    """ "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss",
    "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss", "gaussian_nll_loss". Pieces: "log_softmax", "logsumexp",
    "logsigmoid", "log", and "difference" (of something that is learnt and something that is not)."""
    layer: str
    """In whose forward; "" outside of all."""
    input_shape: tuple[int, ...]
    target_shape: tuple[int, ...] | None
    class_dim: int | None
    """Of the input, for the losses over classes."""
    requires_grad: bool
    """Of the input."""
    made_by: str
    """The autograd node of the input, views and copies passed over: "SigmoidBackward0"; "" for a leaf."""
    rows_sum_to_one: bool
    """All of the input is >= 0 and sums to 1 over the classes (within 1e-3)."""
    is_in_unit: bool
    """All of the input is in [0, 1]."""
    logsumexp: float
    """The median of |logsumexp| over the classes: 0 for log-probabilities. NaN where it has no classes."""
    input_low: float
    input_high: float
    target_low: float
    """Of a floating-point target; NaN otherwise."""
    target_high: float
    target_sums: tuple[float, float] | None
    """Least and greatest sum over the classes of a floating-point target of the input's shape."""
    is_relayout: bool
    """The input shares the memory of the model's output, seen in a shape with two axes exchanged: no transpose."""
    options: dict[str, Any]
    """Its other arguments that are plain: reduction, ignore_index, label_smoothing, log_target, log_input."""
    made_of: str = ""
    """The autograd node that made what `made_by` was made of, views and copies passed over."""
    place: str = ""
    """The layer that the input comes from: the last one with code or parameters of its own on its way; "" where unknown."""
    value: float = math.nan
    """Of the loss, where it is a mean; NaN otherwise."""
    target_std: float = math.nan
    """Of a floating-point target."""
    out_of_reach: float = 0.0
    """The share of the target that `made_by` cannot get near: beyond its range by more than a tenth of its spread."""
    reach: float = math.inf
    """The greatest size that the input can have whatever is learnt, where it is cosines times a number."""
    dropped_by: str | None = None
    """The layer whose dropout has put elements of the input to 0, with nothing learnt behind it; None where none has."""
    dropped: float = 0.0
    """With what probability."""


@dataclass(frozen=True, kw_only=True)
class SoftmaxUse:
    """A softmax whose result goes into a matrix product that sums over another dimension."""

    step: int
    layer: str
    dim: int
    contracted: int
    shape: tuple[int, ...]
    is_pick: bool = False
    """The classes are picked out along `contracted`, outside of the model: nothing is summed."""


@dataclass(frozen=True, kw_only=True)
class CtcCall:
    """One call of ctc_loss."""

    step: int
    samples: int
    too_short: int
    """How many of them have fewer frames than their labels take: one for each, and a blank between two that are the same."""
    frames: float
    """The median of the samples."""
    labels: float
    """What they take, the median of the samples."""
    blank: int = 0
    with_blank: int = 0
    """Samples one of whose labels is the blank itself."""


@dataclass(frozen=True, kw_only=True)
class LooseTerm:
    """A number that was added to a loss, and was made of a derivative that has no graph: nothing can be learnt by it."""

    step: int
    turn: str


@dataclass(frozen=True, kw_only=True)
class DrawnTarget:
    """What is learnt was compared with noise around 0 that was drawn in the step, and that the model was not given."""

    step: int
    turn: str
    shape: tuple[int, ...]
    share: float
    """The mean square of the difference, over that of the noise: 1 for whoever says 0."""


@dataclass(frozen=True, kw_only=True)
class SampledCut:
    """What a distribution of the model's was drawn without its derivative, and went into a layer that is trained."""

    step: int
    turn: str
    kind: str
    """The class of the distribution: "Normal"."""
    layer: str
    """That it went into."""
    source: str
    """That the distribution's numbers come from; "" where unknown."""


@dataclass(frozen=True, kw_only=True)
class DropoutCall:
    step: int
    layer: str
    p: float
    is_training: bool
    module_is_training: bool
    """The flag of the innermost layer around."""


@dataclass(frozen=True, kw_only=True)
class Broadcast:
    """Two tensors whose difference (or loss) is larger than both: in the code of the loss, outside every layer."""

    step: int
    function: str
    left: tuple[int, ...]
    right: tuple[int, ...]
    result: tuple[int, ...]


@dataclass
class Record:
    """Of one training."""

    is_plain: bool = True
    """One optimizer, and `loss(model(x), y)` with tensors: the yardstick and dynamics can be judged. False for a custom
    step, several optimizers, a script."""
    is_script: bool = False
    accumulate: int = 1
    zero_grad_is_automatic: bool = True
    has_scaler: bool = False
    optimizers: dict[str, Any] = field(default_factory=dict)
    """By turn, to be read only."""
    loss_function: Any = None
    """The recipe's, to be read only."""
    layers: dict[str, LayerFacts] = field(default_factory=dict)
    parameters: dict[str, ParameterFacts] = field(default_factory=dict)
    steps: list[StepFacts] = field(default_factory=list)
    units: dict[tuple[str, bool], UnitFacts] = field(default_factory=dict)
    """(layer, is_input) -> facts."""
    flat: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Layer (tanh, sigmoid) -> (step, share of its output where the slope is below a fiftieth of the largest)."""
    output_grads: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Layer -> (step, L2 norm of the gradient of its first call's output)."""
    first_sizes: dict[str, float] = field(default_factory=dict)
    """Layer -> the root of the mean square of what its first call put out in the very first forward."""
    step_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    """Of the newest steps, without what it took to observe them."""
    count: int = 0
    """Of all steps so far; of the oldest ones, not all are kept."""
    losses: list[LossCall] = field(default_factory=list)
    softmaxes: list[SoftmaxUse] = field(default_factory=list)
    dropouts: list[DropoutCall] = field(default_factory=list)
    broadcasts: list[Broadcast] = field(default_factory=list)
    ctc: list[CtcCall] = field(default_factory=list)
    loose_terms: list[LooseTerm] = field(default_factory=list)
    drawn_targets: list[DrawnTarget] = field(default_factory=list)
    sampled: list[SampledCut] = field(default_factory=list)
    checked: list[int] = field(default_factory=list)
    """The steps in which functions were looked at."""
    first_nonfinite: FirstNonFinite | None = None
    has_other_targets: bool = False
    """The loss compares the output with something else than the targets as they come: with y / 255, or the logarithm of y."""
    baseline: Baseline | None = None
    """Of always saying the same, from the targets of the data pass; None before that, and where there is none."""
    norms: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)
    """Normalisation layer -> (step, how far samples differ in what goes into it over its size, how far they differ in what
    comes out over its largest weight). Where only a mean of its output is used, that of the mean."""
    norm_counts: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Normalisation layer -> (step, how many values each mean was taken of)."""
    thrown_away: set[str] = field(default_factory=set)
    """Layers without gradients whose output no result of the module around them is made of; a check-up finds them."""
    cuts: dict[str, str] = field(default_factory=dict)
    """Layer without gradients -> by what its output was cut off the graph ("data", "no_grad", "detach", "numpy", "argmax")
    before it was used, inside the model, to make something that does get gradients."""
    flattened: dict[str, str] = field(default_factory=dict)
    """Layer whose gradients are 0 -> the function on its way whose derivative is 0 everywhere: "round"."""
    data: DataFacts | None = None
    """Of the data pass of a check-up; None before that, and where inputs and targets are no tensors."""
    all_eval: bool = False
    """Every module was in eval mode in a training forward."""

    @property
    def newest_step(self) -> int:
        return self.steps[-1].step if self.steps else 0

    @property
    def loss_call(self) -> LossCall | None:
        """The newest loss function of torch's that was seen; one outside every layer before others. None where none was."""
        calls = [call for call in reversed(self.losses) if call.function in LOSS_FUNCTIONS]
        return next((call for call in calls if not call.layer), calls[0] if calls else None)

    @property
    def own_losses(self) -> list[float]:
        """The training's own loss of every step, of the first turn."""
        first = next(iter(self.optimizers), "")
        return [step.loss for step in self.steps if step.turn == first]

    @property
    def measures(self) -> list[float]:
        """The yardstick of every step of the first turn; the own loss where there is no yardstick."""
        first = next(iter(self.optimizers), "")
        own = [step for step in self.steps if step.turn == first]
        return [step.loss if step.measure is None else step.measure.value for step in own]

    @property
    def stands_still(self) -> bool:
        """Gradients have come, and all of them were exactly 0."""
        norms = [norm for p in self.parameters.values() if p.is_trained for _, norm in p.grads]
        return bool(norms) and not any(norms)

    @property
    def order(self) -> list[LayerFacts]:
        """The layers that were called, in the order in which they were first left."""
        return sorted((layer for layer in self.layers.values() if layer.place >= 0), key=lambda layer: layer.place)

    @property
    def last_layer(self) -> str:
        """The leaf that was left last; "" where there is none."""
        return next((layer.name for layer in reversed(self.order) if layer.is_leaf), "")

    @property
    def moved(self) -> float:
        """An upper bound of how far the parameter or group that has moved the most has moved, in sizes of itself."""
        of_parameters = [parameter.moved for parameter in self.parameters.values()]
        of_groups = sum(m for step in self.steps if math.isfinite(m := max(step.group_moves, default=0.0)))
        return max((*of_parameters, of_groups), default=0.0)

    @property
    def is_unsolved(self) -> bool:
        """The yardstick is still above half of the input-independent baseline (without one: above 0.7 of the start)."""
        end = self.end
        if not math.isfinite(end):
            return True
        if self.baseline is not None:
            return not end < 0.5 * self.baseline.value
        measures = self.measures
        return bool(measures) and end > 0.7 * measures[0]

    @property
    def end(self) -> float:
        """The mean yardstick of the last quarter of the steps (8 or more); Inf where one is not finite."""
        values = self.measures
        last = values[-max(8, len(values) // 4) :]
        return sum(last) / len(last) if last and all(map(math.isfinite, last)) else math.inf

    @property
    def has_blown_up(self) -> bool:
        """The loss became non-finite, or many times what it was."""
        values = self.measures
        if not values:
            return False
        base = self.baseline.value if self.baseline is not None else abs(values[0])
        return any(not math.isfinite(v) for v in values) or max(values) > 20 * max(base, abs(values[0]), 1e-12)
