"""Checkpoints whose parts are not what they should be: refused by name, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import nn
from torch.optim import lr_scheduler

from gradscope import Recipe, Session
from gradscope.protocol.failure import BadInput


def recipe() -> Recipe:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, zoo.CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer), lr_scheduler.MultiStepLR(optimizer, [2, 5])], [3]
    )
    return zoo.classifier(
        model,
        optimizer=optimizer,
        scheduler=schedule,
        precision="fp16",
        clip_norm=1.0,
        batch_size=4,
        validation=zoo.vectors(),
        best_metric="loss",
    )


def session(steps: int) -> Session:
    opened = Session(plain.seeded(recipe))
    plain.train_observed(opened, steps=steps)
    return opened


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("saved") / "c.pt"
    with session(3) as opened:
        opened.validate()
        opened.save_checkpoint(file)
    return file


def put(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = to

    return change


STATE = ("optimizer", "state", 0)
GROUP = ("optimizer", "param_groups", 0)
OWN = ("gradscope",)
LOADER = (*OWN, "loader")
RANDOM = (*OWN, "random")
THREE = torch.zeros(3)

WRONG: dict[str, tuple[Callable[[Any], None], str]] = {
    "epoch": (put("epoch", to=[]), "epoch is a list; expected a whole number from 0"),
    "epoch below 0": (put("epoch", to=-1), "epoch is -1; expected a whole number from 0"),
    "step": (put("step", to="7"), "step is '7'; expected a whole number from 0"),
    "step that is NaN": (put("step", to=float("nan")), "step is nan; expected"),
    "step without end": (put("step", to=2**60), "step is 1152921504606846976; expected"),
    "a number as a moment": (
        put(*STATE, "exp_avg_sq", to=5),
        "exp_avg_sq of parameter 0 is 5; expected a tensor of (8, ",
    ),
    "a moment of no dimension": (
        put(*STATE, "exp_avg", to=torch.tensor(1.0)),
        "exp_avg of parameter 0 is a float32 tensor",
    ),
    "a moment of another shape": (
        put(*STATE, "exp_avg", to=THREE),
        "exp_avg of parameter 0 is a float32 tensor of (3,)",
    ),
    "whole moments": (put(*STATE, "exp_avg", to=torch.zeros(8, zoo.FEATURES).long()), "expected a tensor of floats"),
    "complex moments": (put(*STATE, "exp_avg", to=torch.zeros(8, zoo.FEATURES).cfloat()), "expected a tensor of (8, "),
    "a text as a count": (put(*STATE, "step", to="x"), "step of parameter 0 is 'x'; expected a number from 0"),
    "a count that is NaN": (put(*STATE, "step", to=torch.tensor(torch.nan)), "step of parameter 0 is a float32 tensor"),
    "counts": (put(*STATE, "step", to=THREE), "step of parameter 0 is a float32 tensor of (3,); expected a number"),
    "state of nobody": (
        put("optimizer", "state", 99, to={}),
        "a key of state is 99; expected the number of a parameter",
    ),
    "state that is none": (put("optimizer", "state", 0, to=7), "state of parameter 0 is 7; expected a dict"),
    "rate": (put(*GROUP, "lr", to="high"), "group 0.lr is 'high'; expected a finite number"),
    "no rate": (put(*GROUP, "lr", to=None), "group 0.lr is None; expected a finite number"),
    "an endless rate": (put(*GROUP, "lr", to=float("inf")), "group 0.lr is inf; expected a finite number"),
    "a rate below 0": (put(*GROUP, "lr", to=-1.0), "group 0.lr is -1.0; expected a number from 0"),
    "one beta": (put(*GROUP, "betas", to=0.9), "group 0.betas is 0.9; expected a list"),
    "betas": (put(*GROUP, "betas", to=(0.9, 1.5)), "group 0.betas is a tuple; expected numbers from 0 to below 1"),
    "a flag": (put(*GROUP, "amsgrad", to="no"), "group 0.amsgrad is 'no'; expected True or False"),
    "parameters twice": (put(*GROUP, "params", to=[0] * 6), "group 0.params is a list; expected each parameter once"),
    "parameters as lists": (put(*GROUP, "params", to=[[]] * 6), "group 0.params[0] is a list; expected a whole number"),
    "groups": (put("optimizer", "param_groups", to={}), "expected state and param_groups"),
    "an optimizer": (put("optimizer", to=[1]), "optimizer: the file has a list; expected a state_dict"),
    "a scheduler's count": (
        put("scheduler", "last_epoch", to=[]),
        "scheduler: last_epoch is a list; expected a finite",
    ),
    "a scheduler's rates": (put("scheduler", "_last_lr", to=[1.0, 2.0]), "_last_lr is a list; expected 1 numbers"),
    "a scheduler's rate": (put("scheduler", "_last_lr", to=["x"]), "_last_lr[0] is 'x'; expected a finite number"),
    "milestones": (put("scheduler", "_schedulers", 1, "milestones", to={"a": 1}), "a key of milestones is 'a'"),
    "nested schedulers": (put("scheduler", "_schedulers", to=2), "_schedulers is 2; expected a list"),
    "a scaler": (put("scaler", to=[]), "scaler is a list; expected a dict"),
    "a scale": (put("scaler", "scale", to="big"), "scaler.scale is 'big'; expected a finite number"),
    "a scale of 0": (put("scaler", "scale", to=0.0), "scaler.scale is 0.0; expected a number above 0"),
    "a scaler's part": (lambda content: content["scaler"].pop("scale"), "expected a dict with 'scale'"),
    "complex weights": (lambda content: to_complex(content["state_dict"]), "0.weight: complex64 in the file, float32"),
    "the own part": (put(*OWN, to=[]), "gradscope is a list; expected a dict"),
    "a format": (put(*OWN, "format", to="1"), "gradscope.format is '1'; expected a whole number"),
    "a place": (put(*LOADER, "index", to={}), "gradscope.loader.index is a dict; expected a whole number from 0"),
    "a place beyond": (put(*LOADER, "index", to=10**6), "gradscope.loader.index is 1000000; expected at most"),
    "an epoch of the data": (put(*LOADER, "epoch", to=1.5), "gradscope.loader.epoch is 1.5; expected a whole number"),
    "a flag of the data": (put(*LOADER, "is_ahead", to=1), "gradscope.loader.is_ahead is 1; expected True or False"),
    "draws": (put(*LOADER, "pass", "draws", to=None), "gradscope.loader.pass.draws is None"),
    "Python's words": (put(*RANDOM, "python", "words", to=THREE), "gradscope.random.python.words is a float32 tensor"),
    "numpy's place": (put(*RANDOM, "numpy", "rest", to=(10**9, 0, 0.0)), "gradscope.random.numpy.rest is a tuple"),
    "torch's state": (put(*RANDOM, "torch", to=5), "gradscope.random.torch is 5; expected a uint8 tensor of"),
    "settings": (
        put(*OWN, "settings", "accumulate", to=0),
        "gradscope.settings.accumulate is 0; expected a whole number",
    ),
    "a threshold": (
        put(*OWN, "settings", "clip_norm", to="1"),
        "gradscope.settings.clip_norm is '1'; expected a number",
    ),
    "when to clear": (put(*OWN, "settings", "zero_grad", to="never"), "expected one of 'auto', 'manual'"),
    "losses": (
        put(*OWN, "epoch_losses", to={"": [1.0]}),
        "gradscope.epoch_losses. is a list; expected a sum and a count",
    ),
    "the best": (put(*OWN, "best", to={}), "gradscope.best is a dict; expected a dict with 'metric'"),
    "the best's weights": (
        put(*OWN, "best", "state_dict", "0.weight", to=THREE),
        "gradscope.best.state_dict.0.weight is a",
    ),
    "dropout": (put(*OWN, "dropout", "2", to=7), "gradscope.dropout.2 is 7; expected a number from 0 to 1"),
    "frozen": (put(*OWN, "frozen", to="all"), "gradscope.frozen is 'all'; expected a list"),
    "classes": (put(*OWN, "classes", "loss", to=3), "gradscope.classes.loss is 3; expected a text"),
}


def to_complex(weights: dict[str, Any]) -> None:
    weights["0.weight"] = weights["0.weight"].cfloat()


@pytest.fixture(scope="module")
def expected() -> plain.Outcome:
    with session(2) as twin:
        return plain.train_observed(twin, steps=2)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_part_is_named_and_changes_nothing(
    name: str, saved: Path, expected: plain.Outcome, tmp_path: Path
) -> None:
    change, sentence = WRONG[name]
    content = torch.load(saved, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "c.pt")
    with session(2) as opened:
        with pytest.raises(BadInput) as caught:
            opened.load_checkpoint(tmp_path / "c.pt")
        found = plain.train_observed(opened, steps=2)
    assert (
        sentence in f"{caught.value}\n{caught.value.failure.traceback}"
        and str(tmp_path) in str(caught.value)
        and "\n" not in str(caught.value)
    )
    plain.assert_same_outcome(expected, found)


def test_what_a_script_has_counted_otherwise(saved: Path, tmp_path: Path) -> None:
    weights = torch.load(saved, weights_only=True)["state_dict"]
    torch.save({"state_dict": weights, "epoch": torch.tensor(2), "global_step": 30.0}, tmp_path / "c.pt")
    with session(0) as opened:
        opened.load_checkpoint(tmp_path / "c.pt")
        assert (opened.position.epoch, opened.position.step) == (2, 30)


class Written(torch.optim.SGD):
    """Writes into its state where torch's own optimizers make another."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for group, theirs in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({key: value for key, value in theirs.items() if key != "params"})
        for kept in self.state.values():
            kept["momentum_buffer"].zero_()
        raise RuntimeError("on purpose")


