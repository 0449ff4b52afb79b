"""The door behind which evaluated code runs: nobody sees it, the graph of the training outlives it, all is put back.

Unlike what findings and what-ifs use, it lets the code see the gradients as they are, lends it the states of the optimizers,
and can be opened in the middle of a forward or a backward.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode
from torch.utils._python_dispatch import _disable_current_modes

from gradscope.engine.aside.door import Aside
from gradscope.engine.aside.value_holders import version_of
from gradscope.engine.aside.walk import Reached
from gradscope.engine.book.optimizer_before import copy_of_state
from gradscope.engine.capture.hooks import inside_backward
from gradscope.engine.evaluate.place import Place
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.model.modules import modules_in
from gradscope.engine.model.parameters import is_uninitialised
from gradscope.engine.surroundings.error_parts import module_name, safely
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.torch_settings import TorchSettings
from gradscope.engine.surroundings.unwinding import interruptions_put_off
from gradscope.protocol.failure import BadInput

_autograd: Any = torch.autograd
_saved_tensors: Any = torch._C._autograd
NESTED_BACKWARD_HANGS = torch.__version__ < "2.9"
"""A parameter's hook runs under the lock that another backward to this parameter waits for: so in 2.6, and not in 2.9."""


@contextlib.contextmanager
def put_back_after(place: Place, more: Mapping[str, object]) -> Iterator[Aside]:
    """Inside, code may do what it wants; afterwards the training is as before, bit for bit, whatever was raised.

    `more`: roots beside those of the place. What could not be put back is in the `notes`, when the block is left.
    """
    _need_shapes(place)
    optimizers = place.optimizers()
    originals = [(optimizer, dict(optimizer.state)) for optimizer in optimizers.values()]
    try:
        for optimizer, state in originals:
            _set_state(optimizer, copy_of_state(state))
        with _unnoticed(place), _graphs_kept(), Aside({**place.roots()}, lends_gradients=True) as aside:
            copies = [tensor for optimizer, _ in originals for tensor in _tensors_of(optimizer)]
            aside.also({**_roots_of(optimizers), **more}, but=copies)
            yield aside
    finally:
        with interruptions_put_off():
            for optimizer, state in originals:
                _set_state(optimizer, state)


def _need_shapes(place: Place) -> None:
    """What a lazy module becomes in its first forward, it stays."""
    model = place.book.model
    tensors = (
        model.values()
        if isinstance(model, Mapping)
        else (t for part in modules_in(model) for t in part._parameters.values())
    )
    if any(tensor is not None and is_uninitialised(tensor) for tensor in tensors):
        raise BadInput(
            "A parameter of the model has no shape yet, and evaluating could give it one for good; expected a Forward before"
        )


@contextlib.contextmanager
def moved_inside(place: Place, more: Mapping[str, object]) -> Iterator[list[str]]:
    """Inside, code may change the training for good. The names of what it has moved are there when the block is left."""
    found: list[str] = []
    optimizers = place.optimizers()
    random, settings = RandomStates.capture(), TorchSettings.capture()
    reached = Reached(copies_parameters=True)
    reached.look_from({**place.roots(), **_roots_of(optimizers), **more})
    gradients = [(name, tensor, _mark(tensor)) for name, tensor in place.book.observer.tensors().items()]
    states = [(name, optimizer, _marks(optimizer)) for name, optimizer in optimizers.items()]
    try:
        with _unnoticed(place):
            yield found
    finally:
        with interruptions_put_off():
            found += reached.moved()
            found += [f"{name}.grad" for name, tensor, before in gradients if _mark(tensor) != before]
            found += [f"{name}.state" for name, optimizer, before in states if _marks(optimizer) != before]
            found += ["random numbers"] if not RandomStates.capture().is_same(random) else []
            found += ["torch's settings"] if TorchSettings.capture() != settings else []


@contextlib.contextmanager
def _unnoticed(place: Place) -> Iterator[None]:
    """As if the code ran by itself: neither capture nor what the training has around it at this moment concerns it."""
    with (
        contextlib.ExitStack() as inside,
        place.unseen(),
        place.book.observer.lifted(),
        _own_modes_off(),
        _hooks_on_saved_tensors_off(),
        _no_backward_for_ever(),
        _no_cache_of_casts(),
        torch.enable_grad(),
    ):
        if torch._C._len_torch_dispatch_stack():
            inside.enter_context(_disable_current_modes())
        yield


