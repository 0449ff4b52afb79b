"""What a recipe says, as it was loaded and before anything was trained by it, so that another loading of its file can be
compared with it part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from gradscope.engine.book.turns import schedulers_in
from gradscope.engine.model.buffers import named_buffers
from gradscope.engine.model.compiled import eager
from gradscope.engine.model.modules import named_modules
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.quantities.values import dtype_name
from gradscope.engine.recipe.fields import RecipeFields
from gradscope.engine.recipe.prints import attributes_of, is_of_user, print_of
from gradscope.engine.surroundings.error_parts import class_name, safely

SETTINGS = ("accumulate", "zero_grad", "clip_norm", "clip_value", "scheduler_unit", "scheduler_metric")
"""Fields that can be assigned at any time."""
OF_DATA = ("dataset", "batch_size", "shuffle", "collate")
FIXED = (*OF_DATA, "validation", "validation_step", "metrics", "best_metric", "best_mode", "precision")
"""Fields that a training is begun with, and keeps."""
ELSEWHERE = "(not the model's)"
"""In the place of the name of a tensor that is none of the model's."""
_NOT_OF_A_SCHEDULER = frozenset(("optimizer", "_schedulers", "_last_lr"))


@dataclass(frozen=True, kw_only=True)
class GroupFacts:
    names: tuple[str, ...]
    """Of its parameters."""
    options: Mapping[str, str]
    """Their prints."""


@dataclass(frozen=True, kw_only=True)
class SchedulerFacts:
    name: str
    kinds: tuple[str, ...]
    """Prints of the classes: of the scheduler, and of those that it holds."""
    attributes: tuple[Mapping[str, str], ...]
    """Of each, by their prints."""


@dataclass(frozen=True, kw_only=True)
class TurnFacts:
    name: str
    step: str
    step_name: str
    optimizer: str
    """The print of its class."""
    optimizer_name: str
    groups: tuple[GroupFacts, ...]
    scheduler: SchedulerFacts | None


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    kind: str
    """The print of its class."""
    name: str
    attributes: Mapping[str, str]
    hooks: str
    """Of the user's, on it and on its own parameters; "" where there are none."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    turns: tuple[TurnFacts, ...]
    loss: str
    loss_name: str
    settings: Mapping[str, str]
    fixed: Mapping[str, str]
    rules: str
    layers: Mapping[str, LayerFacts]
    parameters: Mapping[str, tuple[str, bool, tuple[str, ...]]]
    """name -> (shape and dtype in words, whether it is trained, its other names)."""
    buffers: Mapping[str, str]


def facts_of(recipe: RecipeFields) -> Facts:
    """Of a recipe that was just loaded. What the user's classes raise where they are looked at comes through."""
    tensors = named_tensors(recipe.model)
    names = {id(tensor): name for name, (tensor, _) in tensors.items()}
    layers = dict(named_modules(recipe.model, remove_duplicate=False)) if isinstance(recipe.model, nn.Module) else {}
    kinds = _Kinds()
    steps = recipe.training_step
    return Facts(
        turns=tuple(
            TurnFacts(
                name=name,
                step=print_of(step := eager(steps[name] if isinstance(steps, dict) else steps)),
                step_name=name_of(step),
                optimizer=kinds(type(optimizer)),
                optimizer_name=class_name(type(optimizer)),
                groups=tuple(_group(group, names) for group in optimizer.param_groups),
                scheduler=_scheduler(recipe.schedulers.get(name), optimizer, kinds),
            )
            for name, optimizer in recipe.optimizers.items()
        ),
        loss=print_of(eager(recipe.loss)),
        loss_name=name_of(eager(recipe.loss)),
        settings={name: print_of(getattr(recipe, name)) for name in SETTINGS},
        fixed={name: _print_of_field(recipe, name) for name in FIXED},
        rules=print_of([(rule.id, rule.function) for rule in recipe.rules]),
        layers={
            name: LayerFacts(
                kind=kinds(type(layer)),
                name=_name_of_layer(layer),
                attributes={key: print_of(value) for key, value in attributes_of(layer).items()},
                hooks=_hooks(layer),
            )
            for name, layer in layers.items()
        },
        parameters={
            name: (form_of(tensor), tensor.requires_grad, others) for name, (tensor, others) in tensors.items()
        },
        buffers={name: form_of(tensor) for name, (tensor, _, _) in named_buffers(recipe.model).items()},
    )