def test_what_a_users_own_load_has_written_is_put_back(tmp_path: Path) -> None:
    def written() -> Recipe:
        model = zoo.mlp()
        return zoo.classifier(model, optimizer=Written(model.parameters(), lr=0.1, momentum=0.9))

    def at(steps: int) -> Session:
        opened = Session(plain.seeded(written))
        plain.train_observed(opened, steps=steps)
        return opened

    with at(3) as opened:
        opened.save_checkpoint(tmp_path / "c.pt")
    with at(2) as twin:
        expected = plain.train_observed(twin, steps=2)
    with at(2) as opened:
        with pytest.raises(BadInput, match=r"on purpose .*; nothing was changed"):
            opened.load_checkpoint(tmp_path / "c.pt")
        plain.assert_same_outcome(expected, plain.train_observed(opened, steps=2))


@pytest.mark.parametrize(
    "head", [b"", b"PK\x03\x04", b"\x80\x02", b"\x00" * 8 + b"{"], ids=["nothing", "zip", "pickle", "st"]
)
def test_a_huge_file_with_nothing_in_it_is_not_read(head: bytes, tmp_path: Path) -> None:
    file = tmp_path / "c.pt"
    with file.open("wb") as opened:
        opened.write(head)
        opened.truncate(2**40)
    assert file.stat().st_blocks < 100
    with session(0) as opened, pytest.raises(BadInput, match=r"c\.pt (does not fit into memory|is no check)"):
        opened.load_checkpoint(file)
