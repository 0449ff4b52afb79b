"""Checkpoint files of any origin: what is read, what is refused in one sentence, and that nothing is half done."""

from __future__ import annotations

import argparse
import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.optim import lr_scheduler

from gradscope import Recipe, Session
from gradscope.engine.checkpoints import file as checkpoint_file
from gradscope.engine.checkpoints import load as checkpoint_load
from gradscope.engine.checkpoints.load import DoesNotFit
from gradscope.protocol.failure import BadInput
from tests.patience import patient


def recipe(**fields: Any) -> Recipe:
    model = zoo.mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return zoo.classifier(
        model, **{"optimizer": optimizer, "scheduler": lr_scheduler.ExponentialLR(optimizer, 0.9), **fields}
    )


def session(steps: int = 0, make: Callable[[], Recipe] = recipe) -> Session:
    opened = Session(plain.seeded(make))
    plain.train_observed(opened, steps=steps)
    return opened


def everything(of: Session) -> Any:
    """All that a load might change."""
    loop, training = of.loop, of.training
    scaler = None if training.scaler is None else training.scaler.state_dict()
    generators = [generator.get_state() for generator in loop.batches.generators]
    return [
        plain.state_of(of.recipe),
        of.position,
        scaler,
        generators,
        loop.epoch_end.losses,
        vars(training)["clip_norm"],
    ]


def assert_untouched(of: Session, load: Callable[[], object], error: type[BaseException] = BadInput) -> BaseException:
    """The load fails, and the session goes on as if it had never been."""
    before = everything(of)
    with pytest.raises(error) as caught:
        load()
    plain.assert_same(before, everything(of))
    of.next_batch()
    return caught.value


# -------------------------------------------------------------------------------------------------- writing


def test_what_plain_torch_reads(tmp_path: Path) -> None:
    with session(3) as opened:
        saved = opened.save_checkpoint(tmp_path / "c.pt")
        content = torch.load(tmp_path / "c.pt", weights_only=True)
        assert saved.path == str(tmp_path / "c.pt") and saved.left_out == ()
        assert saved.size_bytes == (tmp_path / "c.pt").stat().st_size
        assert list(content) == ["state_dict", "optimizer", "scheduler", "scaler", "epoch", "step", "gradscope"]
        assert (content["epoch"], content["step"], content["scaler"]) == (1, 3, None)
        state = plain.state_of(opened.recipe)
    other = plain.seeded(recipe, 1)
    assert isinstance(other.model, nn.Module)
    other.model.load_state_dict(content["state_dict"])
    other.optimizers[""].load_state_dict(content["optimizer"])
    other.schedulers[""].load_state_dict(content["scheduler"])
    for part in ("tensors", "optimizer", "scheduler"):
        plain.assert_same(state[part], plain.state_of(other)[part])


def test_names_of_several_optimizers(tmp_path: Path) -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        first, last = (torch.optim.SGD(model[i].parameters(), lr=0.1) for i in (0, 2))
        loss = nn.CrossEntropyLoss()
        step = lambda model, batch: loss(model(batch[0]), batch[1])  # noqa: E731
        return Recipe(
            model=model,
            dataset=zoo.vectors(),
            optimizer={"first": first, "last": last},
            scheduler={"last": lr_scheduler.StepLR(last, 2)},
            training_step={"first": step, "last": step},
            precision="fp16",
        )

    with session(2, make) as opened:
        opened.save_checkpoint(tmp_path / "c.pt")
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    assert list(content["optimizer"]) == ["first", "last"] and list(content["scheduler"]) == ["last"]
    assert content["scaler"]["scale"] == 65536.0


def test_what_has_no_plain_form_is_left_out(tmp_path: Path) -> None:
    def make() -> Recipe:
        made = recipe()
        made.optimizers[""].param_groups[0]["rule"] = print
        made.schedulers[""].origin = made  # type: ignore[attr-defined]
        return made

    with session(1, make) as opened:
        saved = opened.save_checkpoint(tmp_path / "c.pt")
        assert saved.left_out == ("optimizer.param_groups[0].rule", "scheduler.origin")
        torch.load(tmp_path / "c.pt", weights_only=True)
    with session(0, make) as opened:
        assert opened.load_checkpoint(tmp_path / "c.pt").is_continued
        assert opened.training.turns[0].optimizer.param_groups[0]["rule"] is print


