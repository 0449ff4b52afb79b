"""What a form can offer: every class of torch, its arguments from the signature, and what is in use."""

from __future__ import annotations

import inspect
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import nn
from torch.optim import lr_scheduler

from gradscope import Recipe, Session
from gradscope.engine.edits.arguments import arguments_of, as_literal
from gradscope.protocol import codec
from gradscope.protocol.failure import BadInput
from gradscope.protocol.literals import parsed
from gradscope.protocol.messages.edits import (
    ArgumentInfo,
    ArgumentKind,
    Choices,
    ClassInfo,
    EditLoss,
    EditOptimizer,
    EditScheduler,
)

NEEDED = {
    "StepLR": {"step_size": "3"},
    "MultiStepLR": {"milestones": "[2, 4]"},
    "ExponentialLR": {"gamma": "0.9"},
    "CosineAnnealingLR": {"T_max": "10"},
    "CosineAnnealingWarmRestarts": {"T_0": "3"},
    "CyclicLR": {"base_lr": "0.01", "max_lr": "0.1"},
    "OneCycleLR": {"max_lr": "0.1", "total_steps": "30"},
}
BY_CODE = {"LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}


@pytest.fixture(scope="module")
def choices() -> Choices:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        return session.choices()


def named(classes: tuple[ClassInfo, ...]) -> dict[str, ClassInfo]:
    return {cls.name: cls for cls in classes}


def argument(cls: ClassInfo, name: str) -> ArgumentInfo:
    return next(argument for argument in cls.arguments if argument.name == name)


def test_every_class_of_torch_is_there(choices: Choices) -> None:
    def public(module: Any, base: type) -> set[str]:
        found = {n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, base) and v is not base}
        return {name for name in found if not name.startswith("_")}

    assert set(named(choices.optimizers)) == public(torch.optim, torch.optim.Optimizer)
    assert set(named(choices.schedulers)) == public(lr_scheduler, lr_scheduler.LRScheduler)
    assert set(named(choices.losses)) == {name for name in public(nn, nn.Module) if name.endswith("Loss")}
    assert {cls.name for cls in choices.schedulers if cls.reason} == BY_CODE
    assert not [cls.name for cls in choices.optimizers if cls.reason]
    assert {"MSELoss", "CrossEntropyLoss", "BCEWithLogitsLoss", "KLDivLoss"} <= {
        cls.name for cls in choices.losses if not cls.reason
    }


def test_arguments_are_those_of_the_signature(choices: Choices) -> None:
    adam = named(choices.optimizers)["Adam"]
    assert [a.name for a in adam.arguments] == [
        name for name in inspect.signature(torch.optim.Adam).parameters if name != "params"
    ]
    betas = argument(adam, "betas")
    assert (betas.kind, betas.default, betas.can_be_none) == (ArgumentKind.NUMBERS, "(0.9, 0.999)", False)
    assert argument(adam, "lr").doc == "learning rate"
    foreach = argument(adam, "foreach")
    assert (foreach.kind, foreach.default, foreach.can_be_none) == (ArgumentKind.BOOL, "None", True)
    plateau = named(choices.schedulers)["ReduceLROnPlateau"]
    assert argument(plateau, "mode").choices == ("min", "max")
    assert argument(plateau, "min_lr").kind is ArgumentKind.NUMBER_OR_NUMBERS
    step = argument(named(choices.schedulers)["StepLR"], "step_size")
    assert (step.kind, step.default) == (ArgumentKind.INTEGER, None)
    entropy = named(choices.losses)["CrossEntropyLoss"]
    assert argument(entropy, "weight").kind is ArgumentKind.NUMBERS and argument(entropy, "weight").can_be_none
    assert "none" not in argument(entropy, "reduction").choices
    assert not {"size_average", "reduce"} & {a.name for a in entropy.arguments}


def test_it_fits_a_frame(choices: Choices) -> None:
    frames = list(codec.Decoder().feed(codec.encode(choices)))
    assert frames[0].message == choices


def test_every_default_is_what_its_text_says(choices: Choices) -> None:
    for cls in (*choices.losses, *choices.optimizers, *choices.schedulers):
        for info in cls.arguments:
            if info.default is not None and info.default != "()":
                value = parsed(info, info.default, where=f"{cls.name}.{info.name}")
                assert repr(value) == info.default


def test_every_optimizer_can_be_made_and_makes_a_step(choices: Choices) -> None:
    def make() -> Recipe:
        model = nn.Sequential(nn.Linear(zoo.FEATURES, zoo.CLASSES, bias=False))
        return zoo.classifier(model)

    with Session(plain.seeded(make)) as session:
        for cls in choices.optimizers:
            if cls.name == "SparseAdam":
                continue
            session.edit(EditOptimizer(optimizer=cls.name))
            assert session.choices().turns[0].optimizer.name == cls.name
            before = session.recipe.model[0].weight.detach().clone()
            session.next_batch()
            assert not torch.equal(session.recipe.model[0].weight, before), cls.name


