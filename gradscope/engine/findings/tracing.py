"""What each module is given and puts out in a forward of the bench, and which functions of torch's are called in it.

By hooks for all modules: those that the model does not know are seen too. Hooks that others have on a module stay alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.model.leaves import tensor_leaves


@dataclass
class Call:
    """The first call of one module of the model."""

    name: str
    module: nn.Module
    parent: str
    """The module of the model in whose forward it was called."""
    given: Tensor | None
    """The first floating-point tensor of its positional arguments, a copy."""
    put_out: Tensor | None = None
    times: int = 1


@dataclass
class Trace:
    """Of one forward, or of several one after the other."""

    stack: list[nn.Module] = field(default_factory=list)
    """The modules in whose forwards it is now, the innermost last; unknown ones too."""
    calls: dict[str, Call] = field(default_factory=dict)
    """By name, in the order in which they were first entered."""
    names: dict[nn.Module, str] = field(default_factory=dict)

    @property
    def layer(self) -> str:
        """The innermost module of the model around; "" outside of all, and for the model itself."""
        return next((self.names[module] for module in reversed(self.stack) if module in self.names), "")


@contextlib.contextmanager
def traced(model: Any, *, keeps: bool = True) -> Iterator[Trace]:
    """The trace of what is run inside; `keeps`: with the tensors."""
    names = {module: name for name, module in model.named_modules()} if isinstance(model, nn.Module) else {}
    trace = Trace(names=names)

    def enter(module: nn.Module, given: Any) -> None:
        name = trace.names.get(module)
        if name is not None and name in trace.calls:
            trace.calls[name].times += 1
        elif name is not None:
            tensor = first_floating(given) if keeps else None
            copy = None if tensor is None else tensor.detach().clone()
            trace.calls[name] = Call(name, module, trace.layer, copy)
        trace.stack.append(module)

    def leave(module: nn.Module, given: Any, returned: Any) -> None:
        if trace.stack and trace.stack[-1] is module:
            trace.stack.pop()
        call = trace.calls.get(trace.names.get(module, "?"))
        if call is not None and call.put_out is None and keeps:
            tensor = first_floating(returned)
            call.put_out = None if tensor is None else tensor.detach().clone()

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def first_floating(value: Any) -> Tensor | None:
    return next((tensor for _, tensor in tensor_leaves(value) if tensor.is_floating_point()), None)


def input_of(bench: Bench) -> Any:
    """What the model is given of the first batch: x of (x, y), or, for a step of its own, what it calls the model with.

    Raises CannotJudge.
    """
    if not bench.batches:
        raise CannotJudge("there is no batch")
    batch = bench.batches[0]
    if bench.knows_input and isinstance(batch, (list, tuple)) and len(batch) == 2:
        return batch[0]
    if not isinstance(bench.model, nn.Module):
        raise CannotJudge("the model is no module")
    given = _Given()
    handle = bench.model.register_forward_pre_hook(given, with_kwargs=True)
    try:
        # With gradients: the step may ask for some of its own.
        bench.loss(batch)
    finally:
        handle.remove()
    if len(given.inputs) != 1 or given.inputs[0] is None:
        raise CannotJudge("the training step does not call the model once, with one input")
    return given.inputs[0]


def given_to(bench: Bench) -> list[Tensor] | None:
    """What a step of its own calls the model with, of the first batch, where that is one call with two tensors or more, and
    nothing else; None otherwise."""
    if bench.knows_input or not isinstance(bench.model, nn.Module) or not bench.batches:
        return None
    given = _Given(is_whole=True)
    handle = bench.model.register_forward_pre_hook(given, with_kwargs=True)
    try:
        bench.loss(bench.batches[0])
    finally:
        handle.remove()
    args = given.inputs[0] if len(given.inputs) == 1 else None
    is_plain = isinstance(args, tuple) and len(args) > 1 and all(isinstance(arg, Tensor) for arg in args)
    return list(args) if is_plain and args is not None else None


class _Given:
    """A hook. An object of ours, and no function with a list: what the user's model can reach is put back by the bench."""

    def __init__(self, *, is_whole: bool = False) -> None:
        self.inputs: list[Any] = []
        self._is_whole = is_whole
        """All arguments are kept, not the only one."""

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self._is_whole:
            self.inputs.append(None if kwargs else copied(args))
            return
        self.inputs.append(copied(args[0]) if len(args) == 1 and not kwargs else None)


def copied(value: Any) -> Any:
    """The same structure, with copies of its tensors."""
    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, value)


def first_to_move(before: Trace, after: Trace, moves: Callable[[Tensor, Tensor], bool | None]) -> Call | None:
    """The first module whose output has moved while its input has not; where that has moved already, the module around it,
    whose own code did it. `moves` says None where it cannot be told. None: nothing is known to have moved."""

    def moved(name: str, *, is_given: bool) -> bool:
        one, other = before.calls.get(name), after.calls.get(name)
        if one is None or other is None:
            return False
        a, b = (call.given if is_given else call.put_out for call in (one, other))
        return a is not None and b is not None and a.shape == b.shape and bool(moves(a, b))

    for name, call in before.calls.items():
        if moved(name, is_given=True):
            return before.calls.get(call.parent)
        inside = [other for other in before.calls if other != name and (not name or other.startswith(f"{name}."))]
        if moved(name, is_given=False) and not any(moved(other, is_given=False) for other in inside):
            return call
    return None


def spread(tensor: Tensor) -> float:
    """The standard deviation of all elements; the largest magnitude where that is 0."""
    flat = tensor.detach().float().flatten()
    deviation = float(flat.std()) if len(flat) > 1 else 0.0
    return deviation or float(flat.abs().max()) if len(flat) else 0.0


def motion(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tensors of one shape; 0 where there is nothing, or something is not finite."""
    if a.shape != b.shape or not a.numel():
        return 0.0
    largest = float((a.detach().float() - b.detach().float()).abs().max())
    return largest if torch.isfinite(torch.tensor(largest)) else 0.0


class Functions(TorchFunctionMode):
    """Sees the functions of torch's that are called; to be subclassed: `see` returns the result."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if name == "_parse_to":
            # Of PackedSequence.to: called by a mode, it refuses copy=, which it does not give back anyway (torch 2.13).
            return function(*args, **{key: value for key, value in kwargs.items() if key != "copy"})
        return self.see(name, function, args, kwargs)

    def see(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return function(*args, **kwargs)
