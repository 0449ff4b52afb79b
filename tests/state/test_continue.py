"""A checkpoint was loaded: the history stands before its step, and goes on from there."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.protocol.messages.checkpoints import CheckpointLoaded
from gradscope.protocol.messages.edits import EditMade
from gradscope.protocol.phases import Position, Rest, Verb
from gradscope.protocol.subjects import COLUMNS, L2, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.history import History
from gradscope.state.records.block import Block
from gradscope.state.records.curve import Curve
from gradscope.state.topics import Topic
from tests.ui.fakes import FakeTraining, small_training


def a_state(training: FakeTraining, steps: int) -> AppState:
    state = AppState()
    state.set_engine(EngineState(status=EngineStatus.READY))
    for message in (*training.opened(), *training.steps(steps)):
        state.apply(message)
    return state


def loaded(step: int, *, has_best: bool = False) -> CheckpointLoaded:
    position = Position(rest=Rest.READY, step=step)
    return CheckpointLoaded(path="/c.pt", loaded=("weights",), position=position, is_continued=True, has_best=has_best)


def everything_by_step(history: History) -> dict[str, list[int]]:
    found = {name: list(getattr(history, name).steps) for name in ("loss", "lr", "scale", "skipped")}
    for kind in SubjectKind:
        found[f"block {kind}"] = list(history.blocks[kind].steps)
        found[f"histograms {kind}"] = [column.step for column in history.histograms[kind]]
    return found


def test_back_to_an_earlier_step() -> None:
    training = small_training(scale=8.0, skipped=frozenset({2, 7}))
    state = a_state(training, 10)
    values = state.history.blocks[SubjectKind.GRAD].column(L2)[:, :4].copy()
    state.apply(loaded(4))
    for name, steps in everything_by_step(state.history).items():
        assert steps in ([0, 1, 2, 3], [2], []), name
    assert list(state.history.loss.steps) == [0, 1, 2, 3] and state.history.skipped_steps == 1
    np.testing.assert_array_equal(state.history.blocks[SubjectKind.GRAD].column(L2), values)
    assert state.reports == {} and state.schedule is None and state.position.step == 4
    key = state.history.subjects(SubjectKind.PARAMETER)[0]
    assert state.history.latest(key) is None

    training.step = 4
    for message in training.steps(2):
        state.apply(message)
    assert list(state.history.loss.steps) == [0, 1, 2, 3, 4, 5]
    assert list(state.history.blocks[SubjectKind.GRAD].steps) == [0, 1, 2, 3, 4, 5]
    assert np.isfinite(state.history.blocks[SubjectKind.GRAD].column(L2)).all()
    latest = state.history.latest(key)
    assert latest is not None and latest.step == 5


def test_into_a_new_session() -> None:
    training = small_training()
    state = a_state(training, 0)
    state.take_changes()
    state.apply(loaded(40))
    assert {Topic.HISTORY, Topic.POSITION, Topic.SESSION} <= state.take_changes()
    initial = next(message for message in training.opened() if type(message).__name__ == "InitialParameters")
    state.apply(initial)
    latest = state.history.latest(state.history.rows[0].key)
    assert latest is not None and (latest.step, latest.phase) == (40, None)
    training.step = 40
    for message in training.steps(2):
        state.apply(message)
    assert list(state.history.loss.steps) == [40, 41]


def test_thinned_lines_are_cut_and_go_on() -> None:
    curve, block = Curve(max_points=16), Block(max_steps=16)
    keys = [next(iter(small_training().keys(SubjectKind.GRAD)))]
    for step in range(100):
        curve.add(step, (float(step),))
        block.add(step, keys, np.full((1, len(COLUMNS)), float(step)))
    for line in (curve, block):
        line.cut(50)
        assert len(line.steps) and max(line.steps) < 50
    for step in range(50, 80):
        curve.add(step, (float(step),))
        block.add(step, keys, np.full((1, len(COLUMNS)), float(step)))
    assert curve.steps[-1] in range(70, 80) and block.steps[-1] == 79
    np.testing.assert_array_equal(curve.values[:, 0], curve.steps)
    np.testing.assert_array_equal(block.series(keys[0], L2), block.steps)
    assert (np.diff(curve.steps) > 0).all() and (np.diff(block.steps) > 0).all()
    curve.cut(0)
    assert len(curve) == 0


def test_edits_stay_for_good_or_have_not_been_made() -> None:
    state = a_state(small_training(), 10)
    for number, (step, undone_at) in enumerate([(1, None), (2, 9), (3, 3), (8, None)]):
        state.apply(EditMade(number=number, step=step, text=f"edit {number}", undone_at=undone_at))
    assert state.edits.undoable is not None
    state.apply(loaded(5))
    assert [mark.texts for mark in state.edits.marks()] == [("edit 0",), ("edit 1",)]
    assert state.edits.undoable is None
    state.apply(EditMade(number=3, step=5, text="new"))
    assert state.edits.undoable is not None and state.edits.undoable.text == "new"


def test_validations_and_the_best() -> None:
    training = small_training(settings={"has_validation": True, "metrics": ("accuracy",)})
    state = a_state(training, 3)
    assert state.best_refusal() is not None and "no best weights" in state.best_refusal()  # type: ignore[operator]
    state.apply(training.validated(is_best=True))
    assert state.best_refusal() is None
    state.apply(loaded(1))
    assert state.validation is None and state.best is None and not state.has_best_weights
    assert len(state.history.validations["accuracy"]) == 0
    state.apply(loaded(1, has_best=True))
    assert state.best_refusal() is None


def test_only_between_two_steps() -> None:
    state = AppState()
    assert state.checkpoint_refusal() == "The engine is not running: restart it from the Session menu"
    training = small_training()
    state = a_state(training, 1)
    assert state.checkpoint_refusal() is None
    for message in training.forward():
        state.apply(message)
    assert state.checkpoint_refusal() == "Only between two steps: press Next batch to complete this one"
    state.set_running()
    assert state.checkpoint_refusal() == state.refusal(Verb.NEXT_BATCH)


@pytest.mark.parametrize(("optimizer", "is_allowed"), [("d", True), ("g", False)])
def test_only_before_the_first_turn(optimizer: str, is_allowed: bool) -> None:
    state = a_state(small_training(settings={"optimizers": ("d", "g")}), 0)
    state.position = Position(rest=Rest.READY, optimizer=optimizer)
    assert (state.checkpoint_refusal() is None) is is_allowed