def test_every_loss_and_scheduler_can_be_made(choices: Choices) -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session:
        for cls in choices.losses:
            if not cls.reason:
                session.edit(EditLoss(loss=cls.name))
                assert type(session.training.loss) is getattr(nn, cls.name)
        for cls in choices.schedulers:
            if not cls.reason:
                unit = "epoch" if cls.name == "ReduceLROnPlateau" else "step"
                session.edit(EditScheduler(scheduler=cls.name, arguments=NEEDED.get(cls.name, {}), unit=unit))
                in_use = session.choices().turns[0].scheduler
                assert in_use is not None and in_use.name == cls.name
                assert in_use.arguments.items() >= NEEDED.get(cls.name, {}).items()


@pytest.mark.parametrize(
    "name", [*sorted(NEEDED.keys() - {"OneCycleLR", "CyclicLR"}), "ReduceLROnPlateau", "LinearLR", "PolynomialLR"]
)
def test_a_scheduler_of_the_recipe_is_made_anew_with_its_arguments(name: str) -> None:
    def arguments() -> dict[str, Any]:
        return {key: eval(text) for key, text in NEEDED.get(name, {}).items()}

    def make() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = getattr(lr_scheduler, name)(optimizer, **arguments())
        unit = "epoch" if name == "ReduceLROnPlateau" else "step"
        return zoo.classifier(model, optimizer=optimizer, scheduler=scheduler, scheduler_unit=unit)

    with Session(plain.seeded(make)) as session:
        session.next_batch()
        session.edit(EditOptimizer(optimizer="SGD", arguments={"lr": "0.5", "momentum": "0.8"}))
        turn = session.training.turns[0]
        expected = getattr(lr_scheduler, name)(
            torch.optim.SGD(zoo.mlp().parameters(), lr=0.5, momentum=0.8), **arguments()
        )
        assert turn.scheduler is not None
        for key, value in vars(expected).items():
            if isinstance(value, (int, float, list, str)) and key not in ("min_lrs", "default_min_lr"):
                assert vars(turn.scheduler)[key] == value, key


def test_schedulers_that_only_code_can_make_are_dropped() -> None:
    def make() -> Recipe:
        recipe = zoo.plain_mlp()
        scheduler = lr_scheduler.LambdaLR(recipe.optimizer, lambda step: 0.9**step)
        return zoo.classifier(recipe.model, optimizer=recipe.optimizer, scheduler=scheduler)

    with Session(plain.seeded(make)) as session:
        turn = session.choices().turns[0]
        assert turn.scheduler is not None and turn.scheduler.name == "LambdaLR" and not turn.can_keep_scheduler
        record = session.edit(EditOptimizer(optimizer="Adam"))
        assert "LambdaLR is dropped, because it cannot be made anew from here" in record.text
        assert session.info.scheduler is None


def test_what_is_in_use() -> None:
    def loss(output: Any, target: Any) -> Any:
        return nn.functional.cross_entropy(output, target)

    model = zoo.mlp()
    with Session(
        zoo.classifier(model, loss=loss, optimizer=torch.optim.AdamW(model.parameters(), lr=0.002))
    ) as session:
        found = session.choices()
    assert found.loss is not None and (found.loss.name, found.loss.arguments) == ("loss", {})
    assert found.turns[0].optimizer.name == "AdamW" and found.turns[0].optimizer.arguments["lr"] == "0.002"
    assert found.turns[0].scheduler is None and found.metrics == ("train_loss",)


class Odd:
    """An odd class.

    Args:
        one: the first. And more of it
        two (int, optional): the :attr:`second`
            over two lines (default: 3)
        three

    Example:
        >>> four: a lambda
    """

    def __init__(
        self, one: int, two: int = 3, three: float | None = None, *args: Any, five=("a",), **more: Any
    ) -> None: ...


def test_documentation_of_any_shape() -> None:
    found, missing = arguments_of(Odd)
    assert [(a.name, a.default, a.doc) for a in found] == [
        ("one", None, "the first"),
        ("two", "3", "the second over two lines"),
        ("three", "None", ""),
        ("five", "('a',)", ""),
    ]
    assert missing == []


@pytest.mark.parametrize(
    "text",
    [
        *("lambda: 1", "[x for x in (1, 2)]", "open('/etc/passwd')", "1 if 1 else 2"),
        *("{1: 2}", "b'1'", "1j", "[[1]]", "[]", "['1']", "[1, True]"),
    ],
)
def test_nothing_is_evaluated(text: str) -> None:
    info = ArgumentInfo(name="weight", kind=ArgumentKind.NUMBERS, default="None", can_be_none=True)
    with pytest.raises(BadInput, match="expected a list of numbers, or None"):
        parsed(info, text, where="weight")


def test_literals() -> None:
    assert as_literal(torch.tensor(0.5)) == "0.5" and as_literal(torch.tensor([1.0, 2.0])) == "[1.0, 2.0]"
    assert as_literal((0.9, 0.99)) == "(0.9, 0.99)" and as_literal(None) == "None"
    assert as_literal(object()) is None and as_literal(float("nan")) is None
