"""The converter from our histograms to TensorBoard's, and the event file, read back with TensorBoard's own reader."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gradscope.engine.quantities.exponents import SAMPLE_ABOVE, exponents, sampled_places
from gradscope.engine.quantities.moments import moments
from gradscope.engine.quantities.values import readable
from gradscope.protocol.failure import BadInput
from gradscope.protocol.subjects import COUNT, SubjectKey, SubjectKind
from gradscope.snapshots import tensorboard
from gradscope.snapshots.tensorboard import EventFile, histogram, scalar, subject_tag
from tests.snapshots.events import as_drawn, read

torch.manual_seed(0)
TENSORS = {
    "normal": torch.randn(5000),
    "relu": torch.randn(5000).relu(),
    "negative": -torch.rand(300) - 1e-3,
    "tiny": torch.randn(1000) * 1e-20,
    "tiny positive": torch.rand(1000) * 1e-30 + 1e-31,
    "huge": torch.randn(1000) * 1e30,
    "both ends": torch.cat([torch.randn(500) * 1e-25, torch.randn(500) * 1e25, torch.zeros(7)]),
    "zeros": torch.zeros(50),
    "one": torch.tensor([3.5]),
    "all equal": torch.full((40,), -0.125),
    "powers of two": torch.tensor([2.0**k for k in range(-40, 25)]),
    "with nan": torch.tensor([1.0, float("nan"), -2.0, float("inf"), 0.0, -float("inf")]),
    "half": torch.randn(2000).half(),
    "float64": torch.randn(2000, dtype=torch.float64) * 1e-3,
    "two clusters": torch.cat([torch.randn(50) * 1e-6, torch.randn(50) * 100]),
    "subnormal": torch.tensor([1e-40, -1e-42, 0.0]),
}


def converted(tensor: torch.Tensor) -> tuple[np.ndarray, object]:
    values = readable(tensor).values
    counts, sampled = exponents(values)
    summary = np.array(moments(values))
    return summary, histogram("x", counts, summary, sampled)


@pytest.mark.parametrize("name", TENSORS)
def test_the_buckets_hold_the_values(name: str) -> None:
    tensor = TENSORS[name]
    _, value = converted(tensor)
    proto = value.histo
    finite = tensor.double()[tensor.double().isfinite()].numpy()
    limits, buckets = np.array(proto.bucket_limit), np.array(proto.bucket)
    assert proto.num == finite.size == buckets.sum()
    assert (proto.min, proto.max) == (finite.min(), finite.max())
    assert proto.sum == pytest.approx(finite.sum(), rel=1e-5, abs=1e-5 * np.abs(finite).sum())
    assert proto.sum_squares == pytest.approx(np.square(finite).sum(), rel=1e-5)
    assert (np.diff(limits) > 0).all()
    assert limits[-1] >= finite.max()
    # Counted anew between TensorBoard's limits; a power of two belongs to the bin of the greater magnitude.
    inside = np.minimum(np.where(finite > 0, np.nextafter(finite, np.inf), finite), limits[-1])
    np.testing.assert_array_equal(buckets, np.bincount(np.searchsorted(limits, inside), minlength=len(limits)))


@pytest.mark.parametrize("name", TENSORS)
def test_what_tensorboard_draws(name: str) -> None:
    tensor = TENSORS[name]
    _, value = converted(tensor)
    drawn = as_drawn(value)
    finite = tensor.double()[tensor.double().isfinite()].float().numpy()
    assert (drawn[:, 0] <= drawn[:, 1]).all(), "no bucket is backwards"
    assert (drawn[1:, 0] == drawn[:-1, 1]).all()
    assert drawn[0, 0] == finite.min() and drawn[-1, 1] == finite.max()
    assert drawn[:, 2].sum() == finite.size


def test_an_empty_stretch_is_a_bucket_of_its_own() -> None:
    tensor = torch.cat(
        [torch.full((5,), -30.0), torch.full((6,), 0.01), torch.full((7,), 1.5), torch.full((8,), 100.0)]
    )
    _, value = converted(tensor)
    np.testing.assert_allclose(
        as_drawn(value),
        [
            [-30, -16, 5],
            [-16, 2**-7, 0],
            [2**-7, 2**-6, 6],
            [2**-6, 1, 0],
            [1, 2, 7],
            [2, 64, 0],
            [64, 100, 8],
        ],
    )


def test_zeros_have_a_bucket_of_their_own() -> None:
    _, value = converted(TENSORS["relu"])
    (zeros,) = (row for row in as_drawn(value) if row[0] <= 0 <= row[1] and row[2])
    assert zeros[2] == (TENSORS["relu"] == 0).sum()
    assert zeros[1] - zeros[0] < 1e-40


def test_a_sample_stands_for_the_whole() -> None:
    tensor = torch.randn(4 * SAMPLE_ABOVE)
    tensor[::3] = 0
    _, value = converted(tensor)
    buckets = np.array(value.histo.bucket)
    assert buckets.sum() == pytest.approx(tensor.numel())
    assert buckets.max() == (tensor == 0).sum(), "zeros are counted, not sampled"
    drawn = as_drawn(value)
    exact = [((tensor > low) & (tensor <= high)).sum().item() for low, high, _ in drawn]
    np.testing.assert_allclose(drawn[:, 2], exact, atol=0.02 * tensor.numel())


def test_a_sample_that_saw_zeros_only() -> None:
    tensor = torch.zeros(SAMPLE_ABOVE * 100)
    unseen = min(set(range(1000)) - set(sampled_places(tensor.numel()).tolist()))
    tensor[unseen] = 5.0
    counts, sampled = exponents(tensor)
    assert counts.sum() == 0
    value = histogram("x", counts, np.array(moments(tensor)), sampled)
    assert value is not None
    assert list(value.histo.bucket)[-1] == tensor.numel() - 1 and value.histo.max == 5.0


@pytest.mark.parametrize(
    "tensor", [torch.tensor([1, 2, 3]), torch.tensor([float("nan")]), torch.zeros(0)], ids=["whole", "nan", "empty"]
)
def test_nothing_to_draw(tensor: torch.Tensor) -> None:
    summary, value = converted(tensor)
    assert value is None, summary[COUNT]


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
    tensor = torch.randn(100 + step)
    counts, sampled = exponents(tensor)
    return counts, np.array(moments(tensor)), sampled


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
