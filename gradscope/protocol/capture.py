"""How much of a training is captured: a level and, for one of them, the layers that were chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property

from gradscope.protocol.failure import BadInput


class CaptureLevel(StrEnum):
    """From the dearest to the cheapest."""

    FULL = "full"
    """The whole summary of every activation, gradient, parameter, update and optimizer state."""
    LAYERS = "layers"
    """The same of the chosen layers, and what is inside them; nothing of the others."""
    NORMS = "norms"
    """Of every activation, gradient, parameter and update: counts of NaN and Inf, and the L2 norm."""
    OFF = "off"
    """Nothing: no hook is installed, and no copy is kept that could undo a failed step."""


@dataclass(frozen=True)
class Capture:
    """What to capture. `layers` are names of modules, as patterns with * and ?; what is inside a layer belongs to it."""

    level: CaptureLevel = CaptureLevel.FULL
    layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.level}:{','.join(self.layers)}" if self.layers else str(self.level)

    @staticmethod
    def parse(text: str) -> Capture:
        """The inverse of str(): "full", "norms", "off", or "layers:" and names with commas between them: "layers:0,head*".

        Raises BadInput for anything else.
        """
        level, has_layers, names = text.partition(":")
        layers = tuple(name for name in (part.strip() for part in names.split(",")) if name)
        if level not in set(CaptureLevel) or bool(has_layers) != (level == CaptureLevel.LAYERS):
            raise BadInput(f"{text!r} is no capture level; expected full, layers:NAME,NAME..., norms or off")
        if has_layers and not layers:
            raise BadInput(f"{text!r} names no layer; expected names with commas between them: layers:encoder.0,head")
        return Capture(CaptureLevel(level), layers)

    @cached_property
    def is_off(self) -> bool:
        return self.level is CaptureLevel.OFF

    @cached_property
    def norms_only(self) -> bool:
        return self.level is CaptureLevel.NORMS

    @cached_property
    def is_partial(self) -> bool:
        """Some layers are left out."""
        return self.level in (CaptureLevel.LAYERS, CaptureLevel.OFF)

    def wants(self, name: str) -> bool:
        """Whether the module, parameter or buffer of that name is looked at."""
        if self.level is CaptureLevel.LAYERS:
            return any(_is_within(name, pattern) for pattern in self.layers)
        return not self.is_off

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """The patterns that none of these names of layers, parameters and buffers fits."""
        known = list(names)
        return [pattern for pattern in self.layers if not any(_is_within(name, pattern) for name in known)]


FULL = Capture()


def pattern_of(name: str) -> str:
    """A pattern that fits a layer of this very name: what has a meaning in patterns stands for itself."""
    # A comma would end the pattern.
    return "".join("?" if sign == "," else f"[{sign}]" if sign in "*?[" else sign for sign in name)


def _is_within(name: str, pattern: str) -> bool:
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))