def facts_noted(recipe: RecipeFields) -> Facts | None:
    """Of a recipe whose training begins; None where it is of no file, or its classes cannot be looked at."""
    if not isinstance(recipe, RecipeFields) or recipe.source is None:
        return None
    return safely(lambda: facts_of(recipe), None)


def attributes_of_scheduler(scheduler: LRScheduler) -> dict[str, Any]:
    """What one scheduler goes by and remembers, beside its optimizer and those inside it."""
    return {name: value for name, value in vars(scheduler).items() if name not in _NOT_OF_A_SCHEDULER}


def name_of(function: Any) -> str:
    """Of a loss, or of a training step; "" for None."""
    if function is None:
        return ""
    own = getattr(function, "__name__", None)
    return own if type(own) is str else class_name(type(function))


def form_of(tensor: Tensor) -> str:
    """ "[10, 5]", with the dtype where it is no float32."""
    shape = "without a shape yet" if is_uninitialised(tensor) else str(list(tensor.shape))
    kind = dtype_name(tensor.dtype)
    return shape if kind == "float32" else f"{shape} {kind}"


# ------------------------------------------------------------------------------------------- private


def _name_of_layer(layer: nn.Module) -> str:
    """Of its class; what is scripted has no class of its own that could be replaced."""
    name = class_name(type(layer))
    return f"{name} {print_of(layer)}" if isinstance(layer, torch.jit.ScriptModule) else name


def _hooks(layer: nn.Module) -> str:
    holders = [
        *(value for name, value in vars(layer).items() if name.startswith("_") and name.endswith("_hooks")),
        *(
            getattr(tensor, name, None)
            for tensor in layer._parameters.values()
            if tensor is not None
            for name in ("_backward_hooks", "_post_accumulate_grad_hooks")
        ),
    ]
    found = [hook for holder in holders if isinstance(holder, dict) for hook in holder.values() if is_of_user(hook)]
    return print_of(found) if found else ""


class _Kinds:
    """Prints of classes, each made once."""

    def __init__(self) -> None:
        self._known: dict[type, str] = {}

    def __call__(self, cls: type) -> str:
        if cls not in self._known:
            self._known[cls] = print_of(cls)
        return self._known[cls]


def _group(group: dict[str, Any], names: Mapping[int, str]) -> GroupFacts:
    return GroupFacts(
        names=tuple(names.get(id(tensor), ELSEWHERE) for tensor in group["params"]),
        options={key: print_of(_plain(value)) for key, value in group.items() if key not in ("params", "param_names")},
    )


def _plain(value: Any) -> Any:
    """An option that is a tensor of one element counts as its number."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _scheduler(
    scheduler: LRScheduler | None, optimizer: Optimizer, kinds: Callable[[type], str]
) -> SchedulerFacts | None:
    if scheduler is None:
        return None
    every = list(schedulers_in(scheduler))
    return SchedulerFacts(
        name=class_name(type(scheduler)),
        kinds=tuple(kinds(type(one)) for one in every),
        attributes=tuple(
            {name: print_of(value, (*every, optimizer)) for name, value in attributes_of_scheduler(one).items()}
            for one in every
        ),
    )


def _print_of_field(recipe: RecipeFields, name: str) -> str:
    value = getattr(recipe, name)
    if isinstance(value, DataLoader):
        sampler = value.batch_sampler if value.batch_size is None else value.sampler
        parts = (value.dataset, value.batch_size, value.drop_last, value.num_workers, type(sampler), value.collate_fn)
        return print_of(parts)
    return print_of(value)
