"""What is known of a recipe's session from the start, as the app and a snapshot show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from gradscope.engine.book.description import (
    describe_buffers,
    describe_groups,
    describe_modules,
    describe_parameters,
    warnings_of,
)
from gradscope.engine.model.compiled import compiled_functions
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.stepping.training import Training
from gradscope.engine.wording import listed
from gradscope.protocol.capture import Capture
from gradscope.protocol.messages import SessionInfo


def describe_session(
    recipe: Recipe,
    training: Training,
    *,
    seed: int,
    device: str,
    batches_per_epoch: int | None,
    capture: Capture,
    batch_size: int | None = None,
    compiled: Iterable[str] = (),
) -> SessionInfo:
    """`compiled`: the modules that torch.compile has compiled."""
    source = training.source
    model, turns = recipe.model, training.turns
    schedulers = [type(turn.scheduler).__name__ for turn in turns if turn.scheduler is not None]
    return SessionInfo(
        name=recipe.name or "Untitled",
        description=recipe.description,
        path=str(source.path) if source else "",
        sha256=source.sha256 if source else "",
        seed=seed,
        device=device,
        modules=describe_modules(model),
        parameters=describe_parameters(model, turns),
        buffers=describe_buffers(model),
        groups=describe_groups(model, turns),
        optimizer=" + ".join(type(optimizer).__name__ for optimizer in training.optimizers),
        scheduler=" + ".join(schedulers) or None,
        loss=_loss_name(training),
        scheduler_unit=training.scheduler_unit,
        batches_per_epoch=batches_per_epoch,
        batch_size=batch_size,
        scheduler_metric=training.scheduler_metric,
        substeps=training.substeps(),
        optimizers=tuple(turn.name for turn in turns),
        accumulate=training.accumulate,
        zero_grad=training.zero_grad,
        clip_norm=training.clip_norm,
        clip_value=training.clip_value,
        precision=training.precision,
        has_validation=training.has_validation,
        metrics=tuple(recipe.metrics),
        capture=str(capture),
        warnings=(*warnings_of(model, turns), *_run_eagerly(recipe, compiled)),
    )


def _run_eagerly(recipe: Recipe, modules: Iterable[str]) -> Iterator[str]:
    """What torch.compile has compiled, and runs here as it was before."""
    steps = recipe.training_step if isinstance(recipe.training_step, dict) else {"": recipe.training_step}
    functions = [(f"training_step {name}".rstrip(), step) for name, step in steps.items()]
    names = compiled_functions([("loss", recipe.loss), *functions, ("validation_step", recipe.validation_step)])
    names += [name or "the model" for name in modules]
    if names:
        yield (
            f"Compiled by torch.compile: {listed(names)}. It runs eagerly here, so that its layers can be seen: slower, and "
            "the last digits may differ"
        )


def _loss_name(training: Training) -> str:
    return " + ".join(dict.fromkeys(_name_of(turn.training_step or training.loss) for turn in training.turns))


def _name_of(function: Any) -> str:
    if isinstance(function, nn.Module):
        return type(function).__name__
    return getattr(function, "__name__", type(function).__name__)
