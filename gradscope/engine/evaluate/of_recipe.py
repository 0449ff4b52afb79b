"""Where expressions are evaluated in a recipe's training."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from gradscope.engine.evaluate.place import Place
from gradscope.engine.stepping.stepper import Stepper


def place_of(stepper: Stepper) -> Place:
    return Place(
        book=stepper.book,
        roots=lambda: _roots(stepper),
        optimizers=lambda: _optimizers(stepper),
        names=lambda: _names(stepper),
        user_code=stepper.loop.user_code(),
        unseen=lambda: stepper.loop.own_moves.unseen(),
    )


def _optimizers(stepper: Stepper) -> dict[str, Optimizer]:
    return {f"optimizer{_own(turn.name)}": turn.optimizer for turn in stepper.training.turns}


def _roots(stepper: Stepper) -> dict[str, object]:
    training = stepper.training
    roots: dict[str, object] = dict(training.roots())
    for turn in training.turns:
        if turn.scheduler is not None:
            name = f"scheduler{_own(turn.name)}"
            roots |= {name: turn.scheduler, f"{name}'s attributes": vars(turn.scheduler)}
    if training.scaler is not None:
        roots |= {"scaler": training.scaler, "scaler's attributes": vars(training.scaler)}
    return roots


def _names(stepper: Stepper) -> dict[str, Any]:
    """With one optimizer the names that a tutorial uses; with several those of the turn, and all of them by their names."""
    training, loop = stepper.training, stepper.loop
    turn, batch = loop.turn, loop.batch
    found: dict[str, Any] = {
        "model": training.model,
        "loss_fn": training.loss,
        "batch": batch,
        "optimizer": turn.optimizer,
        "scheduler": turn.scheduler,
    }
    if training.scaler is not None:
        found["scaler"] = training.scaler
    if len(training.turns) > 1:
        found["optimizers"] = {turn.name: turn.optimizer for turn in training.turns}
        found["schedulers"] = {turn.name: turn.scheduler for turn in training.turns}
    if isinstance(batch, (list, tuple)) and len(batch) == 2:
        found["x"], found["target"] = batch
    return found


def _own(name: str) -> str:
    return f"[{name!r}]" if name else ""
