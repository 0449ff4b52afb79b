"""Whatever somebody sends as a snapshot: one sentence that names the file, nothing executed, no memory wasted."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradscope import BadInput
from gradscope.protocol.messages import FetchHistogram, FetchPage, FetchPicture, Histogram, Page, Picture, Unavailable
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots import looking
from gradscope.snapshots.against import difference, our_values
from gradscope.snapshots.format import source, tensor_file
from gradscope.snapshots.looking import look
from gradscope.snapshots.reader import open_snapshot
from gradscope.snapshots.snapshot import Snapshot
from tests.snapshots import made
from tests.snapshots.made import Spoiled

MEMORY_BYTES = 8 * 1024**2


def refused(path: Path, *reasons: str) -> None:
    """One sentence that begins with the path."""
    with pytest.raises(BadInput) as caught:
        use(open_snapshot(path))
    sentence = str(caught.value)
    assert str(path) in sentence and "\n" not in sentence and len(sentence) < 600
    for reason in reasons:
        assert reason in sentence


def use(snapshot: Snapshot) -> None:
    """Everything that a window would ask for."""
    for file, tensors in snapshot.tensors.items():
        for name in tensors:
            np.asarray(snapshot.tensor(file, name)).sum()
    for report in snapshot.reports.values():
        snapshot.rows_of(report)
    for name in snapshot.pictures:
        snapshot.picture(name)


# ---------------------------------------------------------------------------------------------- single files

Change = Callable[[Any], None]


def updated(*path: Any, to: Any) -> Change:
    """A change of one place in a JSON file."""

    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


EDIT = {"number": 0, "step": 0, "text": "lr 0.1"}
WRONG_JSON: dict[str, tuple[str, Change, str]] = {
    "another program's": ("manifest.json", updated("format", to="zip"), "not that of a gradscope snapshot"),
    "no version": ("manifest.json", updated("format_version", to="2"), "format version '2'"),
    "version 0": ("manifest.json", updated("format_version", to=0), "format version 0"),
    "a later version": ("manifest.json", updated("format_version", to=4), "reads up to 3: update gradscope"),
    "files as a list": ("manifest.json", updated("files", to=[1]), "manifest.files has to be an object"),
    "a size that is none": ("manifest.json", updated("files", "session.json", to="7"), "has to be int"),
    "a wrong size": ("manifest.json", updated("files", "session.json", to=7), "session.json is damaged: it has"),
    "a seed that is none": ("manifest.json", updated("seed", to=[]), "manifest.seed has to be int"),
    "no session": ("session.json", lambda value: value.pop("session"), "session.session is missing"),
    "a session that is none": ("session.json", updated("session", to=7), "session.session has to be an object"),
    "a name that is none": ("session.json", updated("session", "name", to=None), "session.session.name"),
    "an unknown rest": ("session.json", updated("position", "rest", to="asleep"), "one of"),
    "a step before the first": ("session.json", updated("position", "step", to=-1), "position.step has to be from 0"),
    "a huge step": ("session.json", updated("position", "step", to=2**60), "position.step has to be from 0 to"),
    "a step of 400 digits": ("session.json", updated("position", "step", to=10**400), "64-bit"),
    "a deep model": ("session.json", updated("session", "modules", 0, "name", to="a" + ".a" * 5000), "levels deep"),
    "an impossible group": ("session.json", updated("session", "parameters", 0, "group", to=1), "in group 1 of 1"),
    "a huge shape": ("session.json", updated("subjects", 0, "shape", to=[2**40, 2**40]), "cannot be the shape"),
    "an unknown kind": ("session.json", updated("subjects", 0, "key", "kind", to="soul"), "one of"),
    "a subject less": ("session.json", lambda value: value["subjects"].pop(), "refers to a subject that is not there"),
    "a place less": ("session.json", lambda value: value["places"].pop(), "refers to a place that is not there"),
    "an edit less": ("session.json", updated("edits", to=[EDIT | {"number": 1}]), "edit 0 has the number 1"),
    "an unknown phase": ("reports.json", lambda value: value.update(dream={}), "phase 'dream'"),
    "a report that is none": ("reports.json", updated("forward", to=[]), "phase 'forward'"),
    "mixed-up phases": ("reports.json", updated("forward", "phase", to="step"), "says that it is one of the step"),
    "many rates": ("reports.json", updated("forward", "lr", to=[0.1] * 200_001), "forward.lr has 200001 items"),
    "a report too many": ("reports.json", lambda value: value["step"].pop("step"), "step.step is missing"),
    "a list as an optimizer": ("optimizer.json", lambda value: None, ""),
}


@pytest.mark.parametrize("name", [name for name in WRONG_JSON if WRONG_JSON[name][2]])
def test_wrong_json(name: str, spoiled: Spoiled) -> None:
    file, change, reason = WRONG_JSON[name]
    refused(spoiled.json(file, change), reason)


BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not JSON"),
    "cut off": (b'{"a": [1, 2', "not JSON"),
    "a list": (b"[]", "a list instead of an object"),
    "not UTF-8": (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "deep": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "nested too deeply"),
    "NaN": (b'{"a": NaN}', "NaN is no JSON number"),
    "a name twice": (b'{"a": 1, "a": 1}', "'a' comes twice"),
    "half a character": (b'{"a": "\\ud800"}', "half a character"),
    "a number of 10,000 digits": (b'{"a": ' + b"1" * 10_000 + b"}", "not JSON"),
    "a pickle": (pickle.dumps({"a": print}), "not UTF-8"),
}


@pytest.mark.parametrize("file", ["manifest.json", "session.json", "reports.json", "optimizer.json"])
@pytest.mark.parametrize("name", BYTES)
def test_files_that_are_no_json(file: str, name: str, spoiled: Spoiled) -> None:
    data, reason = BYTES[name]
    refused(spoiled.bytes(file, data), file, reason)


@pytest.mark.parametrize("file", ["manifest.json", "session.json", "reports.safetensors", "parameters.safetensors"])
def test_truncated_files(file: str, spoiled: Spoiled) -> None:
    data = (spoiled.path / file).read_bytes()
    refused(spoiled.bytes(file, data[: len(data) // 2]), file)
    if file != "manifest.json":
        refused(spoiled.bytes(file, data[:-1], is_told=False), f"{file} is damaged: it has {len(data) - 1} bytes")


ARRAYS: dict[str, tuple[str, np.ndarray, str]] = {
    "a shorter summary": ("forward.summaries", np.zeros((1, 9)), "array of the shape (4, 9), not (1, 9)"),
    "a flat summary": ("forward.summaries", np.zeros(9), "array of the shape (4, 9), not (9,)"),
    "no histograms": ("forward.histograms", np.zeros((0, 96), dtype=np.int32), "has 0 histograms for 4 subjects"),
    "another type": ("forward.summaries", np.zeros((4, 9), dtype=np.float32), "an array of float64"),
    "a negative subject": ("forward.subjects", np.array([-1, 0, 1, 2]), "a subject that is not there"),
    "a subject beyond": ("forward.subjects", np.array([0, 1, 2, 99]), "a subject that is not there"),
    "counts below 0": ("forward.summaries", np.full((4, 9), -1.0), "cannot be counted"),
    "counts that are none": ("forward.summaries", np.full((4, 9), np.nan), "cannot be counted"),
    "a negative histogram": ("forward.histograms", np.full((4, 96), -1, dtype=np.int32), "cannot be counted"),
    "times in other columns": ("forward.times", np.zeros((7, 2)), "times"),
    "an array that is a number": ("forward.loss", np.zeros(1), "forward.loss has to be float"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_do_not_fit(name: str, spoiled: Spoiled) -> None:
    field, array, reason = ARRAYS[name]
    arrays = tensor_file.decode((spoiled.path / "reports.safetensors").read_bytes())
    refused(spoiled.bytes("reports.safetensors", tensor_file.encode({**arrays, field: array})), "reports.json", reason)


def test_a_huge_header_is_not_read(spoiled: Spoiled) -> None:
    with (spoiled.path / "parameters.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 2**40))
        file.truncate(2**40 + 8)
    spoiled.json("manifest.json", lambda manifest: manifest["files"].pop("parameters.safetensors"))
    with little_memory():
        refused(spoiled.path, "parameters.safetensors", "announces a header of 1099511627776 bytes")


def test_a_huge_json_is_not_read(spoiled: Spoiled) -> None:
    spoiled.json("manifest.json", lambda manifest: manifest["files"].clear())
    for name in ("session.json", "manifest.json"):
        with (spoiled.path / name).open("r+b") as file:
            file.truncate(2**35)
        with little_memory():
            refused(spoiled.path, f"{name} is damaged: it has 34359738368 bytes")


class little_memory:  # noqa: N801
    """Fails if much more memory is taken inside than a small snapshot needs."""

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *_: object) -> None:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MEMORY_BYTES


# ---------------------------------------------------------------------------------------------- folders


def test_no_snapshot_at_all(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "There is no snapshot")
    refused(tmp_path, "no manifest.json")
    (tmp_path / "text.zip").write_text("This is no zip")
    refused(tmp_path / "text.zip", "zip")
    (tmp_path / "empty.zip").touch()
    refused(tmp_path / "empty.zip", "zip")


@pytest.mark.parametrize("name", ["manifest.json", "session.json", "parameters.safetensors", "plots/loss.png"])
def test_links_are_not_followed(name: str, spoiled: Spoiled, tmp_path: Path) -> None:
    (spoiled.path / name).rename(tmp_path / "elsewhere")
    (spoiled.path / name).symlink_to(tmp_path / "elsewhere")
    refused(spoiled.path, Path(name).name, "is a link")


def test_a_linked_folder_is_not_followed(spoiled: Spoiled, tmp_path: Path) -> None:
    (spoiled.path / "plots").rename(tmp_path / "elsewhere")
    (spoiled.path / "plots").symlink_to(tmp_path / "elsewhere")
    refused(spoiled.path, "'plots' is a link")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["manifest.json", "session.json"])
def test_a_pipe_is_not_waited_for(name: str, spoiled: Spoiled) -> None:
    (spoiled.path / name).unlink()
    os.mkfifo(spoiled.path / name)
    refused(spoiled.path, name)


def test_a_folder_instead_of_a_file(spoiled: Spoiled) -> None:
    for name in ("session.json", "manifest.json"):
        (spoiled.path / name).unlink()
        (spoiled.path / name).mkdir()
        refused(spoiled.path, name)


def test_a_folder_of_many_files(spoiled: Spoiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILES", 5)
    refused(spoiled.path, "more than 5 files")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root reads everything")
def test_a_file_that_must_not_be_read(spoiled: Spoiled) -> None:
    (spoiled.path / "session.json").chmod(0)
    refused(spoiled.path, "session.json cannot be read")


# ---------------------------------------------------------------------------------------------- zips


def rezipped(archive: Path, target: Path, change: Callable[[zipfile.ZipFile], None]) -> Path:
    """A copy of a zip with something added."""
    shutil.copy(archive, target)
    with zipfile.ZipFile(target, "a") as opened:
        change(opened)
    return target


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


ZIPS: dict[str, tuple[Callable[[zipfile.ZipFile], None], str]] = {
    "upwards": (lambda z: z.writestr("../escaped.txt", "x"), "no name for a file inside"),
    "upwards on the way": (lambda z: z.writestr("plots/../../escaped.txt", "x"), "no name for a file inside"),
    "absolute": (lambda z: z.writestr("/tmp/escaped.txt", "x"), "no name for a file inside"),
    "a drive": (lambda z: z.writestr("C:/escaped.txt", "x"), "no name for a file inside"),
    "backslashes": (lambda z: z.writestr("..\\escaped.txt", "x"), "no name for a file inside"),
    "a link": (lambda z: z.writestr(link("plots/passwd.png"), "/etc/passwd"), "is a link"),
    "LZMA": (lambda z: z.writestr("x", "x", zipfile.ZIP_LZMA), "compressed in a way that is not read"),
    "bzip2": (lambda z: z.writestr("x", "x", zipfile.ZIP_BZIP2), "compressed in a way that is not read"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_wrong_zips(name: str, archive: Path, tmp_path: Path) -> None:
    change, reason = ZIPS[name]
    refused(rezipped(archive, tmp_path / "x.zip", change), reason)
    assert sorted(p.name for p in tmp_path.iterdir()) in (["x.zip"], ["user", "x.zip"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice(archive: Path, tmp_path: Path) -> None:
    refused(rezipped(archive, tmp_path / "x.zip", lambda z: z.writestr("session.json", "{}")), "twice")


def test_a_zip_without_a_manifest(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        opened.writestr("a/b/manifest.json", "{}")
    refused(tmp_path / "x.zip", "no manifest.json")


def test_an_encrypted_zip(archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    directory = data.index(b"PK\1\2")
    data[directory + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    refused(tmp_path / "x.zip", "encrypted")


def test_a_bomb_that_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory says what it expands to."""
    monkeypatch.setattr(source, "MAX_EXPANDED_BYTES", 2**26)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("manifest.json", "{}")
        with opened.open("parameters.safetensors", "w", force_zip64=True) as member:
            for _ in range(9):
                member.write(bytes(2**23))
    assert (tmp_path / "x.zip").stat().st_size < 2**18
    with little_memory():
        refused(tmp_path / "x.zip", "unpacked, it would have 75497474 bytes")


