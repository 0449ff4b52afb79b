"""The modules of a model under the names that its author gave them, and which of them hooks can reach."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

_WRAPPED = "_orig_mod"
"""The attribute in which torch.compile's wrapper holds the module, and so a part of every name inside it."""


_METHODS = {name for name in dir(nn.Module) if callable(getattr(nn.Module, name))}


def walk(model: nn.Module, *, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """As nn.Module's `named_modules()`, also where a module has something else of its own under that name, or under
    `modules` or `children`: training does not need them."""
    seen: set[int] = set()
    waiting = [("", model)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        if remove_duplicate:
            seen.add(id(module))
        yield name, module
        inside = [(f"{name}.{key}" if name else key, part) for key, part in module._modules.items() if part is not None]
        waiting += reversed(inside)


def modules_in(model: object) -> list[nn.Module]:
    """Every module of a model, itself included, each once; none of what is no module."""
    return [module for _, module in walk(model)] if isinstance(model, nn.Module) else []


def method_of(module: nn.Module, name: str) -> Callable[..., Any]:
    """As `getattr(module, name)`; what a module has under the name of a method and cannot be called is something else."""
    own = vars(module).get(name)
    return own if callable(own) else MethodType(getattr(type(module), name), module)


def has_own(module: nn.Module, name: str) -> bool:
    """Whether a method is another than nn.Module's: a plain loop would call that one."""
    return callable(vars(module).get(name)) or getattr(type(module), name) is not getattr(nn.Module, name)


@contextlib.contextmanager
def unhidden(model: nn.Module) -> Iterator[None]:
    """Inside, nothing hides a method, which torch looks up on every module that it goes through."""
    hiding = [
        (vars(module), name, vars(module)[name])
        for module in modules_in(model)
        for name in _METHODS & vars(module).keys()
        if not callable(vars(module)[name])
    ]
    for attributes, name, _ in hiding:
        del attributes[name]
    try:
        yield
    finally:
        for attributes, name, value in hiding:
            attributes[name] = value


def set_training(model: object, mode: bool) -> None:
    """`model.train()` or `model.eval()`, with every module's own where it has another one. Nothing for what is no module."""
    if not isinstance(model, nn.Module):
        return
    if not mode and has_own(model, "eval"):
        method_of(model, "eval")()
    elif has_own(model, "train"):
        method_of(model, "train")(mode)
    else:
        model.training = mode
        for part in model._modules.values():
            set_training(part, mode)


def named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """`model.named_parameters(remove_duplicate=False)`."""
    if has_own(model, "named_parameters"):
        yield from method_of(model, "named_parameters")(remove_duplicate=False)
        return
    for name, module in walk(model, remove_duplicate=False):
        for key, tensor in module._parameters.items():
            if tensor is not None:
                yield f"{name}.{key}" if name else key, tensor


def parameters_of(model: nn.Module) -> list[nn.Parameter]:
    """`list(model.parameters())`."""
    if has_own(model, "parameters"):
        return list(method_of(model, "parameters")())
    return list({id(tensor): tensor for _, tensor in named_parameters(model)}.values())


def named_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """`model.named_buffers()`."""
    if has_own(model, "named_buffers"):
        yield from method_of(model, "named_buffers")()
        return
    seen: set[int] = set()
    for name, module in walk(model):
        for key, tensor in module._buffers.items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{name}.{key}" if name else key, tensor


def state_dict_of(model: nn.Module) -> dict[str, Any]:
    """`model.state_dict()`."""
    with unhidden(model):
        state: dict[str, Any] = method_of(model, "state_dict")()
    return state


def apply_to_tensors(model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """`model._apply(change)`, which moves and converts all parameters and buffers."""
    with unhidden(model):
        model._apply(change)


def move(model: nn.Module, device: torch.device) -> None:
    """`model.to(device)`."""
    with unhidden(model):
        model.to(device)


def named_modules(model: nn.Module, *, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """As `walk`, without the wrappers that torch.compile puts around modules: what is wrapped stands there under the
    wrapper's name."""
    for name, module in walk(model, remove_duplicate=remove_duplicate):
        if not is_compiled_wrapper(module):
            yield own_name(name), module


def own_name(name: str) -> str:
    """The name of a module or parameter without torch.compile's wrappers: "block._orig_mod.0" is "block.0"."""
    if _WRAPPED not in name:
        return name
    return ".".join(part for part in name.split(".") if part != _WRAPPED)


def is_compiled_wrapper(module: nn.Module) -> bool:
    """True for what `torch.compile(module)` returns."""
    # By name: importing torch's compiler takes seconds.
    return type(module).__name__ == "OptimizedModule" and _WRAPPED in module._modules


def has_forward(module: nn.Module) -> bool:
    """False for containers that cannot be called (ModuleList, ModuleDict, ParameterList)."""
    return "forward" in vars(module) or getattr(type(module), "forward", None) is not nn.Module.forward


def inside_scripted(modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """Of every module that lies inside a scripted or traced one: its name, and that of the outermost scripted module.

    TorchScript runs those itself; only the outermost is called from Python. `modules`: all of a model, by name.
    """
    outer: str | None = None
    found = {}
    for name, module in modules.items():
        if not isinstance(module, torch.jit.ScriptModule):
            outer = None
        elif outer is not None and (outer == "" or name.startswith(outer + ".")):
            found[name] = outer
        else:
            outer = name
    return found
