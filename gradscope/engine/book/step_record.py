"""What is kept of every completed step."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.messages import Clip


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One completed step, for the history."""

    step: int
    epoch: int
    batch: int
    """Index of the step's last batch in its epoch."""
    loss: float | None
    """Mean over the step's micro-batches."""
    lr: tuple[float, ...]
    grad_l2: float | None
    """L2 norm of all parameters' gradients together."""
    update_l2: float | None
    """L2 norm of all parameters' updates together."""
    seconds: float
    micro_batches: int = 1
    optimizer: str = ""
    """Whose turn it was, where the recipe has several optimizers."""
    clip: Clip | None = None
    scale: float | None = None
    """The loss scale that the step's gradients had."""
    is_skipped: bool = False
