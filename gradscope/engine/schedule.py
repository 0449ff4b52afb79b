"""The learning rates ahead, foretold by stepping a copy of the scheduler on stand-ins; the real objects are not touched."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gradscope.engine.randomness import RandomStates
from gradscope.protocol.messages import FloatArray, Schedule


def rates_of(optimizer: Optimizer) -> tuple[float, ...]:
    """The current learning rate of every parameter group; NaN for a group that has none."""
    return tuple(float(group.get("lr", float("nan"))) for group in optimizer.param_groups)


def foretell(
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    *,
    first_step: int,
    steps: int,
    steps_to_epoch_end: int | None,
    steps_per_epoch: int | None,
    per_epoch: bool,
) -> Schedule:
    """The rates that steps `first_step` ... `first_step + steps - 1` will use, if nothing is changed by hand.

    `steps_to_epoch_end`: how many steps, from first_step on, the current epoch still has (for a per-epoch scheduler).
    """
    now = rates_of(optimizer)
    if scheduler is None:
        return Schedule(first_step=first_step, rates=np.repeat(np.asarray(now)[:, None], steps, axis=1))
    if isinstance(scheduler, ReduceLROnPlateau):
        return _nothing(first_step, "ReduceLROnPlateau depends on results: its future cannot be drawn")
    if per_epoch and (steps_per_epoch is None or steps_to_epoch_end is None):
        return _nothing(first_step, "The length of an epoch is unknown, and the scheduler is stepped per epoch")
    states = RandomStates.capture()
    try:
        twin_optimizer, twin = _stand_ins(optimizer, scheduler)
        rates = _simulate(
            twin_optimizer, twin, steps, steps_to_epoch_end if per_epoch else 1, steps_per_epoch if per_epoch else 1
        )
    except Exception as error:
        return _nothing(first_step, f"{type(scheduler).__name__} cannot be simulated: {type(error).__name__}: {error}")
    finally:
        states.restore()
    return Schedule(first_step=first_step, rates=rates)


def _simulate(
    optimizer: Optimizer, scheduler: LRScheduler, steps: int, first_interval: int | None, interval: int | None
) -> FloatArray:
    assert first_interval is not None and interval is not None
    rates: list[tuple[float, ...]] = []
    until_next = first_interval
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while len(rates) < steps:
            rates.append(rates_of(optimizer))
            until_next -= 1
            if until_next > 0:
                continue
            until_next = interval
            try:
                scheduler.step()
            except ValueError:
                # OneCycleLR ends with an error after its last step: there is no rate beyond.
                break
    return np.asarray(rates, dtype=np.float64).T.copy()


def _stand_ins(optimizer: Optimizer, scheduler: LRScheduler) -> tuple[Optimizer, LRScheduler]:
    """Copies in which every parameter is a 0-d stand-in and the optimizer has no state."""
    memo: dict[int, Any] = {id(optimizer.state): {}}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            memo[id(parameter)] = torch.zeros(())
    twin_scheduler = copy.deepcopy(scheduler, memo)
    twin_optimizer = memo.get(id(optimizer))
    if not isinstance(twin_optimizer, Optimizer):
        raise TypeError("the scheduler does not hold the recipe's optimizer")
    return twin_optimizer, twin_scheduler


def _nothing(first_step: int, reason: str) -> Schedule:
    return Schedule(first_step=first_step, rates=np.zeros((0, 0)), reason=reason)
