"""The modules of a model under the names that its author gave them, and which of them hooks can reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_WRAPPED = "_orig_mod"
"""The attribute in which torch.compile's wrapper holds the module, and so a part of every name inside it."""


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


def set_training(model: object, mode: bool) -> None:
    """`model.train(mode)`, with every module's own `train()` where its class has another one; no attribute of a module hides
    a method. Nothing for what is no module."""
    if not isinstance(model, nn.Module):
        return
    cls: Any = type(model)
    if not mode and cls.eval is not nn.Module.eval:
        cls.eval(model)
    elif cls.train is not nn.Module.train:
        cls.train(model, mode)
    else:
        model.training = mode
        for part in model._modules.values():
            set_training(part, mode)


def apply_to_tensors(model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """As `model._apply(change)`, which moves and converts all parameters and buffers, also where an attribute hides
    `children`."""
    if not any("children" in vars(module) for module in modules_in(model)):
        type(model)._apply(model, change)
        return
    for module in modules_in(model):
        type(module)._apply(module, change, recurse=False)


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
