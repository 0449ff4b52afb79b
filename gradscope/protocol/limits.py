"""What a field of a message may hold beyond its type: annotations, which the codec applies wherever it decodes.

Texts are cut, with a remark, since a long one is no lie; everything else that is beyond its limits is refused.
"""

from __future__ import annotations

import math
import os
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any

MAX_COUNT = 2**53 - 1
"""The largest number that is counted to: float64 holds every whole number up to it."""
MAX_TEXT = 100_000
"""Characters of a text that no narrower limit is set for."""
MAX_DEPTH = 1000
"""Levels of modules inside modules: more than Python can call inside each other, unless it is told to go deeper."""
MAX_MODULES = 200_000
MAX_GROUPS = MAX_MODULES
"""A parameter may have a group of its own."""
MAX_METRICS = 10_000
"""Of a validation."""
MAX_DIMENSIONS = 64
_MAX_SIDE = 2**62
_LONGEST_WORD = 40
_LONGEST_NAME = 255
_COUNTS_UTF_16 = sys.platform in ("win32", "darwin")
"""Names of files are measured in UTF-16 there, elsewhere in bytes."""


class Unfit(Exception):
    """A value cannot be what it stands for. The text completes a sentence that begins with the name of the field."""


class Limit(ABC):
    """Beside a type in an annotation: what the codec does with a value of that type."""

    @abstractmethod
    def applied(self, value: Any) -> Any:
        """The value as it is to be used. Raises Unfit."""


@dataclass(frozen=True)
class Between(Limit):
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int = MAX_COUNT

    def applied(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise Unfit(f"has to be from {self.low} to {self.high}, not {value}")
        return value


@dataclass(frozen=True)
class CutAt(Limit):
    """Texts of at most so many characters and lines; of a longer one the beginning is kept."""

    characters: int
    lines: int | None = None

    def applied(self, value: str) -> str:
        kept = value
        if len(value) > self.characters:
            # Not within a word, where there are words.
            kept = value[: self.characters]
            word = kept.rfind(" ")
            kept = kept[:word] if word > self.characters - _LONGEST_WORD else kept
        if self.lines is not None and kept.count("\n") >= self.lines:
            kept = "\n".join(kept.split("\n", self.lines)[: self.lines])
        left_out = len(value) - len(kept)
        return f"{kept} ... {left_out} characters left out" if left_out else value


@dataclass(frozen=True)
class AtMost(Limit):
    """Tuples and dicts of at most so many items."""

    items: int

    def applied(self, value: Any) -> Any:
        if len(value) > self.items:
            raise Unfit(f"has {len(value)} items; at most {self.items} are taken")
        return value


class Nested(Limit):
    """The dotted name of a module or of a parameter: not more than MAX_DEPTH levels."""

    def applied(self, value: str) -> str:
        if value.count(".") > MAX_DEPTH:
            raise Unfit(f"is {value!r:.80}, which is more than {MAX_DEPTH} levels deep")
        return value


def _length_of_name(name: str) -> int:
    """As the system counts it. Raises UnicodeEncodeError for what cannot be a name."""
    encoded = os.fsencode(name)
    return len(name.encode("utf-16-le", "surrogatepass")) // 2 if _COUNTS_UTF_16 else len(encoded)


class Nameable(Limit):
    """A path that a file can have: what is asked of others, as whether it exists, raises all sorts of errors."""

    def applied(self, value: str) -> str:
        try:
            is_long = max(map(_length_of_name, PurePath(value).parts), default=0) > _LONGEST_NAME
            is_odd = "\0" in value
        except UnicodeEncodeError:
            is_long, is_odd = False, True
        if is_long or is_odd:
            reason = "a name in it is too long" if is_long else "it holds characters that no name can have"
            raise Unfit(f"cannot be the path of a file, since {reason}: {value[:80]!r:.80}")
        return value


class Sides(Limit):
    """The shape of a tensor; -1 is a ragged side of a nested one."""

    def applied(self, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(value) > MAX_DIMENSIONS or any(side < -1 for side in value) or abs(math.prod(value)) >= _MAX_SIDE:
            raise Unfit(f"cannot be the shape {value!r:.80}")
        return value


Count = Annotated[int, Between(0)]
"""How many, or which one: a step, an index, bytes."""
CountFromOne = Annotated[int, Between(1)]
StepDone = Annotated[int, Between(-1)]
"""The newest step that was done; -1 before the first."""
Seed = Annotated[int, Between(-(2**63), 2**64 - 1)]
"""As `torch.manual_seed` takes it."""
Shape = Annotated[tuple[int, ...], Sides()]
Index = Annotated[tuple[int, ...], AtMost(MAX_DIMENSIONS + 1)]
"""Of an element, or of a slice, of a tensor (of a complex one, with one number more)."""
Name = Annotated[str, CutAt(2000)]
NestedName = Annotated[str, CutAt(10_000), Nested()]
Sentence = Annotated[str, CutAt(4000, lines=40)]
"""What a label shows; torch lists each key of a model that does not fit in one message."""
Path = Annotated[str, CutAt(10_000)]
FilePath = Annotated[str, Nameable()]
"""Of a file that a request names."""
Prose = Annotated[str, CutAt(20_000, lines=400)]
"""What the log shows."""
Names = Annotated[tuple[Name, ...], AtMost(MAX_MODULES)]
MetricNames = Annotated[tuple[Name, ...], AtMost(MAX_METRICS)]
Sentences = Annotated[tuple[Sentence, ...], AtMost(1000)]
Traceback = Annotated[str, CutAt(MAX_TEXT, lines=4000)]
