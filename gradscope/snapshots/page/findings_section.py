"""What was found to be wrong with the training, as a list: what, where, why, by which evidence, and what to do."""

from __future__ import annotations

from gradscope.protocol.findings import Evidence, Finding, Findings, Severity, Verdict
from gradscope.snapshots.page.markup import Markup, clipped, element, joined
from gradscope.snapshots.page.numbers import counted, number

MAX_LISTED = 200
_MAX_TEXT = 1000
_SIGNS = {Severity.ERROR: ("▲", "bad"), Severity.WARNING: ("!", "warning"), Severity.INFO: ("i", "note")}
"""The sign of a severity, and the class of its line."""


def findings_section(findings: Findings | None) -> Markup:
    """Nothing where nobody has looked for any."""
    if findings is None or not (findings.findings or findings.checks):
        return Markup("")
    judged = sum(check.verdict is not Verdict.NOT_JUDGED for check in findings.checks)
    left = len(findings.checks) - judged
    looked_at = f"{counted(judged, 'check', 'checks')} in {counted(findings.steps, 'step', 'steps')}"
    if left:
        looked_at += f"; {left:,} more could not be judged"
    if not findings.findings:
        return element("div", f"Nothing was found by {looked_at}.", class_="card")
    items = [_item(finding) for finding in findings.findings[:MAX_LISTED]]
    if len(findings.findings) > MAX_LISTED:
        items.append(element("li", f"and {len(findings.findings) - MAX_LISTED:,} more"))
    return element(
        "div", element("ul", items, class_="remarks"), element("p", looked_at, class_="muted small"), class_="card"
    )


def _item(finding: Finding) -> Markup:
    sign, class_ = _SIGNS[finding.severity]
    head: list[str] = [
        element("span", sign, class_="sign"),
        element("b", f"{finding.severity.value.capitalize()}: {clipped(finding.title, _MAX_TEXT)}"),
    ]
    if finding.where:
        head += [" at ", element("code", clipped(finding.where, 200))]
    head.append(f", step {finding.first_step}")
    if finding.root:
        head.append(f" (it follows from {finding.root})")
    lines = [finding.why, f"Do: {finding.do}", f"Not something else: {finding.instead}" if finding.instead else ""]
    told = [joined(element("br"), clipped(line, _MAX_TEXT)) for line in lines if line]
    seen = [element("li", _evidence(evidence)) for evidence in finding.evidence]
    more = element("details", element("summary", "Evidence"), element("ul", seen)) if seen else Markup("")
    return element("li", head, told, more, class_=class_)


def _evidence(evidence: Evidence) -> str:
    value = "" if evidence.value is None else f": {number(evidence.value)} {evidence.unit}".rstrip()
    limit = "" if evidence.threshold is None else f" (threshold {number(evidence.threshold)})"
    text = f"; {evidence.text}" if evidence.text else ""
    return clipped(f"{evidence.name}{value}{limit}{text}", _MAX_TEXT)
