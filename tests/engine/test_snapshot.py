"""Snapshots: files that others can read, with the live values in them; complete or not there at all."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import plain
import pytest
import torch
import zoo
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gradscope import BadInput, Session
from gradscope.engine import snapshot
from gradscope.engine.snapshot import tensor_name, write_snapshot
from gradscope.protocol.messages import Attachment
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind

FILES = {
    "manifest.json",
    "report.html",
    "summaries.csv",
    "history.csv",
    "parameters.safetensors",
    "gradients.safetensors",
    "updates.safetensors",
    "activations.safetensors",
    "activation_gradients.safetensors",
    "batch.safetensors",
}


def png(name: str, data: bytes = b"\x89PNG") -> Attachment:
    return Attachment(name=name, data=np.frombuffer(data, dtype=np.uint8))


@pytest.mark.parametrize("phases", [0, 1, 2, 3, 7])
def test_every_file_holds_the_live_values(phases: int, tmp_path: Path) -> None:
    with Session(plain.seeded(zoo.in_place)) as session:
        for _ in range(phases):
            session.advance()
        session.export(tmp_path / "shot")
        assert {file.name for file in (tmp_path / "shot").iterdir()} == FILES
        for name, kind in snapshot._TENSOR_FILES.items():
            found = load_file(tmp_path / "shot" / name)
            keys = {tensor_name(key): key for key in session.known_subjects(kind)}
            assert set(found) <= set(keys)
            for tensor in found:
                plain.assert_same(session.values(keys[tensor]).clone(), found[tensor], tensor)
        state = dict(session.recipe.model.named_parameters())  # type: ignore[union-attr]
        parameters = load_file(tmp_path / "shot/parameters.safetensors")
        plain.assert_same({k: v.detach() for k, v in sorted(state.items())}, dict(sorted(parameters.items())))
        batch = load_file(tmp_path / "shot/batch.safetensors")
        assert set(batch) == (set() if phases == 0 else {"[0]", "[1]"})
        expected = {0: 0, 1: 0, 2: len(state), 3: len(state), 7: 0}[phases]
        assert len(load_file(tmp_path / "shot/gradients.safetensors")) == expected


def test_manifest_and_tables(tmp_path: Path, write_recipe: object) -> None:
    from gradscope import load_recipe
    from gradscope.assets import sample_path

    path = sample_path("linear_regression")
    assert path is not None
    with Session(load_recipe(path, 9)) as session:
        for _ in range(7):
            session.next_batch()
        session.export(tmp_path / "shot")
        manifest = json.loads((tmp_path / "shot/manifest.json").read_text("utf-8"), parse_constant=pytest.fail)
        assert manifest["format_version"] == 1
        assert manifest["recipe"] == {"name": "Linear regression", "path": str(path), "sha256": session.info.sha256}
        phases = {phase: {"step": 6, "complete": True} for phase in ("forward", "backward", "step")}
        assert manifest["moment"] == {"rest": "ready", "step": 7, "epoch": 1, "batch": 1, "phases": phases}
        assert (manifest["seed"], manifest["device"], manifest["rates"]) == (9, "cpu", [0.05])
        assert manifest["loss"] == session.history[-1].loss
        assert set(manifest["versions"]) == {"gradscope", "python", "torch", "numpy"}

        history = rows(tmp_path / "shot/history.csv")
        assert [int(row["step"]) for row in history] == list(range(7))
        for row, record in zip(history, session.history, strict=True):
            assert float(row["loss"]) == record.loss and float(row["lr_0"]) == record.lr[0]
            assert float(row["grad_l2"]) == record.grad_l2 and float(row["update_l2"]) == record.update_l2

        summaries = rows(tmp_path / "shot/summaries.csv")
        subjects = [s for report in session.reports.values() for s in report.subjects]
        assert len(summaries) == len(subjects)
        for row, subject in zip(summaries, subjects, strict=True):
            assert (row["kind"], row["name"], int(row["call"])) == (subject.kind, subject.name, subject.call)
            for column in COLUMNS:
                value = getattr(subject, column)
                assert row[column] == "" if value is None else float(row[column]) == value


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_loss_that_is_not_a_number(tmp_path: Path) -> None:
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), loss=lambda out, y: out.sum() * math.nan))) as session:
        session.next_batch()
        session.export(tmp_path / "shot")
    manifest = json.loads((tmp_path / "shot/manifest.json").read_text(), parse_constant=pytest.fail)
    assert manifest["loss"] == "nan"


class Odd(nn.Module):
    """Outputs of kinds that not every file format takes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(zoo.FEATURES, zoo.CLASSES)
        self.kinds = type(
            "Kinds", (nn.Module,), {"forward": lambda self, x: self.made(x), "made": staticmethod(kinds)}
        )()

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        self.kinds(x)
        return x