def test_a_view_does_not_bring_what_it_is_a_view_of(tmp_path: Path) -> None:
    large = torch.zeros(1_000_000)

    def make() -> Recipe:
        return Recipe(
            model={"w": large[:4].view(2, 2).requires_grad_()},
            dataset=zoo.vectors(),
            optimizer=torch.optim.SGD([large], lr=0.1),
            training_step=lambda model, batch: model["w"].sum(),
        )

    with session(0, make) as opened:
        opened.training.turns[0].optimizer.param_groups.clear()
        assert opened.save_checkpoint(tmp_path / "c.pt").size_bytes < 100_000


@pytest.mark.parametrize("presses", [1, 2])
def test_only_between_two_steps(presses: int, tmp_path: Path) -> None:
    with session(1) as opened:
        opened.save_checkpoint(tmp_path / "c.pt")
        for _ in range(presses):
            opened.advance()
        with pytest.raises(BadInput, match="A checkpoint can be saved between two steps: press Next batch"):
            opened.save_checkpoint(tmp_path / "d.pt")
        with pytest.raises(BadInput, match="A checkpoint can be loaded between two steps: press Next batch"):
            opened.load_checkpoint(tmp_path / "c.pt")
        opened.next_batch()
        assert not (tmp_path / "d.pt").exists()


def test_no_best_weights(tmp_path: Path) -> None:
    with session() as opened, pytest.raises(BadInput, match=r"no best weights; expected Recipe\(best_metric"):
        opened.save_best(tmp_path / "best.pt")
    made = lambda: recipe(validation=zoo.vectors(), best_metric="loss")  # noqa: E731
    with session(0, made) as opened, pytest.raises(BadInput, match="expected a validation that gives 'loss'"):
        opened.save_best(tmp_path / "best.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "is a folder; expected the name of a file"),
        ("nowhere/c.pt", "nowhere does not exist; expected an existing"),
    ],
)
def test_places_that_cannot_be_written(name: str, sentence: str, tmp_path: Path) -> None:
    with session() as opened, pytest.raises(BadInput, match=sentence):
        opened.save_checkpoint(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes with names")
@pytest.mark.parametrize("is_link", [False, True])
def test_what_is_no_regular_file_is_neither_replaced_nor_waited_for(is_link: bool, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    name = tmp_path / "link.pt" if is_link else pipe
    if is_link:
        name.symlink_to(pipe)
    with session() as opened:
        with pytest.raises(BadInput, match="pipe is no regular file; expected a new name"):
            opened.save_checkpoint(name)
        with pytest.raises(BadInput, match="is no regular file; expected a checkpoint file"):
            opened.load_checkpoint(name)
    assert pipe.is_fifo() and len(list(tmp_path.iterdir())) == 1 + is_link


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint_file.tempfile, "mkstemp", refuse)
    with session() as opened, pytest.raises(BadInput, match=r"cannot be written to .*c\.pt: Permission denied"):
        opened.save_checkpoint(tmp_path / "c.pt")


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_the_older_file(tmp_path: Path) -> None:
    script = f"""
        import resource, signal, sys
        from pathlib import Path
        from gradscope import BadInput
        from gradscope.engine.checkpoints.file import write
        import torch
        target = Path({str(tmp_path)!r}) / "c.pt"
        write(target, {{"state_dict": {{"w": torch.zeros(3)}}}})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            write(target, {{"state_dict": {{"w": torch.zeros(1_000_000)}}}})
        except BadInput as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=patient(120)
    )
    assert "cannot be written to" in done.stdout and "File too large" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]
    assert torch.load(tmp_path / "c.pt", weights_only=True)["state_dict"]["w"].shape == (3,)


def test_a_kill_leaves_the_older_file(tmp_path: Path) -> None:
    script = f"""
        import os
        from gradscope.engine.checkpoints.file import write
        write({str(tmp_path / "c.pt")!r}, {{"step": 1}})
        os.fsync = lambda descriptor: os._exit(9)
        write({str(tmp_path / "c.pt")!r}, {{"step": 2}})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=patient(120)
    )
    assert done.returncode == 9, done.stderr
    assert torch.load(tmp_path / "c.pt", weights_only=True) == {"step": 1}


