"""Findings as JSON, for files, lines and other tools. NaN and Inf do not exist in JSON: such numbers are null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from gradscope.protocol.findings import Check, Evidence, Finding, Findings
from gradscope.protocol.visible import visible_json


def content_of(findings: Findings) -> dict[str, Any]:
    """`{"findings": [...], "checks": [...], "forward", "backward", "seconds"}`, what counts first."""
    return {"findings": [finding_content(finding) for finding in findings.findings], **checked_content(findings)}


def checked_content(findings: Findings) -> dict[str, Any]:
    """`{"checks": [{"id", "verdict": "found" | "quiet" | "not judged", "reason"}], "steps", "forward", "backward",
    "seconds"}`: what was looked at, and what it took beside the training."""
    return {
        "checks": [_check(check) for check in findings.checks],
        "steps": findings.steps,
        "forward": findings.forward,
        "backward": findings.backward,
        "seconds": _number(findings.seconds),
    }


def finding_content(finding: Finding) -> dict[str, Any]:
    """`{"id", "severity": "error" | "warning" | "info", "where", "near", "phase", "step", "first_step", "source",
    "certainty", "title", "evidence": [{"name", "value", "threshold", "unit", "text"}], "why", "instead", "do", "root"}`.

    "phase" and "root" (the id of the finding that this one follows from) are null where there is none.
    """
    return {
        "id": finding.id,
        "severity": finding.severity.value,
        "where": finding.where,
        "near": list(finding.near),
        "phase": None if finding.phase is None else finding.phase.value,
        "step": finding.step,
        "first_step": finding.first_step,
        "source": finding.source.value,
        "certainty": finding.certainty.value,
        "title": finding.title,
        "evidence": [_evidence(evidence) for evidence in finding.evidence],
        "why": finding.why,
        "instead": finding.instead,
        "do": finding.do,
        "root": finding.root,
    }


def lines_of(findings: Findings) -> list[str]:
    """A line of JSON for each finding, and one for what was looked at."""
    lines = [line("finding", finding_content(finding)) for finding in findings.findings]
    return [*lines, line("checked", checked_content(findings))]


def line(phase: str, content: Mapping[str, Any]) -> str:
    """One line of JSON among those of the phases, without the line break: `{"phase": "finding" | "checked", ...}`. The phase
    of the first evidence is "during" there."""
    more = {"during" if name == "phase" else name: value for name, value in content.items()}
    text = json.dumps({"phase": phase, **more}, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return visible_json(text)


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "name": evidence.name,
        "value": _number(evidence.value),
        "threshold": _number(evidence.threshold),
        "unit": evidence.unit,
        "text": evidence.text,
    }


def _check(check: Check) -> dict[str, Any]:
    return {"id": check.id, "verdict": check.verdict.value, "reason": check.reason}


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
