"""Before a training: what one batch tells beyond the checks: the first loss, and whether it can be learnt by heart."""

from __future__ import annotations

import math

from gradscope.engine.findings.bench import Change
from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.statistics import mean
from gradscope.engine.session import Session
from gradscope.protocol.failure import GradscopeError
from gradscope.protocol.numbers import number

_MOST_STEPS, _LEAST_STEPS = 100, 10
_MOST_SECS = 10.0
"""It is to be known in seconds."""
_RATE = 3e-3
"""Of Adam, which gets most small nets through a single batch whatever their own optimizer is."""
_BY_HEART = 0.5
"""The loss of a batch that is being learnt by heart falls below half; of a hundred steps most nets need ten."""


def first_lines(session: Session) -> list[str]:
    """After one step. They are facts and hints, and no findings: some tasks cannot be learnt by heart (random targets of a
    step of its own, a loss with a floor)."""
    return [*_first_loss(session), _one_batch(session)]


def _first_loss(session: Session) -> list[str]:
    verdicts = session.verdicts
    if verdicts is None or not verdicts.watch.record.steps:
        return []
    verdicts.watch.settle_baseline()
    record = verdicts.watch.record
    first, baseline = record.steps[0], record.baseline
    line = f"     The first loss is {number(first.loss)}"
    if first.measure is None or baseline is None or baseline.kind != first.measure.kind:
        return [line]
    # The yardstick: the own loss may be a sum, or weighted.
    own = (
        "" if math.isclose(first.measure.value, first.loss, rel_tol=1e-3) else f" ({number(first.measure.value)} by it)"
    )
    return [f"{line}{own}; always saying the same would get {number(baseline.value)} on it"]


def _one_batch(session: Session) -> str:
    title = "One batch can be learnt by heart"
    if len(session.training.turns) > 1:
        return f"--   not judged: {title} (several optimizers take turns)"
    seconds = session.history[-1].seconds
    steps = max(_LEAST_STEPS, min(_MOST_STEPS, int(_MOST_SECS / max(seconds, 1e-6))))
    try:
        run = session.bench().train(steps, Change(adam=_RATE, batches=1))
    except (CannotJudge, GradscopeError) as error:
        return f"--   not judged: {title} ({error})"
    first, last = run.own[0], mean(run.own[-5:])
    went = f"loss {number(first)} -> {number(last)} in {steps} steps of Adam {_RATE:g}"
    if first > 0 and last < _BY_HEART * first:
        return f"ok   {title}: {went}"
    return f"note One batch is not learnt by heart: {went}; a model that cannot do that will hardly learn more"
