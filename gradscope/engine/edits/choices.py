"""Every class of torch that a loss, an optimizer or a scheduler can be: which can be made by a form, and what is in use."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from gradscope.engine.edits.arguments import arguments_of, as_literal, first_sentence
from gradscope.engine.recipe.fields import TRAIN_LOSS
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import VALIDATION_LOSS
from gradscope.protocol.messages.edits import Choices, Chosen, ClassInfo, TurnChoice

Made = Mapping[Any, dict[str, str]]
"""Losses and schedulers that were made here, and the arguments that they were made with."""


def describe_choices(stepper: Stepper, made: Made) -> Choices:
    """What there is to choose from, and what the session uses now."""
    training = stepper.training
    has_loss = any(turn.training_step is None for turn in training.turns)
    return Choices(
        losses=_describe_all("losses"),
        optimizers=_describe_all("optimizers"),
        schedulers=_describe_all("schedulers"),
        turns=tuple(
            TurnChoice(
                turn=turn.name,
                optimizer=Chosen(name=type(turn.optimizer).__name__, arguments=_options_in_use(turn.optimizer)),
                scheduler=None if turn.scheduler is None else _chosen(turn.scheduler, made),
                can_keep_scheduler=arguments_in_use(turn.scheduler, made) is not None,
            )
            for turn in training.turns
        ),
        loss=_chosen(training.loss, made) if has_loss and training.loss is not None else None,
        metrics=metrics_of(stepper),
    )


def metrics_of(stepper: Stepper) -> tuple[str, ...]:
    """What a ReduceLROnPlateau can be stepped with."""
    if not stepper.training.has_validation:
        return (TRAIN_LOSS,)
    return (TRAIN_LOSS, VALIDATION_LOSS, *stepper.recipe.metrics)


def class_named(family: str, name: str) -> type:
    """A class of a family ("losses", "optimizers", "schedulers"). Raises BadInput if there is none that can be made."""
    cls = _classes()[family].get(name)
    if cls is None:
        where = {"losses": "torch.nn", "optimizers": "torch.optim", "schedulers": "torch.optim.lr_scheduler"}[family]
        raise BadInput(f"{where} of torch {torch.__version__} has no class {name!r:.60} among its {family}")
    reason = _reason(cls)
    if reason:
        raise BadInput(f"{name} cannot be made here: {reason}")
    return cls


def arguments_in_use(thing: Any, made: Made) -> dict[str, str] | None:
    """The arguments that would make another one like it; None where they are not all known."""
    if not _is_of_torch(thing):
        return None
    known, for_code = arguments_of(type(thing))
    texts = _texts_in_use(thing, made)
    return texts if not for_code and len(texts) == len(known) else None


def _chosen(thing: Any, made: Made) -> Chosen:
    name = type(thing).__name__
    if inspect.isroutine(thing):
        name = getattr(thing, "__name__", name)
    return Chosen(name=name, arguments=_texts_in_use(thing, made) if _is_of_torch(thing) else {})


def _is_of_torch(thing: Any) -> bool:
    return any(type(thing) in family.values() for family in _classes().values())


def _texts_in_use(thing: Any, made: Made) -> dict[str, str]:
    """The values of the arguments, as far as they are known: what it was made with, or attributes of the same names."""
    known, _ = arguments_of(type(thing))
    if thing in made:
        given = {argument.name: made[thing].get(argument.name, argument.default) for argument in known}
    else:
        given = {argument.name: _attribute(thing, argument.name) for argument in known}
    return {name: text for name, text in given.items() if text is not None}


def _attribute(thing: Any, name: str) -> str | None:
    # Schedulers keep some arguments as lists with a value for each parameter group: base_lr as base_lrs.
    for attribute in (name, f"{name}s"):
        if hasattr(thing, attribute):
            value = getattr(thing, attribute)
            # MultiStepLR keeps a Counter.
            return as_literal(sorted(value.elements()) if isinstance(value, Counter) else value)
    return None


def _options_in_use(optimizer: Optimizer) -> dict[str, str]:
    """Of its first parameter group."""
    texts = {name: as_literal(value) for name, value in optimizer.param_groups[0].items() if name != "params"}
    known = {argument.name for argument in arguments_of(type(optimizer))[0]} if _is_of_torch(optimizer) else set(texts)
    return {name: text for name, text in texts.items() if text is not None and name in known}


# ------------------------------------------------------------------------------------------- the classes


@cache
def _classes() -> dict[str, dict[str, type]]:
    return {
        "losses": {
            name: cls for name, cls in _public_classes(nn) if name.endswith("Loss") and issubclass(cls, nn.Module)
        },
        "optimizers": {
            name: cls
            for name, cls in _public_classes(torch.optim)
            if issubclass(cls, Optimizer) and cls is not Optimizer
        },
        "schedulers": {
            name: cls
            for name, cls in _public_classes(lr_scheduler)
            if issubclass(cls, lr_scheduler.LRScheduler) and cls is not lr_scheduler.LRScheduler
        },
    }


def _public_classes(module: Any) -> Iterator[tuple[str, type]]:
    for name, value in sorted(vars(module).items()):
        if isinstance(value, type) and not name.startswith("_") and value.__name__ == name:
            yield name, value


@cache
def _describe_all(family: str) -> tuple[ClassInfo, ...]:
    return tuple(_describe(cls) for cls in _classes()[family].values())


def _describe(cls: type) -> ClassInfo:
    arguments, _ = arguments_of(cls)
    doc = first_sentence(" ".join(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].split()))
    return ClassInfo(name=cls.__name__, doc=doc.rstrip(":"), arguments=tuple(arguments), reason=_reason(cls))


def _reason(cls: type) -> str:
    """Why a class cannot be made by a form; "" if it can."""
    arguments, for_code = arguments_of(cls)
    if for_code:
        what = "schedulers" if "schedulers" in for_code else "a function"
        return f"it needs {what} ({for_code[0]}), which only code can give"
    if issubclass(cls, nn.Module):
        if any(argument.name == "in_features" for argument in arguments):
            return "it has weights of its own, which no optimizer would hold"
        needed = [
            name
            for name, parameter in inspect.signature(cls.forward).parameters.items()
            if parameter.default is parameter.empty and name != "self"
        ]
        if len(needed) != 2:
            return f"it is called with {', '.join(needed)}, and a session calls loss(output, target)"
    return ""
