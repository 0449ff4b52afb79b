"""The door: inside, the user's code runs beside the training, which must not know of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any

from torch import Tensor

from gradscope.engine.aside.holders import ItemsHolder
from gradscope.engine.aside.iterators import copy_of_iterator
from gradscope.engine.aside.others import Others
from gradscope.engine.aside.walk import MOST_OBJECTS, Reached
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.torch_settings import TorchSettings
from gradscope.engine.surroundings.unwinding import interruptions_put_off
from gradscope.engine.wording import listed


class Aside:
    """`with Aside(roots) as aside:` runs code of the user's that can reach what `roots` (by name) lead to.

    Inside, gradients are away (`.grad` is None), and Python's own iterators that stand half-way are copies. Afterwards
    attributes, variables of closures, globals, containers, tensors, random states, torch's settings and gradients are as
    before, bit for bit, whatever was raised. What could not be put back is told in `notes`: a generator that has moved, a
    file that was written to. What only the outside world knows (a file opened inside, another process) is out of reach.

    `copies_parameters`: without copies of them it is only seen that somebody has written to them. `lends_gradients`: inside,
    there are copies of the gradients.
    """

    def __init__(
        self, roots: Mapping[str, object], *, copies_parameters: bool = True, lends_gradients: bool = False
    ) -> None:
        self._reached = Reached(copies_parameters)
        self._roots, self._lends_gradients = roots, lends_gradients
        self._states: RandomStates | None = None
        self._settings: TorchSettings | None = None
        self._others = Others()
        self._left: dict[str, None] = {}
        """What somebody has changed that other threads use."""
        self.notes: tuple[str, ...] = ()
        """Of what is not as before. Complete when the block is left."""

    def __enter__(self) -> Aside:
        self._states, self._settings = RandomStates.capture(), TorchSettings.capture()
        self._reached.look_from(self._roots)
        self._others.look()
        self._set_out(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with interruptions_put_off():
            self._put_back()
            for tensor in self._reached.tensors:
                tensor.give_gradient()
                tensor.put_counter_back()
            self.notes = tuple(self._told())

    def also(self, roots: Mapping[str, object], *, but: Iterable[Tensor] = ()) -> None:
        """Inside: what `roots` lead to as well; the tensors `but` may change."""
        self._reached.left_out |= {id(tensor) for tensor in but}
        known = len(self._reached.tensors)
        self._reached.look_from(roots)
        self._set_out(known)

    def rewind(self) -> None:
        """Inside: everything as at the beginning, for another run of the same."""
        self._put_back()
        self._set_out(0)

    def _set_out(self, first: int) -> None:
        for tensor in self._reached.tensors[first:]:
            tensor.take_gradient()
            if self._lends_gradients:
                tensor.lend_gradient()
        memo: dict[int, Any] = {}
        for iterator in self._reached.iterators:
            copy_of_iterator(iterator, memo)
        # What another thread goes through as well, it must find where it is.
        stand_ins = {key: copy for key, copy in memo.items() if copy is not None and not self._others.has(key)}
        for _, _, holder in self._reached.found if stand_ins else ():
            if isinstance(holder, ItemsHolder) and not self._others.uses(holder.content):
                holder.lend(stand_ins)

    def _put_back(self) -> None:
        self._others.look()
        for place, what, holder in self._reached.found:
            if not safely(holder.differs, False):
                continue
            if safely(partial(holder.leave_to, self._others), False):
                self._left[place.named(what)] = None
            if holder.can_be_put_back and not holder.is_left:
                with contextlib.suppress(Exception):
                    holder.put_back()
        assert self._states is not None and self._settings is not None
        if TorchSettings.capture() != self._settings:
            # Setting them anew imports torch's compiler.
            self._settings.restore()
        self._states.restore()

    def _told(self) -> list[str]:
        moved = self._reached.moved()
        told = []
        if moved:
            names = listed(moved)
            told.append(
                f"Training is not quite as before: the code that was run has moved {names}, which cannot be put back"
            )
        if self._left:
            told.append(
                f"Another thread uses {listed([*self._left])}: what changed meanwhile was left so, and it is not known "
                "whether the code that was run has changed it"
            )
        if not self._reached.is_complete:
            told.append(
                f"Only the first {MOST_OBJECTS:,} objects that the code can reach were looked at: it is not known whether "
                "others are as before"
            )
        return told
