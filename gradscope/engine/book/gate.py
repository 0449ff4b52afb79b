"""Where training may stop: the book asks a gate at every moment."""

from __future__ import annotations

from typing import Protocol

from gradscope.protocol.phases import Moment


class Gate(Protocol):
    """Decides at every moment whether training stops there. `stop` returns when it may go on, or raises Unwind."""

    is_armed: bool
    """False: `stop` need not be asked at all."""

    def stop(self, moment: Moment) -> None: ...
