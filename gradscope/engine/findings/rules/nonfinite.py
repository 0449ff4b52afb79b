"""The first NaN or Inf: in which part of the step it was made, and where."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gradscope.engine.findings.draft import RULES, Draft, Rule
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.telling import layer_of, seen
from gradscope.protocol.nonfinite import FirstNonFinite, Stage
from gradscope.protocol.subjects import PARAMETER_KINDS

_IDS = {
    Stage.BATCH: "nonfinite-input",
    Stage.PARAMETERS: "nonfinite-step",
    Stage.BUFFERS: "nonfinite-forward",
    Stage.FORWARD: "nonfinite-forward",
    Stage.LOSS: "nonfinite-loss",
    Stage.BACKWARD: "nonfinite-backward",
    Stage.CLIPPING: "nonfinite-step",
    Stage.OPTIMIZER_STATE: "nonfinite-step",
    Stage.UPDATE: "nonfinite-step",
}
_BLOWN_UP = 20.0
"""Times its first value: a loss that has grown that much before has diverged, and NaN is only how that ends."""
_FAR_OFF = 100.0
"""Times what always saying the same would cost: the same, where the first loss is already large."""

_ELASTIC = 100.0
"""A gradient out of all proportion: a change of the weights by a ten-thousandth changes the loss by a hundredth. Where NaN
comes in the first steps of that, it is an explosion."""
_SOON = 5


def _judge(record: Record) -> Iterator[Draft]:
    first = record.first_nonfinite
    if first is None or not _hurts(record, first):
        return
    # Divergence ends the evidence: what is infinite then was large before. Data that holds NaN is told all the same.
    if first.stage is not Stage.BATCH and _had_diverged(record, first.step):
        return
    where = _where(first)
    yield Draft(
        id=_id(first),
        where=where,
        phase=first.stage.phase,
        step=first.step,
        first_step=first.step,
        subject=first.subject,
        evidence=(
            seen(f"elements that are {first.kind}", first.nan + first.inf, 0, text=first.sentence),
            seen("elements in all", first.count),
        ),
        do=_do(first, where),
        instead=""
        if first.stage is Stage.BATCH
        else "Everything before it was finite, and the loss had not grown before.",
    )


def _id(first: FirstNonFinite) -> str:
    if first.stage is Stage.PARAMETERS and first.step == 0:
        return "nonfinite-forward"  # they were made so: no optimizer has moved yet
    return _IDS[first.stage]


def _where(first: FirstNonFinite) -> str:
    if first.subject is None or first.stage in (Stage.BATCH, Stage.LOSS):
        return ""
    name = str(first.subject.name)
    return layer_of(name) if first.subject.kind in PARAMETER_KINDS else name


def _do(first: FirstNonFinite, where: str) -> str:
    operation = first.operation
    if operation is None or first.stage is Stage.BATCH:
        return ""
    code = f": {operation.code}" if operation.code else ""
    verb = "Guard the derivative of" if first.stage is Stage.BACKWARD else "Guard"
    return f"{verb} {operation.name} in {operation.source}{code}"


def _hurts(record: Record, first: FirstNonFinite) -> bool:
    """-Inf in a mask, missing values that the model fills itself, an infinite gradient that a scaler steps over: no fault."""
    later = [step for step in record.steps if step.step >= first.step]
    if not later:
        return True
    if record.has_scaler and first.stage in (Stage.BACKWARD, Stage.CLIPPING):
        return any(not math.isfinite(step.loss) for step in later)
    if any(not math.isfinite(step.loss) or (step.bad_gradients and not step.is_skipped) for step in later):
        return True
    newest = [p.norms[-1][1] for p in record.parameters.values() if p.norms]
    return any(not math.isfinite(norm) for norm in newest)


def _had_diverged(record: Record, step: int) -> bool:
    before = [s for s in record.steps if s.step <= step]
    losses = [s.loss for s in before if math.isfinite(s.loss)]
    if len(losses) > 1 and max(losses[1:]) > _BLOWN_UP * (abs(losses[0]) + 1e-6):
        return True
    if 0 < step <= _SOON and _loudest(record) > _ELASTIC:
        return True
    if record.baseline is None:
        return False
    values = [s.measure.value for s in before if s.measure is not None and math.isfinite(s.measure.value)]
    return any(value > _FAR_OFF * record.baseline.value for value in values)


def _loudest(record: Record) -> float:
    """The largest size of a gradient times that of its parameter over the loss, before the first step."""
    first = record.steps[0].loss if record.steps else 0.0
    at_start = [p.grads[0][1] * p.start_l2 for p in record.parameters.values() if p.grads and p.grads[0][0] == 0]
    return max((value / (abs(first) + 1e-12) for value in at_start if math.isfinite(value)), default=0.0)


RULES.append(Rule(ids=tuple(dict.fromkeys(_IDS.values())), judge=_judge))
