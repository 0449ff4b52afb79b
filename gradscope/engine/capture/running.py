"""The layers that are running: which have been entered and not yet left, and how often each was called in this pass."""

from __future__ import annotations

import math
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from torch import nn

from gradscope.protocol.phases import SubStep

StopHere = Callable[[SubStep, str, str, int], None]
"""(sub-step, event, layer, call): called at every moment; returns when training may go on."""


Entered = tuple[str, int, float]
"""A call of a layer that has not been left: name, number, seconds into the phase. Plain, since each layer makes one."""


class Gate(Protocol):
    """Whether anybody may stop training at the moment that has come."""

    @property
    def is_armed(self) -> bool: ...


class Gated(Protocol):
    """Has the gate, or none; that may change at any time."""

    @property
    def gate(self) -> Gate | None: ...


class RunningLayers:
    """Of one model, which may call its layers on several threads."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        """How often each layer was called in this pass."""
        self.tell: Callable[[str | None], None] | None = None
        """Told of the innermost layer that is running, or that there is none: what a process that dies can leave behind."""
        self._stacks: dict[int, list[Entered]] = {}
        self._counting = threading.Lock()

    def begin(self, *, is_new_pass: bool) -> None:
        """Another phase begins; its calls are counted from 0 in a new pass."""
        if is_new_pass:
            self.calls.clear()
        self._stacks.clear()
        if self.tell is not None:
            self.tell(None)

    def count(self, name: str) -> int:
        """Number of the call that begins now."""
        with self._counting:
            call = self.calls.get(name, 0)
            self.calls[name] = call + 1
        return call

    def enter(self, name: str, call: int, at: float) -> None:
        if self.tell is not None:
            self.tell(name)
        self._stacks.setdefault(threading.get_ident(), []).append((name, call, at))

    def innermost_now(self) -> str:
        """The layer that is running on this thread; "" outside of all."""
        stack = self._stacks.get(threading.get_ident())
        return stack[-1][0] if stack else ""

    def leave(self, name: str) -> tuple[int, float, list[Entered]]:
        """(call, when it was entered, those inside of it that were entered and never left): their forward raised, and the
        model has caught it."""
        stack = self._stacks.get(threading.get_ident(), [])
        passed_over: list[Entered] = []
        while stack:
            entered = stack.pop()
            if entered[0] == name:
                return entered[1], entered[2], passed_over
            passed_over.append(entered)
        return self.calls.get(name, 1) - 1, math.nan, passed_over

    def tell_left(self) -> None:
        if self.tell is not None:
            stack = self._stacks.get(threading.get_ident())
            self.tell(stack[-1][0] if stack else None)

    def around(self) -> list[tuple[str, int]]:
        """(name, call) of the layers that this thread is in, the outermost first."""
        return [entered[:2] for entered in self._stacks.get(threading.get_ident(), ())]

    def all(self) -> Iterator[Entered]:
        for stack in self._stacks.values():
            yield from stack

    def innermost(self, error: BaseException, modules: Mapping[str, nn.Module]) -> tuple[str, int] | None:
        """(name, call) of the innermost layer that the error came through; None if it was raised outside any layer."""
        running = {id(frame.f_locals.get("self")) for frame, _ in traceback.walk_tb(error.__traceback__)}
        entered = sorted(self.all(), key=lambda entered: entered[2], reverse=True)
        # Not simply the one that was entered last: its error may have been caught, and another raised later.
        return next((e[:2] for e in entered if id(modules.get(e[0])) in running), None)
