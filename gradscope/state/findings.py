"""What has been found in a session, as the app knows it: what is dismissed, what follows from what, what is marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gradscope.protocol.findings import Check, Finding, Findings, Progress, Severity, Verdict
from gradscope.protocol.messages import CheckUpDone, CheckUpProgress, FoundNow
from gradscope.state.log import Log
from gradscope.state.topics import Topic

Key = tuple[str, str]
"""The id of a finding, and where it is."""
_RANK = {severity: rank for rank, severity in enumerate(Severity)}
"""The gravest first."""


@dataclass(frozen=True)
class Group:
    """A finding, and what follows from it."""

    root: Finding
    consequences: tuple[Finding, ...] = ()

    @property
    def all(self) -> tuple[Finding, ...]:
        return self.root, *self.consequences


@dataclass(frozen=True)
class FindingMark:
    """Findings whose first evidence is of the same step: the plots are marked there."""

    step: int
    findings: tuple[Finding, ...]


class FindingsState:
    """Of one session. What is dismissed outlives it, with its file."""

    def __init__(self, dismissed: Mapping[Key, Severity] | None = None) -> None:
        self.known = Findings()
        self.is_watching = False
        """The monitors ride along."""
        self.dismissed: dict[Key, Severity] = dict(dismissed or {})
        """With how grave they were then; changed by the methods below only."""
        self.progress: Progress | None = None
        """Of the check-up that is under way."""
        self.is_checking = False
        """A check-up has been asked for, and has not been answered."""
        self._groups: dict[bool, list[Group]] = {}
        """By whether they are dismissed. They are asked for by every plot, at each redraw."""

    # ------------------------------------------------------------------------------------------ changes

    def hear(self, message: object, _log: Log) -> tuple[Topic, ...]:
        """See `Part`."""
        match message:
            case FoundNow(findings=found, is_watching=is_watching):
                return (Topic.FINDINGS,) if self.take(found, is_watching=is_watching) else ()
            case CheckUpProgress(progress=progress) if self.is_checking:
                self.progress = progress
                return (Topic.FINDINGS,)
            case CheckUpDone(findings=found):
                self.take(found)
                return (Topic.FINDINGS,)
        return ()

    def take(self, findings: Findings, *, is_watching: bool | None = None) -> bool:
        """What is known now; whether anything that can be seen is different."""
        before = self.known, self.is_watching
        self.known, self._groups = findings, {}
        if is_watching is not None:
            self.is_watching = is_watching
        return before != (self.known, self.is_watching)

    def dismiss(self, finding: Finding) -> None:
        """It goes out of sight, with what follows from it, until it becomes graver."""
        self.dismissed[finding.key] = finding.severity
        self._groups = {}

    def recall(self, finding: Finding) -> None:
        """Show again what was dismissed."""
        self.dismissed.pop(finding.key, None)
        self._groups = {}

    def remember(self, dismissed: Mapping[Key, Severity]) -> None:
        """These were dismissed, and no others."""
        self.dismissed, self._groups = dict(dismissed), {}

    def begin_check_up(self) -> None:
        self.is_checking, self.progress = True, None

    def end_check_up(self) -> None:
        self.is_checking, self.progress = False, None

    # ------------------------------------------------------------------------------------------ questions

    def is_dismissed(self, finding: Finding) -> bool:
        """It was dismissed, and is no graver than it was then."""
        severity = self.dismissed.get(finding.key)
        return severity is not None and _RANK[finding.severity] >= _RANK[severity]

    def groups(self, *, dismissed: bool = False) -> list[Group]:
        """The gravest first; of those as grave as each other, what was seen last. `dismissed`: those instead.

        What follows from a finding that is not there stands by itself.
        """
        if dismissed not in self._groups:
            self._groups[dismissed] = self._grouped(dismissed=dismissed)
        return self._groups[dismissed]

    def _grouped(self, *, dismissed: bool) -> list[Group]:
        roots = self._roots()
        followers: dict[Key, list[Finding]] = {}
        for finding in self.known.findings:
            root = roots.get(finding.key)
            if root is not None:
                followers.setdefault(root.key, []).append(finding)
        groups = [
            Group(finding, tuple(sorted(followers.get(finding.key, ()), key=_order)))
            for finding in self.known.findings
            if finding.key not in roots and self.is_dismissed(finding) == dismissed
        ]
        return sorted(groups, key=lambda group: _order(group.root))

    def _roots(self) -> dict[Key, Finding]:
        """The root of each finding that has one which is there, and which itself follows from nothing."""
        first: dict[str, Finding] = {}
        for finding in self.known.findings:
            if finding.root is None or finding.root == finding.id:
                first.setdefault(finding.id, finding)
        found = {}
        for finding in self.known.findings:
            root = first.get(finding.root) if finding.root is not None else None
            if root is not None and root.key != finding.key:
                found[finding.key] = root
        return found

    @property
    def shown(self) -> list[Finding]:
        """What is not dismissed, in the order of the panel."""
        return [finding for group in self.groups() for finding in group.all]

    def count(self, severity: Severity) -> int:
        """Of what is not dismissed."""
        return sum(finding.severity is severity for finding in self.shown)

    def at(self, name: str) -> list[Finding]:
        """What is found at a layer or a parameter, the gravest first; none of it is dismissed."""
        return self.places().get(name, [])

    def places(self) -> dict[str, list[Finding]]:
        """By the names of layers and parameters. What concerns the whole training has no place."""
        found: dict[str, list[Finding]] = {}
        for finding in self.shown:
            for name in dict.fromkeys((finding.where, *finding.near)):
                if name:
                    found.setdefault(name, []).append(finding)
        return {name: sorted(findings, key=_order) for name, findings in found.items()}

    def marks(self) -> list[FindingMark]:
        """Where errors and warnings were first seen, in order of steps."""
        found: dict[int, list[Finding]] = {}
        for finding in self.shown:
            if finding.severity.counts:
                found.setdefault(finding.first_step, []).append(finding)
        return [FindingMark(step, tuple(found[step])) for step in sorted(found)]

    def checks(self, verdict: Verdict) -> list[Check]:
        return [check for check in self.known.checks if check.verdict is verdict]

    @property
    def judged(self) -> int:
        """How many rules have been judged."""
        return sum(check.verdict is not Verdict.NOT_JUDGED for check in self.known.checks)


def _order(finding: Finding) -> tuple[int, int]:
    return _RANK[finding.severity], -finding.step
