"""What was found in several trainings of one recipe that differ by their seed, as one list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradscope.protocol.findings import Check, Finding, Findings, Verdict


@dataclass(frozen=True, kw_only=True)
class Several:
    findings: Findings
    """Each finding once, as it was first found; a check is quiet where no training has found it and one has judged it."""
    seen: dict[tuple[str, str], int]
    """By the key of a finding: in how many trainings it was found."""
    seeds: int

    @property
    def content(self) -> dict[str, Any]:
        """For JSON: `{"seeds"}` where there are several."""
        return {"seeds": self.seeds} if self.seeds > 1 else {}

    def seen_content(self, finding: Finding) -> dict[str, Any]:
        """For JSON: `{"seen"}` where there are several."""
        return {"seen": self.seen[finding.key]} if self.seeds > 1 else {}

    def seen_text(self, finding: Finding) -> str:
        return f" (with {self.seen[finding.key]} of {self.seeds} seeds)" if self.seeds > 1 else ""


def merged(outcomes: Sequence[Findings]) -> Several:
    found: dict[tuple[str, str], Finding] = {}
    seen: dict[tuple[str, str], int] = {}
    for outcome in outcomes:
        for finding in outcome.findings:
            found.setdefault(finding.key, finding)
            seen[finding.key] = seen.get(finding.key, 0) + 1
    # What counts first, each in its own order.
    order = sorted(found.values(), key=lambda finding: not finding.severity.counts)
    return Several(
        findings=Findings(
            findings=tuple(order),
            checks=_checks(outcomes),
            steps=sum(outcome.steps for outcome in outcomes),
            forward=sum(outcome.forward for outcome in outcomes),
            backward=sum(outcome.backward for outcome in outcomes),
            seconds=sum(outcome.seconds for outcome in outcomes),
        ),
        seen=seen,
        seeds=len(outcomes),
    )


def _checks(outcomes: Sequence[Findings]) -> tuple[Check, ...]:
    checks: dict[str, Check] = {}
    for outcome in outcomes:
        for check in outcome.checks:
            known = checks.get(check.id)
            if known is None or _RANK[check.verdict] > _RANK[known.verdict]:
                checks[check.id] = check
    return tuple(checks.values())


_RANK = {Verdict.NOT_JUDGED: 0, Verdict.QUIET: 1, Verdict.FOUND: 2}
