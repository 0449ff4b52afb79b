"""Findings as a person reads them on a terminal: a block for each, and a line about what was looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradscope.engine.headless.preflight_words import FINE
from gradscope.protocol.findings import Check, Evidence, Finding, Findings, Verdict
from gradscope.protocol.numbers import number

_MOST_NAMED = 6


def block(finding: Finding, *, pages: Path | None, seen: str = "") -> list[str]:
    """The lines of one finding. `pages`: the folder of the documentation; `seen`: in how many of the runs."""
    place = f": {finding.where}" if finding.where else ""
    lines = [f"{finding.severity.value}: {finding.title}{place}{seen}"]
    rows = [("seen", evidence_text(evidence)) for evidence in finding.evidence]
    if finding.near:
        rows.append(("also", f"at {_listed(finding.near)}"))
    rows += [("why", finding.why), ("not", finding.instead), ("do", finding.do)]
    if finding.root is not None:
        rows.append(("root", f"follows from {finding.root}"))
    page = None if pages is None else pages / f"{finding.id}.md"
    if page is not None and page.is_file():
        rows.append(("page", str(page)))
    return lines + [f"  {name:<5} {text}" for name, text in rows if text]


def told(findings: Findings) -> list[str]:
    """A sentence for each finding that counts, and one about what was looked at: for the end of a run."""
    sentences = [
        f"{finding.severity.value}: {finding.title}{f': {finding.where}' if finding.where else ''} ({finding.id}, step "
        f"{finding.first_step}). {finding.do}"
        for finding in findings.counted
    ]
    return [*sentences, f"{findings.steps} steps, {summary(findings.checks)}"]


def evidence_text(evidence: Evidence) -> str:
    """ "share of units that never fired: 90.6 %, where 50 % is the limit"."""
    if evidence.text:
        return evidence.text
    if evidence.value is None:
        return evidence.name
    unit = f" {evidence.unit}" if evidence.unit else ""
    limit = "" if evidence.threshold is None else f", where {number(evidence.threshold)}{unit} is the limit"
    return f"{evidence.name}: {number(evidence.value)}{unit}{limit}"


def summary(checks: Sequence[Check]) -> str:
    """ "27 checks: 1 found, 20 quiet, 6 not judged (future-leak, ...)"."""
    of = {verdict: [check for check in checks if check.verdict is verdict] for verdict in Verdict}
    counts = ", ".join(f"{len(of[verdict])} {verdict.value}" for verdict in Verdict)
    unjudged = [check.id for check in of[Verdict.NOT_JUDGED]]
    named = f" ({_listed(unjudged)})" if unjudged else ""
    return f"{len(checks)} {'check' if len(checks) == 1 else 'checks'}: {counts}{named}"


def list_line(check: Check, findings: Sequence[Finding]) -> str:
    """A line of the list before a training: "ok   The loss gets logits", "--   not judged: ...", "NO   ..."."""
    fine = FINE.get(check.id, check.id)
    if check.verdict is Verdict.QUIET:
        return f"ok   {fine}"
    if check.verdict is Verdict.NOT_JUDGED:
        reason = f" ({check.reason})" if check.reason else ""
        return f"--   not judged: {fine}{reason}"
    found = next((finding for finding in findings if finding.id == check.id), None)
    if found is None:
        return f"NO   {fine}"
    mark = "NO  " if found.severity.counts else "note"
    return f"{mark} {found.title}{f': {found.where}' if found.where else ''}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