def test_a_link_and_the_mode_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real.pt").write_bytes(b"old")
    (tmp_path / "real.pt").chmod(0o640)
    (tmp_path / "link.pt").symlink_to(tmp_path / "real.pt")
    with session() as opened:
        opened.save_checkpoint(tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink() and (tmp_path / "real.pt").stat().st_mode & 0o777 == 0o640
    assert torch.load(tmp_path / "real.pt", weights_only=True)["step"] == 0


# -------------------------------------------------------------------------------------------------- files of others


def weights_of(seed: int = 3, make: Callable[[], nn.Module] = zoo.mlp) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return make().state_dict()


def save(content: Any, file: Path) -> Path:
    torch.save(content, file)
    return file


def as_safetensors(file: Path) -> Path:
    from safetensors.torch import save_file

    save_file(weights_of(), file)
    return file


FOREIGN: dict[str, Callable[[Path], Path]] = {
    "bare": lambda folder: save(weights_of(), folder / "c.pth"),
    "legacy": lambda folder: _legacy(weights_of(), folder / "c.pth"),
    "state_dict": lambda folder: save({"state_dict": weights_of()}, folder / "c.pt"),
    "model": lambda folder: save({"model": weights_of(), "loss": 0.5}, folder / "c.pt"),
    "model_state_dict": lambda folder: save({"model_state_dict": weights_of()}, folder / "c.pt"),
    "safetensors": lambda folder: as_safetensors(folder / "c.safetensors"),
    "safetensors by another name": lambda folder: as_safetensors(folder / "weights"),
    "DataParallel": lambda folder: save({f"module.{k}": v for k, v in weights_of().items()}, folder / "c.pt"),
    "compiled": lambda folder: save({f"_orig_mod.{k}": v for k, v in weights_of().items()}, folder / "c.pt"),
    "float64": lambda folder: save({k: v.double() for k, v in weights_of().items()}, folder / "c.pt"),
}


def _legacy(content: Any, file: Path) -> Path:
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file


@pytest.mark.parametrize("name", FOREIGN)
def test_weights_of_others(name: str, tmp_path: Path) -> None:
    file = FOREIGN[name](tmp_path)
    with session(2) as opened:
        loaded = opened.load_checkpoint(file)
        assert loaded.loaded == ("weights",) and not loaded.is_continued and loaded.position.step == 2
        assert isinstance(opened.recipe.model, nn.Module)
        plain.assert_same(dict(weights_of()), dict(opened.recipe.model.state_dict()))
        assert all(parameter.grad is None for parameter in opened.recipe.model.parameters())
        assert "The file has no optimizer: the optimizer's state stays as it is" in loaded.notes
        text = " ".join(loaded.notes)
        assert ('begin with "module."' in text) == (name == "DataParallel")
        assert ("Converted from float64 to float32: 0.weight" in text) == (name == "float64")
        opened.next_batch()
        assert opened.position.step == 3


def test_a_training_scripts_own_checkpoint(tmp_path: Path) -> None:
    made = plain.seeded(recipe, 1)
    plain.train_plainly(made, steps=4)
    content = {
        "epoch": 7,
        "global_step": 4,
        "model_state_dict": made.model.state_dict(),  # type: ignore[union-attr]
        "optimizer_state_dict": made.optimizers[""].state_dict(),
        "scheduler_state_dict": made.schedulers[""].state_dict(),
    }
    with session(2) as opened:
        loaded = opened.load_checkpoint(save(content, tmp_path / "c.pt"))
        assert loaded.loaded == ("weights", "scheduler", "optimizer") and loaded.notes == ()
        assert (opened.position.step, opened.position.epoch, opened.position.batch) == (4, 7, 0)
        assert [record.step for record in opened.history] == [0, 1]
        for part in ("tensors", "optimizer", "scheduler"):
            plain.assert_same(plain.state_of(made)[part], plain.state_of(opened.recipe)[part])
        assert opened.next_batch()[2].step == 4


def test_options_that_an_older_version_lacks(tmp_path: Path) -> None:
    with session(2) as opened:
        state = opened.training.turns[0].optimizer.state_dict()
        for group in state["param_groups"]:
            del group["foreach"], group["decoupled_weight_decay"]
        content = {"state_dict": weights_of(), "optimizer": state}
        loaded = opened.load_checkpoint(save(content, tmp_path / "c.pt"))
        assert "optimizer" in loaded.loaded
        assert "foreach" in opened.training.turns[0].optimizer.param_groups[0]
        opened.next_batch()


def test_another_recipe_takes_no_random_states(tmp_path: Path) -> None:
    with session(2) as opened:
        opened.save_checkpoint(tmp_path / "c.pt")
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    content["gradscope"]["recipe_sha256"] = "another"
    save(content, tmp_path / "c.pt")
    with session() as opened:
        states = torch.get_rng_state()
        loaded = opened.load_checkpoint(tmp_path / "c.pt")
        assert not loaded.is_continued and "The recipe is another one" in loaded.notes[0]
        assert torch.equal(states, torch.get_rng_state())
        assert (opened.position.step, opened.position.batch) == (2, 0)


def needs_classes(folder: Path) -> Path:
    return save({"state_dict": weights_of(), "args": argparse.Namespace(lr=1)}, folder / "c.pt")


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def cut(content: bytes, file: Path, share: float = 0.5) -> Path:
    file.write_bytes(content[: int(len(content) * share)])
    return file


def text(content: bytes, file: Path) -> Path:
    file.write_bytes(content)
    return file


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (lambda folder: folder / "none.pt", r"none\.pt cannot be read: No such file"),
    "a folder": (lambda folder: folder, "is a folder; expected a checkpoint file"),
    "empty": (lambda folder: text(b"", folder / "c.pt"), "is empty; expected one written by torch.save"),
    "a text": (lambda folder: text(b"import torch\n" * 9, folder / "c.py"), r"c\.py is no checkpoint; expected"),
    "a zip": (lambda folder: text(b"PK\x03\x04" + b"x" * 99, folder / "c.zip"), "is damaged|cannot be read as a"),
    "cut off": (
        lambda folder: cut(save(weights_of(), folder / "c.pt").read_bytes(), folder / "c.pt"),
        "ends too early",
    ),
    "cut off, legacy": (
        lambda folder: cut(_legacy(weights_of(), folder / "c.pt").read_bytes(), folder / "c.pt"),
        "ends too early",
    ),
    "cut off safetensors": (
        lambda folder: cut(as_safetensors(folder / "c.safetensors").read_bytes(), folder / "c.safetensors", 0.95),
        "is damaged: .*; expected a complete safetensors file",
    ),
    "a whole model": (
        lambda folder: save(zoo.mlp(), folder / "c.pt"),
        "asks for the Python object torch.nn.modules.container.Sequential, which could run code; expected",
    ),
    "an object beside": (needs_classes, "asks for the Python object argparse.Namespace"),
    "a bomb": (lambda folder: save({"state_dict": Bomb()}, folder / "c.pt"), "asks for the Python object posix.mkdir"),
    "a pickle": (
        lambda folder: text(pickle.dumps({"a": 1}), folder / "c.pkl"),
        "cannot be read as a checkpoint|ends too early",
    ),
    "TorchScript": (
        lambda folder: text(_scripted(folder), folder / "c.pt"),
        "is a TorchScript archive, a program; expected a checkpoint",
    ),
    "a list": (lambda folder: save([1, 2], folder / "c.pt"), "holds a list; expected a dict with a state_dict"),
    "numbers": (
        lambda folder: save({"loss": 1.0, "epoch": 2}, folder / "c.pt"),
        "is no checkpoint: it holds loss, epoch; expected state_dict",
    ),
    "nothing in it": (lambda folder: save({}, folder / "c.pt"), "it holds nothing; expected state_dict"),
}


