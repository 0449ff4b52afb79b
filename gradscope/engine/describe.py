"""What is known of a session from the start, as the app and a snapshot show it; and what looks wrong already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from gradscope.engine.buffers import named_buffers
from gradscope.engine.compiled import compiled_functions
from gradscope.engine.dropout import dropout_of
from gradscope.engine.error_parts import safe_text, safely, wire_text
from gradscope.engine.modules import method_of, named_modules
from gradscope.engine.notes import listed
from gradscope.engine.parameters import Model, is_uninitialised, named_tensors
from gradscope.engine.quantities.values import dtype_name, shape_of
from gradscope.engine.recipe import Recipe
from gradscope.engine.training import Training, groups_of
from gradscope.protocol.capture import Capture
from gradscope.protocol.messages import BufferInfo, GroupInfo, ModuleInfo, ParameterInfo, SessionInfo

_MOST_OF_AN_OPTION = 2000


def describe_session(
    recipe: Recipe,
    training: Training,
    *,
    seed: int,
    device: str,
    batches_per_epoch: int | None,
    capture: Capture,
    compiled: Iterable[str] = (),
) -> SessionInfo:
    """`compiled`: the modules that torch.compile has compiled."""
    source = recipe.source
    named = named_tensors(recipe.model)
    schedulers = [type(turn.scheduler).__name__ for turn in training.turns if turn.scheduler is not None]
    return SessionInfo(
        name=recipe.name or "Untitled",
        description=recipe.description,
        path=str(source.path) if source else "",
        sha256=source.sha256 if source else "",
        seed=seed,
        device=device,
        modules=_modules(recipe.model),
        parameters=_parameters(recipe.model, training),
        groups=_groups(training, {id(tensor): name for name, (tensor, _) in named.items()}),
        optimizer=" + ".join(type(optimizer).__name__ for optimizer in training.optimizers),
        scheduler=" + ".join(schedulers) or None,
        loss=_loss_name(training),
        scheduler_unit=training.scheduler_unit,
        batches_per_epoch=batches_per_epoch,
        scheduler_metric=training.scheduler_metric,
        substeps=training.substeps(),
        optimizers=tuple(turn.name for turn in training.turns),
        accumulate=training.accumulate,
        zero_grad=training.zero_grad,
        clip_norm=training.clip_norm,
        clip_value=training.clip_value,
        precision=training.precision,
        has_validation=training.has_validation,
        metrics=tuple(recipe.metrics),
        capture=str(capture),
        warnings=(*_warnings(training, named), *_run_eagerly(recipe, compiled)),
        buffers=_buffers(recipe.model),
    )


def _modules(model: Model) -> tuple[ModuleInfo, ...]:
    if not isinstance(model, nn.Module):
        return ()
    names: dict[int, list[str]] = {}
    for name, module in named_modules(model, remove_duplicate=False):
        names.setdefault(id(module), []).append(name)
    return tuple(
        ModuleInfo(
            name=name,
            type=type(module).__name__,
            description=_extra(module),
            aliases=tuple(names[id(module)][1:]),
            training=module.training,
            dropout=dropout_of(module),
        )
        for name, module in named_modules(model)
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


def _extra(module: nn.Module) -> str:
    # A user's extra_repr may be broken; the name of the class is enough.
    return safely(lambda: wire_text(str(method_of(module, "extra_repr")())), "")


def _parameters(model: Model, training: Training) -> tuple[ParameterInfo, ...]:
    group_of = {id(p): i for i, group in enumerate(groups_of(training.optimizers)) for p in group["params"]}
    return tuple(
        ParameterInfo(
            name=name,
            shape=_shape(tensor),
            dtype=_dtype(tensor),
            requires_grad=tensor.requires_grad,
            group=group_of.get(id(tensor)),
            aliases=aliases,
        )
        for name, (tensor, aliases) in named_tensors(model).items()
    )


def _buffers(model: Model) -> tuple[BufferInfo, ...]:
    return tuple(
        BufferInfo(name=name, shape=_shape(tensor), dtype=_dtype(tensor), is_persistent=is_persistent, aliases=aliases)
        for name, (tensor, is_persistent, aliases) in named_buffers(model).items()
    )


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return () if is_uninitialised(tensor) else shape_of(tensor)


def _dtype(tensor: Tensor) -> str:
    return "uninitialised" if is_uninitialised(tensor) else dtype_name(tensor.dtype)


def _groups(training: Training, names: dict[int, str]) -> tuple[GroupInfo, ...]:
    return tuple(
        GroupInfo(
            parameters=tuple(names.get(id(p), "(not in the model)") for p in group["params"]),
            options={key: _option(value) for key, value in group.items() if key != "params"},
            optimizer=turn.name,
        )
        for turn in training.turns
        for group in turn.optimizer.param_groups
    )


def _option(value: Any) -> str:
    return safe_text(value, lambda known: repr(known.item() if _is_number(known) else known), most=_MOST_OF_AN_OPTION)


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def _loss_name(training: Training) -> str:
    return " + ".join(dict.fromkeys(_name_of(turn.training_step or training.loss) for turn in training.turns))


def _name_of(function: Any) -> str:
    if isinstance(function, nn.Module):
        return type(function).__name__
    return getattr(function, "__name__", type(function).__name__)


def _warnings(training: Training, named: dict[str, tuple[Tensor, tuple[str, ...]]]) -> tuple[str, ...]:
    in_optimizer = {id(p) for group in groups_of(training.optimizers) for p in group["params"]}
    in_model = {id(tensor) for tensor, _ in named.values()}
    missing = [name for name, (tensor, _) in named.items() if tensor.requires_grad and id(tensor) not in in_optimizer]
    frozen = [name for name, (tensor, _) in named.items() if not tensor.requires_grad and id(tensor) in in_optimizer]
    strangers = len(in_optimizer - in_model)
    found = []
    if missing:
        found.append(
            f"The optimizer does not hold {listed(missing)}: no step will move it, although it requires a gradient"
        )
    if frozen:
        found.append(f"The optimizer holds {listed(frozen)}, frozen by requires_grad=False: it gets no gradient")
    if strangers:
        found.append(
            f"The optimizer holds {strangers} tensors that are not in the model (was it made before the model was changed?)"
        )
    for turn in training.turns:
        if turn.scheduler is not None and getattr(turn.scheduler, "optimizer", turn.optimizer) is not turn.optimizer:
            found.append(
                f"The scheduler {type(turn.scheduler).__name__} was made for another optimizer than the one that is "
                "stepped: it will not change its rates"
            )
    return tuple(found)
