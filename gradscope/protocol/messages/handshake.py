"""How app and engine begin: who speaks, which versions, which devices there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gradscope.protocol.limits import (
    AtMost,
    Count,
    Name,
    Path,
    Sentence,
)
from gradscope.protocol.scripts import Script


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The engine's first frame, before torch is imported. Anything else first, or a wrong token, ends the connection."""

    token: Name
    protocol_version: int
    gradscope_version: Name
    python_version: Name
    executable: Path
    pid: Count


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """The app's answer to a good Hello."""

    app_version: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The app's answer to a Hello that it cannot work with; the engine prints `reason` and ends."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    name: Name
    """As torch takes it: "cpu", "cuda:0", "mps"."""
    label: Name
    """For people: "CPU", "cuda:0: NVIDIA H200"."""


@dataclass(frozen=True, kw_only=True)
class EngineReady:
    """Event: torch is imported and requests are answered."""

    torch_version: Name
    numpy_version: Name
    devices: Annotated[tuple[DeviceInfo, ...], AtMost(1000)]
    script: Script | None = None
    """What runs in it already, where it is a process that the app has not started."""


@dataclass(frozen=True, kw_only=True)
class EngineUnfit:
    """Event: this interpreter cannot run the engine (torch is missing, Python too old ...); says the fixing command."""

    reason: Sentence


@dataclass(frozen=True, kw_only=True)
class Parted:
    """Event, and the last one: a process that the app has not started is not looked into any more, and goes on."""

    reason: Sentence