def _scripted(folder: Path) -> bytes:
    class Twice(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    traced = torch.jit.trace(Twice(), torch.zeros(1))
    torch.jit.save(traced, folder / "twice.pt")
    return (folder / "twice.pt").read_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, sentence = REFUSED[name]
    file = make(tmp_path)
    with session(1) as opened:
        error = assert_untouched(opened, lambda: opened.load_checkpoint(file))
    assert re.search(sentence, str(error)), error
    assert "\n" not in str(error) and not (tmp_path / "exploded").exists()


def test_no_permission_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(weights_of(), tmp_path / "c.pt")
    real = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self == file:
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with session() as opened, pytest.raises(BadInput, match=r"c\.pt cannot be read: Permission denied"):
        opened.load_checkpoint(file)


# -------------------------------------------------------------------------------------------------- what does not fit


def other_mlp() -> nn.Module:
    return nn.Sequential(
        OrderedDict([("0", nn.Linear(zoo.FEATURES, 8)), ("2", nn.Linear(8, 5)), ("extra", nn.Linear(2, 2, bias=False))])
    )


def test_mismatches_are_listed_before_anything_is_changed(tmp_path: Path) -> None:
    weights = weights_of(3, other_mlp)
    del weights["0.bias"]
    file = save({"state_dict": weights}, tmp_path / "c.pt")
    with session(2) as opened:
        error = assert_untouched(opened, lambda: opened.load_checkpoint(file), DoesNotFit)
        assert isinstance(error, DoesNotFit)
        assert str(error).endswith("1 name is missing, 1 name is unexpected, 2 names are of another shape")
        mismatch = error.mismatch
        assert (mismatch.missing, mismatch.unexpected) == (("0.bias",), ("extra.weight",))
        assert mismatch.wrong_shape == (
            "2.weight: (5, 8) in the file, (3, 8) in the model",
            "2.bias: (5,) in the file, (3,) in the model",
        )
        assert "Missing in the file:\n  0.bias\n" in error.failure.traceback


def test_what_fits_is_loaded_if_wanted(tmp_path: Path) -> None:
    file = save({"state_dict": weights_of(3, other_mlp)}, tmp_path / "c.pt")
    with session(2) as opened:
        before = plain.state_of(opened.recipe)["tensors"]
        loaded = opened.load_checkpoint(file, strict=False)
        assert loaded.left is not None and loaded.left.unexpected == ("extra.weight",)
        after = plain.state_of(opened.recipe)["tensors"]
        plain.assert_same(dict(weights_of(3, other_mlp))["0.weight"], after["0.weight"])
        plain.assert_same(before["2.weight"], after["2.weight"])
        opened.next_batch()


def sgd_recipe() -> Recipe:
    model = zoo.mlp()
    return zoo.classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


def two_groups() -> Recipe:
    model = zoo.mlp()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters()}]
    return zoo.classifier(model, optimizer=torch.optim.Adam(groups, lr=0.1))