@contextlib.contextmanager
def _graphs_kept() -> Iterator[None]:
    """A backward through the training's own graph leaves it as it is, for the training's own backward."""

    def run(original: Callable[..., Any], outputs: Any, gradients: Any, keep: Any, *args: Any, **kwargs: Any) -> Any:
        return original(outputs, gradients, True, *args, **kwargs)

    with _backward_by(run):
        yield


@contextlib.contextmanager
def _no_backward_for_ever() -> Iterator[None]:
    """Inside a backward, one that adds to `.grad` is refused where torch would hang."""
    if not (NESTED_BACKWARD_HANGS and inside_backward()):
        yield
        return

    def run(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("accumulate_grad"):
            raise RuntimeError(
                f"torch {torch.__version__} hangs where a backward begins inside of another one; "
                "evaluate this before Backward or after it, or use torch.autograd.grad"
            )
        return original(*args, **kwargs)

    with _backward_by(run):
        yield


@contextlib.contextmanager
def _backward_by(run: Callable[..., Any]) -> Iterator[None]:
    """Every backward that begins goes through `run`, which is given what runs it as a rule, and its arguments."""
    original: Callable[..., Any] = vars(_autograd)["_engine_run_backward"]
    _autograd._engine_run_backward = partial(run, original)
    try:
        yield
    finally:
        _autograd._engine_run_backward = original


@contextlib.contextmanager
def _own_modes_off() -> Iterator[None]:
    """A watch of ours sees every torch function of a phase: these are none of it. The user's own modes stay."""
    count = torch._C._len_torch_function_stack()
    modes: list[TorchFunctionMode] = [_pop_mode() for _ in range(count)][::-1]
    others = [mode for mode in modes if not module_name(type(mode)).startswith("gradscope.")]
    for mode in others:
        _push_mode(mode)
    try:
        yield
    finally:
        for _ in range(torch._C._len_torch_function_stack()):
            _pop_mode()
        for mode in modes:
            _push_mode(mode)


def _saved_as_it_is() -> contextlib.AbstractContextManager[object]:
    if not _saved_tensors._saved_tensors_hooks_is_enabled():
        return contextlib.nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)


@contextlib.contextmanager
def _hooks_on_saved_tensors_off() -> Iterator[None]:
    """Inside a checkpointed part of a forward, what is computed would count as a part of it."""
    if not hasattr(_saved_tensors, "_top_saved_tensors_default_hooks"):
        # torch 2.6 says nothing of those that are there, but it asks only the last.
        with _saved_as_it_is():
            yield
        return
    hooks = []
    while (top := _saved_tensors._top_saved_tensors_default_hooks(True)) is not None:
        hooks.append(top)
        _saved_tensors._pop_saved_tensors_default_hooks()
    try:
        yield
    finally:
        for pack, unpack in reversed(hooks):
            _saved_tensors._push_saved_tensors_default_hooks(pack, unpack)


@contextlib.contextmanager
def _no_cache_of_casts() -> Iterator[None]:
    """Inside autocast, the casts of weights are kept until its end: of weights that are put back they would be wrong."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _roots_of(optimizers: Mapping[str, Optimizer]) -> dict[str, object]:
    # Of somebody else's class the walk only sees whether an object has moved: what these hold is all there is of them.
    own = {f"{name}'s attributes": vars(optimizer) for name, optimizer in optimizers.items()}
    return {**optimizers, **own}


def _set_state(optimizer: Optimizer, state: dict[Any, Any]) -> None:
    optimizer.state.clear()
    optimizer.state.update(state)


def _tensors_of(optimizer: Optimizer) -> list[Tensor]:
    return [tensor for state in optimizer.state.values() for _, tensor in tensor_leaves(state)]


def _mark(tensor: Tensor) -> tuple[int, int]:
    """Another where `.grad` has changed."""
    gradient = tensor.grad if tensor.is_leaf else None
    return (0, 0) if gradient is None else (id(gradient), safely(partial(version_of, gradient), 0))


def _marks(optimizer: Optimizer) -> list[tuple[int, int]]:
    return [(id(tensor), safely(partial(version_of, tensor), 0)) for tensor in _tensors_of(optimizer)]
