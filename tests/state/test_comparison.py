"""Which subjects are compared, in what order, and what is said of each."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gradscope.protocol import messages as m
from gradscope.protocol.messages import Difference
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state import comparison
from gradscope.state.app_state import AppState
from gradscope.state.comparison import Comparison, Verdict
from gradscope.state.engine import Origin
from tests.ui.fakes import FakeTraining, small_training

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "net.0.weight")


def state_after(training: FakeTraining, steps: int = 2) -> AppState:
    state = AppState()
    for message in (*training.opened(), *training.steps(steps)):
        state.apply(message)
    return state


def snapshot_after(training: FakeTraining, steps: int = 2) -> AppState:
    state = state_after(training, steps)
    state.snapshot = Origin(path="/s.zip", created="")
    return state


def other_model() -> FakeTraining:
    return FakeTraining(
        layers={"net.0": (32, 16), "head": (32, 3)},
        parameters={"net.0.weight": (16, 9), "net.0.bias": (16,), "head.bias": (3,)},
    )


def test_every_subject_of_either_side_is_a_row() -> None:
    made = Comparison(state_after(small_training()), snapshot_after(other_model()))
    verdicts = {row.key: row.verdict for row in made.rows}
    assert verdicts[WEIGHT] is Verdict.OTHER_SHAPE
    assert verdicts[SubjectKey(SubjectKind.PARAMETER, "net.0.bias")] is Verdict.WAITING
    assert verdicts[SubjectKey(SubjectKind.GRAD, "net.2.bias")] is Verdict.ONLY_OURS
    assert verdicts[SubjectKey(SubjectKind.UPDATE, "head.bias")] is Verdict.ONLY_THEIRS
    assert made.verdicts().total() == len(made.rows) == len({row.key for row in made.rows})
    assert (made.ours.snapshot, made.ours.step, made.path) == (None, 1, "/s.zip"), "the newest step with numbers"
    asked = made.next_batch()
    assert set(asked) == {key for key, verdict in verdicts.items() if verdict is Verdict.WAITING}
    assert made.next_batch() == ()


def test_answers_become_verdicts() -> None:
    made = Comparison(state_after(small_training()), snapshot_after(small_training()))
    first, second, third, *rest = made.next_batch()
    made.add(
        [
            Difference(subject=first, count=9, differing=2, absolute=math.inf, relative=0.5),
            Difference(subject=second, count=9),
            Difference(subject=third, problem="gone"),
            Difference(subject=SubjectKey(SubjectKind.GRAD, "nobody")),
        ]
    )
    found = {row.key: row for row in made.rows}
    assert [found[key].verdict for key in (first, second, third, rest[0])] == [
        Verdict.DIFFERENT,
        Verdict.IDENTICAL,
        Verdict.UNKNOWN,
        Verdict.WAITING,
    ]
    assert (found[first].absolute, found[first].relative) == (math.inf, 0.5)
    assert found[second].absolute == 0 and math.isnan(found[third].absolute) and math.isnan(found[rest[0]].relative)
    assert made.to_compare == len(rest)
    made.add([Difference(subject=first)])
    assert made.row(first) is not None and made.row(first).verdict is Verdict.DIFFERENT  # type: ignore[union-attr]


def test_the_same_numbers_of_another_type() -> None:
    theirs = snapshot_after(small_training())
    number = next(i for i, row in enumerate(theirs.history.rows) if row.key == WEIGHT)
    theirs.history.rows[number] = replace(theirs.history.rows[number], dtype="bfloat16")
    report = theirs.reports[next(iter(phase for phase in theirs.reports if phase.value == "step"))]
    theirs.apply(report)
    made = Comparison(state_after(small_training()), theirs)
    made.add([Difference(subject=WEIGHT, count=128)])
    assert made.row(WEIGHT).verdict is Verdict.OTHER_DTYPE  # type: ignore[union-attr]


def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "BATCH_ELEMENTS", 600)
    monkeypatch.setattr(comparison, "BATCH_SUBJECTS", 3)
    ours = state_after(small_training())
    made = Comparison(ours, snapshot_after(small_training()))
    batches = []
    while batch := made.next_batch():
        batches.append(batch)
    assert sum(len(batch) for batch in batches) == len(made.rows)
    sizes = {row.key: np.prod(row.ours.row.shape) for row in made.rows if row.ours}
    for batch in batches:
        assert len(batch) <= 3
        assert len(batch) == 1 or sum(sizes[key] for key in batch) <= 600


def test_it_is_of_one_moment() -> None:
    training = small_training()
    state = state_after(training)
    made = Comparison(state, snapshot_after(small_training()))
    assert made.is_of(state)
    for message in training.forward():
        state.apply(message)
    assert not made.is_of(state)
    assert not made.is_of(state_after(small_training()))
    again = Comparison(state, snapshot_after(small_training()))
    state.apply(m.Moved(position=replace(state.position, running=True)))
    assert not again.is_of(state)