def other_order() -> Recipe:
    model = zoo.mlp()
    return zoo.classifier(model, optimizer=torch.optim.Adam(list(model.parameters())[::-1], lr=0.1))


def other_schedule() -> Recipe:
    model = zoo.mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return zoo.classifier(model, optimizer=optimizer, scheduler=lr_scheduler.MultiStepLR(optimizer, [2]))


OTHERS: dict[str, tuple[Callable[[], Recipe], str]] = {
    "class": (sgd_recipe, "optimizer: the file has a SGD, and the session has a Adam"),
    "groups": (two_groups, "optimizer: 2 parameter groups in the file, 1 in the session"),
    "order": (
        other_order,
        r"optimizer: exp_avg of parameter 0 is a float32 tensor of \(3,\); expected a tensor of \(8, 6\)",
    ),
    "schedule": (other_schedule, "scheduler: the file has a MultiStepLR, and the session has a ExponentialLR"),
}


@pytest.mark.parametrize("is_foreign", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_other_optimizers_and_schedulers(name: str, is_foreign: bool, tmp_path: Path) -> None:
    make, sentence = OTHERS[name]
    with session(2, make) as opened:
        opened.save_checkpoint(tmp_path / "c.pt")
    if is_foreign:
        content = torch.load(tmp_path / "c.pt", weights_only=True)
        del content["gradscope"]
        save(content, tmp_path / "c.pt")
        if name in ("class", "schedule"):
            sentence = f"{sentence.partition(':')[0]}: the file's is of another class"
    with session(1) as opened:
        error = assert_untouched(opened, lambda: opened.load_checkpoint(tmp_path / "c.pt"), DoesNotFit)
        assert re.search(sentence, str(error)), error
        before = plain.state_of(opened.recipe)
        loaded = opened.load_checkpoint(tmp_path / "c.pt", strict=False)
        assert loaded.left is not None and re.search(sentence, loaded.left.other[0]) and not loaded.is_continued
        kept = "scheduler" if name == "schedule" else "optimizer"
        assert kept not in loaded.loaded
        plain.assert_same(before[kept], plain.state_of(opened.recipe)[kept])
        opened.next_batch()


def test_one_optimizer_is_not_several(tmp_path: Path) -> None:
    def two() -> Recipe:
        model = zoo.mlp()
        optimizers = {name: torch.optim.Adam(model[i].parameters()) for name, i in (("first", 0), ("last", 2))}
        step = lambda model, batch: model(batch[0]).sum()  # noqa: E731
        return Recipe(
            model=model,
            dataset=zoo.vectors(),
            optimizer=dict(optimizers),
            training_step=dict.fromkeys(optimizers, step),
        )

    for here, there, sentence in (
        (two, recipe, "optimizer: the file has one; expected a dict with first, last"),
        (recipe, two, "expected state and param_groups"),
    ):
        with session(2, there) as opened:
            opened.save_checkpoint(tmp_path / "c.pt")
        content = torch.load(tmp_path / "c.pt", weights_only=True)
        save({key: content[key] for key in ("state_dict", "optimizer")}, tmp_path / "c.pt")
        with session(0, here) as opened, pytest.raises(DoesNotFit, match=sentence):
            opened.load_checkpoint(tmp_path / "c.pt")


# -------------------------------------------------------------------------------------------------- all or nothing


def rich() -> Recipe:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, zoo.CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer), lr_scheduler.StepLR(optimizer, 2)], [3]
    )
    return zoo.classifier(model, optimizer=optimizer, scheduler=schedule, precision="fp16", clip_norm=1.0, batch_size=4)


