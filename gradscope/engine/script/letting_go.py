"""Models and optimizers that the script itself has let go: in a full collection of Python's they go, as without gradscope.

What is shown has to hold them, since a script that has ended, or has left the function in which it trains, can still be
looked at. So they are let go only where the script asks for its memory (`gc.collect()`), or Python itself does.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from gradscope.engine.model.parameters import PreviousValues
from gradscope.engine.script.by_hand import ByHandWatch

if TYPE_CHECKING:
    from gradscope.engine.script.following import Following

_FULL = 2
"""The oldest generation."""


class LettingGo:
    """Of one script. `is_at_rest`: this is the thread that trains, and nothing of a training is under way on it."""

    def __init__(self, following: Following, hand: ByHandWatch, is_at_rest: Callable[[], bool]) -> None:
        self._following, self._hand, self._is_at_rest = following, hand, is_at_rest
        self._take_back: Callable[[], None] | None = None

    def install(self) -> None:
        gc.callbacks.append(self._collecting)

    def remove(self) -> None:
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self._collecting)

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] < _FULL:
            return
        if phase == "start":
            if self._is_at_rest():
                self._hand.safely(self._let_go)
        elif self._take_back is not None:
            take_back, self._take_back = self._take_back, None
            self._hand.safely(take_back)

    def _let_go(self) -> None:
        """While Python collects, nothing of gradscope's holds a model or an optimizer."""
        following = self._following
        session = following.session
        if session is None or session.book.inside is not None:
            return
        facts, layers = session.facts, following.layers()
        call = None if facts.call is None else (facts.call[0], weakref.ref(facts.call[1]), facts.call[2])
        before = facts.step_before.stepped
        stepped = None if before is None else weakref.ref(before)
        before = facts.call = facts.step_before.stepped = None
        watch_back = None if session.verdicts is None else session.verdicts.let_go()
        found_back = following.found.let_go()
        session.observer.forget_structure()
        if layers is not None:
            layers.remove()

        def take_back() -> None:
            has_lost = found_back()
            if call is not None and (module := call[1]()) is not None:
                facts.call = call[0], module, call[2]
            facts.step_before.stepped = None if stepped is None else stepped()
            if layers is not None:
                layers.follow(session.observer.modules())
            if has_lost:
                self._forget_lost()
            if watch_back is not None:
                # What nobody else holds any more is gone by now.
                watch_back()

        self._take_back = take_back

    def _forget_lost(self) -> None:
        """A model or an optimizer is gone: so are its tensors."""
        following = self._following
        assert following.session is not None
        session = following.session
        facts = session.facts
        if facts.whose is not None and all(turn is not facts.whose for turn in session.turns):
            facts.whose = None
        session.observer.previous = PreviousValues()
        facts.gradients.forget()
        facts.step_before.forget()
        self._hand.forget()
