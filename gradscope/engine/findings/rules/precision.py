"""Half precision: steps that the scaler leaves out, gradients that are rounded to nothing."""

from __future__ import annotations

from collections.abc import Iterator

from gradscope.engine.findings.draft import RULES, CannotJudge, Draft, Rule
from gradscope.engine.findings.record import ParameterFacts, Record
from gradscope.engine.findings.telling import layer_of, number, place_of, seen, tops
from gradscope.protocol.phases import Phase

_SKIPS = 17
"""The scale starts at 65536 and is halved with each step left out: 16 times, and it is 1. No healthy start needs more."""
_NORMAL = 2.0**-14
"""The smallest normal number of float16; below it digits are lost one by one, then all of them."""
_ZEROS = 0.5
_USUALLY = 0.8
_LEAST = 10
"""Gradients of one parameter that are looked at."""


def _scaler_skips(record: Record) -> Iterator[Draft]:
    if not record.has_scaler:
        raise CannotJudge("there is no GradScaler")
    skips = [step for step in record.steps if step.is_skipped]
    in_a_row = next((n for n, step in enumerate(reversed(record.steps)) if not step.is_skipped), len(record.steps))
    if in_a_row < _SKIPS:
        return
    bad = [set(step.bad_gradients) for step in record.steps[-in_a_row:] if step.bad_gradients]
    always = set.intersection(*bad) if bad else set()
    layers = sorted({layer_of(name) for name in always}, key=lambda name: -place_of(record, name))
    scale = record.steps[-1].scale
    # What is infinite comes down from the loss: the bad layer nearest to it is where it begins.
    yield Draft(
        id="scaler-skips",
        where=layers[0] if layers else "",
        near=tuple(layers[1:4]),
        phase=Phase.STEP,
        first_step=skips[-in_a_row].step,
        evidence=(
            seen("steps left out in a row", in_a_row, _SKIPS, "steps"),
            seen("steps left out in all", len(skips), None, "steps"),
            seen("scale now", scale),
        ),
        instead="A scale that is only too large fits after at most 16 halvings.",
    )


def _half_underflow(record: Record) -> Iterator[Draft]:
    half = [p for p in record.parameters.values() if len(p.shape) > 1 and p.half and p.requires_grad]
    if not half:
        raise CannotJudge("there are no float16 gradients")
    if record.is_plain and not record.is_unsolved:
        return
    lost = [p for p in half if _is_lost(p) and "Embedding" not in record.layers[p.layer].kind]
    if len(lost) < len(half):
        # Nothing but zeros is rounding only where it is so everywhere: a closed gate gives zeros, too.
        lost = [p for p in lost if sum(most > 0 for _, _, most in p.half) > len(p.half) / 2]
    places = tops(record, {p.layer for p in lost})
    # One small gradient may be so by its nature (a key's bias, what a norm takes out): a whole part of the model is not.
    if not lost or (len(lost) < len(half) / 2 and len(lost) < 2):
        return
    everywhere = len(lost) >= _USUALLY * len(half)
    worst = max(lost, key=lambda p: sum(zeros for _, zeros, _ in p.half) / len(p.half))
    yield Draft(
        id="half-underflow",
        where="" if everywhere else places[0],
        near=tuple(dict.fromkeys([worst.layer, *places[:3]])),
        phase=Phase.BACKWARD,
        first_step=worst.half[0][0],
        evidence=(
            seen("elements that are exactly 0", _zeros(worst), _ZEROS, text=f"in the gradient of {worst.name}"),
            seen("largest magnitude", max(most for _, _, most in worst.half), _NORMAL),
            seen("weights of which this holds", len(lost), None, text=f"{len(lost)} of {len(half)}"),
        ),
        do="" if record.has_scaler else f"Use a GradScaler, or keep {worst.name} and the like in float32.",
        instead=f"The training is not done: its yardstick is still at {number(record.end)}." if record.is_plain else "",
    )


def _zeros(p: ParameterFacts) -> float:
    return sum(zeros for _, zeros, _ in p.half) / len(p.half)


def _is_lost(p: ParameterFacts) -> bool:
    facts = p.half[2:]
    if len(facts) < _LEAST:
        return False
    small = sum(most < _NORMAL for _, _, most in facts) / len(facts)
    return small > _USUALLY and _zeros(p) > _ZEROS


RULES.append(Rule(ids=("scaler-skips",), judge=_scaler_skips))
RULES.append(Rule(ids=("half-underflow",), judge=_half_underflow))
