"""What is measured (subjects) and the numbers of each (summaries): names, columns and histogram layout."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from gradscope.protocol.limits import Count, Name, NestedName, Shape
from gradscope.protocol.visible import visible


class SubjectKind(StrEnum):
    ACTIVATION = "activation"
    """A tensor in the output of one layer call."""
    ACTIVATION_GRAD = "activation_grad"
    """The gradient of the loss with respect to that tensor."""
    PARAMETER = "parameter"
    """A parameter's value."""
    GRAD = "grad"
    """A parameter's `.grad`."""
    UPDATE = "update"
    """A parameter's change in one optimizer step: value after minus value before."""
    CLIPPED_GRAD = "clipped_grad"
    """A parameter's `.grad` after clipping, as the optimizer has seen it."""
    OPTIMIZER_STATE = "optimizer_state"
    """What the optimizer remembers of a parameter, after the step; the leaf is ".exp_avg", ".momentum_buffer" ..."""
    BUFFER = "buffer"
    """A buffer's value after the forward, and once more where something may have changed buffers later in the step."""


LAYER_KINDS = frozenset({SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD})
"""The name of such a subject is a module's. It is gone after its phase; all others can be had at any time."""
PARAMETER_KINDS = frozenset(SubjectKind) - LAYER_KINDS - {SubjectKind.BUFFER}
"""The name of such a subject is a parameter's."""


@dataclass(frozen=True, order=True)
class SubjectKey:
    """The identity of a subject through a whole session."""

    kind: SubjectKind
    name: NestedName
    """Qualified name in the model, of a module, a parameter or a buffer; "" is the model itself."""
    call: Count = 0
    """Which call of the module within one forward, from 0."""
    leaf: Name = ""
    """Path of the tensor inside a structured output: "", "[0]", ".logits", ".hidden[1][0]", ".data"."""

    def label(self) -> str:
        """A short readable name: `encoder.lstm #2 .hidden[1]`."""
        call = f" #{self.call}" if self.call else ""
        leaf = f" {self.leaf}" if self.leaf else ""
        return f"{self.name or '(model)'}{call}{leaf}"

    def shown(self) -> str:
        """The label for people to read: on one line, with nothing hidden in it."""
        return visible(self.label())


@dataclass(frozen=True)
class SubjectRow:
    """A subject with the form it had; a report refers to rows by number. A new shape or dtype makes a new row."""

    key: SubjectKey
    shape: Shape
    dtype: Name
    """As torch prints it, without "torch.": "float32"."""
    note: Name = ""
    """What has to be known to read the numbers: "of abs()" for complex, "of the 12 stored values" for sparse."""


COLUMNS = ("count", "nan", "inf", "zero", "min", "max", "mean", "std", "l2")
"""The columns of a report's summary array. Counts are exact; min to l2 are of the finite part, NaN where undefined;
std is the population standard deviation. Where only norms are captured, `zero` to `std` are NaN."""

COUNT, NAN, INF, ZERO, MIN, MAX, MEAN, STD, L2 = range(len(COLUMNS))


def has_norms_only(summary: npt.NDArray[np.floating]) -> bool:
    """Whether a row of the summary array was captured at the level "norms": zeros are always counted otherwise."""
    return bool(np.isnan(summary[ZERO]))


def is_mask(kind: SubjectKind, summary: npt.NDArray[np.floating]) -> bool:
    """Whether a buffer is nothing but zeros and Inf: a mask that is added before a softmax, and as it should be."""
    return kind is SubjectKind.BUFFER and bool(summary[INF] > 0 and not summary[NAN] > 0 and summary[L2] == 0)


EXPONENT_LOW = -32
EXPONENT_HIGH = 16
EXPONENT_BINS = EXPONENT_HIGH - EXPONENT_LOW
"""Magnitude bins of one sign: bin k holds 2**(LOW+k) <= |x| < 2**(LOW+k+1); the first and the last also take in what
lies beyond."""
HISTOGRAM_BINS = 2 * EXPONENT_BINS
"""Negative numbers first, largest magnitude first; then positive numbers, smallest magnitude first. Zeros, NaN and Inf
are not in the histogram: the summary counts them."""


def histogram_edges() -> npt.NDArray[np.float64]:
    """Signed edges of the bins, shape (HISTOGRAM_BINS + 2,): the negative edges, then the positive ones.

    The gap between the two middle edges, -2**LOW and 2**LOW, is where zero lies; it belongs to no bin.
    """
    positive = np.exp2(np.arange(EXPONENT_LOW, EXPONENT_HIGH + 1, dtype=np.float64))
    return np.concatenate([-positive[::-1], positive])
