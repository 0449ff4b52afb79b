"""History keeps what it is given, bounded, and never loses a non-finite step."""

from dataclasses import replace

import numpy as np
import pytest

from gradscope.protocol.messages import Clip, InitialParameters, Report, Reports, Validated
from gradscope.protocol.phases import Phase
from gradscope.protocol.stacks import stacked, unstacked
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, L2, MEAN, NAN, SubjectKey, SubjectKind, SubjectRow
from gradscope.snapshots.format import saved_history, tensor_file
from gradscope.state.history import History
from gradscope.state.records.block import Block
from gradscope.state.records.cells import TOP_L2, TOP_STD, Origin
from gradscope.state.records.curve import Curve
from gradscope.state.records.histograms import HistogramHistory


def _key(name: str, kind: SubjectKind = SubjectKind.ACTIVATION) -> SubjectKey:
    return SubjectKey(kind, name)


def _summaries(*values: float) -> np.ndarray:
    rows = np.zeros((len(values), len(COLUMNS)))
    rows[:, [MEAN, L2]] = np.array(values)[:, None]
    return rows


def test_a_block_holds_subjects_by_steps() -> None:
    block = Block()
    block.add(0, [_key("a")], _summaries(1.0))
    block.add(1, [_key("a"), _key("b")], _summaries(2.0, 3.0))
    assert block.keys == [_key("a"), _key("b")]
    assert block.steps.tolist() == [0, 1]
    np.testing.assert_array_equal(block.column(MEAN), [[1, 2], [np.nan, 3]])
    np.testing.assert_array_equal(block.series(_key("b"), MEAN), [np.nan, 3])
    assert np.isnan(block.series(_key("unknown"), MEAN)).all()


def test_a_step_that_comes_again_is_overwritten() -> None:
    block = Block()
    block.add(0, [_key("a")], _summaries(1.0))
    block.add(0, [_key("a")], _summaries(5.0))
    assert block.column(MEAN).tolist() == [[5.0]]


@pytest.mark.parametrize("max_steps", [4, 5, 64])
def test_a_full_block_halves_and_keeps_nan_steps(max_steps: int) -> None:
    block = Block(max_steps=max_steps)
    for step in range(1000):
        row = _summaries(float(step))
        row[0, NAN] = 1.0 if step == 500 else 0.0
        block.add(step, [_key("a")], row)
        assert len(block.steps) <= max_steps
        assert block.steps[-1] == step
        assert block.column(MEAN)[0, -1] == step
        if step >= 500:
            assert (block.column(NAN) > 0).sum() == 1
    gaps = np.diff(block.steps)
    assert (gaps > 0).all()
    assert gaps[:-1].max() == gaps[:-1].min(), "evenly spread over the whole run"
    assert block.steps[0] < 512


def test_a_curve_grows_and_halves() -> None:
    curve = Curve(max_points=100)
    for step in range(1000):
        curve.add(step, (float(step), -1.0) if step > 500 else (float(step),))
    assert len(curve) <= 101
    assert curve.steps[-1] == 999
    assert np.diff(curve.steps).max() <= 64
    assert curve.values[-1, 1] == -1.0
    np.testing.assert_array_equal(curve.values[:, 0], curve.steps)


def test_a_curve_never_drops_a_peak() -> None:
    curve = Curve()
    for step in range(50_000):
        curve.add(step, ({12_345: 1e4, 33_333: -50.0}.get(step, 1 + step % 7),))
    assert len(curve) <= 20_001 and curve.steps[-1] == 49_999
    assert curve.steps[curve.values[:, 0].argmax()] == 12_345
    assert curve.steps[curve.values[:, 0].argmin()] == 33_333


def test_a_curve_never_drops_a_nan() -> None:
    curve = Curve(max_points=8)
    for step in range(100):
        curve.add(step, (float("nan") if step == 37 else 1.0,))
    assert np.isnan(curve.values).sum() == 1


