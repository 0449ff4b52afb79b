"""A script that comes to where a session stands, without gradscope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gradscope.protocol.limits import AtMost, Sentence

MAX_SCRIPT = 4_000_000
"""Characters: that of a training with thousands of edits has some hundred thousand."""


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Write the script. Reply: Reproduced, or Failed with the reason why it cannot be written."""


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    # Refused rather than cut: half of a script would be another one.
    text: Annotated[str, AtMost(MAX_SCRIPT)]
    notes: Annotated[tuple[Sentence, ...], AtMost(100)] = ()
    """What has to be known of it."""
