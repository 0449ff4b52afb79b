"""The newest summaries: what a dictionary of them would hold, without an object for each subject of each report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.messages import InitialParameters, Report
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow
from gradscope.state.history import History
from gradscope.state.records.newest import _LEAST_SOURCES, Newest, Told
from gradscope.state.records.report_subjects import MAX_KINDS, KnownSubjects

ROWS = tuple(
    SubjectRow(SubjectKey(SubjectKind.PARAMETER, f"{number % 5}.weight"), (number,), "float32") for number in range(8)
)
"""Some subjects have two forms."""
CHOSEN = st.lists(st.integers(0, len(ROWS) - 1), min_size=1, max_size=6, unique_by=lambda number: ROWS[number].key)
MANY = 2000


class _Plain:
    """A dictionary: (form, step, phase, sum of the summary, how many were looked at)."""

    def __init__(self) -> None:
        self.known: dict[SubjectKey, tuple[SubjectRow, int, Phase | None, float, int]] = {}


def _told(known: KnownSubjects, numbers: list[int], step: int, phase: Phase | None) -> Told:
    count = len(numbers)
    return Told(
        subjects=known.of(np.array(numbers), ROWS),
        step=step,
        phase=phase,
        summaries=np.full((count, len(COLUMNS)), float(step)) + np.arange(count)[:, None],
        histograms=np.full((count, HISTOGRAM_BINS), step, dtype=np.int32),
        sampled=np.arange(count) + step,
    )


def _take(newest: Newest, plain: _Plain, told: Told, positions: list[int] | None) -> None:
    if positions is None:
        newest.take(told)
    else:
        newest.take_some(told, np.array(positions, dtype=np.int64))
    for position in range(len(told.sampled)) if positions is None else positions:
        row = told.subjects.row(position)
        plain.known[row.key] = (
            row,
            told.step,
            told.phase,
            float(told.summaries[position, 0]),
            int(told.sampled[position]),
        )


def _check(newest: Newest, plain: _Plain) -> None:
    found = {
        one.row.key: (one.row, one.step, one.phase, float(one.summary[0]), one.sampled) for one in newest
    }  # fmt: skip
    assert found == plain.known
    for row in ROWS:
        one = newest.get(row.key)
        assert (one is None) == (row.key not in plain.known)
        assert one is None or (one.row, one.step) == plain.known[row.key][:2]
        assert one is None or int(one.histogram[0]) == one.step


@given(st.lists(st.tuples(CHOSEN, st.sampled_from(["all", "some", "forget", "save"])), max_size=80))
def test_they_are_what_a_dictionary_would_hold(acts: list[tuple[list[int], str]]) -> None:
    known, newest, plain = KnownSubjects(), Newest(), _Plain()
    for step, (numbers, how) in enumerate(acts):
        match how:
            case "all" | "some":
                told = _told(known, numbers, step, Phase.STEP if step % 3 else None)
                _take(newest, plain, told, None if how == "all" else list(range(0, len(numbers), 2)))
            case "forget":
                newest.forget(ROWS[number].key for number in numbers)
                for number in numbers:
                    plain.known.pop(ROWS[number].key, None)
            case _:
                newest = Newest.restored(newest.saved())
        _check(newest, plain)


def test_moments_that_nobody_needs_any_more_are_let_go() -> None:
    """A batch that has another form each time has other rows each time."""
    rows = [SubjectRow(SubjectKey(SubjectKind.ACTIVATION, "a"), (number,), "float32") for number in range(500)]
    known, newest = KnownSubjects(), Newest()
    for number in range(len(rows)):
        told = _told(KnownSubjects(), [0], number, Phase.FORWARD)
        newest.take(Told(**{**vars(told), "subjects": known.of(np.array([number]), rows)}))
    assert len(newest._told) <= 2 * _LEAST_SOURCES + 1 and len(newest._numbers) <= 2 * _LEAST_SOURCES + 1
    assert len(known._known) <= MAX_KINDS
    (one,) = newest
    assert one.step == 499 and one.row == rows[499]


def _large_history() -> History:
    history = History()
    kinds = (SubjectKind.PARAMETER, SubjectKind.UPDATE)
    history.rows[:] = [SubjectRow(SubjectKey(kind, str(n)), (4,), "float32") for kind in kinds for n in range(MANY)]
    return history


def _report(step: int, *, has_histograms: bool = True) -> Report:
    """A new array of subjects each time, as they come from the engine."""
    count = 2 * MANY
    return Report(
        phase=Phase.STEP,
        step=step,
        epoch=0,
        batch=step,
        loss=1.0,
        lr=(),
        subjects=np.arange(count),
        summaries=np.ones((count, len(COLUMNS))),
        histograms=np.ones((count if has_histograms else 0, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.ones(count if has_histograms else 0, dtype=np.int64),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )


def _calls(act: Callable[[], object]) -> int:
    """Of Python's functions."""
    count = 0

    def profile(_frame: FrameType, happened: str, _argument: object) -> None:
        nonlocal count
        count += happened == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def test_a_report_of_known_subjects_is_not_taken_in_one_by_one() -> None:
    history = _large_history()
    history.add_report(_report(0))
    assert _calls(lambda: history.add_report(_report(1))) < MANY / 4
    latest = history.latest(history.rows[-1].key)
    assert latest is not None and latest.step == 1 and latest.row is history.rows[-1]


def test_nor_are_reports_that_come_together() -> None:
    history = _large_history()
    history.add_report(_report(0))
    # They share one array.
    first = _report(1, has_histograms=False)
    together = [first, Report(**{**vars(first), "step": 2}), Report(**{**vars(first), "step": 3})]
    assert _calls(lambda: history.add_reports(together)) < MANY / 4
    assert history.blocks[SubjectKind.UPDATE].steps.tolist() == [0, 1, 2, 3]


def test_parameters_that_the_step_before_has_told_of_stay_as_they_are() -> None:
    history = _large_history()
    report = _report(4)
    history.add_report(Report(**{**vars(report), **{n: getattr(report, n)[:3] for n in ("subjects", "summaries")}}))
    numbers = np.arange(6)
    initial = InitialParameters(
        subjects=numbers,
        summaries=np.zeros((6, len(COLUMNS))),
        histograms=np.zeros((6, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.zeros(6, dtype=np.int64),
    )
    history.add_initial(initial, step=5)
    told = [history.latest(history.rows[number].key) for number in numbers]
    assert [(one.step, one.phase) for one in told if one is not None] == [(4, Phase.STEP)] * 3 + [(5, None)] * 3


def test_subjects_are_parted_by_their_kinds_however_they_are_mixed() -> None:
    kinds = (SubjectKind.GRAD, SubjectKind.ACTIVATION_GRAD, SubjectKind.ACTIVATION_GRAD, SubjectKind.GRAD)
    table = [SubjectRow(SubjectKey(kind, f"layer{i}"), (4,), "float32") for i, kind in enumerate(kinds)]
    parts = KnownSubjects().of(np.array([3, 1, 2, 0]), table).parts
    assert list(parts) == [SubjectKind.GRAD, SubjectKind.ACTIVATION_GRAD]
    assert [part.positions.tolist() for part in parts.values()] == [[0, 3], [1, 2]]
    assert [[key.name for key in part.keys] for part in parts.values()] == [["layer3", "layer0"], ["layer1", "layer2"]]
