"""Anomaly mode for one try: each operation of a forward notes where it was called, so that a backward that fails can name
the line."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradscope.engine.surroundings.usercode import is_users_file

_DETECTED = re.compile(r"Error detected in (?P<node>\w+)\.")
_FRAME = re.compile(r'  File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>.+)\n(?:    (?P<source>.+))?')
_NO_INFORMATION = "No forward pass information available"


@dataclass(frozen=True)
class Origin:
    """Where an operation was called whose backward has failed."""

    node: str
    """As torch names it: "SigmoidBackward0"."""
    frames: str
    """The user's frames of that call, as in a traceback; "" where nothing was noted: it is of an earlier step."""
    place: str = ""
    """ "model.py, line 12 (x.sigmoid_())"."""

    @property
    def where(self) -> str:
        """After "failed": in which operation."""
        return f" at {self.node}, the backward of {self.place or 'an operation of an earlier step'}"


def traced(body: Callable[[], None], found: Callable[[Origin], None]) -> None:
    """Run a phase in anomaly mode; where its backward fails, `found` is told what torch says of it. What else is warned of
    is warned of as ever."""
    told: list[Origin] = []
    with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True, check_nan=False):
        show = warnings.showwarning

        def listen(message: Warning | str, *more: Any, **others: Any) -> None:
            origin = _origin(str(message))
            if origin is None:
                show(message, *more, **others)
            else:
                told.append(origin)

        warnings.filterwarnings("always", _DETECTED.pattern)
        warnings.showwarning = listen
        try:
            body()
        finally:
            if told:
                found(told[0])


def _origin(text: str) -> Origin | None:
    """None for another warning."""
    detected = _DETECTED.match(text)
    if detected is None:
        return None
    frames = [frame for frame in _FRAME.finditer(text) if is_users_file(frame["path"])]
    if not frames or _NO_INFORMATION in text:
        return Origin(detected["node"], "")
    last = frames[-1]
    place = f"{Path(last['path']).name}, line {last['line']}" + (f" ({last['source']})" if last["source"] else "")
    return Origin(detected["node"], "".join(frame[0].rstrip("\n") + "\n" for frame in frames), place)
