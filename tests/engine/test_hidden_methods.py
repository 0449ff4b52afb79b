"""Attributes of a model under the names of nn.Module's methods: training does not need those, and neither does a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plain
import torch
import zoo
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.protocol.messages.edits import EditMode, EditRequiresGrad

NAMES = [
    name
    for name in dir(nn.Module)
    if not name.startswith("_")
    and name not in ("forward", "training", "call_super_init", "dump_patches", "T_destination")
]
"""Of methods that users call. Those with an underscore are torch's own."""


class Hiding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.head = nn.Linear(8, zoo.CLASSES)
        for name in NAMES:
            self.__dict__[name] = [self.head]
            self.layers[0].__dict__[name] = self.head.__dict__[name] = [1, 2]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x))


def hiding() -> Recipe:
    model = Hiding()
    modules = (*model.layers, model.head)
    parameters = [tensor for module in modules for tensor in module._parameters.values() if tensor is not None]
    return zoo.classifier(
        model,
        optimizer=torch.optim.SGD(parameters, 0.1),
        validation=zoo.vectors(9),
        best_metric="loss",
        clip_norm=1.0,
    )


def test_everything_works_whatever_they_hide(tmp_path: Path) -> None:
    with Session(plain.seeded(hiding)) as session:
        session.next_batch()
        session.validate()
        session.forward()
        session.backward()
        assert session.check_gradient("head.weight", samples=2).agrees
        session.step()
        session.save_checkpoint(tmp_path / "checkpoint.pt")
        session.save_best(tmp_path / "best.pt")
        session.load_checkpoint(tmp_path / "checkpoint.pt")
        session.edit(EditMode(layer="layers", training=False))
        session.edit(EditRequiresGrad(name="layers", is_parameter=False, requires_grad=False))
        session.next_batch()
        session.export(tmp_path / "snapshot.zip")
        model = session.recipe.model
    assert all(vars(model)[name] == [vars(model)["_modules"]["head"]] for name in NAMES)


class Overriding(nn.Linear):
    """Its own methods are called as a plain loop would."""

    def __init__(self) -> None:
        super().__init__(zoo.FEATURES, zoo.CLASSES)
        self.calls: list[Any] = []

    def train(self, mode: bool = True) -> Any:
        self.calls.append(("train", mode))
        return super().train(mode)

    def state_dict(self, *args: Any, **options: Any) -> Any:
        return {f"own.{name}": value for name, value in super().state_dict(*args, **options).items()}

    def parameters(self, recurse: bool = True) -> Any:
        return iter([self.weight])


def test_the_users_own_methods_are_called(tmp_path: Path) -> None:
    layer = Overriding()
    recipe = zoo.classifier(layer, validation=zoo.vectors(9))
    with Session(recipe) as session:
        assert layer.calls == [("train", True)]
        session.validate()
        # The validation's own call is undone with all that it has changed.
        assert layer.calls == [("train", True)]
        session.next_batch()
        session.save_checkpoint(tmp_path / "checkpoint.pt")
    assert [*torch.load(tmp_path / "checkpoint.pt")["state_dict"]] == ["own.weight", "own.bias"]


def test_a_method_on_the_object_itself_is_an_override(tmp_path: Path) -> None:
    model = nn.Linear(zoo.FEATURES, zoo.CLASSES)
    model.state_dict = lambda *args, **options: {"only": torch.ones(1)}  # type: ignore[method-assign,assignment]
    with Session(zoo.classifier(model)) as session:
        session.next_batch()
        session.save_checkpoint(tmp_path / "checkpoint.pt")
    assert [*torch.load(tmp_path / "checkpoint.pt")["state_dict"]] == ["only"]
