"""Snapshots: files that others can read, with the live values in them; complete or not there at all."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import stat
import subprocess
import sys
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

from gradscope import BadInput, Recipe, Session
from gradscope.engine.export.snapshot import measure_snapshot, write_snapshot
from gradscope.protocol.messages import Attachment
from gradscope.protocol.messages.edits import EditOption
from gradscope.protocol.parts import EVERYTHING, Part
from gradscope.protocol.phases import Moment, Phase, Rest
from gradscope.protocol.subjects import COLUMNS, SubjectKind
from gradscope.snapshots.format.names import TENSOR_FILES, tensor_name
from gradscope.snapshots.reader import open_snapshot

FILES = {
    "manifest.json",
    "report.html",
    "session.json",
    "reports.json",
    "reports.safetensors",
    "optimizer.json",
    "optimizer.safetensors",
    "summaries.csv",
    "history.csv",
    "parameters.safetensors",
    "buffers.safetensors",
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
        for kind, name in TENSOR_FILES.items():
            if name not in FILES or kind is SubjectKind.OPTIMIZER_STATE:
                continue
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
        assert manifest["format_version"] == 3
        assert manifest["recipe"] == {"name": "Linear regression", "path": str(path), "sha256": session.info.sha256}
        window = {"micro": 0, "window": 1, "optimizer": ""}
        phases = {phase: {"step": 6, "complete": True} for phase in ("forward", "backward", "step")}
        assert manifest["moment"] == {"rest": "ready", "step": 7, "epoch": 1, "batch": 1, "phases": phases, **window}
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
        for name in ("x" * 300, "x" * 300 + ".zip"):
            with pytest.raises(BadInput, match="File name too long"):
                session.export(tmp_path / name)
    assert left_in(tmp_path) == ["a", "file"]


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


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("target", ["shot", "shot.zip"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Cancelled(), KeyboardInterrupt()])
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_what_breaks_off_leaves_nothing(target: str, error: BaseException, share: float, tmp_path: Path) -> None:
    def progress(done: int, total: int) -> None:
        if done >= share * total:
            raise error

    write_older(tmp_path / "older")
    before = {path: path.read_bytes() for path in (tmp_path / "older").iterdir()}
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.next_batch()
        expected = BadInput if isinstance(error, OSError) else type(error)
        with pytest.raises(expected, match="No space left" if expected is BadInput else None):
            write_snapshot(session, tmp_path / target, progress=progress)
        assert left_in(tmp_path) == ["older"]
        assert {path: path.read_bytes() for path in (tmp_path / "older").iterdir()} == before
        # Nothing of it is in the way of the next try.
        write_snapshot(session, tmp_path / target)


def write_older(path: Path) -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.export(path)


@pytest.mark.parametrize("target", ["shot", "shot.zip"])
def test_progress_goes_from_nothing_to_all(target: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with Session(plain.seeded(zoo.batchnorm_dropout_conv)) as session:
        session.next_batch()
        written = write_snapshot(session, tmp_path / target, progress=lambda done, total: seen.append((done, total)))
    done = [pair[0] for pair in seen]
    totals = {pair[1] for pair in seen}
    assert done == sorted(done) and len(totals) == 1 and done[-1] == totals.pop()
    # The manifest, which lists the sizes of all others, is not in the sum.
    size = (
        size_of(tmp_path / target) if target == "shot" else sum(open_snapshot(tmp_path / target).files.sizes.values())
    )
    assert done[-1] < size < done[-1] + 4096
    assert written.size_bytes == (size if target == "shot" else (tmp_path / target).stat().st_size)


def test_sizes_are_known_before(tmp_path: Path) -> None:
    with Session(plain.seeded(zoo.batchnorm_dropout_conv)) as session:
        for _ in range(5):
            session.advance()
        sizes = measure_snapshot(session)
        assert set(sizes) == {None, *EVERYTHING} - {Part.PLOTS, Part.HISTORY}
        write_snapshot(session, tmp_path / "none", contents=frozenset())
        base = size_of(tmp_path / "none") - (tmp_path / "none/manifest.json").stat().st_size
        assert sizes[None] == base
        for part in set(sizes) - {None}:
            write_snapshot(session, tmp_path / str(part), contents=frozenset({part}))
            manifest = (tmp_path / str(part) / "manifest.json").stat().st_size
            assert size_of(tmp_path / str(part)) - manifest - base == sizes[part], part


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


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
        for target in ("shot", "shot.zip"):
            with pytest.raises(BadInput, match=r"could not be written.*No space left"):
                session.export(tiny_disk / target)
            assert list(tiny_disk.iterdir()) == []


PROGRAM = """
import sys, time
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import TensorDataset
from gradscope import Recipe, Session, BadInput
from gradscope.engine.export.snapshot import write_snapshot

torch.set_num_threads(1)
model = nn.Linear(300, 300)
data = TensorDataset(torch.zeros(4, 300), torch.zeros(4, dtype=torch.long))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with Session(Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), optimizer=optimizer)) as session:
    session.next_batch()
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the write fails in the middle of a tensor, in a process of its own."""
    pytest.importorskip("resource")
    program = (
        PROGRAM
        + """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    for name in sys.argv[1:]:
        try:
            write_snapshot(session, name)
        except BadInput as error:
            print(error)
