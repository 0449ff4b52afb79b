"""Gradients that are still there when the next step begins."""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.telling import SOME_STEPS, seen
from gradscope.protocol.phases import Phase

_NEARLY_ALWAYS = 0.9


def _judge(record: Record) -> Iterator[Draft]:
    if record.accumulate > 1:
        raise CannotJudge("gradients are to be accumulated")
    if len(record.optimizers) > 1:
        raise CannotJudge("there are several optimizers, which may share gradients on purpose")
    later = [step for step in record.steps if step.step > 0]
    if len(later) < SOME_STEPS:
        raise CannotJudge(f"it takes {SOME_STEPS + 1} steps")
    left = [step for step in later if step.left_over > 0]
    if len(left) <= _NEARLY_ALWAYS * len(later):
        return
    middle = sorted(step.left_over for step in left)[len(left) // 2]
    yield Draft(
        id="grad-not-zeroed",
        phase=Phase.FORWARD,
        first_step=left[0].step,
        evidence=(
            seen(
                "steps that begin with gradients", len(left), None, "steps", text=f"{len(left)} of {len(later)} steps"
            ),
            seen("their norm", middle, 0),
        ),
        instead="No accumulation was asked for.",
    )


RULES.append(Rule(ids=("grad-not-zeroed",), judge=_judge))
