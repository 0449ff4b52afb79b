"""What a rule says: a finding without the words that the catalogue has for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradscope.protocol.findings import Curve, Evidence, Severity
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey

if TYPE_CHECKING:
    from gradscope.engine.findings.bench import Bench
    from gradscope.engine.findings.record import Record


class CannotJudge(Exception):
    """There is too little, or the wrong kind, to judge by. The text is the reason, a sentence without a full stop."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """`id` is one of the catalogue; what is left out is taken from there, or from the record."""

    id: str
    where: str = ""
    evidence: tuple[Evidence, ...] = ()
    do: str = ""
    """One concrete line for this model, with its names and numbers."""
    why: str = ""
    instead: str = ""
    """Why it is not something else."""
    near: tuple[str, ...] = ()
    severity: Severity | None = None
    phase: Phase | None = None
    first_step: int = 0
    step: int | None = None
    """Default: the newest of the record."""
    subject: SubjectKey | None = None
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Judges a record. `judge` yields what it has found, nothing where all is well, or raises CannotJudge."""

    ids: tuple[str, ...]
    """Everything that it may find."""
    judge: Callable[[Record], Iterable[Draft]]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs the model, on the bench."""

    ids: tuple[str, ...]
    title: str
    """What a person reads in the list of a check-up: "Does a sample see the others of its batch?"."""
    run: Callable[[Bench, Record], Iterable[Draft]]
    passes: Callable[[Bench, Record], tuple[int, int]]
    """About how many forwards and backwards it takes, by what has been seen so far: most run the training again only where
    something is suspicious. (0, 0) where it cannot be judged, or needs none."""
    is_of_dynamics: bool = False
    """It is about rates, decay and scales: not run while an exact cause is known, nor for a custom step."""
    runs_the_loop: bool = False
    """It trains on the bench: not for a script, which owns its loop."""


RULES: list[Rule] = []
"""Filled by the modules of `rules`."""
EXPERIMENTS: list[Experiment] = []
"""Filled by the modules of `experiments`, in the order in which they are run."""
OWNS_ITS_LOOP = "Not judged: a script owns its loop"
