"""The step that is looked at: what was recorded of it is told, and nothing of another one in its place."""

from dataclasses import replace

import numpy as np
import pytest

from gradscope.protocol import messages
from gradscope.protocol.messages import Report
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COUNT, L2, NAN, SubjectKey, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.records.kept_reports import KeptReports
from gradscope.state.shown_step import Recorded
from gradscope.state.topics import Topic
from tests.ui.fakes import small_training

STEPS = 12


def trained(steps: int = STEPS) -> tuple[AppState, list[Report]]:
    """A session after so many steps, and all its reports."""
    state, training, reports = AppState(), small_training(), []
    told = [*training.opened(), *training.steps(steps)]
    for message in told:
        state.apply(message)
        if isinstance(message, Report):
            reports.append(message)
    state.take_changes()
    return state, reports


def summaries(state: AppState, report: Report) -> dict[SubjectKey, np.ndarray]:
    return {state.history.rows[number].key: report.summaries[i] for i, number in enumerate(report.subjects.tolist())}


def without_kept(state: AppState) -> None:
    """As after a run that was too long for its reports to be kept."""
    state.history.kept = KeptReports()


def test_every_subject_of_every_kept_step_is_as_its_report_told() -> None:
    state, reports = trained()
    for report in reports:
        state.shown.show(report.step)
        for key, summary in summaries(state, report).items():
            latest = state.shown.latest(key)
            assert latest is not None
            assert latest.step == report.step
            np.testing.assert_array_equal(latest.summary, summary)
    assert state.shown.step is None, "the newest step is now"


def test_what_the_history_has_of_a_step_is_rounded_to_float32_and_no_further() -> None:
    state, reports = trained()
    without_kept(state)
    for report in reports:
        if report.step == STEPS - 1:
            continue
        state.shown.show(report.step)
        for key, summary in summaries(state, report).items():
            latest = state.shown.latest(key)
            assert isinstance(latest, Recorded)
            assert (latest.step, latest.first_step) == (report.step, report.step)
            np.testing.assert_array_equal(latest.summary.astype(np.float32), summary.astype(np.float32))
            assert latest.summary[COUNT] == np.prod(latest.row.shape)
            assert str(latest.summary[L2]) == str(np.float32(summary[L2]))


def test_now_is_the_newest_of_everything() -> None:
    state, _ = trained()
    key = state.history.subjects(SubjectKind.PARAMETER)[0]
    assert state.shown.step is None
    assert state.shown.latest(key) is state.history.latest(key)
    assert state.shown.reports is state.reports
    assert state.shown.column(SubjectKind.PARAMETER) == len(state.history.blocks[SubjectKind.PARAMETER].steps) - 1


def test_a_step_stays_shown_while_training_goes_on_and_until_other_weights_come() -> None:
    state, training = AppState(), small_training()
    for message in (*training.opened(), *training.steps(5)):
        state.apply(message)
    state.shown.show(2)
    for message in training.steps(3):
        state.apply(message)
    assert state.shown.step == 2
    state.take_changes()
    for message in small_training().opened():
        state.apply(message)
    assert state.shown.step is None
    assert Topic.SHOWN in state.take_changes()


def test_views_are_told_only_where_another_step_is_shown() -> None:
    state, _ = trained()
    state.shown.show(4)
    assert state.take_changes() == {Topic.SHOWN}
    state.shown.show(4)
    assert state.take_changes() == set()
    state.shown.show(None)
    assert state.take_changes() == {Topic.SHOWN}


@pytest.mark.parametrize(("wanted", "shown"), [(-7, 0), (3, 3), (STEPS - 1, None), (10**6, None)])
def test_the_nearest_recorded_step_is_shown(wanted: int, shown: int | None) -> None:
    state, _ = trained()
    state.shown.show(wanted)
    assert state.shown.step == shown


def test_neighbours_go_through_all_recorded_steps_and_end_at_now() -> None:
    state, _ = trained(4)
    seen = []
    while (step := state.shown.neighbour(-1)) is not None:
        state.shown.show(step)
        seen.append(state.shown.step)
    assert seen == [2, 1, 0]
    assert state.shown.neighbour(-1) is None
    while (step := state.shown.neighbour(1)) is not None:
        state.shown.show(step)
        seen.append(state.shown.step)
    assert seen == [2, 1, 0, 1, 2, None]