@pytest.mark.parametrize("where", ["scheduler", "optimizer", "rest", "data", "random"])
def test_an_error_half_way_changes_nothing(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with session(7, rich) as opened:
        opened.save_checkpoint(tmp_path / "c.pt")
        expected = plain.train_plainly(plain.seeded(rich), steps=5)
    with session(3, rich) as opened:
        turn = opened.training.turns[0]
        assert turn.scheduler is not None

        def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError("on purpose")

        with monkeypatch.context() as patch:
            if where == "scheduler":
                # The outer one and the first nested one are changed by then.
                patch.setattr(turn.scheduler._schedulers[1], "load_state_dict", fail)  # type: ignore[attr-defined]
            elif where == "optimizer":
                patch.setattr(turn.optimizer, "_optimizer_load_state_dict_post_hooks", {0: fail})
            elif where == "rest":
                patch.setattr(checkpoint_load, "_set_flags", fail)
            elif where == "data":
                patch.setattr(type(opened.loop.batches), "_go_through", fail)
            else:
                patch.setattr(checkpoint_load.RandomStates, "restore", _second(fail))
            before = everything(opened)
            with pytest.raises(
                BadInput, match=r"c\.pt could not be loaded: RuntimeError: on purpose .*nothing was changed"
            ):
                opened.load_checkpoint(tmp_path / "c.pt")
        plain.assert_same(before, everything(opened))
        found = plain.train_observed(opened, steps=5)
    plain.assert_same((expected.losses, expected.scales[3:], expected.state), (found.losses, found.scales, found.state))


def _second(fail: Callable[[], Any]) -> Callable[[Any], None]:
    """Fails for the states of the file, which come after those of the pass; the undoing works."""
    real, calls = checkpoint_load.RandomStates.restore, []

    def restore(self: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            fail()
        real(self)

    return restore


@pytest.mark.parametrize(
    "damage",
    [
        lambda own: own.pop("loader"),
        lambda own: own["loader"].update(generators=[]),
        lambda own: own["random"].update(torch=torch.zeros(3, dtype=torch.uint8)),
        lambda own: own["random"]["python"].update(words=torch.zeros(3, dtype=torch.int64)),
        lambda own: own.update(random=7),
        lambda own: own["loader"]["pass"].update(draws=10_000),
        lambda own: own["loader"]["pass"].update(start=None),
        lambda own: own.update(format=99),
        lambda own: own.update(classes=[]),
        lambda own: own["classes"].update(optimizer=3),
        lambda own: own.update(settings={}),
        lambda own: own.update(eval_layers=None),
    ],
)
def test_a_damaged_part_changes_nothing(damage: Callable[[Any], object], tmp_path: Path) -> None:
    with session(4) as opened:
        opened.save_checkpoint(tmp_path / "c.pt")
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    damage(content["gradscope"])
    save(content, tmp_path / "c.pt")
    with session(1) as opened:
        if content["gradscope"].get("format") == 99:
            loaded = opened.load_checkpoint(tmp_path / "c.pt")
            assert "in format 99; expected 1" in loaded.notes[0] and not loaded.is_continued
        else:
            error = assert_untouched(opened, lambda: opened.load_checkpoint(tmp_path / "c.pt"))
            assert "c.pt" in str(error) or "cannot be found again" in str(error)
