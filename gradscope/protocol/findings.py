"""What is wrong with a training: each finding names a cause and a place, how it is known, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from gradscope.protocol.limits import AtMost, Count, Name, Sentence, Unfit
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey

MAX_FOUND = 2000
"""Of one sort: findings, rules, places beside the first. A rule names its worst places, and not each."""
MAX_EVIDENCE, MAX_CURVES, MAX_CURVE = 100, 16, 10_000


class Severity(StrEnum):
    ERROR = "error"
    """Training cannot work, or is broken already."""
    WARNING = "warning"
    """A cause, with its evidence."""
    INFO = "info"
    """Worth knowing; never counted, never red. A consequence of another finding is one."""

    @property
    def counts(self) -> bool:
        return self is not Severity.INFO


class Certainty(StrEnum):
    """By what a finding is known, the surest first."""

    EXACT = "exact"
    """A fact without a threshold."""
    EXPERIMENT = "experiment"
    """Training was run again from the same start with that one thing changed, and ended clearly better; or the same forward
    was run with one input changed."""
    WINDOW = "window"
    """Seen in so many steps and samples that it is no chance."""


class Source(StrEnum):
    MONITOR = "monitor"
    """Seen along the way."""
    EXPERIMENT = "experiment"
    """Found in a check-up."""
    DATA = "data"
    """Found in a pass over the data."""
    OWN = "own rule"
    """A rule of the user's."""


class Verdict(StrEnum):
    FOUND = "found"
    QUIET = "quiet"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One value against its threshold."""

    name: Name
    """What it is: "share of units that never fired"."""
    value: float | None
    """None where it is no number: `text` says it."""
    threshold: float | None = None
    """What it was compared with; None for a fact that needs none."""
    unit: Name = ""
    """ "steps", "%", "x"; "" where it has none."""
    text: Sentence = ""
    """In words, with the numbers; "" where name and value say it all."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The loss of a run, a value for each step; for two of them over each other."""

    name: Name
    """ "as it is", "a tenth of the rate"."""
    values: Annotated[tuple[float, ...], AtMost(MAX_CURVE)]
    """NaN where the run had ended."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    id: Name
    """As in the catalogue: "dead-units". A page of the documentation has the same name."""
    severity: Severity
    where: Name
    """The path of a module or the name of a parameter; "" is the whole training."""
    title: Sentence
    why: Sentence
    """What it does to the training."""
    do: Sentence
    """One concrete line for this model."""
    certainty: Certainty
    source: Source
    evidence: Annotated[tuple[Evidence, ...], AtMost(MAX_EVIDENCE)] = ()
    instead: Sentence = ""
    """Why it is not something else."""
    near: Annotated[tuple[Name, ...], AtMost(MAX_FOUND)] = ()
    """Other places that it was seen at."""
    phase: Phase | None = None
    step: Count = 0
    """Of the newest evidence."""
    first_step: Count = 0
    """Of the first evidence."""
    root: Name | None = None
    """The id of the finding that this one follows from."""
    subject: SubjectKey | None = None
    """What to look at, where it is captured."""
    curves: Annotated[tuple[Curve, ...], AtMost(MAX_CURVES)] = ()

    @property
    def key(self) -> tuple[str, str]:
        """What is the same finding when it is found again."""
        return self.id, self.where

    def check(self) -> None:
        if self.first_step > self.step:
            raise Unfit(f"was first seen at step {self.first_step}, after step {self.step}")


@dataclass(frozen=True, kw_only=True)
class Check:
    """What has become of one rule."""

    id: Name
    verdict: Verdict
    reason: Sentence = ""
    """Why it could not be judged; "" otherwise."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that is known at a moment."""

    findings: Annotated[tuple[Finding, ...], AtMost(MAX_FOUND)] = ()
    """What counts first, roots before what follows from them."""
    checks: Annotated[tuple[Check, ...], AtMost(MAX_FOUND)] = ()
    """One for each rule that has been asked, in the order of the catalogue."""
    steps: Count = 0
    """How many steps have been looked at."""
    forward: Count = 0
    """How many forwards were run for it beside the training."""
    backward: Count = 0
    seconds: float = 0.0
    """How long that took."""

    @property
    def counted(self) -> tuple[Finding, ...]:
        """Errors and warnings."""
        return tuple(finding for finding in self.findings if finding.severity.counts)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One experiment of a check-up, before it is run."""

    ids: Annotated[tuple[Name, ...], AtMost(MAX_FOUND)]
    title: Sentence
    forward: Count
    """About how many forwards it takes."""
    backward: Count
    seconds: float
    """About how long, by the time of the newest step."""
    refusal: Sentence = ""
    """Why it will not be run here; "" where it will."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Of a check-up under way."""

    title: Sentence
    """The experiment that runs."""
    done: Count
    """Forwards so far."""
    planned: Count
    """In all; a little more or less in the end."""