"""
    )
    targets = [str(tmp_path / "shot"), str(tmp_path / "shot.zip")]
    done = subprocess.run([sys.executable, "-c", program, *targets], capture_output=True, text=True, check=True)
    assert [line.split(": ")[-1] for line in done.stdout.splitlines()] == ["File too large"] * 2
    assert left_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_leaves_no_half_snapshot(tmp_path: Path) -> None:
    """It is killed half-way through a folder, and half-way through a zip."""
    program = (
        PROGRAM
        + """
    def start_another(done, total):
        if done > total / 2:
            write_snapshot(session, sys.argv[2], progress=hang)
    def hang(done, total):
        if done > total / 2:
            print("half", flush=True)
            time.sleep(60)
    write_snapshot(session, sys.argv[1], progress=start_another)
"""
    )
    targets = [tmp_path / "shot", tmp_path / "shot.zip"]
    write_older(tmp_path / "older")
    before = {path: path.read_bytes() for path in (tmp_path / "older").iterdir()}
    process = subprocess.Popen([sys.executable, "-c", program, *targets], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == "half\n"
        process.kill()
    older, *left = left_in(tmp_path)
    assert older == "older" and len(left) == 2 and all(name.endswith(".partial") for name in left)
    assert {path: path.read_bytes() for path in (tmp_path / "older").iterdir()} == before
    for target in targets:
        with Session(plain.seeded(zoo.plain_mlp)) as session:
            session.export(target)
        open_snapshot(target)


def test_what_came_there_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    for target in ("shot", "shot.zip"):

        def progress(done: int, total: int, target: Path = tmp_path / target) -> None:
            if done == total and not target.exists():
                if target.suffix:
                    target.write_text("mine")
                else:
                    target.mkdir()
                    (target / "mine").touch()

        with Session(plain.seeded(zoo.plain_mlp)) as session, pytest.raises(BadInput, match="could not be written"):
            write_snapshot(session, tmp_path / target, progress=progress)
    assert left_in(tmp_path) == ["shot", "shot.zip"]
    assert (tmp_path / "shot.zip").read_text() == "mine" and (tmp_path / "shot/mine").exists()


def test_a_snapshot_can_be_handed_on(tmp_path: Path) -> None:
    """As readable as any new file is here."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        session.export(tmp_path / "shot")
        session.export(tmp_path / "shot.zip")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("folder", "folder/file")]
    assert stat.S_IMODE((tmp_path / "shot").stat().st_mode) == modes[0]
    assert {stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / "shot").iterdir()} == {modes[1]}
    assert stat.S_IMODE((tmp_path / "shot.zip").stat().st_mode) == modes[1]


def test_a_phase_that_is_stopped_half_way_is_told(tmp_path: Path) -> None:
    class Here:
        """Writes a snapshot inside the forward, after the first layer."""

        is_armed = True

        def stop(self, moment: Moment) -> None:
            if moment.layer == "1" and moment.event == "enter":
                write_snapshot(session, tmp_path / "shot")

    with Session(plain.seeded(zoo.plain_mlp), gate=Here()) as session:
        session.forward()
    shot = open_snapshot(tmp_path / "shot")
    assert shot.position.rest is Rest.IN_FORWARD and shot.position.moment is not None
    report = shot.reports[Phase.FORWARD]
    assert not report.complete and [row.key.name for row in shot.rows_of(report)] == ["0"]
    assert shot.values(shot.rows_of(report)[0].key).shape == (zoo.BATCH, 8)


def test_the_whole_step_is_told(tmp_path: Path) -> None:
    """Windows, clipping, precision and validation: what the session knows of them is in the files."""

    def recipe() -> Recipe:
        model = zoo.mlp()
        return zoo.classifier(
            model,
            optimizer=zoo.adam(model),
            accumulate=2,
            clip_norm=0.01,
            precision="bf16",
            validation=zoo.vectors(),
            metrics={"worst": lambda output, target: float("nan")},
        )

    with Session(plain.seeded(recipe)) as session:
        session.next_batch()
        session.validate()
        session.edit(EditOption(group=0, option="lr", value="0.5"))
        session.next_batch()
        session.export(tmp_path / "shot")
        shot = open_snapshot(tmp_path / "shot")
        assert repr(shot.validations) == repr(tuple(session.validations)) and shot.validations
        assert [(edit.step, edit.text) for edit in shot.edits] == [(1, session.edits[0].text)]
        assert (shot.session, shot.position) == (session.info, session.position)
        for phase, report in session.reports.items():
            assert (shot.reports[phase].clip, shot.reports[phase].window) == (report.clip, report.raw.window)
        assert shot.steps.micro_batches.tolist() == [record.micro_batches for record in session.history]
        assert shot.steps.clip_norm.tolist() == [record.clip.norm for record in session.history if record.clip]
        for kind in (SubjectKind.GRAD, SubjectKind.CLIPPED_GRAD, SubjectKind.OPTIMIZER_STATE):
            keys = session.known_subjects(kind)
            assert keys
            for key in keys:
                np.testing.assert_array_equal(shot.values(key), session.values(key).numpy())
        grads = [shot.values(key) for key in session.known_subjects(SubjectKind.GRAD)]
        clipped = [shot.values(key) for key in session.known_subjects(SubjectKind.CLIPPED_GRAD)]
        assert max(abs(a - b).max() for a, b in zip(grads, clipped, strict=True)) > 0


