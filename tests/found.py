"""Findings for tests: one of each sort, and what was known around them."""

from __future__ import annotations

from typing import Any

from gradscope.protocol.findings import (
    Certainty,
    Check,
    Curve,
    Evidence,
    Finding,
    Findings,
    Severity,
    Source,
    Verdict,
)
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind


def finding(id: str = "dead-units", severity: Severity = Severity.WARNING, where: str = "", **more: Any) -> Finding:
    told = {"title": f"The title of {id}", "why": f"Why {id} matters", "do": f"Do this about {id}", "step": 3}
    told |= {"certainty": Certainty.WINDOW, "source": Source.MONITOR}
    return Finding(id=id, severity=severity, where=where, **(told | more))  # type: ignore[arg-type]


DEAD = finding(
    "dead-units",
    where="net.1",
    title="Most units of a layer never fire",
    why="61 of 64 units of net.1 put out 0 for every sample of 20 steps: no gradient passes them, and they never learn.",
    do="Start the bias of net.0 at 0 instead of -8, or train with lr=0.01 instead of 1.0.",
    instead="the inputs are no reason: net.0 gets values of ordinary size (standard deviation 0.98)",
    evidence=(
        Evidence(name="units that never fired", value=61.0, threshold=32.0, unit="of 64"),
        Evidence(name="steps looked at", value=20.0, unit="steps", text="2,560 samples in steps 3 to 22"),
    ),
    near=("net.3",),
    phase=Phase.FORWARD,
    step=22,
    first_step=3,
    subject=SubjectKey(SubjectKind.ACTIVATION, "net.1"),
)
RATE = finding(
    "lr-too-high",
    title="The learning rate is so high that steps overshoot",
    why="With a tenth of the rate the same 60 steps end at a loss of 0.31 instead of 2.29.",
    do="Train with lr=0.1 instead of lr=1.0.",
    instead="weight decay is no reason: without it the loss ends at 2.28",
    certainty=Certainty.EXPERIMENT,
    source=Source.EXPERIMENT,
    evidence=(Evidence(name="loss of the last 15 steps", value=0.31, threshold=1.6, text="2.29 as it is"),),
    step=40,
    curves=(
        Curve(name="as it is", values=tuple(2.3 + 0.05 * (i % 5) for i in range(60))),
        Curve(name="a tenth of the rate", values=tuple(2.3 * 0.967**i for i in range(60))),
    ),
)
LEAK = finding(
    "batch-leak", Severity.ERROR, "net.2", title="Samples of a batch see each other", source=Source.EXPERIMENT
)
NOTE = finding("never-called", Severity.INFO, "net.2", title="A layer with parameters never runs")
CHECKS = (
    Check(id="dead-units", verdict=Verdict.FOUND),
    Check(id="batch-leak", verdict=Verdict.QUIET),
    Check(id="lr-too-high", verdict=Verdict.QUIET),
    Check(id="clip-too-low", verdict=Verdict.NOT_JUDGED, reason="Nothing is clipped"),
    Check(id="future-leak", verdict=Verdict.NOT_JUDGED, reason="The inputs are no tokens"),
    Check(id="target-not-shifted", verdict=Verdict.NOT_JUDGED, reason="The inputs are no tokens"),
)


def known(*findings: Finding, steps: int = 120) -> Findings:
    return Findings(findings=findings, checks=CHECKS, steps=steps)
