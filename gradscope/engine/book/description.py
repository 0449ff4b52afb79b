"""What is known of a model and of those who train it from the start; and what looks wrong already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gradscope.engine.book.turns import Turn, groups_of
from gradscope.engine.model.buffers import named_buffers
from gradscope.engine.model.dropout import dropout_of
from gradscope.engine.model.modules import method_of, named_modules
from gradscope.engine.model.parameters import Model, is_uninitialised, named_tensors
from gradscope.engine.quantities.values import dtype_name, shape_of
from gradscope.engine.surroundings.error_parts import safe_text, safely, wire_text
from gradscope.engine.wording import listed
from gradscope.protocol.messages import BufferInfo, GroupInfo, ModuleInfo, ParameterInfo

_MOST_OF_AN_OPTION = 2000


def describe_modules(model: Model) -> tuple[ModuleInfo, ...]:
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


def describe_parameters(model: Model, turns: Sequence[Turn]) -> tuple[ParameterInfo, ...]:
    group_of = {
        id(p): i for i, group in enumerate(groups_of(turn.optimizer for turn in turns)) for p in group["params"]
    }
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


def describe_buffers(model: Model) -> tuple[BufferInfo, ...]:
    return tuple(
        BufferInfo(name=name, shape=_shape(tensor), dtype=_dtype(tensor), is_persistent=is_persistent, aliases=aliases)
        for name, (tensor, is_persistent, aliases) in named_buffers(model).items()
    )


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return () if is_uninitialised(tensor) else shape_of(tensor)


def _dtype(tensor: Tensor) -> str:
    return "uninitialised" if is_uninitialised(tensor) else dtype_name(tensor.dtype)


def describe_groups(model: Model, turns: Sequence[Turn]) -> tuple[GroupInfo, ...]:
    names = {id(tensor): name for name, (tensor, _) in named_tensors(model).items()}
    return tuple(
        GroupInfo(
            parameters=tuple(names.get(id(p), "(not in the model)") for p in group["params"]),
            options={key: _option(value) for key, value in group.items() if key != "params"},
            optimizer=turn.name,
        )
        for turn in turns
        for group in turn.optimizer.param_groups
    )


def warnings_of(model: Model, turns: Sequence[Turn]) -> tuple[str, ...]:
    """Where the optimizers, the schedulers and the model do not hold the same things."""
    named = named_tensors(model)
    in_optimizer = {id(p) for group in groups_of(turn.optimizer for turn in turns) for p in group["params"]}
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
    for turn in turns:
        if turn.scheduler is not None and getattr(turn.scheduler, "optimizer", turn.optimizer) is not turn.optimizer:
            found.append(
                f"The scheduler {type(turn.scheduler).__name__} was made for another optimizer than the one that is "
                "stepped: it will not change its rates"
            )
    return tuple(found)


def _extra(module: nn.Module) -> str:
    # A user's extra_repr may be broken; the name of the class is enough.
    return safely(lambda: wire_text(str(method_of(module, "extra_repr")())), "")


def _option(value: Any) -> str:
    return safe_text(value, lambda known: repr(known.item() if _is_number(known) else known), most=_MOST_OF_AN_OPTION)


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1