def test_a_scaled_step_is_told(tmp_path: Path) -> None:
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), precision="fp16"))) as session:
        session.next_batch()
        session.export(tmp_path / "shot")
        shot = open_snapshot(tmp_path / "shot")
        assert shot.steps.scale.tolist() == [session.history[0].scale]
        assert shot.steps.is_skipped.tolist() == [session.history[0].is_skipped]
        assert shot.optimizer is not None and shot.optimizer["scaler"]["scale"] > 0


def test_several_optimizers(tmp_path: Path) -> None:
    model = nn.ModuleDict({"d": nn.Linear(zoo.FEATURES, 1), "g": nn.Linear(zoo.FEATURES, 1)})
    optimizers = {name: torch.optim.Adam(model[name].parameters(), lr=0.01) for name in model}
    steps = {name: (lambda model, batch, name=name: model[name](batch[0]).square().mean()) for name in model}
    schedulers = {"g": torch.optim.lr_scheduler.StepLR(optimizers["g"], 1)}
    recipe = zoo.classifier(model, optimizer=optimizers, training_step=steps, scheduler=schedulers, loss=None)
    with Session(recipe) as session:
        for _ in range(3):
            session.next_batch()
        session.export(tmp_path / "shot")
        shot = open_snapshot(tmp_path / "shot")
        assert shot.steps.optimizer == tuple(record.optimizer for record in session.history)
        assert shot.optimizer is not None
        assert [told["name"] for told in shot.optimizer["optimizers"]] == ["d", "g"]
        assert [told["name"] for told in shot.optimizer["schedulers"]] == ["g"]
        for key in session.known_subjects(SubjectKind.OPTIMIZER_STATE):
            np.testing.assert_array_equal(shot.values(key), session.values(key).numpy())


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop])
def test_the_optimizer(make: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    options = {"momentum": 0.9} if make is torch.optim.SGD else {}
    model = zoo.mlp()
    recipe = zoo.classifier(model, optimizer=make(model.parameters(), lr=0.1, **options))
    with Session(recipe) as session:
        session.next_batch()
        session.next_batch()
        session.export(tmp_path / "shot")
    found = load_file(tmp_path / "shot/optimizer.safetensors")
    names = {id(p): name for name, p in model.named_parameters()}
    expected = {
        f"{names[id(p)]}.{key}": value
        for p, state in recipe.optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    plain.assert_same(dict(sorted(expected.items())), dict(sorted(found.items())))
    facts = open_snapshot(tmp_path / "shot").optimizer
    assert facts is not None
    (told,) = facts["optimizers"]
    assert told["class"] == make.__name__ and told["groups"][0]["lr"] == 0.1
    assert told["groups"][0]["parameters"] == list(names.values())


def test_an_optimizer_that_remembers_lists_and_a_schedule(tmp_path: Path) -> None:
    model = zoo.mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.1))
    optimizer.state[model[0].weight]["odd"] = {"list": [torch.ones(2), 7], "inf": math.inf, "self": object}
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    with Session(zoo.classifier(model, optimizer=optimizer, scheduler=scheduler)) as session:
        session.export(tmp_path / "shot")
    assert load_file(tmp_path / "shot/optimizer.safetensors")["0.weight.odd.list[0]"].tolist() == [1, 1]
    facts = json.loads((tmp_path / "shot/optimizer.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert facts["optimizers"][0]["groups"][0]["lr"] == pytest.approx(0.05)
    assert facts["schedulers"][0]["class"] == "LambdaLR"


class Awkward(nn.Module):
    """Names that mean something in a tensor's name, or cannot be written."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("a", "a#1", "a:x", "(model)", "a%23", "half \ud800"):
            self.add_module(name, nn.Linear(zoo.FEATURES, zoo.FEATURES))
        self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for module in [*self.children()][:-1]:
            x = module(x)
        return self.head(self.a(x))


def test_names_that_mean_something_are_not_mixed_up(tmp_path: Path) -> None:
    with Session(plain.seeded(lambda: zoo.classifier(Awkward()))) as session:
        session.forward()
        session.export(tmp_path / "shot")
        shot = open_snapshot(tmp_path / "shot")
        assert shot.remarks == ()
        report = session.reports[Phase.FORWARD]
        for row, read in zip(report.rows, shot.rows_of(shot.reports[Phase.FORWARD]), strict=True):
            np.testing.assert_array_equal(shot.values(read.key), session.values(row.key).numpy())
