"""How the engine is, and where what is shown comes from where it does not come from an engine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from gradscope.protocol import messages
from gradscope.protocol.phases import Position


class EngineStatus(Enum):
    STOPPED = auto()
    STARTING = auto()
    """The process runs; torch is being imported."""
    READY = auto()
    DEAD = auto()


@dataclass(frozen=True, kw_only=True)
class EngineState:
    status: EngineStatus = EngineStatus.STOPPED
    text: str = ""
    """What is to be said of it: "Importing torch ...", how it died."""
    torch_version: str = ""
    executable: str = ""
    devices: tuple[messages.DeviceInfo, ...] = ()
    resistance: str = ""
    """What is known of an Interrupt that has had no effect, while that is so."""
    pause_ignored: str = ""
    """The same of a Pause."""
    last_place: Position | None = None
    """Where it stood when it died or fell silent, if that is known."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The snapshot that a state shows."""

    path: str
    created: str
    """When it was written: ISO 8601, in UTC, or whatever its manifest says."""


@dataclass(frozen=True, kw_only=True)
class Unopened:
    """A recipe file that could not be opened."""

    path: str
    digest: str
    """SHA-256 of the content that it had then, in hex; "" where there was none."""