def test_a_bomb_that_lies(tmp_path: Path) -> None:
    """Its directory says 2 bytes; what is there expands to 64 MiB of JSON."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("manifest.json", b" " * 2**26)
    data = (tmp_path / "x.zip").read_bytes()
    assert data.count(struct.pack("<L", 2**26)) == 2
    (tmp_path / "x.zip").write_bytes(data.replace(struct.pack("<L", 2**26), struct.pack("<L", 2)))
    with little_memory():
        refused(tmp_path / "x.zip", "manifest.json is damaged")


def test_a_large_json_in_a_small_zip(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.write(folder / "manifest.json", "manifest.json")
        with opened.open("session.json", "w") as member:
            for _ in range(5):
                member.write(b" " * 2**23)
    with little_memory():
        refused(tmp_path / "x.zip", "session.json")


def test_a_tensor_that_is_not_there_takes_no_memory(spoiled: Spoiled, tmp_path: Path) -> None:
    """A compressed tensor file whose header announces 3 GB, and whose directory agrees, but which has a few bytes."""
    size = 3 * 2**30
    entry = json.dumps({"0.weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    start = struct.pack("<Q", len(entry)) + entry
    spoiled.json("manifest.json", lambda manifest: manifest["files"].pop("parameters.safetensors"))
    (spoiled.path / "parameters.safetensors").unlink()
    path = made.zipped(spoiled.path, tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("parameters.safetensors", start + b"1234")
    data = path.read_bytes()
    told = struct.pack("<L", len(start) + 4)
    assert data.count(told) == 2
    path.write_bytes(data.replace(told, struct.pack("<L", len(start) + size)))
    snapshot = open_snapshot(path)
    with little_memory(), pytest.raises(BadInput, match=r"parameters\.safetensors is damaged"):
        snapshot.tensor("parameters.safetensors", "0.weight")


SIDE = 6000


@pytest.fixture(scope="module")
def bomb(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of 0.2 MB with a parameter of 144 MB."""
    place = tmp_path_factory.mktemp("bomb")
    spoiled = Spoiled(folder, place / "shot")
    spoiled.json("manifest.json", lambda manifest: manifest["files"].pop("parameters.safetensors"))
    (spoiled.path / "parameters.safetensors").unlink()
    path = made.zipped(spoiled.path, place / "x.zip")
    entry = {"dtype": "F32", "shape": [SIDE, SIDE], "data_offsets": [0, 4 * SIDE**2]}
    header = json.dumps({"0.weight": entry}).encode()
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened,
        opened.open("parameters.safetensors", "w", force_zip64=True) as member,
    ):
        member.write(struct.pack("<Q", len(header)) + header)
        for row in range(SIDE):
            member.write(np.full(SIDE, row, dtype=np.float32).tobytes())
    assert path.stat().st_size < 2**20
    return path


