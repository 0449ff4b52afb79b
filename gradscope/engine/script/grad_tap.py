"""The tap in `torch.autograd.grad`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradscope.engine.script.taken_gradients import Taken
from gradscope.engine.surroundings.transforms import outside

if TYPE_CHECKING:
    from gradscope.engine.script.taps import Taps


class GradTap:
    """Called in the place of the engine, where it adds to no `.grad`."""

    def __init__(self, taps: Taps) -> None:
        self._taps = taps

    def take(self, original: Callable[..., Any], outputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Inside a call of a model, or inside a backward, it is a part of that."""
        taps = self._taps
        if taps.is_in_call() or taps.following.in_backward:
            return original(outputs, *args, **kwargs)
        taken: Taken | None = taps.safely(taps.following.taken.begins, outputs, args)
        if taken is None:
            return original(outputs, *args, **kwargs)
        if not taps.safely(self._begin, taken):
            result = original(outputs, *args, **kwargs)
            taps.safely(self._wait, taken, result)
            return result
        return self._run(taken, lambda: original(outputs, *args, **kwargs))

    def _run(self, taken: Taken, run: Callable[[], Any]) -> Any:
        """It is a backward."""
        taps, result = self._taps, None
        following = taps.following
        following.in_backward += 1
        following.is_listening = True
        try:
            result = run()
            return result
        finally:
            following.in_backward -= 1
            following.is_listening = False
            taps.safely(self._end, taken, result)

    @outside()
    def _begin(self, taken: Taken) -> bool:
        """Whether it is known to be a backward."""
        taps = self._taps
        taps.hand.settle()
        following = taps.following
        if not following.taken.is_backward(taken):
            return False
        following.taken.step_follows()
        return following.taken_begins(taken)

    @outside()
    def _wait(self, taken: Taken, result: Any) -> None:
        taken.take_in(result, keeps_alive=False)
        self._taps.following.taken.wait(taken)
        self._taps.hand.after_taken(taken.inputs)

    @outside()
    def _end(self, taken: Taken, result: Any) -> None:
        has_failed = result is None
        taken.take_in(result or [None] * (max(taken.numbers) + 1), keeps_alive=True)
        self._taps.following.taken.end(taken, has_failed=has_failed)
        if not has_failed:
            self._taps.hand.after_taken(taken.inputs)
