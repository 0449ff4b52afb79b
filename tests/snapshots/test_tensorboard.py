"""The event file, read back with TensorBoard's own reader."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradscope.protocol.failure import BadInput
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots import tensorboard
from gradscope.snapshots.pieces import of_array
from gradscope.snapshots.summaries import summarise
from gradscope.snapshots.tensorboard import EventFile, histogram, scalar, subject_tag
from tests.snapshots.events import read


def test_tags() -> None:
    assert subject_tag(SubjectKey(SubjectKind.ACTIVATION, "a.b", 2, ".h[0]")) == "activation/a.b#2:.h[0]"
    assert subject_tag(SubjectKey(SubjectKind.GRAD, "")) == "grad/(model)"
    assert subject_tag(SubjectKey(SubjectKind.GRAD, "x\ud800")) == "grad/x?"


# --------------------------------------------------------------------------------------------------------- the file


def test_the_file_is_there_when_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "runs/one"
    file = EventFile(folder)
    for step in range(5):
        values = [scalar("loss", step / 4), scalar("bad", float("nan")), scalar("large", 1e300)]
        file.add(step, [*values, histogram("h", *_normal(step))])
    assert not any("tfevents" in path.name for path in folder.iterdir())
    size = file.close()
    assert [path.name for path in folder.iterdir()] == [file.path.name]
    assert size == file.path.stat().st_size
    reader = read(folder)
    assert sorted(reader.Tags()["scalars"]) == ["bad", "large", "loss"]
    assert [(event.step, event.value) for event in reader.Scalars("loss")] == [(i, i / 4) for i in range(5)]
    assert all(np.isnan(event.value) for event in reader.Scalars("bad"))
    assert all(event.value == np.inf for event in reader.Scalars("large"))
    events = reader.Histograms("h")
    assert [event.step for event in events] == list(range(5))
    for event in events:
        assert event.histogram_value.num == 100 + event.step == sum(event.histogram_value.bucket)


def _normal(step: int) -> tuple[np.ndarray, np.ndarray, int]:
    values = np.random.default_rng(step).standard_normal(100 + step)
    summary, counts, sampled = summarise(of_array(values), values.size)
    return counts, summary, sampled


def test_a_live_file_can_be_read_while_it_grows(tmp_path: Path) -> None:
    file = EventFile(tmp_path, live=True)
    file.add(3, [scalar("loss", 2.0)])
    assert [event.step for event in read(tmp_path).Scalars("loss")] == [3]
    file.close()


def test_a_discarded_file_leaves_nothing(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "new")
    file.add(0, [scalar("loss", 1.0)])
    file.discard()
    assert list(tmp_path.glob("new*")) == []
    (tmp_path / "old").mkdir()
    EventFile(tmp_path / "old").discard()
    assert list((tmp_path / "old").iterdir()) == []


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"cannot be written to .*file/run"):
        EventFile(tmp_path / "file/run")
    EventFile(tmp_path / "used").close()
    with pytest.raises(BadInput, match="holds event files already"):
        EventFile(tmp_path / "used")


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    file = EventFile(tmp_path / "run", live=True)
    with Path("/dev/full").open("wb", buffering=0) as full:
        file._file.close()
        file._file = full
        with pytest.raises(BadInput, match="No space left"):
            file.add(0, [scalar("loss", 1.0)])
    file.discard()
    assert list(tmp_path.iterdir()) == []


def _fill(file: EventFile) -> int:
    """Until nothing more goes in; returns the step that did not."""
    for step in range(100):
        try:
            file.add(step, [scalar("loss", float(step))])
        except BadInput:
            return step
    raise AssertionError("there was no limit")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_leaves_whole_records(tmp_path: Path) -> None:
    import resource

    file = EventFile(tmp_path, live=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        step = _fill(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.close() < 1000
    seen = read(tmp_path).Scalars("loss")
    assert [event.step for event in seen] == list(range(step)) and step > 10
    data, offset = file.path.read_bytes(), 0
    while offset < len(data):
        # A length, its checksum, as much, and its checksum.
        offset += 16 + int.from_bytes(data[offset : offset + 8], "little")
    assert offset == len(data)


def test_a_missing_package_is_asked_for_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[..., object] = tensorboard.importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None if name == "tensorboard" else find(name))
    with pytest.raises(BadInput) as caught:
        EventFile(tmp_path / "run")
    assert str(caught.value).endswith(f"{sys.executable} -m pip install tensorboard")
    assert not (tmp_path / "run").exists()


def test_neither_torch_nor_tensorflow_is_imported(tmp_path: Path) -> None:
    """Not even where tensorflow is installed, which tensorboard would take instead of its own stub."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow/__init__.py").write_text("raise SystemExit('tensorflow was imported')")
    code = """
import pathlib, sys
from gradscope.snapshots.tensorboard import EventFile, scalar
assert "tensorboard" not in sys.modules
file = EventFile(pathlib.Path(sys.argv[1]))
file.add(0, [scalar("loss", 1.0)])
file.close()
found = {name.partition(".")[0] for name in sys.modules} & {"torch", "tensorflow", "grpc", "PySide6"}
assert not found, found
"""
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}", "PATH": ""}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], env=environment, check=True)
