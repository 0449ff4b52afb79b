"""How the engine is, and where what is shown comes from where it does not come from an engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from gradscope.protocol import messages
from gradscope.protocol.phases import Position
from gradscope.protocol.scripts import Script

_EXIT_CODE = re.compile(r"The script\b.*\bexit code (?P<code>-?\d+)")


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
    script: Script | None = None
    """What it was started for, where that is a script: it runs that once, and no recipe."""
    is_attached: bool = False
    """A process that the app has not started (`gradscope.watch()`): it is not ended from here, nor started again."""
    resistance: str = ""
    """What is known of an Interrupt that has had no effect, while that is so."""
    pause_ignored: str = ""
    """The same of a Pause."""
    last_place: Position | None = None
    """Where it stood when it died or fell silent, if that is known."""

    def made_ready(self, ready: messages.EngineReady) -> EngineState:
        """The same engine, which has said that it is ready."""
        return EngineState(
            status=EngineStatus.READY,
            torch_version=ready.torch_version,
            executable=self.executable,
            devices=ready.devices,
            script=self.script,
            is_attached=self.is_attached,
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The snapshot that a state shows."""

    path: str
    created: str
    """When it was written: ISO 8601, in UTC, or whatever its manifest says."""


@dataclass(frozen=True, kw_only=True)
class Unopened:
    """A recipe file, or a script, that could not be opened."""

    path: str
    """Of a module, its name."""
    digest: str
    """SHA-256 of the content that it had then, in hex; "" where there was none."""
    script: Script | None = None
    """How it was started, where it is a script."""


def exit_code_in(note: str) -> int | None:
    """The exit code of a script that a note of the engine tells of; None where it tells of something else."""
    found = _EXIT_CODE.match(note)
    return None if found is None else int(found["code"])
