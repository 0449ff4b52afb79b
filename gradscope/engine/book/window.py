"""The micro-batches whose gradients are added up before a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Window:
    """One step's micro-batches, as far as they have come."""

    size: int = 1
    """Also the divisor of the loss. The last window of a loader without a length may end before."""
    micro: int = 0
    """Index of the current micro-batch, or the next one."""
    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    batches: list[Any] = field(default_factory=list)
    """On the device; kept only for an optimizer that evaluates the loss again."""

    @property
    def loss_of_step(self) -> float | None:
        return sum(self.losses) / len(self.losses) if self.losses else None

    def share_of(self, loss: Tensor) -> Tensor:
        """What a micro-batch with that loss adds to the window's."""
        return loss / self.size if self.size > 1 else loss
