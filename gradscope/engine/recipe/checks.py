"""What a recipe's fields have to be. Every refusal names the field, what was found and what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from gradscope.engine.model.closures import needs_closure
from gradscope.engine.recipe.fields import TRAIN_LOSS, RecipeFields
from gradscope.engine.surroundings.error_parts import shortened
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import VALIDATION_LOSS

_LONGEST_VALUE = 60


def check_recipe(recipe: RecipeFields) -> None:
    """Raises BadInput (one sentence) for the first field that is wrong."""
    for check in (
        _check_model,
        _check_data,
        _check_optimizer,
        _check_loss,
        _check_schedule,
        _check_window,
        _check_clipping,
        _check_precision,
        _check_validation,
        _check_texts,
    ):
        check(recipe)


def _wrong(name: str, value: object, expected: str) -> BadInput:
    return BadInput(f"Recipe({name}=...) is {_describe(value)}; expected {expected}")


def _describe(value: object) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return shortened(repr(value), _LONGEST_VALUE)
    if isinstance(value, type):
        return f"the class {value.__name__} (an instance is needed)"
    article = "an" if type(value).__name__[:1].upper() in "AEIOU" else "a"
    return f"{article} {type(value).__name__}"


def _check_model(recipe: RecipeFields) -> None:
    import torch

    model = recipe.model
    expected = "a torch.nn.Module, or a dict of name -> leaf tensors"
    if isinstance(model, torch.nn.Module):
        return
    if not isinstance(model, Mapping) or not model:
        raise _wrong("model", model, expected)
    for name, tensor in model.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise BadInput(f"Recipe(model=...) has {name!r}: {_describe(tensor)}; expected {expected}")
        if not tensor.is_leaf:
            raise BadInput(
                f"Recipe(model=...)[{name!r}] is the result of an operation; expected a leaf tensor "
                "(create it with requires_grad=True, or call .detach().requires_grad_())"
            )
    if recipe.training_step is None:
        raise BadInput(
            "Recipe(training_step=...) is missing; a dict of tensors has no forward, so a step has to be given"
        )


def _check_data(recipe: RecipeFields) -> None:
    _check_dataset("dataset", recipe.dataset)
    if isinstance(recipe.batch_size, bool) or not isinstance(recipe.batch_size, int) or recipe.batch_size < 1:
        raise _wrong("batch_size", recipe.batch_size, "a whole number from 1")
    if not isinstance(recipe.shuffle, bool):
        raise _wrong("shuffle", recipe.shuffle, "True or False")
    if recipe.collate is not None and not callable(recipe.collate):
        raise _wrong("collate", recipe.collate, "a function that makes a batch of a list of samples")


def _check_dataset(name: str, dataset: Any) -> None:
    if isinstance(dataset, (str, bytes)) or not (hasattr(dataset, "__getitem__") or hasattr(dataset, "__iter__")):
        raise _wrong(name, dataset, "a map-style or iterable dataset, or a DataLoader")


def _check_loss(recipe: RecipeFields) -> None:
    step = recipe.training_step
    if isinstance(recipe.optimizer, dict):
        if not isinstance(step, dict):
            raise _wrong("training_step", step, "a dict with a function for each of the optimizers")
        _check_names("training_step", step, "training_step(model, batch)", recipe)
        missing = [name for name in recipe.optimizer if name not in step]
        if missing:
            raise BadInput(
                f"Recipe(training_step=...) has none for the optimizer {missing[0]!r}; expected one for each"
            )
    elif step is not None and (isinstance(step, type) or not callable(step)):
        raise _wrong("training_step", step, "a function training_step(model, batch)")
    if recipe.loss is None and step is None:
        raise BadInput("Recipe(loss=...) is missing; expected loss(output, target), or a training_step")
    if recipe.loss is not None and (isinstance(recipe.loss, type) or not callable(recipe.loss)):
        raise _wrong("loss", recipe.loss, "a callable loss(output, target), for example torch.nn.CrossEntropyLoss()")


def _check_names(field: str, given: Mapping[Any, Any], kind: str, recipe: RecipeFields) -> None:
    for name, value in given.items():
        if name not in recipe.optimizers:
            known = ", ".join(repr(known) for known in recipe.optimizers)
            raise BadInput(f"Recipe({field}=...) has the name {name!r}; expected those of the optimizers: {known}")
        if not callable(value) and field == "training_step":
            raise BadInput(f"Recipe({field}=...)[{name!r}] is {_describe(value)}; expected a function {kind}")


def _check_optimizer(recipe: RecipeFields) -> None:
    import torch

    expected = "a torch.optim.Optimizer, for example torch.optim.SGD(model.parameters(), lr=0.1), or a dict of them"
    if isinstance(recipe.optimizer, dict):
        if not recipe.optimizer:
            raise BadInput(f"Recipe(optimizer=...) is empty; expected {expected}")
        for name, optimizer in recipe.optimizer.items():
            if not isinstance(name, str) or not name:
                raise BadInput(f"Recipe(optimizer=...) has the name {name!r}; expected a text that is not empty")
            if not isinstance(optimizer, torch.optim.Optimizer):
                raise BadInput(f"Recipe(optimizer=...)[{name!r}] is {_describe(optimizer)}; expected {expected}")
    elif not isinstance(recipe.optimizer, torch.optim.Optimizer):
        raise _wrong("optimizer", recipe.optimizer, expected)


def _check_schedule(recipe: RecipeFields) -> None:
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    expected = "a torch.optim.lr_scheduler.LRScheduler or None"
    if isinstance(recipe.optimizer, dict) and recipe.scheduler is not None:
        if not isinstance(recipe.scheduler, dict):
            raise _wrong("scheduler", recipe.scheduler, "a dict of schedulers, by the names of the optimizers")
        _check_names("scheduler", recipe.scheduler, "", recipe)
    elif isinstance(recipe.scheduler, dict):
        raise _wrong("scheduler", recipe.scheduler, f"{expected}, because there is one optimizer")
    for scheduler in recipe.schedulers.values():
        if not isinstance(scheduler, LRScheduler):
            raise _wrong("scheduler", scheduler, expected)
        if isinstance(scheduler, ReduceLROnPlateau) and recipe.scheduler_unit == "step":
            raise BadInput(
                "Recipe(scheduler=...) is a ReduceLROnPlateau, which is stepped with a metric; "
                'expected scheduler_unit="epoch"'
            )
    if recipe.scheduler_unit not in ("step", "epoch"):
        raise _wrong("scheduler_unit", recipe.scheduler_unit, '"step" or "epoch"')
    known = (TRAIN_LOSS, *_validation_metrics(recipe))
    if recipe.scheduler_metric not in known:
        hint = "" if recipe.validation is not None else f' ("{VALIDATION_LOSS}" and metrics need a validation)'
        raise _wrong("scheduler_metric", recipe.scheduler_metric, f"one of {', '.join(map(repr, known))}{hint}")


def _validation_metrics(recipe: RecipeFields) -> tuple[str, ...]:
    if recipe.validation is None or not isinstance(recipe.metrics, Mapping):
        return ()
    return (VALIDATION_LOSS, *recipe.metrics)


def _check_window(recipe: RecipeFields) -> None:
    if isinstance(recipe.accumulate, bool) or not isinstance(recipe.accumulate, int) or recipe.accumulate < 1:
        raise _wrong("accumulate", recipe.accumulate, "a whole number from 1")
    if recipe.accumulate > 1 and len(recipe.optimizers) > 1:
        raise BadInput(
            f"Recipe(accumulate={recipe.accumulate}) with several optimizers is not possible: each would add to the "
            "gradients of the others between its own steps; expected accumulate=1"
        )
    if recipe.zero_grad not in ("auto", "manual"):
        raise _wrong("zero_grad", recipe.zero_grad, '"auto" or "manual"')


def _check_clipping(recipe: RecipeFields) -> None:
    for name in ("clip_norm", "clip_value"):
        value = getattr(recipe, name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0 or math.isnan(value):
            raise _wrong(name, value, "a number above 0, or None")


def _check_precision(recipe: RecipeFields) -> None:
    if recipe.precision not in (None, "bf16", "fp16"):
        raise _wrong("precision", recipe.precision, '"bf16", "fp16" or None')
    if recipe.precision == "fp16":
        for optimizer in recipe.optimizers.values():
            if needs_closure(optimizer):
                raise BadInput(
                    f'Recipe(precision="fp16") with {type(optimizer).__name__} is not possible: torch\'s GradScaler takes '
                    'no closure; expected "bf16" or None, or another optimizer'
                )


def _check_validation(recipe: RecipeFields) -> None:
    if recipe.validation is not None:
        _check_dataset("validation", recipe.validation)
        if recipe.validation is recipe.dataset and getattr(recipe.dataset, "persistent_workers", False):
            raise BadInput(
                "Recipe(validation=...) is the DataLoader of the training, which keeps its workers: a validation would end "
                "the pass that training is in; expected a DataLoader of its own, or the dataset"
            )
    if recipe.validation_step is not None and not callable(recipe.validation_step):
        raise _wrong("validation_step", recipe.validation_step, "a function validation_step(model, batch)")
    if recipe.validation is not None and recipe.validation_step is None and isinstance(recipe.training_step, dict):
        raise BadInput(
            "Recipe(validation_step=...) is missing; with several training steps it has to be said how to validate"
        )
    if not isinstance(recipe.metrics, Mapping):
        raise _wrong("metrics", recipe.metrics, "a dict of name -> metric(output, target)")
    for name, metric in recipe.metrics.items():
        _check_metric(name, metric)
    if recipe.metrics and recipe.validation is None:
        raise BadInput("Recipe(metrics=...) is given, and no validation; expected data to compute them on")
    known = _validation_metrics(recipe)
    if recipe.best_metric is not None and recipe.best_metric not in known:
        expected = f"one of {', '.join(map(repr, known))}" if known else "None, because there is no validation"
        raise _wrong("best_metric", recipe.best_metric, expected)
    if recipe.best_mode not in ("min", "max"):
        raise _wrong("best_mode", recipe.best_mode, '"min" or "max"')


def _check_metric(name: object, metric: Callable[[Any, Any], Any]) -> None:
    if not isinstance(name, str) or not name or name in (TRAIN_LOSS, VALIDATION_LOSS):
        raise BadInput(f"Recipe(metrics=...) has the name {name!r}; expected a text other than the losses' names")
    if isinstance(metric, type) or not callable(metric):
        raise BadInput(f"Recipe(metrics=...)[{name!r}] is {_describe(metric)}; expected metric(output, target)")


def _check_texts(recipe: RecipeFields) -> None:
    for name in ("name", "description"):
        if not isinstance(getattr(recipe, name), str):
            raise _wrong(name, getattr(recipe, name), "a text")
