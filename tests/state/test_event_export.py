"""A history as event files, read back with TensorBoard's own reader: every series, its steps, its values."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest

from gradscope.protocol.failure import BadInput
from gradscope.protocol.subjects import COLUMNS, INF, L2, NAN, SubjectKey, SubjectKind
from gradscope.snapshots.tensorboard import subject_tag
from gradscope.state.app_state import AppState
from gradscope.state.history import History
from gradscope.state.records import event_export
from gradscope.state.records.event_export import Cancelled, event_source, write_events
from tests.snapshots.events import read, scalars
from tests.ui.fakes import FakeTraining, full_training, small_training

SICK = SubjectKey(SubjectKind.GRAD, "net.2.weight")


def a_history(training: FakeTraining, steps: int) -> History:
    state = AppState()
    for message in training.opened():
        state.apply(message)
    for message in training.steps(steps):
        state.apply(message)
    return state.history


def export(history: History, folder: Path) -> None:
    path, size = write_events(event_source(history), folder, go_on=lambda _: True)
    assert path.stat().st_size == size and path.parent == folder


def test_what_a_step_has_beside_its_loss_is_in_the_file(tmp_path: Path) -> None:
    training = full_training()
    state = AppState()
    for message in (*training.opened(), training.validated(), *training.steps(5), training.validated()):
        state.apply(message)
    export(state.history, tmp_path)
    reader = read(tmp_path)
    assert scalars(reader, "loss_scale") == {0: 65536, 1: 32768, 2: 32768, 3: 32768, 4: 16384}
    assert scalars(reader, "clip/norm")[0] == 3.0
    np.testing.assert_allclose(scalars(reader, "clip/coefficient")[0], 1 / 3)
    for name, curve in state.history.validations.items():
        found = scalars(reader, f"validation/{name}")
        assert list(found) == [0, 4]
        np.testing.assert_allclose(list(found.values()), curve.values[:, 0])


def test_each_optimizer_s_loss_is_a_series(tmp_path: Path) -> None:
    export(a_history(small_training(settings={"optimizers": ("d", "g")}), 4), tmp_path)
    reader = read(tmp_path)
    assert list(scalars(reader, "loss/d")) == [0, 2] and list(scalars(reader, "loss/g")) == [1, 3]
    assert "loss" not in reader.Tags()["scalars"]


def test_everything_is_in_the_file(tmp_path: Path) -> None:
    training = small_training(rates=(0.01, 0.1), nan_losses=frozenset({4}), non_finite_from={SICK: 6})
    history = a_history(training, 12)
    export(history, tmp_path)
    reader = read(tmp_path)
    tags = reader.Tags()

    loss = scalars(reader, "loss")
    assert list(loss) == list(range(12))
    np.testing.assert_allclose(list(loss.values()), history.loss.values[:, 0], rtol=1e-6)
    assert math.isnan(loss[4])
    for group in range(2):
        rates = scalars(reader, f"learning_rate/group_{group}")
        assert list(rates) == list(range(12))
        np.testing.assert_allclose(list(rates.values()), history.lr.values[:, group], rtol=1e-6)

    expected = {"loss", "learning_rate/group_0", "learning_rate/group_1"}
    for kind, block in history.blocks.items():
        columns = {column.step: column for column in history.histograms[kind]}
        for key in block.keys:
            for name in ("l2", "mean", "std", "min", "max"):
                tag = f"{subject_tag(key)}/{name}"
                series = block.series(key, COLUMNS.index(name))
                assert scalars(reader, tag) == {
                    step: value
                    for step, value in zip(block.steps.tolist(), series.tolist(), strict=True)
                    if value == value
                }
                expected.add(tag)
            events = reader.Histograms(subject_tag(key))
            assert [event.step for event in events] == list(range(12))
            for event in events:
                column = columns[event.step]
                position = column.rows.tolist().index(block.index_of(key))
                summary = column.summaries[position]
                assert event.histogram_value.num == summary[0] - summary[NAN] - summary[INF]
                if column.counts(position).any():
                    assert sum(event.histogram_value.bucket) == pytest.approx(event.histogram_value.num)
                filled = [count for count in event.histogram_value.bucket if count]
                assert len(filled) == np.count_nonzero(column.counts(position)) + (summary[3] > 0)
    for count, column_number in (("nan", NAN), ("inf", INF)):
        series = history.blocks[SubjectKind.GRAD].series(SICK, column_number)
        if (series > 0).any():
            tag = f"grad/net.2.weight/{count}"
            assert list(scalars(reader, tag).values()) == series.tolist()
            expected.add(tag)
    assert f"{subject_tag(SICK)}/nan" in expected
    for name in training.parameters:
        ratios = scalars(reader, f"update_ratio/{name}")
        update, size = (
            history.blocks[kind].series(SubjectKey(kind, name), L2)
            for kind in (SubjectKind.UPDATE, SubjectKind.PARAMETER)
        )
        np.testing.assert_allclose(list(ratios.values()), update / size, rtol=1e-6)
        expected.add(f"update_ratio/{name}")
    assert set(tags["scalars"]) == expected


def test_a_long_run_is_thinned_and_loses_no_nan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_export, "MAX_POINTS", 7)
    monkeypatch.setattr(event_export, "MAX_HISTOGRAMS", 100)
    history = a_history(small_training(), 90)
    block = history.blocks[SubjectKind.GRAD]
    block._cells.values[NAN, 0, 40] = 9
    export(history, tmp_path)
    reader = read(tmp_path)
    tag = subject_tag(block.keys[0])
    steps = list(scalars(reader, f"{tag}/mean"))
    assert len(steps) == 7 and steps[0] == 0 and steps[-1] == 89
    assert max(np.diff(steps)) - min(np.diff(steps)) <= 1
    told_at = min(step for step in steps if step >= 40)
    assert scalars(reader, f"{tag}/nan") == {step: (9 if step == told_at else 0) for step in steps}
    assert len(scalars(reader, "loss")) == 90
    histograms = sum(len(reader.Histograms(name)) for name in reader.Tags()["histograms"])
    assert 40 <= histograms <= 100


def test_nothing_has_run(tmp_path: Path) -> None:
    export(a_history(small_training(), 0), tmp_path)
    assert read(tmp_path).Tags()["scalars"] == []


def test_what_is_written_is_what_was_there_when_it_was_asked_for(tmp_path: Path) -> None:
    training = small_training()
    state = AppState()
    for message in (*training.opened(), *training.steps(3)):
        state.apply(message)
    source = event_source(state.history)
    for message in training.steps(40):
        state.apply(message)
    write_events(source, tmp_path, go_on=lambda _: True)
    reader = read(tmp_path)
    assert {step for tag in reader.Tags()["scalars"] for step in scalars(reader, tag)} == {0, 1, 2}


def test_progress_and_cancelling(tmp_path: Path) -> None:
    source = event_source(a_history(small_training(), 20))
    shares: list[float] = []

    def go_on(share: float) -> bool:
        shares.append(share)
        return len(shares) < 10

    with pytest.raises(Cancelled):
        write_events(source, tmp_path / "run", go_on=go_on)
    assert not (tmp_path / "run").exists()
    assert shares == sorted(shares) and 0 < shares[0] < shares[-1] < 1
    shares.clear()
    write_events(source, tmp_path / "run", go_on=lambda share: shares.append(share) is None)
    assert shares[-1] == 1
    assert (len(shares), source.steps) == (20, 20)


def test_the_rates_of_several_optimizers_have_their_names(tmp_path: Path) -> None:
    history = a_history(small_training(rates=(0.1, 0.2, 0.3)), 2)
    source = event_source(history, owners=["generator", "critic", "critic"])
    write_events(source, tmp_path, go_on=lambda _: True)
    rates = {tag for tag in read(tmp_path).Tags()["scalars"] if tag.startswith("learning_rate")}
    assert rates == {"learning_rate/generator", "learning_rate/critic/group_1", "learning_rate/critic/group_2"}


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="is no folder; expected one"):
        write_events(event_source(a_history(small_training(), 1)), tmp_path / "file", go_on=lambda _: True)


def test_any_thread_can_write(tmp_path: Path) -> None:
    source = event_source(a_history(small_training(), 2))
    thread = threading.Thread(target=write_events, args=(source, tmp_path), kwargs={"go_on": lambda _: True})
    thread.start()
    thread.join()
    assert list(scalars(read(tmp_path), "loss")) == [0, 1]
