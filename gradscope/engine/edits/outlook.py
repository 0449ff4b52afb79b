"""What a scheduler makes of a rate or a momentum that was edited by hand, found out on stand-ins."""

from __future__ import annotations

import warnings
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradscope.engine.book.turns import Turn, momenta_of, rates_of
from gradscope.engine.stepping.schedule import stand_ins
from gradscope.engine.surroundings.unwinding import is_interruption

Curve = list[tuple[float, ...]]
"""(rate, momentum) of one parameter group after 0, 1, 2 ... steps of its scheduler."""

_FAR = 200
"""Steps of the scheduler in which an edit of its own options has to show."""


def curve(turn: Turn, index: int, *, steps: int = _FAR) -> Curve:
    """What lies ahead of group `index`, as far as it can be foretold; only what is now without a scheduler."""
    found: Curve = [(rates_of([turn.optimizer])[index], momenta_of([turn.optimizer])[index])]
    if turn.scheduler is None or isinstance(turn.scheduler, ReduceLROnPlateau):
        return found
    try:
        optimizer, scheduler = stand_ins(turn.optimizer, turn.scheduler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(steps):
                scheduler.step()
                found.append((rates_of([optimizer])[index], momenta_of([optimizer])[index]))
    except BaseException as error:
        if is_interruption(error):
            raise
        # A schedule that has ended, or a scheduler of the user's that cannot be copied.
        return found
    return found


def is_overridden(before: Curve, after: Curve) -> bool:
    """The scheduler's next step brings what it would have brought without the edit."""
    return len(before) > 1 and len(after) > 1 and _same(before[1], after[1])


def clause(turn: Turn, unit: str, option: str, before: Curve, after: Curve, group: dict[str, Any]) -> str:
    """What the scheduler does with an edited option; "" where it has nothing to do with it."""
    if turn.scheduler is None:
        return ""
    name = type(turn.scheduler).__name__
    moves = {"lr": 0, "momentum": 1, "betas": 1}.get(option)
    if moves is None:
        if all(_same(one, other) for one, other in zip(before, after, strict=False)):
            return f"{name} does not use it" if option == "initial_lr" else ""
        return f"{name} goes by it from now on"
    if isinstance(turn.scheduler, ReduceLROnPlateau):
        return f"{name} goes on from it" if option == "lr" else ""
    if len(before) < 2 or len(after) < 2:
        return f"what {name} will do with it cannot be foretold"
    if not is_overridden(before, after):
        has_moved = any(values[moves] != after[0][moves] for values in after)
        return f"{name} goes on from it" if has_moved else ""
    own = [key for key in ("max_lr", "initial_lr") if key in group] if option == "lr" else []
    text = f"{name} sets its own again after the next {unit}"
    return text + (f": edit {own[0]} to move its whole curve" if own else "")


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))