def test_without_anything_recorded_there_is_nothing_to_show() -> None:
    state = AppState()
    state.shown.show(3)
    assert state.shown.step is None
    assert state.shown.newest == -1
    assert state.shown.neighbour(-1) is None
    assert state.shown.neighbour(1) is None


def test_of_steps_that_are_kept_together_only_the_newest_is_shown_and_it_says_so() -> None:
    state, training = AppState(), small_training()
    for message in training.opened():
        state.apply(message)
    for block in state.history.blocks.values():
        block._max_steps = 8
    for message in training.steps(30):
        state.apply(message)
    without_kept(state)
    key = state.history.subjects(SubjectKind.PARAMETER)[0]
    block = state.history.blocks[SubjectKind.PARAMETER]
    assert block.is_merged
    state.shown.show(int(block.steps[2]) - 1)
    assert state.shown.step in block.steps.tolist()
    latest = state.shown.latest(key)
    assert isinstance(latest, Recorded)
    assert latest.first_step < latest.step == state.shown.step
    assert state.shown.together(SubjectKind.PARAMETER) == (latest.first_step, latest.step)
    assert state.shown.span() == (latest.first_step, latest.step)


def test_a_subject_that_was_not_seen_in_a_step_has_no_number_there() -> None:
    state, reports = trained()
    first = reports[0]
    key = state.history.rows[int(first.subjects[0])].key
    again = replace(
        first,
        step=STEPS,
        subjects=first.subjects[1:],
        summaries=first.summaries[1:],
        histograms=first.histograms[1:],
        sampled=first.sampled[1:],
        first_nonfinite=None,
    )
    state.apply(again)
    state.apply(replace(again, step=STEPS + 1))
    state.shown.show(STEPS)
    assert state.shown.step == STEPS
    assert state.history.latest(key) is not None
    assert state.shown.latest(key) is None


def test_a_histogram_that_was_not_kept_is_none_and_no_other_takes_its_place() -> None:
    state, _ = trained()
    without_kept(state)
    histograms = state.history.histograms[SubjectKind.PARAMETER]
    histograms._columns = [column for column in histograms._columns if column.step != 5]
    key = state.history.subjects(SubjectKind.PARAMETER)[0]
    state.shown.show(5)
    latest = state.shown.latest(key)
    assert isinstance(latest, Recorded)
    assert not latest.has_histogram
    assert not latest.histogram.any()
    state.shown.show(4)
    kept = state.shown.latest(key)
    assert isinstance(kept, Recorded)
    assert kept.has_histogram
    assert kept.histogram.any()


def test_nan_of_a_step_is_found_and_that_of_later_steps_is_not() -> None:
    state, training = AppState(), small_training()
    key = next(iter(training.keys(SubjectKind.ACTIVATION)))
    training.non_finite_from[key] = 6
    for message in (*training.opened(), *training.steps(10)):
        state.apply(message)
    for forget in (False, True):
        if forget:
            without_kept(state)
        state.shown.show(5)
        assert key not in set(state.shown.non_finite())
        state.shown.show(6)
        assert key in set(state.shown.non_finite())
        latest = state.shown.latest(key)
        assert latest is not None
        assert latest.summary[NAN] > 0


def test_kept_reports_are_bounded_and_the_oldest_go_first() -> None:
    _, reports = trained()
    kept = KeptReports(max_steps=3)
    for report in reports:
        kept.add(report)
    assert list(kept) == [STEPS - 3, STEPS - 2, STEPS - 1]
    by_bytes = KeptReports(max_bytes=1)
    for report in reports:
        by_bytes.add(report)
    assert list(by_bytes) == [STEPS - 1]
    assert by_bytes.nbytes == sum(map(_bytes, by_bytes.of(STEPS - 1).values()))
    kept.cut(STEPS - 2)
    assert list(kept) == [STEPS - 3]
    assert kept.of(STEPS - 1) == {}


def test_a_step_that_was_undone_is_not_kept() -> None:
    state, training = AppState(), small_training()
    for message in (*training.opened(), *training.steps(2), *training.forward(), *training.backward()):
        state.apply(message)
    broken = next(message for message in training.optimizer_step() if isinstance(message, Report))
    state.apply(replace(broken, complete=False))
    state.apply(messages.Moved(position=replace(state.position, step=2)))
    assert Phase.STEP not in state.history.kept.of(2)
    assert Phase.BACKWARD in state.history.kept.of(2)


def _bytes(report: Report) -> int:
    arrays = (report.subjects, report.summaries, report.sampled, report.places, report.times, report.histograms)
    return sum(array.nbytes for array in arrays)
