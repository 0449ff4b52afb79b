"""Where everything can be reached from that a training goes by, but for the data."""

from __future__ import annotations

from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.stepping.training import Training


def roots_of(training: Training) -> dict[str, object]:
    """Everything that a training step goes by can be reached from here, but for the data."""
    roots = dict(training.roots())
    for turn in training.turns:
        own = f"[{turn.name!r}]" if turn.name else ""
        roots[f"optimizer{own}"] = turn.optimizer
        if turn.scheduler is not None:
            roots[f"scheduler{own}"] = turn.scheduler
    if training.scaler is not None:
        roots["scaler"] = training.scaler
    # Of somebody else's class the walk only sees whether an object has moved: what these hold is all there is of them.
    owners = {name: root for name, root in roots.items() if isinstance(root, (Optimizer, LRScheduler, GradScaler))}
    return {**roots, **{f"{name}'s attributes": vars(owner) for name, owner in owners.items()}}


def state_tensors(optimizer: Optimizer) -> list[Tensor]:
    """What an optimizer remembers: momenta, counts of steps."""
    return [tensor for state in optimizer.state.values() for _, tensor in tensor_leaves(state)]
