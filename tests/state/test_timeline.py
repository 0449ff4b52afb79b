"""Going back, as the app knows it: what is behind is kept, what is before stays true, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gradscope.comparing import first_divergence
from gradscope.protocol.codec import ProtocolError
from gradscope.protocol.messages import Branch, Cancelled, ReplayProgress, Report, TimelineState, WentTo
from gradscope.protocol.phases import Phase, Position, Rest
from gradscope.protocol.subjects import SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.going_back import timeline as module
from gradscope.state.records.parting import Parting
from gradscope.state.topics import Topic
from tests.ui.fakes import FakeTraining, small_training

STEPS = 10


def trained(steps: int = STEPS) -> tuple[AppState, FakeTraining]:
    state, training = AppState(), small_training()
    for message in (*training.opened(), *training.steps(steps)):
        state.apply(message)
    state.apply(told(branches=(Branch(id=0, parent=None, from_step=0, until_step=steps),)))
    state.take_changes()
    return state, training


def told(*, limit: int = 2**30, earliest: int | None = 0, branch: int = 0, **more: object) -> TimelineState:
    given: dict[str, object] = {"checkpoints": (0,), "used_bytes": 2**20, **more}
    return TimelineState(limit_bytes=limit, earliest=earliest, branch=branch, **given)  # type: ignore[arg-type]


def went(step: int, rest: Rest = Rest.READY, *, branch: int = 0, verified: bool | None = None) -> WentTo:
    return WentTo(position=Position(rest=rest, step=step), branch=branch, verified=verified)


def test_steps_before_stay_and_those_behind_are_kept_as_they_were() -> None:
    state, _ = trained()
    before = state.history
    losses, columns = before.loss.values.copy(), before.blocks[SubjectKind.GRAD].column(0).copy()
    state.apply(went(4))
    assert state.position == Position(rest=Rest.READY, step=4)
    assert state.history.loss.steps.tolist() == [0, 1, 2, 3]
    assert state.history.blocks[SubjectKind.GRAD].steps.tolist() == [0, 1, 2, 3]
    other = state.timeline.other_history()
    assert other == (0, before)
    np.testing.assert_array_equal(before.loss.values, losses)
    np.testing.assert_array_equal(before.blocks[SubjectKind.GRAD].column(0), columns)
    assert first_divergence(state.history, before) is None


@pytest.mark.parametrize(
    ("rest", "phases"),
    [
        (Rest.READY, set()),
        (Rest.FORWARD, {Phase.FORWARD}),
        (Rest.BACKWARD, {Phase.FORWARD, Phase.BACKWARD}),
    ],
)
def test_the_newest_numbers_are_those_of_the_place_that_training_stands_at(rest: Rest, phases: set[Phase]) -> None:
    state, _ = trained()
    reports = {step: dict(state.history.kept.of(step)) for step in range(STEPS)}
    state.apply(went(4, rest))
    for phase in Phase:
        assert state.reports[phase] is reports[4 if phase in phases else 3][phase]
        rows = state.history.rows
        for position, row in enumerate(state.reports[phase].subjects.tolist()):
            latest = state.history.latest(rows[row].key)
            assert latest is not None
            if latest.phase is phase:
                np.testing.assert_array_equal(latest.summary, state.reports[phase].summaries[position])
    assert (4 in state.history.loss.steps.tolist()) == bool(phases)


def test_training_goes_on_from_there_with_the_same_table_of_subjects() -> None:
    state, training = trained()
    state.apply(went(4))
    training.step = 4
    for message in training.steps(3):
        state.apply(message)
    assert state.history.loss.steps.tolist() == list(range(7))
    other = state.timeline.other_history()
    assert other is not None
    assert other[1].loss.steps.tolist() == list(range(STEPS))


def test_another_branch_brings_its_own_records_back() -> None:
    state, training = trained()
    first = state.history.loss.values.copy()
    state.apply(went(4))
    training.step = 4
    state.apply(told(branch=1))
    for message in training.steps(2):
        state.apply(message)
    second = state.history.loss.values.copy()
    state.apply(went(STEPS, branch=0))
    np.testing.assert_array_equal(state.history.loss.values, first)
    state.apply(went(6, branch=1))
    np.testing.assert_array_equal(state.history.loss.values, second)
    assert set(state.timeline.past) == {0, 1}


def test_on_the_same_branch_one_may_go_on_to_where_training_had_been() -> None:
    state, _ = trained()
    losses = state.history.loss.values.copy()
    state.apply(went(4))
    state.apply(went(STEPS))
    np.testing.assert_array_equal(state.history.loss.values, losses)


def test_what_is_kept_of_left_branches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAST", 2)
    monkeypatch.setattr(module, "MAX_PAST_BYTES", 0)
    state, training = trained(4)
    for branch in range(4):
        state.apply(told(branch=branch))
        state.apply(went(2, branch=branch))
        training.step = 2
        for message in training.steps(2):
            state.apply(message)
    assert len(state.timeline.past) == 2
    for history in state.timeline.past.values():
        assert len(history.loss) > 0, "the curves stay"
        assert not history.subjects(SubjectKind.GRAD)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (None, "not known yet"),
        (told(limit=0), "off"),
        (told(reason="Capture is off"), "Capture is off"),
        (told(earliest=None), "nothing to go back to"),
        (told(earliest=7), "The earliest step that can be gone to is 7"),
    ],
)
def test_why_one_cannot_go_back(state: TimelineState | None, reason: str) -> None:
    timeline = module.Timeline()
    timeline.told = state
    refusal = timeline.refusal(5)
    assert refusal is not None
    assert reason in refusal


def test_progress_is_of_a_replay_that_is_under_way() -> None:
    state, _ = trained()
    state.begin_going()
    state.apply(ReplayProgress(step=2, start=0, until=4))
    assert state.timeline.progress is not None
    assert Topic.TIMELINE in state.take_changes()
    state.apply(Cancelled())
    assert (state.timeline.progress, state.timeline.is_going, state.position.running) == (None, False, False)
    state.begin_going()
    state.apply(went(4, verified=True))
    assert not state.timeline.is_going


@pytest.mark.parametrize(
    ("verified", "words", "is_warning"),
    [(None, "before step 4", False), (True, "the same as then", False), (False, "not the same as then", True)],
)
def test_the_log_says_where_and_whether_it_is_the_same(verified: bool | None, words: str, *, is_warning: bool) -> None:
    state, _ = trained()
    state.apply(went(4, verified=verified))
    (line,) = [line for line in state.log.lines if "Training stands" in line.text]
    assert words in line.text
    assert line.is_warning is is_warning


def test_without_a_session_nothing_goes_anywhere() -> None:
    with pytest.raises(ProtocolError, match="no session"):
        AppState().apply(went(3))


def test_a_report_of_the_other_branch_is_not_shown_for_an_earlier_step() -> None:
    """The same step on two branches: the one that training is on is told."""
    state, training = trained()
    first = state.history.kept.of(5)[Phase.BACKWARD]
    state.apply(went(4))
    training.step = 4
    for message in training.steps(4):
        state.apply(message)
    state.shown.show(5)
    second = state.shown.reports[Phase.BACKWARD]
    assert isinstance(second, Report)
    assert second is not first


@pytest.mark.parametrize("differs", [None, 0, 31, 32, 33, 97])
def test_what_is_compared_a_little_at_a_time_is_what_is_compared_at_once(differs: int | None) -> None:
    states = []
    for which in range(2):
        state, training = AppState(), small_training()
        for message in (*training.opened(), *training.steps(100)):
            if which and isinstance(message, Report) and message.step == differs:
                message = replace(message, summaries=message.summaries * 2)
            state.apply(message)
        states.append(state)
    ours, theirs = (state.history for state in states)
    parting = Parting(ours, theirs, 0)
    turns = 0
    while not parting.is_done:
        parting.go_on(0.0)
        turns += 1
    whole = first_divergence(ours, theirs)
    if differs is None:
        assert parting.found is whole is None
        assert turns == 4
    else:
        assert parting.found is not None
        assert whole is not None
        assert (parting.found.step, parting.found.name, parting.found.column) == (
            whole.step,
            whole.name,
            whole.column,
        )
        assert whole.step == differs
        assert turns == differs // 32 + 1


@pytest.mark.parametrize("max_steps", [1500, 8])
@pytest.mark.parametrize("cut_at", [0, 1, 13, 29, 30])
def test_a_copy_up_to_a_step_is_as_if_no_more_had_come(max_steps: int, cut_at: int) -> None:
    """Also where the history keeps several steps together: then those that share a column with a later one are left out."""
    training = small_training()
    told_once = [*training.opened(), *training.steps(30)]
    whole, part = AppState(), AppState()
    for state in (whole, part):
        for message in told_once[:4]:
            state.apply(message)
        for block in state.history.blocks.values():
            block._max_steps = max_steps
    for message in told_once[4:]:
        whole.apply(message)
        if not (isinstance(message, Report) and message.step >= cut_at):
            part.apply(message)
    before = {kind: block.column(0).copy() for kind, block in whole.history.blocks.items()}
    copied = whole.history.until(cut_at)
    assert copied.loss.steps.tolist() == part.history.loss.steps.tolist()
    for kind, block in copied.blocks.items():
        other = part.history.blocks[kind]
        if max_steps == 1500:
            np.testing.assert_array_equal(block.steps, other.steps)
            for column in range(9):
                np.testing.assert_array_equal(block.column(column)[: len(other.keys)], other.column(column))
        assert (block.steps < cut_at).all()
    for message in training.steps(1):
        if isinstance(message, Report):
            copied.add_report(message)
    for kind, block in whole.history.blocks.items():
        np.testing.assert_array_equal(block.column(0), before[kind]), "the first one does not notice"
