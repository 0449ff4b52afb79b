"""Terms of a loss by which nothing is learnt."""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.telling import number, seen
from gradscope.protocol.phases import Phase

_SHARE = 0.25
"""Of all samples: the longest few of a set of data may well be left out on purpose."""
_CHECKS = 3


def _ctc_too_short(record: Record) -> Iterator[Draft]:
    if not record.ctc:
        raise CannotJudge("ctc_loss was not called")
    samples, short = sum(call.samples for call in record.ctc), sum(call.too_short for call in record.ctc)
    if len(record.ctc) < _CHECKS or short <= _SHARE * samples:
        return
    middle = record.ctc[len(record.ctc) // 2]
    yield Draft(
        id="ctc-too-short",
        phase=Phase.FORWARD,
        first_step=record.ctc[0].step,
        step=record.ctc[-1].step,
        evidence=(
            seen("samples with fewer frames than labels", 100 * short / samples, 100 * _SHARE, "%"),
            seen("frames", middle.frames, middle.labels, text=f"labels take {number(middle.labels)} (medians)"),
        ),
        do=f"Make the sequence of frames longer: a smaller stride or less pooling before the loss, so that "
        f"{number(middle.frames)} frames become {number(middle.labels)} and more.",
        instead="A label takes a frame, and two that are the same a blank between them: no alignment is possible.",
    )


def _without_gradient(record: Record) -> Iterator[Draft]:
    if not record.checked:
        raise CannotJudge("the functions of the loss were not looked at")
    steps = sorted({term.step for term in record.loose_terms})
    if not steps or len(steps) < min(_CHECKS, len(record.checked)):
        return
    yield Draft(
        id="term-without-gradient",
        phase=Phase.FORWARD,
        first_step=steps[0],
        step=steps[-1],
        evidence=(
            seen(
                "terms without a gradient", len(record.loose_terms), 0, text=f"added to the loss in {len(steps)} checks"
            ),
        ),
        instead="It is added to the loss as it is: neither a weight of another term, nor detached.",
    )


RULES.append(Rule(ids=("ctc-too-short",), judge=_ctc_too_short))
RULES.append(Rule(ids=("term-without-gradient",), judge=_without_gradient))