def _report(phase: Phase, step: int, rows: list[int], values: list[float]) -> Report:
    n = len(rows)
    return Report(
        phase=phase,
        step=step,
        epoch=0,
        batch=step,
        loss=0.5,
        lr=(0.1,),
        subjects=np.array(rows, dtype=np.int64),
        summaries=_summaries(*values),
        histograms=np.zeros((n, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.zeros(n, dtype=np.int64),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )


def test_reports_fill_loss_rates_latest_and_update_ratio() -> None:
    history = History()
    parameter, update = _key("w", SubjectKind.PARAMETER), _key("w", SubjectKind.UPDATE)
    history.rows[:] = [SubjectRow(parameter, (2,), "float32"), SubjectRow(update, (2,), "float32")]
    history.add_initial(
        InitialParameters(
            subjects=np.array([0]),
            summaries=_summaries(7.0),
            histograms=np.zeros((1, HISTOGRAM_BINS), dtype=np.int32),
            sampled=np.zeros(1, dtype=np.int64),
        )
    )
    first = history.latest(parameter)
    assert first is not None
    assert (first.phase, first.summary[L2]) == (None, 7.0)
    for step in range(3):
        history.add_report(_report(Phase.FORWARD, step, [], []))
        history.add_report(_report(Phase.STEP, step, [0, 1], [4.0, 1.0 + step]))
    assert history.loss.steps.tolist() == [0, 1, 2]
    assert history.lr.values.tolist() == [[0.1]] * 3
    newest = history.latest(update)
    assert newest is not None
    assert (newest.step, newest.summary[L2]) == (2, 3.0)
    keys, steps, ratios = history.update_ratio()
    assert keys == [update]
    assert steps.tolist() == [0, 1, 2]
    np.testing.assert_allclose(ratios, [[0.25, 0.5, 0.75]])


def test_a_zero_parameter_has_no_update_ratio() -> None:
    history = History()
    history.rows[:] = [
        SubjectRow(_key("w", kind), (2,), "float32") for kind in (SubjectKind.PARAMETER, SubjectKind.UPDATE)
    ]
    history.add_report(_report(Phase.STEP, 0, [0, 1], [0.0, 1.0]))
    assert np.isnan(history.update_ratio()[2]).all()


def test_a_ratio_is_of_two_norms_of_the_same_step() -> None:
    history = History()
    history.rows[:] = [
        SubjectRow(_key("w", kind), (2,), "float32") for kind in (SubjectKind.PARAMETER, SubjectKind.UPDATE)
    ]
    history.add_report(_report(Phase.STEP, 0, [0, 1], [4.0, 1.0]))
    history.add_report(_report(Phase.STEP, 1, [0], [5.0]))
    history.add_report(_report(Phase.STEP, 2, [1], [9.0]))
    history.add_report(_report(Phase.STEP, 3, [0, 1], [8.0, 4.0]))
    _, steps, ratios = history.update_ratio()
    assert steps.tolist() == [0, 2, 3]
    np.testing.assert_allclose(ratios, [[0.25, np.nan, 0.5]])


def _filled(steps: int, *, max_steps: int = 8) -> History:
    history = History(max_steps=max_steps)
    rows = {kind: SubjectRow(_key("a", kind), (2,), "float32") for kind in (SubjectKind.GRAD, SubjectKind.PARAMETER)}
    history.rows = list(rows.values())
    initial = _small_report(Phase.STEP, 0, [1])
    history.add_initial(
        InitialParameters(
            subjects=initial.subjects,
            summaries=initial.summaries,
            histograms=initial.histograms,
            sampled=initial.sampled,
        )
    )
    history.add_validation(
        Validated(step=-1, epoch=0, loss=1.0, metrics={"a.b": float("nan")}, batches=1, samples=1, seconds=0.0)
    )
    for step in range(steps):
        history.add_report(_small_report(Phase.BACKWARD, step, [0]))
        history.add_report(_small_report(Phase.STEP, step, [0, 1] if step % 3 else [1]))
    return history


def _small_report(phase: Phase, step: int, subjects: list[int]) -> Report:
    count = len(subjects)
    histograms = np.zeros((count, HISTOGRAM_BINS), dtype=np.int32)
    histograms[:, 40 : 50 + step % 7] = step
    return Report(
        phase=phase,
        step=step,
        epoch=0,
        batch=step,
        loss=float("nan") if step == 3 else 1 / (1 + step),
        lr=(0.1, 0.01 * step),
        optimizer=f"turn.{step % 2}",
        momentum=(0.9, float("nan")),
        clip=Clip(norm=2.0, coefficient=0.5, norm_after=None, dominant=f"w{step % 3}", dominant_share=0.7),
        scale=1024.0,
        skipped=step == 4,
        subjects=np.array(subjects),
        summaries=np.full((count, len(COLUMNS)), float(step)),
        histograms=histograms,
        sampled=np.full(count, 2),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )


@pytest.mark.parametrize("steps", [0, 1, 5, 100])
def test_a_history_is_saved_and_restored(steps: int) -> None:
    """Through the files of a snapshot; what is added to blocks and curves afterwards arrives as in the original."""
    history = _filled(steps)
    files = saved_history.encode(history.saved())
    arrays = tensor_file.decode(files[saved_history.ARRAYS_FILE])
    restored = History.restored(saved_history.decode(files[saved_history.JSON_FILE], arrays), history.rows)
    _assert_same(history, restored)
    for kind in history.blocks:
        _assert_same_histograms(history.histograms[kind], restored.histograms[kind])
    for one in (history, restored):
        for block in one.blocks.values():
            block._max_steps = 8
        for step in range(steps, steps + 50):
            one.add_report(_small_report(Phase.STEP, step, [0, 1]))
    _assert_same(history, restored)


def _assert_same_histograms(history: HistogramHistory, restored: HistogramHistory) -> None:
    for column, read in zip(history, restored, strict=True):
        assert (read.step, read.rows.tolist(), read.sampled.tolist()) == (
            column.step,
            column.rows.tolist(),
            column.sampled.tolist(),
        )
        np.testing.assert_array_equal(read.summaries, column.summaries)
        for i in range(len(column.rows)):
            np.testing.assert_array_equal(read.counts(i), column.counts(i))


def _assert_same(history: History, restored: History) -> None:
    assert restored.rows == history.rows
    for kind, block in history.blocks.items():
        other = restored.blocks[kind]
        assert other.keys == block.keys and other.steps.tolist() == block.steps.tolist()
        for column in range(len(COLUMNS)):
            np.testing.assert_array_equal(other.column(column), block.column(column))
        for plane in (TOP_STD, TOP_L2):
            np.testing.assert_array_equal(other.column(plane), block.column(plane))
        for of in Origin:
            np.testing.assert_array_equal(other.origins(of), block.origins(of))
        for key in block.keys:
            latest, found = history.latest(key), restored.latest(key)
            assert latest is not None and found is not None
            assert (found.row, found.step, found.phase, found.sampled) == (
                latest.row,
                latest.step,
                latest.phase,
                latest.sampled,
            )
            np.testing.assert_array_equal(found.summary, latest.summary)
            np.testing.assert_array_equal(found.histogram, latest.histogram)
    curves, found = history.saved_curves(), restored.saved_curves()
    assert set(found) == set(curves)
    for name, curve in curves.items():
        assert found[name].steps.tolist() == curve.steps.tolist()
        np.testing.assert_array_equal(found[name].values, curve.values)
    assert (restored.clip_parameters, restored.skipped_steps) == (history.clip_parameters, history.skipped_steps)


def test_every_loss_is_kept_where_its_line_is_thinned() -> None:
    history = History()
    for step in range(25_000):
        history.add_step(replace(_report(Phase.STEP, step, [], []), loss=float(step)), clip_norm=None)
    assert len(history.loss) <= 20_000
    assert history.every_loss.steps.tolist() == history.every_loss.values[:, 0].tolist() == list(range(25_000))
    files = saved_history.encode(history.saved())
    arrays = tensor_file.decode(files[saved_history.ARRAYS_FILE])
    restored = History.restored(saved_history.decode(files[saved_history.JSON_FILE], arrays))
    for one in (history, restored):
        one.cut(24_000)
        one.add_step(replace(_report(Phase.STEP, 24_000, [], []), loss=-1.0), clip_norm=None)
        assert one.every_loss.steps.tolist() == list(range(24_001))
        assert one.every_loss.values[-1, 0] == -1


def test_reports_that_come_together_are_as_those_that_come_one_by_one() -> None:
    reports = [
        replace(_small_report(phase, step, [0] if phase is Phase.BACKWARD else [0, 1]), micro=micro, window=2)
        for step in range(40)
        for phase, micro in ((Phase.BACKWARD, 0), (Phase.BACKWARD, 1), (Phase.STEP, 1))
    ]
    for size in (2, 5, 50, 120):
        alone, together = _filled(3), _filled(3)
        alone.cut(0)
        together.cut(0)
        for report in reports:
            alone.add_report(report)
        for start in range(0, len(reports), size):
            for message in stacked(reports[start : start + size]):
                if isinstance(message, Reports):
                    together.add_reports(list(unstacked(message)))
                else:
                    together.add_report(message)
        _assert_same(alone, together)


def test_what_cannot_be_float32_is_infinite() -> None:
    block = Block()
    block.add(0, [_key("a")], _summaries(1e300))
    assert np.isinf(block.column(MEAN)).all()
