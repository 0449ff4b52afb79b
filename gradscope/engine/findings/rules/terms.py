"""Terms of a loss by which nothing is learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import CtcCall, Record
from gradscope.engine.findings.telling import number, seen
from gradscope.protocol.phases import Phase

_SHARE = 0.25
"""Of all samples: the longest few of a set of data may well be left out on purpose."""
_CHECKS = 3
_LATE = 40
"""The step of a check by which a denoiser says something of the noise."""
_NOTHING_SAID = 0.9
"""Of the noise's mean square."""


def _ctc_too_short(record: Record) -> Iterator[Draft]:
    share = _share_of_samples(record, lambda call: call.too_short)
    if share <= _SHARE:
        return
    middle = record.ctc[len(record.ctc) // 2]
    yield Draft(
        id="ctc-too-short",
        phase=Phase.FORWARD,
        first_step=record.ctc[0].step,
        step=record.ctc[-1].step,
        evidence=(
            seen("samples with fewer frames than labels", 100 * share, 100 * _SHARE, "%"),
            seen("frames", middle.frames, middle.labels, text=f"labels take {number(middle.labels)} (medians)"),
        ),
        do=f"Make the sequence of frames longer: a smaller stride or less pooling before the loss, so that "
        f"{number(middle.frames)} frames become {number(middle.labels)} and more.",
        instead="A label takes a frame, and two that are the same a blank between them: no alignment is possible.",
    )


def _share_of_samples(record: Record, count: Callable[[CtcCall], int]) -> float:
    """Of those given to ctc_loss; 0 while too few of its calls were seen. Raises CannotJudge where it was not called."""
    if not record.ctc:
        raise CannotJudge("ctc_loss was not called")
    samples = sum(call.samples for call in record.ctc)
    return sum(map(count, record.ctc)) / samples if samples and len(record.ctc) >= _CHECKS else 0.0


def _blank_is_a_label(record: Record) -> Iterator[Draft]:
    share = _share_of_samples(record, lambda call: call.with_blank)
    if share <= _SHARE:
        return
    blank = record.ctc[0].blank
    yield Draft(
        id="output-range",
        where=record.last_layer,
        phase=Phase.FORWARD,
        first_step=record.ctc[0].step,
        step=record.ctc[-1].step,
        evidence=(seen("samples whose labels hold the blank", 100 * share, 100 * _SHARE, "%", text=f"blank={blank}"),),
        why=f"CTC takes {blank} for the blank, which stands between labels and is never one: a label {blank} cannot be said.",
        do="Give the blank a number of its own: let the labels begin at 1, or pass blank=(one more class)."
        if blank == 0
        else f"Give the blank a number that no label has; it is {blank}.",
        instead="Only labels within target_lengths were looked at: it is no padding, unless the lengths count that too.",
    )


def _asked_for_noise(record: Record) -> Iterator[Draft]:
    """Noise that the model is to say, and is not given in any form."""
    if not record.checked:
        raise CannotJudge("the functions of the loss were not looked at")
    asked = record.drawn_targets
    late = [target for target in asked if target.step >= _LATE]
    # Whatever was lost sight of on its way to the model: who says part of the noise has been given it.
    if len(asked) < _CHECKS or not late or min(target.share for target in asked) < _NOTHING_SAID:
        return
    yield Draft(
        id="labels-unrelated",
        phase=Phase.FORWARD,
        first_step=asked[0].step,
        step=asked[-1].step,
        evidence=(
            seen(
                "mean square error over the mean square of the noise (newest)",
                asked[-1].share,
                _NOTHING_SAID,
                text=f"the target {asked[-1].shape} is drawn in each step, and the model is given nothing made of it",
            ),
        ),
        why="The model is asked for noise that it has not been given: the best answer is 0, and nothing is learnt.",
        do="Add the same noise to what the model is given: draw it once, and hand it to the function that adds it.",
        instead="The noise that is added to the input is another draw.",
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
RULES.append(Rule(ids=("output-range",), judge=_blank_is_a_label))
RULES.append(Rule(ids=("labels-unrelated",), judge=_asked_for_noise))
RULES.append(Rule(ids=("term-without-gradient",), judge=_without_gradient))