def kinds(x: Tensor) -> dict[str, Tensor]:
    return {
        "complex64": x.to(torch.complex64),
        "complex128": x.to(torch.complex128),
        "half": x.half(),
        "bfloat16": x.bfloat16(),
        "eight": x.detach().to(torch.float8_e4m3fn),
        "bool": x > 0,
        "sparse": x.detach().relu().to_sparse(),
        "expanded": x[:1].expand(4, -1),
        "transposed": x.T,
        "empty": x[:0],
        "scalar": x.sum(),
    }


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_what_a_file_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    with Session(plain.seeded(lambda: zoo.classifier(Odd()))) as session:
        report = session.forward()
        assert session.observer.errors == []
        session.export(tmp_path / "shot")
        found = load_file(tmp_path / "shot/activations.safetensors")
        left_out = json.loads((tmp_path / "shot/manifest.json").read_text())["left_out"]
        for subject in report.subjects:
            name = tensor_name(subject.key)
            assert name in found or any(name in text for text in left_out), name
            if name in found:
                live = session.values(subject.key)
                plain.assert_same(
                    (live.to_dense() if live.layout is not torch.strided else live).contiguous().clone().float()
                    if not live.is_complex()
                    else live,
                    found[name].float() if not live.is_complex() else found[name],
                    name,
                )
        assert len(found) >= len(report.subjects) - 1


def test_a_batch_in_any_structure(tmp_path: Path) -> None:
    data = [{"x": torch.ones(zoo.FEATURES), "deep": (torch.zeros(1), "text")}] * 4

    def step(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return model(batch["x"]).sum()

    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), dataset=data, training_step=step))) as session:
        session.forward()
        session.export(tmp_path / "shot")
    assert set(load_file(tmp_path / "shot/batch.safetensors")) == {"x", "deep[0]"}


def test_an_existing_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        for name in ("there", "file", "dangling"):
            with pytest.raises(BadInput, match="exists already"):
                session.export(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "user") == ["dangling", "file", "there"]


def test_missing_parents_are_made_and_impossible_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.export(tmp_path / "a/b/shot")
        assert (tmp_path / "a/b/shot/manifest.json").is_file()
        with pytest.raises(BadInput, match="cannot be written to"):
            session.export(tmp_path / "file/shot")


def test_attachments(tmp_path: Path) -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        written = write_snapshot(session, tmp_path / "shot", attachments=[png("plots/loss.png"), png("rate.png")])
    assert (tmp_path / "shot/plots/loss.png").read_bytes() == b"\x89PNG"
    assert {"plots/loss.png", "rate.png"} <= set(written.files)
    assert written.size_bytes == sum(p.stat().st_size for p in (tmp_path / "shot").rglob("*") if p.is_file())


@pytest.mark.parametrize("name", ["../escaped.png", "/tmp/escaped.png", "a/../../escaped.png", "", ".", ".."])
def test_an_attachment_stays_inside(name: str, tmp_path: Path) -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session, pytest.raises(BadInput, match="no name for a file"):
        write_snapshot(session, tmp_path / "shot", attachments=[png(name)])
    assert left_in(tmp_path) == []


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != "user")


@pytest.mark.parametrize(
    "broken", ["_write_tensors", "_write_summaries", "_write_history", "_manifest", "_write_report"]
)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("bug"), KeyboardInterrupt()])
def test_what_breaks_off_leaves_nothing(
    broken: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(snapshot, broken, fail)
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.next_batch()
        expected = BadInput if isinstance(error, OSError) else type(error)
        with pytest.raises(expected, match="No space left" if expected is BadInput else None):
            session.export(tmp_path / "shot")
    assert left_in(tmp_path) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    if shutil.which("mount") is None or not hasattr(os, "getuid") or os.getuid() != 0:
        pytest.skip("only root can mount a tiny file system")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if done.returncode != 0:
        pytest.skip("a tiny file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(tiny_disk: Path) -> None:
    model = nn.Linear(200, 200)
    data = TensorDataset(torch.zeros(4, 200), torch.zeros(4, dtype=torch.long))
    with Session(plain.seeded(lambda: zoo.classifier(model, dataset=data))) as session:
        session.next_batch()
        with pytest.raises(BadInput, match="could not be written"):
            session.export(tiny_disk / "shot")
    assert list(tiny_disk.iterdir()) == []


def test_names_in_the_files() -> None:
    assert tensor_name(SubjectKey(SubjectKind.ACTIVATION, "a.b", 2, ".h[0]")) == "a.b#2:.h[0]"
    assert tensor_name(SubjectKey(SubjectKind.ACTIVATION, "")) == "(model)"
