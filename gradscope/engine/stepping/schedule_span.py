"""How long torch's schedulers take by their own arguments: until when it is worth drawing them."""

from __future__ import annotations

from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler


def steps_left(scheduler: LRScheduler) -> int | None:
    """How often a scheduler is to be stepped until it has come to its end, or to the end of its cycle.

    None for one that never ends (StepLR), or of which it is not known (LambdaLR).
    """
    total = _span(scheduler)
    # A chained one does not count itself.
    counting = scheduler._schedulers[0] if isinstance(scheduler, lr_scheduler.ChainedScheduler) else scheduler
    return None if total is None else max(0, total - int(counting.last_epoch))


def _span(scheduler: LRScheduler) -> int | None:
    """From its first step on."""
    match scheduler:
        case lr_scheduler.OneCycleLR():
            return int(scheduler.total_steps)
        case lr_scheduler.CosineAnnealingLR():
            return int(scheduler.T_max)
        case lr_scheduler.LinearLR() | lr_scheduler.ConstantLR() | lr_scheduler.PolynomialLR():
            return int(scheduler.total_iters)
        case lr_scheduler.MultiStepLR():
            return max((int(milestone) for milestone in scheduler.milestones), default=None)
        case lr_scheduler.CosineAnnealingWarmRestarts():
            return int(scheduler.last_epoch - scheduler.T_cur + scheduler.T_i)
        case lr_scheduler.CyclicLR():
            return int((scheduler.last_epoch // scheduler.total_size + 1) * scheduler.total_size)
        case lr_scheduler.SequentialLR():
            begin, last = int(scheduler._milestones[-1]), _span(scheduler._schedulers[-1])
            return begin + (last or 0)
        case lr_scheduler.ChainedScheduler():
            spans = [span for one in scheduler._schedulers if (span := _span(one)) is not None]
            return max(spans, default=None)
    return None
