"""The step that comes, tried in several ways from the same state, and what each does to the loss of the same batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.what_if.bench import Progressing, StepBench, open_bench
from gradscope.engine.what_if.one_step import OneStep, take
from gradscope.engine.what_if.place import samples_in
from gradscope.engine.what_if.vectors import Vector, dot, length
from gradscope.protocol.failure import BadInput
from gradscope.protocol.what_if.tried import (
    MAX_ALTERNATIVES,
    MAX_OTHER_BATCHES,
    USUAL,
    Alternative,
    Measured,
    Standing,
    Trials,
    Tried,
)

Given = Alternative | Mapping[str, Any]
"""An alternative, or its fields."""


def try_steps(
    stepper: Stepper,
    alternatives: Sequence[Given] | None = None,
    *,
    other_batches: int = 0,
    progress: Progressing | None = None,
) -> Trials:
    """See `Session.what_if`."""
    wanted = USUAL if alternatives is None else tuple(map(checked_alternative, alternatives))
    _check(wanted, other_batches)
    more: list[Any] = []
    others: list[Any] = []

    def read(bench: StepBench) -> None:
        largest = max((alternative.batch_size for alternative in wanted), default=0)
        bench.what = "the data"
        found = bench.other_batches(MAX_OTHER_BATCHES if largest > samples_in(bench.place.batch) else other_batches)
        more.extend(found)
        others.extend(found[:other_batches])

    with open_bench(stepper, progress, before=read) as bench:
        bench.planned = 2 + len(wanted) * (2 + len(others)) + len(others)
        bench.what = Alternative().words
        loss, others_before, gradient = bench.loss(), _mean_loss(bench, others), bench.gradient()
        step = OneStep(bench, more)
        tried = []
        for alternative in wanted:
            bench.what = alternative.words
            tried.append(_tried(bench, step, alternative, gradient, others))
    return Trials(
        of=measured(bench),
        loss=loss,
        tried=tuple(tried),
        other_batches=len(others),
        others=others_before,
    )


def measured(bench: StepBench) -> Measured:
    """What the losses of a bench were measured on, with what is to be known of them."""
    notes = list(bench.notes)
    place = bench.place
    if place.window > 1:
        notes.append(
            f"The step adds up {place.window} micro-batches; losses and the predicted change are of the newest one alone"
        )
    elif place.standing is not Standing.BACKWARD_DONE and bench.training.accumulate > 1:
        notes.append(
            f"Tried with one batch, where a step of this training adds up {bench.training.accumulate}: for its own step, try "
            "it after the last backward"
        )
    if len(bench.training.turns) > 1:
        notes.append(f"The step and the loss of {place.turn.name!r}")
    return place.measured(notes)


def _tried(bench: StepBench, step: OneStep, alternative: Alternative, gradient: Vector, others: Sequence[Any]) -> Tried:
    try:
        taken = take(step, alternative)
    except BadInput as error:
        return Tried(alternative=alternative, refusal=str(error))
    update = bench.parameters.update(taken.after)
    return Tried(
        alternative=alternative,
        samples=taken.samples,
        loss=bench.loss(at=lambda: bench.parameters.put(taken.after)),
        update_norm=length(update),
        predicted=dot(gradient, update),
        others=_mean_loss(bench, others, lambda: bench.parameters.put(taken.after)),
        is_skipped=taken.is_skipped,
    )


def _mean_loss(bench: StepBench, batches: Sequence[Any], at: Any = lambda: None) -> float | None:
    losses = [bench.loss(batch=batch, at=at) for batch in batches]
    return sum(losses) / len(losses) if losses else None


def _check(wanted: Sequence[Alternative], other_batches: int) -> None:
    if not 1 <= len(wanted) <= MAX_ALTERNATIVES:
        raise BadInput(f"{len(wanted)} alternatives were given; expected 1 to {MAX_ALTERNATIVES}")
    if not isinstance(other_batches, int) or not 0 <= other_batches <= MAX_OTHER_BATCHES:
        raise BadInput(f"other_batches is {other_batches!r:.40}; expected 0 to {MAX_OTHER_BATCHES}")


def checked_alternative(given: Given) -> Alternative:
    """Raises BadInput for what is none."""
    if isinstance(given, Mapping):
        try:
            return checked_alternative(Alternative(**given))
        except TypeError:
            known = ", ".join(field.name for field in fields(Alternative))
            raise BadInput(f"An alternative is {dict(given)!r:.80}; expected some of {known}") from None
    if not isinstance(given, Alternative):
        raise BadInput(f"An alternative is {given!r:.60}; expected a dict, as {{'rate': 0.1, 'clip': False}}")
    if type(given.rate) not in (int, float) or not math.isfinite(given.rate):
        raise BadInput(f"The factor of the rate is {given.rate!r:.40}; expected a finite number")
    if type(given.batch_size) is not int or given.batch_size < 0:
        raise BadInput(f"The batch size is {given.batch_size!r:.40}; expected a number of samples")
    if not isinstance(given.optimizer, str):
        raise BadInput(f"The optimizer is {given.optimizer!r:.60}; expected the name of a class of torch.optim")
    return replace(given, rate=float(given.rate), clip=bool(given.clip), weight_decay=bool(given.weight_decay))
