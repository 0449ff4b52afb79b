"""Where two remembered histories part: in the order of time, by subject, with what agrees before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from gradscope.comparing import Divergence, first_divergence
from gradscope.protocol.messages import Report
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, L2, ZERO, SubjectKey, SubjectKind, SubjectRow
from gradscope.state.history import History

LAYERS = ("first", "second")
FORWARD = tuple(SubjectKey(SubjectKind.ACTIVATION, name) for name in LAYERS)
BACKWARD = tuple(
    SubjectKey(kind, f"{name}{leaf}")
    for name in reversed(LAYERS)
    for kind, leaf in ((SubjectKind.ACTIVATION_GRAD, ""), (SubjectKind.GRAD, ".bias"), (SubjectKind.GRAD, ".weight"))
)
STEP = tuple(
    SubjectKey(kind, f"{name}.weight") for name in LAYERS for kind in (SubjectKind.PARAMETER, SubjectKind.UPDATE)
)
OF_PHASE = {Phase.FORWARD: FORWARD, Phase.BACKWARD: BACKWARD, Phase.STEP: STEP}
KEYS = (*FORWARD, *BACKWARD, *STEP)
Change = tuple[int, SubjectKey, int, float]
"""(step, subject, column, added to it)."""


def history(steps: int, *changes: Change, losses: dict[int, float] | None = None, max_steps: int = 1500) -> History:
    """A run whose numbers are all known, with some of them changed."""
    found = History(max_steps=max_steps)
    found.rows = [SubjectRow(key, (4,), "float32") for key in KEYS]
    for step in range(steps):
        for phase, keys in OF_PHASE.items():
            found.add_report(report(step, phase, keys, changes, loss=(losses or {}).get(step, 1.0 / (1 + step))))
    return found


def report(step: int, phase: Phase, keys: Sequence[SubjectKey], changes: Sequence[Change], *, loss: float) -> Report:
    summaries = np.tile(np.array([4, 0, 0, 1, -1, 1, 0.25, 0.5, 2.0]), (len(keys), 1)) * (1 + step)
    summaries[:, 0] = 4
    for own, key, column, added in changes:
        if own == step and key in keys:
            summaries[keys.index(key), column] += added
    return Report(
        step=step,
        phase=phase,
        epoch=0,
        batch=step,
        loss=loss,
        lr=(0.1,),
        subjects=np.array([KEYS.index(key) for key in keys]),
        summaries=summaries,
        histograms=np.zeros((len(keys), HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.full(len(keys), 4),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )


def found(ours: History, theirs: History, rtol: float = 0.0) -> Divergence:
    divergence = first_divergence(ours, theirs, rtol=rtol)
    assert divergence is not None
    return divergence


def test_two_that_are_the_same_part_nowhere() -> None:
    assert first_divergence(history(5), history(5)) is None
    assert first_divergence(history(5), history(9)) is None, "what only one of them has seen is no divergence"


def test_the_first_step_counts_and_then_the_stage() -> None:
    theirs = history(6, (3, STEP[0], L2, 0.5), (4, FORWARD[0], L2, 0.5), (3, BACKWARD[-1], L2, 1.0))
    divergence = found(history(6), theirs)
    assert (divergence.step, divergence.stage, divergence.subject) == (3, SubStep.BACKWARD, BACKWARD[-1])
    assert (divergence.column, divergence.ours, divergence.theirs) == ("l2", 8.0, 9.0)
    assert divergence.absolute == 1.0
    assert divergence.relative == pytest.approx(1 / 9)
    assert divergence.agrees is not None
    assert (divergence.agrees.step, divergence.agrees.stage) == (3, SubStep.LOSS)
    assert divergence.sentence == (
        "step 3, backward: the gradient of first.weight: its L2 norm is 8 and 9 (a relative difference of 0.11)"
    )


def test_a_loss_that_differs_comes_between_forward_and_backward() -> None:
    divergence = found(history(3), history(3, (1, BACKWARD[0], L2, 1.0), losses={1: 0.25}))
    assert (divergence.stage, divergence.name, divergence.subject) == (SubStep.LOSS, "loss", None)
    assert (divergence.ours, divergence.theirs) == (0.5, 0.25)


@pytest.mark.parametrize("first", range(len(BACKWARD)))
def test_in_the_backward_the_last_layer_comes_first(first: int) -> None:
    changes = [(2, key, L2, 1.0) for key in reversed(BACKWARD[first:])]
    divergence = found(history(4), history(4, *changes))
    # Kinds have sheets of their own: it is the arrival of a gradient that counts.
    assert divergence.subject == BACKWARD[first]
    assert divergence.others == len(BACKWARD) - first - 1


def test_the_first_layer_of_the_forward_is_named() -> None:
    divergence = found(history(2), history(2, (0, FORWARD[1], L2, 1.0), (0, FORWARD[0], L2, 1e-3)))
    assert divergence.subject == FORWARD[0]
    assert divergence.agrees is None


def test_tolerance_lets_small_differences_pass() -> None:
    theirs = history(5, (1, FORWARD[0], L2, 1e-3), (1, FORWARD[0], ZERO, 1.0), (3, FORWARD[0], L2, 2.0))
    assert found(history(5), theirs).step == 1
    assert found(history(5), theirs, rtol=1e-2).step == 3
    assert first_divergence(history(5), theirs, rtol=0.5) is None


def test_a_mean_is_measured_by_the_magnitude_of_its_tensor() -> None:
    mean = COLUMNS.index("mean")
    theirs = history(3, (0, FORWARD[0], mean, -0.2499999))
    assert found(history(3), theirs, rtol=1e-3).column == "mean"
    # The mean is 1e-7 now and the greatest value 1: apart by 0.25 of that.
    assert first_divergence(history(3), theirs, rtol=0.26) is None


def test_nan_is_the_same_as_nan_and_nothing_else() -> None:
    nan = (1, FORWARD[0], L2, math.nan)
    assert first_divergence(history(3, nan), history(3, nan)) is None
    divergence = found(history(3), history(3, nan), rtol=1e9)
    assert (divergence.step, divergence.absolute) == (1, math.inf)


def test_columns_of_several_steps_say_which_steps_it_may_have_been() -> None:
    ours, theirs = (
        history(16, max_steps=8),
        history(16, (8, FORWARD[0], L2, 1.0), (11, FORWARD[0], L2, 1.0), max_steps=8),
    )
    divergence = found(ours, theirs)
    assert (divergence.from_step, divergence.step) == (10, 11)
    assert divergence.when == "step 11, forward (of the steps 10 to 11)"


def test_different_merging_compares_the_steps_that_both_have() -> None:
    assert first_divergence(history(16, max_steps=8), history(16)) is None
    theirs = history(16, (12, FORWARD[0], L2, 1.0), (13, FORWARD[0], L2, 1.0))
    divergence = found(history(16, max_steps=8), theirs)
    assert (divergence.from_step, divergence.step) == (12, 13)
