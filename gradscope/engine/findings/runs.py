"""What may be changed in a counterfactual run, and what the run has come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is different in a counterfactual run; the default changes nothing."""

    rate: float = 1.0
    """Factor of every learning rate, or of that of `group`."""
    group: int | None = None
    weight_decay: float | None = None
    momentum: float | None = None
    """Of SGD and RMSprop, and the first beta of Adam and the like, which gets their usual second one."""
    inputs: Callable[[Tensor], Tensor] | None = None
    """Applied to x."""
    targets: Callable[[Tensor], Tensor] | None = None
    """Applied to y, of a training without a step of its own."""
    thawed: tuple[torch.nn.Parameter, ...] = ()
    """Parameters that are frozen and are trained along; where no optimizer has them, by one more of the training's own, or by
    Adam 1e-3 where that cannot be made."""
    adam: float | None = None
    """All parameters by a new Adam of this rate, instead of the training's own optimizer and schedule."""
    batches: int | None = None
    """Only the first so many, again and again; default: all that are kept."""
    clip: bool = True
    schedule_ends: int | None = None
    """After so many steps of the run the training's scheduler is not stepped any more: the rates stay as they are then."""


@dataclass
class Run:
    """What a counterfactual run has come to; Inf from where it was not finite on."""

    measures: list[float] = field(default_factory=list)
    """The yardstick of every step."""
    own: list[float] = field(default_factory=list)
    """The training's own loss."""


class CheckUpCancelled(Exception):
    """The check-up was cancelled. Everything has been put back."""
