"""The learning rates ahead, foretold by stepping a copy of the scheduler on stand-ins; the real objects are not touched."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from gradscope.engine.aside.door import Aside
from gradscope.engine.book.driver import Batches
from gradscope.engine.book.turns import Turn, momenta_of, rates_of
from gradscope.engine.book.window import Window
from gradscope.engine.stepping.schedule_span import steps_left
from gradscope.engine.stepping.training import Training
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.messages import Schedule


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Where in the epoch the next step is."""

    turn: int
    """Index of the optimizer whose turn it is."""
    steps_to_epoch_end: int | None
    """How many steps the current epoch still has, the next one included. None where unknown."""
    steps_per_epoch: int | None

    @staticmethod
    def of(batches: Batches, window: Window, *, turn: int, turns: int, accumulate: int, steps_done: int = 0) -> Timing:
        """`turn` of `turns` is under way in `window`; the timing is that of the step after `steps_done` more."""
        length, next_turn = batches.length, (turn + steps_done) % turns
        if length is None:
            return Timing(turn=next_turn, steps_to_epoch_end=None, steps_per_epoch=None)
        per_epoch = turns * -(-length // accumulate)
        # The window under way may be of another size than those to come.
        after_window = length - (batches.index - window.micro) - window.size
        windows = 1 + -(-max(0, after_window) // accumulate)
        to_end = max(turns * windows - turn - steps_done, 0) or per_epoch
        return Timing(turn=next_turn, steps_to_epoch_end=to_end, steps_per_epoch=per_epoch)


@dataclass(frozen=True)
class _Interval:
    """When a scheduler is stepped: after `first` steps, and then after every `then`."""

    first: int
    then: int


class _Unforeseeable(Exception):
    """The future of a schedule cannot be told; the text says why."""


def foretell(training: Training, timing: Timing, *, first_step: int, steps: int) -> Schedule:
    """The rates that steps `first_step` ... `first_step + steps - 1` will use, if nothing is changed by hand.

    Where the future cannot be told, those of the next step alone, and the reason.
    """
    rates: list[FloatArray] = []
    momenta: list[FloatArray] = []
    reasons: list[str] = []
    horizons: list[int] = []
    # The objects are copied; functions, and what is written on classes, are not.
    with Aside(_shared_by_copies(training), copies_parameters=False) as aside:
        for number, turn in enumerate(training.turns):
            try:
                interval = _interval(training, turn, number, timing)
                ahead = _ahead(turn, interval, steps)
                horizons += _horizon(turn, interval, first_step)
            except _Unforeseeable as reason:
                reasons.append(str(reason))
                # What the next step will use is known in any case.
                ahead = [(rates_of([turn.optimizer]), momenta_of([turn.optimizer]))]
            rates.append(_columns([rate for rate, _ in ahead], steps))
            momenta.append(_columns([momentum for _, momentum in ahead], steps))
    known = max(int(np.isfinite(part).any(axis=0).sum()) for part in rates)
    moving = np.concatenate(momenta)[:, :known]
    return Schedule(
        first_step=first_step,
        rates=np.concatenate(rates)[:, :known],
        reason="; ".join([*reasons, *aside.notes]),
        momenta=moving if _varies(moving) else np.zeros((0, 0)),
        horizon=min(horizons, default=None),
    )


def _shared_by_copies(training: Training) -> dict[str, object]:
    """What belongs to the schedulers and is the same in their copies."""
    found: dict[str, object] = {}
    for scheduler in training.schedulers():
        found[type(scheduler).__name__] = type(scheduler)
        for name, value in vars(scheduler).items():
            parts = value if isinstance(value, list) else [value]
            if parts and all(map(callable, parts)):
                found[name] = value
    return found


def steps_to_end(training: Training, timing: Timing) -> int | None:
    """How many steps the longest of the schedules still has by its own arguments; None where none has an end."""
    lengths = []
    for number, turn in enumerate(training.turns):
        with contextlib.suppress(_Unforeseeable, Exception):
            interval = _interval(training, turn, number, timing)
            left = None if interval is None or turn.scheduler is None else steps_left(turn.scheduler)
            if interval is not None and left:
                lengths.append(interval.first + (left - 1) * interval.then + 1)
    return max(lengths, default=None)


def _interval(training: Training, turn: Turn, number: int, timing: Timing) -> _Interval | None:
    """None: there is no schedule."""
    scheduler = turn.scheduler
    if scheduler is None:
        return None
    if isinstance(scheduler, ReduceLROnPlateau):
        raise _Unforeseeable("ReduceLROnPlateau depends on results: its future cannot be drawn")
    if training.scheduler_unit == "epoch":
        if timing.steps_per_epoch is None or timing.steps_to_epoch_end is None:
            raise _Unforeseeable("The length of an epoch is unknown, and the scheduler is stepped per epoch")
        return _Interval(timing.steps_to_epoch_end, timing.steps_per_epoch)
    turns = len(training.turns)
    return _Interval((number - timing.turn) % turns + 1, turns)


def _ahead(turn: Turn, interval: _Interval | None, steps: int) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """(rates, momenta) of each step, as far as the schedule goes."""
    if turn.scheduler is None or interval is None:
        return [(rates_of([turn.optimizer]), momenta_of([turn.optimizer]))] * steps
    try:
        optimizer, scheduler = stand_ins(turn.optimizer, turn.scheduler)
        return _simulate(optimizer, scheduler, interval, steps)
    except BaseException as error:
        if is_interruption(error):
            raise
        name = type(turn.scheduler).__name__
        raise _Unforeseeable(f"{name} cannot be simulated: {describe_error(error)}") from error


def _simulate(
    optimizer: Optimizer, scheduler: LRScheduler, interval: _Interval, steps: int
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    found: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    until_next = interval.first
    now = rates_of([optimizer]), momenta_of([optimizer])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while len(found) < steps:
            # Between two steps of the scheduler nothing moves: a schedule by epochs costs next to nothing.
            found.append(now)
            until_next -= 1
            if until_next > 0:
                continue
            until_next = interval.then
            try:
                scheduler.step()
            except ValueError:
                # OneCycleLR ends with an error after its last step: there is no rate beyond.
                break
            now = rates_of([optimizer]), momenta_of([optimizer])
    return found


def _horizon(turn: Turn, interval: _Interval | None, first_step: int) -> list[int]:
    """The first step after which OneCycleLR cannot be stepped any more."""
    if interval is None or not isinstance(turn.scheduler, OneCycleLR):
        return []
    with users_code("Reading how far OneCycleLR is"):
        left = int(turn.scheduler.total_steps) - int(turn.scheduler.last_epoch)
    return [first_step + interval.first - 1 + left * interval.then]


def _columns(rows: list[tuple[float, ...]], steps: int) -> FloatArray:
    """Shape (groups, steps), NaN where the schedule has ended."""
    table = np.full((steps, len(rows[0])), np.nan)
    table[: len(rows)] = rows
    return table.T


def _varies(table: FloatArray) -> bool:
    finite = table[np.isfinite(table).all(axis=1)]
    return bool(finite.size and not math.isclose(float(np.ptp(finite, axis=1).max()), 0.0))


def stand_ins(optimizer: Optimizer, scheduler: LRScheduler) -> tuple[Optimizer, LRScheduler]:
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
