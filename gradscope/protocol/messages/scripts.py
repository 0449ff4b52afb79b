"""Starting a script of the user's."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.limits import Count
from gradscope.protocol.scripts import Script


@dataclass(frozen=True, kw_only=True)
class OpenScript:
    """Run a script, and stop it before its first training step. Once in the life of an engine, which was started for that.

    Reply: Opened when it stands there, or Failed where it has ended before.
    """

    script: Script
    capture: str = "full"
    """As `Capture.parse` reads it."""
    budget_bytes: Count = 256 * 1024 * 1024
    """For copies of activations and their gradients, to look at their values."""
    findings: bool = False
    """The monitors ride along, and FoundNow tells what they see."""
    timeline_bytes: Count = 0
    """For copies of weights, optimizer states and random states before steps; 0 keeps none."""
