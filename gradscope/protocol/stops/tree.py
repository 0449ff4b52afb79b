"""A parsed stop: places, conditions and what these are made of. The text of each parses back to the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache
from typing import TypeAlias

from gradscope.protocol.phases import SubStep
from gradscope.protocol.stops.quantities import UPDATE_RATIO, Figure, Happening, Statistic
from gradscope.protocol.subjects import SubjectKind

MODEL = "(model)"
"""How the model itself, whose name is empty, is written."""
_PLAIN = re.compile(r"(?:[\w.*?!-]|\[[^\]\s]*\])+")


@lru_cache(maxsize=1000)
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


@dataclass(frozen=True)
class Pattern:
    """The names of layers, parameters or buffers: one name, or with * and ? and [abc], where * goes beyond dots too."""

    text: str

    def fits(self, name: str) -> bool:
        if name == self.text or (not name and self.text == MODEL):
            return True
        return self.has_wildcard and _expression(self.text).match(name) is not None

    def covers(self, name: str) -> bool:
        """Whether it fits a name, or a layer that this is inside of."""
        if self.fits(name):
            return True
        if self.text == MODEL:
            return True
        return any(self.fits(name[: dot.start()]) for dot in re.finditer(r"\.", name))

    @property
    def has_wildcard(self) -> bool:
        return any(sign in self.text for sign in "*?[")

    def __str__(self) -> str:
        return self.text if self.text == MODEL or _PLAIN.fullmatch(self.text) else f'"{self.text}"'


# ---------------------------------------------------------------------------------------------- places


class Event(StrEnum):
    """What happens to a layer, by the names that moments have."""

    ENTER = "enter"
    LEAVE = "leave"
    GRADIENT = "gradient"


@dataclass(frozen=True)
class AtSubStep:
    """When it is done; `is_before`: when it is about to begin."""

    substep: SubStep
    is_before: bool = False

    def __str__(self) -> str:
        return f"before {self.substep.value}" if self.is_before else self.substep.value


@dataclass(frozen=True)
class AtLayer:
    event: Event
    pattern: Pattern
    call: int | None = None
    """None is every call."""

    def __str__(self) -> str:
        call = "" if self.call is None else f" #{self.call}"
        return f"{self.event.value} {self.pattern}{call}"


class Unit(StrEnum):
    STEP = "step"
    EPOCH = "epoch"


@dataclass(frozen=True)
class At:
    """Before the first phase of that step or epoch."""

    unit: Unit
    number: int

    def __str__(self) -> str:
        return f"at {self.unit.value} {self.number}"


@dataclass(frozen=True)
class Every:
    """Before each step or epoch whose number this divides."""

    unit: Unit
    count: int

    def __str__(self) -> str:
        return f"every {self.unit.value}" if self.count == 1 else f"every {self.count} {self.unit.value}s"


@dataclass(frozen=True)
class AtLine:
    """Where a layer is entered from a line of the user's."""

    file: str
    """A path, or its end: "train.py"."""
    line: int

    def is_at(self, file: str, line: int) -> bool:
        if line != self.line:
            return False
        own, wanted = file.replace("\\", "/"), self.file.replace("\\", "/")
        return own == wanted or own.endswith(f"/{wanted.removeprefix('./')}")

    def __str__(self) -> str:
        file = f'"{self.file}"' if any(sign.isspace() for sign in self.file) and '"' not in self.file else self.file
        return f"line {file}:{self.line}"


Place: TypeAlias = AtSubStep | AtLayer | At | Every | AtLine


# ---------------------------------------------------------------------------------------------- numbers


@dataclass(frozen=True)
class Number:
    value: float

    def __str__(self) -> str:
        return str(int(self.value)) if self.value.is_integer() and self.value < 1e15 else repr(self.value)


@dataclass(frozen=True)
class OfStep:
    figure: Figure

    def __str__(self) -> str:
        return self.figure.value


@dataclass(frozen=True)
class OfSubject:
    """A number of the summary of a subject: of the one that the condition is looked at for, or of those that are named."""

    kind: SubjectKind
    statistic: Statistic
    named: Pattern | None = None

    def __str__(self) -> str:
        return f"{self.kind.value}.{self.statistic.value}" + ("" if self.named is None else f" of {self.named}")