def test_a_tensor_far_larger_than_its_zip_is_looked_at_in_pieces(bomb: Path) -> None:
    snapshot, key = open_snapshot(bomb), SubjectKey(SubjectKind.PARAMETER, "0.weight")
    tracemalloc.start()
    page = look(snapshot, FetchPage(subject=key, row=SIDE - 2, rows=9, column=SIDE - 3, columns=9))
    first = look(snapshot, FetchPage(subject=key, row=3, rows=1, columns=1))
    picture = look(snapshot, FetchPicture(subject=key, side=10))
    histogram = look(snapshot, FetchHistogram(subject=key, bins=10))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(page, Page) and page.values.tolist() == [[SIDE - 2.0] * 3, [SIDE - 1.0] * 3]
    assert isinstance(first, Page) and first.values.tolist() == [[3.0]]
    assert isinstance(picture, Picture) and picture.values[:, 0].tolist() == [600 * i + 599.0 for i in range(10)]
    assert isinstance(histogram, Histogram) and int(histogram.counts.sum()) == SIDE**2
    assert peak < 2**26


def test_two_tensors_are_compared_in_pieces(bomb: Path) -> None:
    snapshot, key = open_snapshot(bomb), SubjectKey(SubjectKind.PARAMETER, "0.weight")
    other = open_snapshot(bomb)
    tracemalloc.start()
    found = difference(key, our_values(snapshot), other)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.count, found.differing, found.problem) == (SIDE**2, 0, "")
    assert peak < 2**26


