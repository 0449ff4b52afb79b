"""What a pass over the data has shown of its targets, for the rules that judge a record."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class DataFacts:
    """Of the batches that the bench keeps."""

    samples: int
    targets: Tensor | None = None
    """Every floating-point target, flat, float64, on the CPU; None where they are classes."""
    class_counts: dict[int, int] = field(default_factory=dict)
    """How often each class is a target, ignored ones left out; of integer targets, and of 0 and 1 as floats."""

    @property
    def target_low(self) -> float | None:
        """The least floating-point target; None without any."""
        return None if self.targets is None else float(self.targets.min())

    @property
    def target_high(self) -> float | None:
        return None if self.targets is None else float(self.targets.max())

    @property
    def target_mean(self) -> float | None:
        return None if self.targets is None else float(self.targets.mean())

    @property
    def target_variance(self) -> float | None:
        return None if self.targets is None else float(self.targets.var(correction=0))

    def share_outside(self, low: float, high: float) -> float:
        """How many of the floating-point targets, from 0 to 1, lie below `low` or above `high`; 0 without any."""
        if self.targets is None:
            return 0.0
        return float(((self.targets < low) | (self.targets > high)).double().mean())
