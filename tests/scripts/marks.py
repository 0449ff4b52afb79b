"""What the marks of an instrumented copy call (see make_truth.py). Runs in the process of the copy, without gradscope."""

from __future__ import annotations

import atexit
import json
import os
import sys
from typing import Any


class Marks:
    """Notes each event when the copy says so. At the end it is one line of JSON on the standard error stream."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._trained: dict[str, None] = {}
        self._notes: list[dict[str, Any]] = []
        self._process = os.getpid()
        atexit.register(self.end)

    def run(self, **_how: Any) -> None:
        """Read by make_truth.py, before it runs anything."""

    def trained(self, *names: str) -> None:
        self._trained |= dict.fromkeys(names)

    def trains(self, name: str, module: Any) -> None:
        """All parameters of a module that is bound to that name."""
        self.trained(*(f"{name}.{parameter}" for parameter, value in module.named_parameters() if value.requires_grad))

    def batch(self) -> None:
        self._events.append({"kind": "batch"})

    def call(self, *names: str) -> None:
        """A root call of a module with parameters, gradients on; none for a forward without modules."""
        if not self._events or self._events[-1]["kind"] != "forward":
            self._events.append({"kind": "forward", "calls": []})
        self._events[-1]["calls"] += names

    def evaluate(self) -> None:
        """A root call with gradients off; neighbours are one."""
        if not self._events or self._events[-1]["kind"] != "evaluate":
            self._events.append({"kind": "evaluate"})

    def zero_grad(self) -> None:
        if not self._events or self._events[-1]["kind"] != "zero_grad":
            self._events.append({"kind": "zero_grad"})

    def backward(self, loss: Any, name: str | None) -> None:
        """A backward that is about to begin, or has ended."""
        value = [float(one) for one in loss] if isinstance(loss, (list, tuple)) else float(loss.detach())
        self._events.append({"kind": "backward", "loss": value, "name": name})

    def clip(self) -> None:
        self._events.append({"kind": "clip"})

    def unscale(self) -> None:
        self._events.append({"kind": "unscale"})

    def step(self, optimizer: str, *, skipped: bool = False) -> None:
        self._events.append({"kind": "step", "optimizer": optimizer, **({"skipped": True} if skipped else {})})

    def scaler_step(self, scaler: Any, optimizer: Any, name: str) -> None:
        """After `scaler.step(optimizer)`, before its update."""
        found = scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"].values()
        self.step(name, skipped=any(float(one) > 0 for one in found))

    def update(self) -> None:
        self._events.append({"kind": "update"})

    def schedule(self) -> None:
        self._events.append({"kind": "schedule"})

    def note(self, line: int, *words: str) -> None:
        """What has to be told of the line that follows; once."""
        note = {"words": list(words), "line": line}
        if note not in self._notes:
            self._notes.append(note)

    def end(self) -> None:
        if os.getpid() == self._process:
            noted = {"events": self._events, "trained": list(self._trained), "notes": self._notes}
            print("MARKS " + json.dumps(noted), file=sys.stderr, flush=True)
            self._process = 0