@dataclass(frozen=True)
class UpdateRatio:
    named: Pattern | None = None

    def __str__(self) -> str:
        return UPDATE_RATIO + ("" if self.named is None else f" of {self.named}")


Quantity: TypeAlias = OfStep | OfSubject | UpdateRatio


@dataclass(frozen=True)
class Previous:
    """What a quantity was in the step before."""

    quantity: Quantity

    def __str__(self) -> str:
        return f"previous {self.quantity}"


@dataclass(frozen=True)
class Negative:
    value: Value

    def __str__(self) -> str:
        return f"-{self.value}" if not isinstance(self.value, (Arithmetic, Negative)) else f"-({self.value})"


@dataclass(frozen=True)
class Arithmetic:
    sign: str
    """One of + - * /"""
    left: Value
    right: Value

    def __str__(self) -> str:
        strength = _STRENGTH[self.sign]
        left, right = str(self.left), str(self.right)
        if isinstance(self.left, Arithmetic) and _STRENGTH[self.left.sign] < strength:
            left = f"({left})"
        if isinstance(self.right, Arithmetic) and _STRENGTH[self.right.sign] <= strength:
            right = f"({right})"
        return f"{left} {self.sign} {right}"


_STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2}

Value: TypeAlias = Number | OfStep | OfSubject | UpdateRatio | Previous | Negative | Arithmetic


# ---------------------------------------------------------------------------------------------- conditions


@dataclass(frozen=True)
class Comparison:
    sign: str
    """One of < <= > >= == !="""
    left: Value
    right: Value

    def __str__(self) -> str:
        return f"{self.left} {self.sign} {self.right}"


@dataclass(frozen=True)
class Happens:
    happening: Happening

    def __str__(self) -> str:
        return self.happening.value


@dataclass(frozen=True)
class Found:
    """A finding has been made; "" is any."""

    id: str = ""

    def __str__(self) -> str:
        return f"finding {Pattern(self.id)}" if self.id else "finding"


@dataclass(frozen=True)
class Within:
    """For layers that fit, what is inside of them, and their parameters."""

    condition: Condition
    pattern: Pattern

    def __str__(self) -> str:
        return f"{_inner(self.condition, (Not, And, Or))} in {self.pattern}"


@dataclass(frozen=True)
class Not:
    condition: Condition

    def __str__(self) -> str:
        return f"not {_inner(self.condition, (And, Or))}"


@dataclass(frozen=True)
class And:
    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " and ".join(_inner(part, (And, Or)) for part in self.parts)


@dataclass(frozen=True)
class Or:
    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " or ".join(_inner(part, (Or,)) for part in self.parts)


Condition: TypeAlias = Comparison | Happens | Found | Within | Not | And | Or


def _inner(condition: Condition, in_brackets: tuple[type, ...]) -> str:
    return f"({condition})" if isinstance(condition, in_brackets) else str(condition)


# ---------------------------------------------------------------------------------------------- the whole


@dataclass(frozen=True)
class Stop:
    """A place, or a condition, or a place where a condition is looked at. One of them at least."""

    place: Place | None = None
    condition: Condition | None = None

    def __str__(self) -> str:
        if self.place is None or self.condition is None:
            return str(self.condition if self.place is None else self.place)
        return f"{self.place} if {self.condition}"


def leaves(condition: Condition) -> Iterator[Comparison | Happens | Found]:
    """What a condition is made of, but for and, or, not and in."""
    match condition:
        case Within(inner) | Not(inner):
            yield from leaves(inner)
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case _:
            yield condition


def quantities(value: Value) -> Iterator[tuple[Quantity, bool]]:
    """(what it is calculated from, whether of the step before)."""
    match value:
        case Previous(quantity):
            yield quantity, True
        case Negative(inner):
            yield from quantities(inner)
        case Arithmetic(_, left, right):
            yield from quantities(left)
            yield from quantities(right)
        case Number():
            return
        case _:
            yield value, False