def test_too_much_to_draw_is_said_and_not_read(bomb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MAX_LOOKED_AT", 1000)
    snapshot, key = open_snapshot(bomb), SubjectKey(SubjectKind.PARAMETER, "0.weight")
    for request in (FetchPicture(subject=key), FetchHistogram(subject=key)):
        answer = look(snapshot, request)
        assert isinstance(answer, Unavailable)
        assert answer.reason.startswith("There are 36,000,000 values, and at most 1,000 are read to ")


def test_a_zip_that_is_mostly_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        for i in range(3000):
            opened.writestr(f"{i:04}{'x' * 1000}", "")
    with little_memory():
        refused(tmp_path / "x.zip", "directory")
    monkeypatch.setattr(source, "MAX_FILES", 10)
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as opened:
        for i in range(11):
            opened.writestr(str(i), "")
    refused(tmp_path / "y.zip", "more than 10 files")


def test_a_folder_that_changes_while_it_is_open(spoiled: Spoiled) -> None:
    """A file that was mapped into memory would end the process when it is cut off."""
    snapshot, file = open_snapshot(spoiled.path), spoiled.path / "parameters.safetensors"
    data = file.read_bytes()
    for changed in (data[:-40], data + b"x", b""):
        file.write_bytes(changed)
        with pytest.raises(BadInput, match=r"parameters\.safetensors is damaged: it has been changed"):
            use(snapshot)
    file.unlink()
    with pytest.raises(BadInput, match=r"parameters\.safetensors is damaged: it is gone"):
        use(snapshot)
    if hasattr(os, "mkfifo"):
        os.mkfifo(file)
        with pytest.raises(BadInput, match="is no file"):
            use(snapshot)


def test_a_zip_that_changes_while_it_is_open(archive: Path, tmp_path: Path) -> None:
    shutil.copy(archive, tmp_path / "x.zip")
    snapshot = open_snapshot(tmp_path / "x.zip")
    (tmp_path / "x.zip").write_bytes(archive.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"x\.zip: parameters\.safetensors"):
        use(snapshot)
    (tmp_path / "x.zip").unlink()
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        use(snapshot)


# ---------------------------------------------------------------------------------------------- anything

Damage = list[tuple[int, int]]
DAMAGE: st.SearchStrategy[Damage] = st.lists(
    st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def damaged(data: bytes, damage: Damage) -> bytes:
    changed = bytearray(data)
    for position, byte in damage:
        changed[position % len(changed)] = byte
    return bytes(changed)


def survives(path: Path) -> None:
    sentence = ""
    try:
        with little_memory():
            use(open_snapshot(path))
    except BadInput as error:
        sentence = str(error)
    assert sentence == "" or (str(path) in sentence and "\n" not in sentence)


SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(data=st.data())
def test_random_damage_to_a_folder(data: st.DataObject, files: dict[str, bytes], tmp_path: Path) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    for other, content in files.items():
        (tmp_path / "x" / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / other).write_bytes(content)
    spoiled = damaged(files[name], data.draw(DAMAGE))
    (tmp_path / "x" / name).write_bytes(spoiled[: data.draw(st.sampled_from([len(spoiled), len(spoiled) // 2]))])
    survives(tmp_path / "x")


@SETTINGS
@given(damage=DAMAGE, tail=st.booleans(), compressed=st.booleans())
def test_random_damage_to_a_zip(
    damage: Damage, tail: bool, compressed: bool, archive: Path, folder: Path, tmp_path: Path
) -> None:
    if compressed and not (tmp_path / "compressed.zip").exists():
        made.zipped(folder, tmp_path / "compressed.zip")
    data = (tmp_path / "compressed.zip" if compressed else archive).read_bytes()
    directory = data.index(b"PK\1\2")
    # Half of the time in the directory, which everything hangs on.
    changed = data[:directory] + damaged(data[directory:], damage) if tail else damaged(data, damage)
    (tmp_path / "x.zip").write_bytes(changed)
    survives(tmp_path / "x.zip")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@SETTINGS
@given(data=st.data())
def test_json_with_anything_in_any_place(
    data: st.DataObject, files: dict[str, bytes], folder: Path, tmp_path: Path
) -> None:
    name = data.draw(st.sampled_from(["manifest.json", "session.json", "reports.json", "optimizer.json"]))
    value = json.loads(files[name])
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.integers(0, 4)) == 0:
            break
        place = inner
    place[key] = data.draw(JSON)
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    survives(Spoiled(folder, tmp_path / "x").bytes(name, json.dumps(value).encode()))


def test_nothing_is_imported_or_executed(folder: Path, tmp_path: Path) -> None:
    """A process in which unpickling, eval and every import after the reader's own are forbidden reads a snapshot."""
    program = f"""
import sys
from gradscope.snapshots.reader import open_snapshot
import numpy, zipfile, mmap
def forbid(event, arguments):
    if event in ("pickle.find_class", "compile", "exec", "import", "os.system", "subprocess.Popen", "ctypes.dlopen"):
        raise RuntimeError(event + str(arguments))
open_snapshot({str(folder)!r})  # what numpy and json import when they are first used
sys.addaudithook(forbid)
snapshot = open_snapshot({str(folder)!r})
for file, tensors in snapshot.tensors.items():
    for name in tensors:
        snapshot.tensor(file, name).sum()
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def test_json_that_takes_far_more_memory_than_its_text(spoiled: Spoiled) -> None:
    session = (spoiled.path / "session.json").read_bytes().rstrip()
    many = b"[" + b"[]," * 3_500_000 + b"[]]"
    spoiled.bytes("session.json", session[:-1] + b', "more": ' + many + b"}")
    tracemalloc.start()
    refused(spoiled.path, "session.json is damaged: it holds more than 3000000 items")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(many)
