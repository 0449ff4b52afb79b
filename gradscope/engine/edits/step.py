"""Edits of the training step itself: clipping, accumulation, zero grad, and the metric of a ReduceLROnPlateau."""

from __future__ import annotations

import math

from gradscope.engine.edits.change import Change, arrow, sentence, set_attributes
from gradscope.engine.edits.choices import metrics_of
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.edits import EditAccumulation, EditClipping, EditSchedulerMetric, EditZeroGrad
from gradscope.protocol.phases import Rest


def edit_clipping(stepper: Stepper, edit: EditClipping) -> Change:
    """`clip_norm` and `clip_value`; gradients that wait for their step are clipped by the new limits already."""
    training, changes = stepper.training, []
    for name, limit in (("clip_norm", edit.norm), ("clip_value", edit.value)):
        if limit is not None and not (limit > 0 and math.isfinite(limit)):
            raise BadInput(f"{name} is {limit}; expected a number above 0, or None")
        before = getattr(training, name)
        if before != limit:
            changes.append(f"{name}: {arrow(before, limit)}")
    if not changes:
        raise BadInput(f"clip_norm is {edit.norm} and clip_value is {edit.value} already")
    undo = set_attributes(training, clip_norm=edit.norm, clip_value=edit.value)
    return Change(text=sentence(changes), undo=undo)


def edit_accumulation(stepper: Stepper, edit: EditAccumulation) -> Change:
    """`accumulate`; a window under way keeps its size."""
    training, count = stepper.training, edit.micro_batches
    if count < 1:
        raise BadInput(f"accumulate is {count}; expected a whole number from 1")
    if count == training.accumulate:
        raise BadInput(f"accumulate is {count} already")
    if count > 1 and len(training.turns) > 1:
        raise BadInput(
            f"accumulate is {count} with several optimizers: each would add to the gradients of the others between its own "
            "steps; expected 1"
        )
    text = f"accumulate: {arrow(training.accumulate, count)}"
    is_under_way = stepper.position.rest is not Rest.READY
    put_back = set_attributes(training, accumulate=count)
    renew_window(stepper)

    def undo() -> None:
        put_back()
        renew_window(stepper)

    return Change(text=sentence([text, "counts from the next window on" if is_under_way else ""]), undo=undo)


def edit_zero_grad(stepper: Stepper, edit: EditZeroGrad) -> Change:
    """`zero_grad`: "auto" or "manual"."""
    training = stepper.training
    if edit.mode not in ("auto", "manual"):
        raise BadInput(f'zero_grad is {edit.mode!r:.60}; expected "auto" or "manual"')
    if edit.mode == training.zero_grad:
        raise BadInput(f"zero_grad is {edit.mode} already")
    meaning = (
        "gradients are cleared at the start of every window"
        if edit.mode == "auto"
        else "gradients add up until Zero grad is pressed"
    )
    text = f"zero_grad: {arrow(training.zero_grad, edit.mode)}"
    return Change(text=sentence([text, meaning]), undo=set_attributes(training, zero_grad=edit.mode))


def edit_scheduler_metric(stepper: Stepper, edit: EditSchedulerMetric) -> Change:
    """`scheduler_metric`: what a ReduceLROnPlateau is stepped with."""
    training = stepper.training
    check_metric(stepper, edit.metric)
    if edit.metric == training.scheduler_metric:
        raise BadInput(f"The scheduler's metric is {edit.metric} already")
    text = f"scheduler_metric: {arrow(training.scheduler_metric, edit.metric)}"
    return Change(text=text, undo=set_attributes(training, scheduler_metric=edit.metric))


def check_metric(stepper: Stepper, metric: str) -> None:
    """Raises BadInput if a ReduceLROnPlateau cannot be stepped with it."""
    known = metrics_of(stepper)
    if metric not in known:
        hint = "" if stepper.training.has_validation else " (the others need a validation in the recipe)"
        raise BadInput(f"The scheduler's metric is {metric!r:.60}; expected {' or '.join(map(repr, known))}{hint}")


def renew_window(stepper: Stepper) -> None:
    """Before its first forward, a window takes the size that is set now."""
    if stepper.position.rest is Rest.READY:
        stepper.loop.renew_window()
