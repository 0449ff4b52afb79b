"""Does anything take the optimizer's steps back? Between two of its steps the parameters are to stay as it has left them. To
move them a little (a clamp, a decay of one's own) is no fault, to move them back by nearly all of it is. A projection does
that too, once the training has arrived at the edge of what is allowed: not from its start on, and not without a gain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from gradscope.engine.findings.bench import Bench, Change
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.statistics import has_improved
from gradscope.protocol.findings import Evidence

STEPS = 4
TAKEN_BACK = 0.9
"""Of a step, in each of them."""
_MOST_BYTES = 256 * 1024 * 1024


def find_undone(bench: Bench, record: Record) -> Iterable[Draft]:
    if len(record.optimizers) != 1:
        raise CannotJudge("there is more than one optimizer")
    (optimizer,) = record.optimizers.values()
    held = [p for group in optimizer.param_groups for p in group["params"] if p.layout is torch.strided]
    size = sum(p.numel() * p.element_size() for p in held)
    if not held or 2 * size > _MOST_BYTES or not hasattr(optimizer, "register_step_post_hook"):
        raise CannotJudge("the parameters are too large to be copied, or the optimizer takes no hooks")
    if not bench.has_start:
        raise CannotJudge("the start of the training is not known")
    if has_improved(record.measures):
        return []
    shares: list[float] = []
    for from_start in (False, True):
        newest = _taken_back(bench, optimizer, held, from_start=from_start)
        if len(newest) < STEPS - 1 or min(newest) < TAKEN_BACK or max(newest) > 2 - TAKEN_BACK:
            return []
        shares += newest
    return [
        Draft(
            id="steps-undone",
            evidence=(
                Evidence(
                    name="part of a step that is taken back before the next one",
                    value=100 * min(shares),
                    threshold=100 * TAKEN_BACK,
                    unit="%",
                    text=f"{min(shares):.1%} of each of {len(shares)} steps, first and newest, of all parameters together",
                ),
            ),
            instead="The steps themselves are of a usual size: no learning rate is too low.",
        )
    ]


def _taken_back(bench: Bench, optimizer: Any, held: list[Tensor], *, from_start: bool) -> list[float]:
    steps = _Steps(optimizer, held)
    # For all optimizers: the start that is put back has no others of its own.
    handles = [register_optimizer_step_pre_hook(steps.before), register_optimizer_step_post_hook(steps.after)]
    try:
        bench.train(STEPS, Change(), from_start=from_start)
    finally:
        for handle in handles:
            handle.remove()
    return steps.shares


class _Steps:
    """Hooks of all optimizers, that look at one. `shares`: of each step, how much of it was taken back before the next one
    began: the change from outside, along the step, in lengths of it."""

    def __init__(self, optimizer: Any, parameters: list[Tensor]) -> None:
        self._optimizer, self._parameters = optimizer, parameters
        self._before: list[Tensor] = []
        self._after: list[Tensor] = []
        self.shares: list[float] = []

    def before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if optimizer is not self._optimizer:
            return
        now = [p.detach().clone() for p in self._parameters]
        if self._after:
            along = step = other = 0.0
            for old, new, then in zip(self._before, self._after, now, strict=True):
                move, back = (new - old).double(), (then - new).double()
                along, step = along - float((move * back).sum()), step + float((move * move).sum())
                other += float((back * back).sum())
            # Back along the step, and nowhere else.
            is_straight = along > 0 and along * along > TAKEN_BACK**2 * step * other
            self.shares.append(along / step if step > 0 and is_straight else 0.0)
        self._before = now

    def after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if optimizer is self._optimizer:
            self._after = [p.detach().clone() for p in self._parameters]


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    # As many again, from the start, only where the newest are taken back.
    each = 0 if has_improved(record.measures) else STEPS * bench.evaluations_per_step
    return each, each


EXPERIMENTS.append(
    Experiment(
        ids=("steps-undone",),
        title="Does anything take the optimizer's steps back?",
        run=find_undone,
        passes=_passes,
        runs_the_loop=True,
    )
)
