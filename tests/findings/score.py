"""What was found in the programs against what is in them.

Only errors and warnings count. A faulty program is *named* where one of them has an id that its truth accepts, and *placed*
where such a one lies at the truth's place, around it, inside it, or at a neighbour; a truth without a place needs none. What
has another id is *extra*. In a healthy program, a control too, each of them is a false alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Score:
    is_faulty: bool
    named: bool
    placed: bool
    extra: tuple[str, ...]
    """ "id@where" of what is not accepted; of a healthy program: the alarms."""

    @property
    def is_right(self) -> bool:
        """Named and placed, or quiet."""
        return self.placed if self.is_faulty else not self.extra

    @property
    def words(self) -> str:
        if not self.is_faulty:
            return f"ALARM {', '.join(self.extra)}" if self.extra else "quiet"
        said = "right" if self.placed else "named, at another place" if self.named else "MISSED"
        return f"{said} + {', '.join(self.extra)}" if self.extra else said


@dataclass(frozen=True)
class Sums:
    faulty: int
    named: int
    placed: int
    extra: int
    healthy: int
    alarms: int

    @property
    def words(self) -> str:
        return (
            f"{self.faulty} faulty: {self.named} named, {self.placed} of them placed, {self.extra} extra; "
            f"{self.healthy} healthy: {self.alarms} with an alarm"
        )


def score(findings: Sequence[Mapping[str, Any]], truth: Mapping[str, Any], *, is_healthy: bool = False) -> Score:
    """`findings` as in JSON; `is_healthy`: the fault has been taken out."""
    counted = [finding for finding in findings if finding["severity"] != "info"]
    is_faulty = bool(truth["fault"]) and not is_healthy
    right = [finding for finding in counted if is_faulty and finding["id"] in truth["accept"]]
    extra = [finding for finding in counted if finding not in right]
    return Score(
        is_faulty=is_faulty,
        named=bool(right),
        placed=any(is_at(finding["where"], truth) for finding in right),
        extra=tuple(f"{finding['id']}@{finding['where']}" for finding in extra),
    )


def is_at(where: str, truth: Mapping[str, Any]) -> bool:
    if not truth["where"]:
        return True
    places = [truth["where"], *truth.get("neighbours", ())]
    return any(where == p or (where and (p.startswith(where + ".") or where.startswith(p + "."))) for p in places)


def sums_of(scores: Sequence[Score]) -> Sums:
    faulty = [score for score in scores if score.is_faulty]
    healthy = [score for score in scores if not score.is_faulty]
    return Sums(
        faulty=len(faulty),
        named=sum(score.named for score in faulty),
        placed=sum(score.placed for score in faulty),
        extra=sum(len(score.extra) for score in faulty),
        healthy=len(healthy),
        alarms=sum(bool(score.extra) for score in healthy),
    )
