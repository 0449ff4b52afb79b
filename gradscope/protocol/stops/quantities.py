"""What a condition can speak of: the numbers of a summary, and those of a whole step; with the words for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from gradscope.protocol.subjects import COUNT, INF, L2, MAX, MEAN, MIN, NAN, STD, ZERO, SubjectKind

Summary = npt.NDArray[np.floating]
"""The numbers of one subject, shape (len(COLUMNS),)."""


class Statistic(StrEnum):
    """A number of a summary. Those from `min` on are of the finite part."""

    L2 = "l2"
    MEAN = "mean"
    STD = "std"
    MIN = "min"
    MAX = "max"
    MAX_ABS = "max_abs"
    """The largest absolute value."""
    RMS = "rms"
    """The root of the mean square."""
    ZERO_SHARE = "zero_share"
    """The share of exact zeros, from 0 to 1."""
    NAN = "nan"
    INF = "inf"
    ZERO = "zero"
    COUNT = "count"


class Figure(StrEnum):
    """A number of the step, not of one tensor."""

    LOSS = "loss"
    """Of the newest micro-batch; when the step is done, of the step."""
    LR = "lr"
    """Of several parameter groups, the largest."""
    GRAD_NORM = "grad_norm"
    """L2 norm of the gradients of all parameters together, before clipping."""
    SCALE = "scale"
    """Of a gradient scaler."""
    STEP = "step"
    EPOCH = "epoch"
    BATCH = "batch"


class Happening(StrEnum):
    """What is so or not so, without a number to compare."""

    ANY_NAN = "any nan"
    ANY_INF = "any inf"
    SCALE_DROP = "scale drop"
    SKIPPED_STEP = "skipped step"


UPDATE_RATIO = "update_ratio"
"""The L2 norm of a parameter's update through that of the parameter, both of the same step."""

KINDS: Mapping[str, SubjectKind] = {
    **{kind.value: kind for kind in SubjectKind},
    **dict.fromkeys(("activations", "act", "output"), SubjectKind.ACTIVATION),
    **dict.fromkeys(
        ("activation_gradient", "activations_grad", "output_grad", "output_gradient"), SubjectKind.ACTIVATION_GRAD
    ),
    **dict.fromkeys(("parameters", "param", "params", "weight", "weights"), SubjectKind.PARAMETER),
    **dict.fromkeys(("grads", "gradient", "gradients"), SubjectKind.GRAD),
    **dict.fromkeys(("updates", "delta", "change"), SubjectKind.UPDATE),
    **dict.fromkeys(("clipped_gradient", "clipped"), SubjectKind.CLIPPED_GRAD),
    **dict.fromkeys(("state", "optimizer_states"), SubjectKind.OPTIMIZER_STATE),
    "buffers": SubjectKind.BUFFER,
}
STATISTICS: Mapping[str, Statistic] = {
    **{statistic.value: statistic for statistic in Statistic},
    **dict.fromkeys(("norm", "l2_norm"), Statistic.L2),
    **dict.fromkeys(("average", "avg"), Statistic.MEAN),
    **dict.fromkeys(("stddev", "deviation"), Statistic.STD),
    "minimum": Statistic.MIN,
    "maximum": Statistic.MAX,
    **dict.fromkeys(("abs_max", "largest", "maxabs"), Statistic.MAX_ABS),
    **dict.fromkeys(("zeros_share", "zero_fraction", "sparsity"), Statistic.ZERO_SHARE),
    **dict.fromkeys(("nans", "nan_count"), Statistic.NAN),
    **dict.fromkeys(("infs", "inf_count"), Statistic.INF),
    "zeros": Statistic.ZERO,
    **dict.fromkeys(("numel", "size"), Statistic.COUNT),
}
FIGURES: Mapping[str, Figure] = {
    **{figure.value: figure for figure in Figure},
    **dict.fromkeys(("learning_rate", "rate"), Figure.LR),
    **dict.fromkeys(("gradient_norm", "total_grad_norm"), Figure.GRAD_NORM),
    "loss_scale": Figure.SCALE,
}
OF_NORMS = frozenset({Statistic.L2, Statistic.NAN, Statistic.INF, Statistic.COUNT})
"""What is known at the capture level "norms", too."""


def _zero_share(row: Summary) -> float:
    return float(row[ZERO] / row[COUNT]) if row[COUNT] > 0 else math.nan


def _max_abs(row: Summary) -> float:
    return float(max(abs(row[MIN]), abs(row[MAX])))


_READ: Mapping[Statistic, Callable[[Summary], float]] = {
    Statistic.L2: lambda row: float(row[L2]),
    Statistic.MEAN: lambda row: float(row[MEAN]),
    Statistic.STD: lambda row: float(row[STD]),
    Statistic.MIN: lambda row: float(row[MIN]),
    Statistic.MAX: lambda row: float(row[MAX]),
    Statistic.MAX_ABS: _max_abs,
    Statistic.RMS: lambda row: math.hypot(float(row[MEAN]), float(row[STD])),
    Statistic.ZERO_SHARE: _zero_share,
    Statistic.NAN: lambda row: float(row[NAN]),
    Statistic.INF: lambda row: float(row[INF]),
    Statistic.ZERO: lambda row: float(row[ZERO]),
    Statistic.COUNT: lambda row: float(row[COUNT]),
}


def read(statistic: Statistic, row: Summary) -> float:
    """A number of a summary; NaN where it is undefined, or was not captured."""
    return _READ[statistic](row)


def ratio(update: Summary, parameter: Summary) -> float:
    """||update|| / ||parameter||; NaN for a parameter that is all zero."""
    size = float(parameter[L2])
    return float(update[L2]) / size if size > 0 else math.nan
