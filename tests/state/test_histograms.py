"""The histograms of earlier steps: exact, evenly spread, bounded, and the newest one always there."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.protocol.messages import Report
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow
from gradscope.state.history import History
from gradscope.state.records.histograms import HistogramHistory

FILLED = slice(30, 70)


def a_report(step: int, *, subjects: int = 1, scale: int = 1) -> Report:
    """The histogram of subject i has (step + i) * scale + 1 in each of the middle bins."""
    histograms = np.zeros((subjects, HISTOGRAM_BINS), dtype=np.int32)
    histograms[:, FILLED] = ((step + np.arange(subjects)) * scale + 1)[:, None]
    return Report(
        phase=Phase.FORWARD,
        step=step,
        epoch=0,
        batch=step,
        loss=1.0,
        lr=(),
        subjects=np.arange(subjects),
        summaries=np.full((subjects, len(COLUMNS)), float(step)),
        histograms=histograms,
        sampled=histograms.sum(axis=1, dtype=np.int64),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )


def played(history: HistogramHistory, steps: int, **form: int) -> HistogramHistory:
    for step in range(steps):
        report = a_report(step, **form)
        positions = list(range(len(report.subjects)))
        history.add(report, positions, positions)
    return history


@pytest.mark.parametrize("steps", [1, 7, 64, 65, 1000])
def test_evenly_over_the_run_with_the_newest_step(steps: int) -> None:
    columns = list(played(HistogramHistory(), steps))
    kept = [column.step for column in columns]
    assert kept[0] == 0 and kept[-1] == steps - 1
    assert len(kept) <= 65
    assert len(kept) >= min(steps, 32)
    gaps = np.diff(kept)
    assert (gaps[:-1] == gaps[0]).all() if len(gaps) > 1 else True
    for column in columns:
        np.testing.assert_array_equal(column.counts(0), a_report(column.step).histograms[0])
        assert column.summaries[0, 0] == column.step


def test_bytes_are_bounded() -> None:
    history = HistogramHistory(max_bytes=100_000)
    played(history, 300, subjects=50)
    assert 30_000 < history.nbytes <= 100_000
    assert 2 < len(list(history)) < 30


def test_what_one_column_takes_is_kept_whatever_its_size() -> None:
    history = HistogramHistory(max_bytes=10)
    assert [column.step for column in played(history, 9)] == [0, 8]


def test_counts_of_any_size() -> None:
    (column,) = played(HistogramHistory(), 1, subjects=2, scale=1_000_000)
    assert column.counts(1).max() == 1_000_001


def test_a_step_that_comes_again_replaces_itself() -> None:
    history = played(HistogramHistory(max_columns=4), 6)
    for step in (5, 6, 6, 7, 8, 8):
        history.add(a_report(step, scale=3), [0], [0])
    columns = {column.step: column for column in history}
    assert len(columns) == len(list(history))
    assert columns[8].counts(0)[FILLED].tolist() == [25] * 40
    assert list(columns)[-1] == 8


def test_an_empty_one() -> None:
    assert list(HistogramHistory()) == []
    (column,) = played(HistogramHistory(), 1, subjects=1, scale=0)
    assert column.counts(0).sum() == 40


def test_a_histogram_without_anything_in_it() -> None:
    report = a_report(0)
    report.histograms[:] = 0
    history = HistogramHistory()
    history.add(report, [0], [0])
    assert [column.counts(0).sum() for column in history] == [0]


def test_the_history_numbers_them_as_its_blocks() -> None:
    history = History()
    history.rows = [SubjectRow(SubjectKey(SubjectKind.ACTIVATION, name), (4,), "float32") for name in "abc"]
    for step, order in enumerate(([0, 1], [2, 1, 0])):
        report = a_report(step, subjects=3)
        positions = np.array(order)
        history.add_report(
            Report(
                **{
                    **vars(report),
                    "subjects": positions,
                    "summaries": report.summaries[positions],
                    "histograms": report.histograms[positions],
                    "sampled": report.sampled[positions],
                }
            )
        )
    keys = history.blocks[SubjectKind.ACTIVATION].keys
    for column in history.histograms[SubjectKind.ACTIVATION]:
        for i, row in enumerate(column.rows.tolist()):
            name = keys[row].name
            assert column.counts(i)[FILLED][0] == column.step + "abc".index(name) + 1
