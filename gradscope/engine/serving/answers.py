"""Explanations, gradient checks and checkpoints as messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.checkpoints.load import DoesNotFit
from gradscope.engine.explain.explain import Explanation
from gradscope.engine.explain.parts import Factor, StepTaken, Term, real64
from gradscope.engine.questions.check_now import check_gradient_now
from gradscope.engine.questions.gradient_check import TOLERANCE
from gradscope.engine.questions.why import explain_newest_step
from gradscope.engine.script.abilities import REFUSED
from gradscope.engine.script.session import ScriptSession
from gradscope.protocol.failure import BadInput, Failure, FailureKind
from gradscope.protocol.messages.checkpoints import (
    CheckpointLoaded,
    CheckpointMismatch,
    CheckpointSaved,
    LoadCheckpoint,
    SaveCheckpoint,
)
from gradscope.protocol.messages.reproduce import Reproduced
from gradscope.protocol.messages.why import (
    CheckGradient,
    Explain,
    Explained,
    ExplainedFactor,
    ExplainedTerm,
    GradientChecked,
    SampledElement,
)
from gradscope.protocol.scripts import Ability

if TYPE_CHECKING:
    from gradscope.engine.serving.shown import Shown
    from gradscope.engine.session import Session


def answer_checkpoint(
    session: Session, request: SaveCheckpoint | LoadCheckpoint
) -> CheckpointSaved | CheckpointLoaded | CheckpointMismatch:
    if isinstance(request, SaveCheckpoint):
        return session.save_best(request.path) if request.best else session.save_checkpoint(request.path)
    try:
        return session.load_checkpoint(request.path, strict=request.strict)
    except DoesNotFit as error:
        return error.mismatch


def answer_reproduce(session: Shown) -> Reproduced:
    if isinstance(session, ScriptSession):
        raise BadInput(REFUSED[Ability.REPRODUCE.value])
    note = (
        f"On {session.device.type} the last digits are the same only where torch uses deterministic algorithms "
        "(torch.use_deterministic_algorithms)"
    )
    return Reproduced(text=session.reproduce(), notes=() if session.device.type == "cpu" else (note,))


def answer_explain(session: Shown, request: Explain) -> Explained:
    explanation, step = explain_newest_step(session.book, request.parameter)
    name = session.history[-1].optimizer if session.history else ""
    turns = session.book.driver.turns
    turn = next((turn for turn in turns if turn.name == name), turns[0])
    told = Explained(
        parameter=request.parameter,
        step=session.history[-1].step if session.history else -1,
        optimizer=type(turn.optimizer).__name__,
        reason=explanation.reason,
    )
    return told if step is None else _with_numbers(told, explanation, step, request.index)


def answer_check_gradient(session: Session, request: CheckGradient, go_on: Callable[[], None]) -> GradientChecked:
    """`go_on` is called between evaluations and may raise."""
    started = time.perf_counter()
    check = check_gradient_now(session, request.parameter, samples=request.samples, seed=request.seed, go_on=go_on)
    return GradientChecked(
        parameter=request.parameter,
        step=session.position.step,
        samples=tuple(
            SampledElement(
                index=element.index,
                analytic=element.analytic,
                numeric=element.numeric,
                relative_error=element.relative_error,
                left=element.left,
                right=element.right,
                verdict=element.verdict.value,
                actual=element.actual,
            )
            for element in check.elements
        ),
        size=check.size,
        agrees=check.agrees,
        tolerance=TOLERANCE,
        loss=check.loss,
        actual_error=check.actual_error,
        notes=check.notes,
        seconds=time.perf_counter() - started,
    )


def _with_numbers(
    told: Explained, explanation: Explanation, step: StepTaken, index: tuple[int, ...] | None
) -> Explained:
    delta, lost = real64(step.delta), explanation.lost
    is_complex = step.before.is_complex()
    chosen = None if is_complex else _chosen(step.delta, index)
    has_gradient = step.gradient is not None and step.gradient.layout is torch.strided
    return replace(
        told,
        terms=tuple(_term(term, delta, chosen) for term in explanation.terms),
        factors=tuple(_factor(factor) for factor in explanation.factors),
        delta_l2=float(torch.linalg.vector_norm(delta)),
        residual=explanation.residual_relative,
        lost=None if lost is None else lost.lost,
        with_gradient=0 if lost is None else lost.with_gradient,
        not_finite=0 if lost is None else lost.not_finite,
        elements=step.delta.numel(),
        index=chosen,
        before=None if chosen is None else float(step.before[chosen]),
        delta=None if chosen is None else float(step.delta[chosen]),
        gradient=float(step.gradient[chosen])
        if chosen is not None and has_gradient and step.gradient is not None
        else None,
    )


def _chosen(delta: Tensor, index: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The element that was asked for, if there is one; else the one that moved farthest."""
    if delta.numel() == 0:
        return None
    if (
        index is not None
        and len(index) == delta.dim()
        and all(0 <= i < n for i, n in zip(index, delta.shape, strict=True))
    ):
        return index
    return tuple(int(i) for i in np.unravel_index(int(delta.abs().argmax()), delta.shape))


def _term(term: Term, delta: Tensor, chosen: tuple[int, ...] | None) -> ExplainedTerm:
    tensor = real64(term.tensor)
    square = float((delta * delta).sum())
    return ExplainedTerm(
        name=term.name,
        formula=term.formula,
        sentence=term.sentence,
        l2=float(torch.linalg.vector_norm(tensor)),
        share=float((tensor * delta).sum()) / square if square > 0 else None,
        value=None if chosen is None else float(tensor[chosen]),
    )


def _factor(factor: Factor) -> ExplainedFactor:
    values = factor.values.reshape(-1)
    low, middle, high = (
        (float(values.min()), float(values.median()), float(values.max())) if values.numel() else (0.0, 0.0, 0.0)
    )
    return ExplainedFactor(
        name=factor.name, formula=factor.formula, sentence=factor.sentence, low=low, middle=middle, high=high
    )


def cancelled(sentence: str, *, undone: str = "") -> Failure:
    return Failure(kind=FailureKind.CANCELLED, sentence=sentence, undone=undone)
