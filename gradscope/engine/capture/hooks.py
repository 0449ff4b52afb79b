"""Hooks on modules: they see every output as it is made, and its gradient when it arrives, and change nothing.

A forward pre-hook and a forward hook on each module; on each output tensor a tensor hook, registered at once, so that it
belongs to that value also when the model changes the tensor in place later. Never `register_full_backward_hook`, which
raises on in-place layers; never `retain_grad`.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.hooks import RemovableHandle

from gradscope.engine.model.leaves import Inputs, tensor_leaves
from gradscope.engine.model.modules import inside_scripted, modules_in, parameters_of

_is_compiling = torch.compiler.is_dynamo_compiling


class LayerListener(Protocol):
    """What the hooks tell. None of the methods may change a tensor or draw a random number."""

    def layer_entered(self, name: str) -> None: ...

    def layer_left(self, name: str, output: object, inputs: Inputs) -> None: ...

    def layer_lifted(self, name: str) -> None:
        """Inside this layer, which has been entered, nothing is told."""


class _Tap:
    """One hook of one module.

    A copy of the model (an EMA by deepcopy) copies its hooks: a tap copies as itself, ignores strangers, and leaves them
    when they call it. So it leaves the model where a session was never closed. When it is pickled with a model, it leaves a
    harmless `_nothing` behind.

    What torch.compile traces is not observed (see `compiled`): there a tap does nothing, and compiles to nothing.
    """

    __slots__ = ("_listener", "_module", "_name")
    _dict_name: ClassVar[str]
    """The attribute of a module in which it is kept."""

    def __init__(self, name: str, module: nn.Module, listener: LayerListener) -> None:
        self._name = name
        self._module = weakref.ref(module)
        self._listener = weakref.ref(listener)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tap:
        return self

    def __copy__(self) -> _Tap:
        return self

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _make_nothing, ()

    def _listener_for(self, module: nn.Module) -> LayerListener | None:
        if _is_compiling():
            return None
        listener = self._listener() if self._module() is module else None
        if listener is None:
            self._leave(module)
        return listener

    def _leave(self, module: nn.Module) -> None:
        """A stranger, or what is not watched any more."""
        own, hooks = self._module(), getattr(module, self._dict_name)
        # A shallow copy (a replica of DataParallel) has the very dict of the original.
        if own is None or own is module or getattr(own, self._dict_name) is not hooks:
            for key in [key for key, hook in hooks.items() if hook is self]:
                del hooks[key]


class _EnterTap(_Tap):
    __slots__ = ()
    _dict_name = "_forward_pre_hooks"

    def __call__(self, module: nn.Module, args: Any) -> None:
        # In a hurry, as the other one: each layer comes through here.
        if _is_compiling():
            return
        listener = self._listener() if self._module() is module else None
        if listener is not None:
            listener.layer_entered(self._name)
        else:
            self._leave(module)


class _EncoderTap(_EnterTap):
    """The enter tap of an encoder layer: where torch may run the layer as one kernel, it does so as without hooks.

    `is_wanted`: the layer itself is looked at, not only something in it.
    """

    __slots__ = ("_hooks", "_is_wanted")

    def __init__(
        self, name: str, module: nn.Module, listener: LayerListener, hooks: ModuleHooks, *, is_wanted: bool
    ) -> None:
        super().__init__(name, module, listener)
        self._hooks, self._is_wanted = weakref.ref(hooks), is_wanted

    def __call__(self, module: nn.Module, args: Any, kwargs: Any = None) -> None:
        if self._is_wanted:
            super().__call__(module, args)
        listener, hooks = self._listener_for(module), self._hooks()
        if listener is not None and hooks is not None and may_run_fused(module, (args, kwargs)):
            hooks.lift_inside(self._name, module, listener, tells=self._is_wanted)


class _LeaveTap(_Tap):
    __slots__ = ()
    _dict_name = "_forward_hooks"

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if _is_compiling():
            return
        listener = self._listener() if self._module() is module else None
        if listener is not None:
            listener.layer_left(self._name, output, (args, kwargs))
        else:
            self._leave(module)


def _nothing(*_: Any) -> None:
    return None


def _make_nothing() -> Callable[..., None]:
    return _nothing


@dataclass(frozen=True)
class _Hooked:
    """One module with its hooks."""

    name: str
    module: weakref.ref[nn.Module]
    handles: tuple[RemovableHandle, ...]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


class ModuleHooks:
    """The hooks on those modules of one model that are wanted; removes exactly its own."""

    runs_eagerly = True
    """What torch.compile has compiled runs eagerly, so that its layers can be seen."""

    def __init__(self, modules: Mapping[str, nn.Module], listener: LayerListener, wants: Callable[[str], bool]) -> None:
        self._wants = wants
        self._listener = weakref.ref(listener)
        self._hooked: dict[int, _Hooked] = {}
        self._followed: Mapping[str, nn.Module] = {}
        self._lift = contextlib.ExitStack()
        self.follow(modules)

    def follow(self, modules: Mapping[str, nn.Module]) -> set[str]:
        """Hook what has come into the model since, unhook what has left it; the names of what is new. `modules`: all that
        the model has now, by name; the same object only where nothing has changed."""
        listener = self._listener()
        if listener is None or modules is self._followed:
            return set()
        self._followed = modules
        inside, new = inside_scripted(modules), set()
        before, self._hooked = self._hooked, {}
        for name, module in modules.items():
            if name in inside or not (self._wants(name) or self._is_around(name, module, modules)):
                continue
            known = before.get(id(module))
            if known is not None and known.name == name and known.module() is module:
                self._hooked[id(module)] = before.pop(id(module))
            else:
                self._hooked[id(module)] = self._hook(name, module, listener)
                new.add(name)
        for old in before.values():
            old.remove()
        return new

    def lifted(self) -> AbstractContextManager[object]:
        """Inside, the modules are without these hooks; then they are back, in the same place among the user's own.

        torch looks at them: an encoder layer with hooks goes without its fused kernel, and rounds differently.
        """
        return _without([handle for hooked in self._hooked.values() for handle in hooked.handles])

    def lift_inside(self, name: str, module: nn.Module, listener: LayerListener, *, tells: bool) -> None:
        """Until the encoder layer that has been entered is left, it and what is inside are without these hooks; unless
        there are others, which the user knows of. `tells`: the listener hears of its output."""
        self.end_lift()
        parts = modules_in(module)
        inside = [self._hooked[id(part)] for part in parts if id(part) in self._hooked]
        handles = [handle for hooked in inside for handle in hooked.handles]
        if sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in parts) > len(handles):
            return
        listener.layer_lifted(name)
        back = self._lift.enter_context(_without(handles))
        told = weakref.ref(listener)

        def leave(other: nn.Module, args: Any, output: Any) -> None:
            if other is not module:
                return
            if output is None:
                # Its forward has raised, and torch is going through the hooks of all modules, of which this is one.
                back()
                return
            self.end_lift()
            listener = told()
            if listener is not None and tells:
                listener.layer_left(name, output, (args, {}))

        # Of all modules: torch does not look at these.
        self._lift.enter_context(register_module_forward_hook(leave, always_call=True))

    def end_lift(self) -> None:
        """Also where the layer was left by an interruption."""
        self._lift.close()

    def remove(self) -> None:
        self.end_lift()
        for hooked in self._hooked.values():
            hooked.remove()
        self._hooked.clear()
        self._followed = {}

    def _is_around(self, name: str, module: nn.Module, modules: Mapping[str, nn.Module]) -> bool:
        """An encoder layer in which something is looked at: with hooks inside, torch would not run it as one kernel."""
        return isinstance(module, nn.TransformerEncoderLayer) and any(
            self._wants(other) for other in modules if other.startswith(f"{name}." if name else "")
        )

    def _hook(self, name: str, module: nn.Module, listener: LayerListener) -> _Hooked:
        is_encoder, is_wanted = isinstance(module, nn.TransformerEncoderLayer), self._wants(name)
        tap: _EnterTap
        if is_encoder:
            tap = _EncoderTap(name, module, listener, self, is_wanted=is_wanted)
        else:
            tap = _EnterTap(name, module, listener)
        # nn.Module's own methods: a ScriptModule refuses them, and runs the hooks all the same when Python calls it.
        # Prepended, the enter tap sees a layer before the user's own pre-hooks can fail in it.
        enter = nn.Module.register_forward_pre_hook(module, tap, prepend=True, with_kwargs=is_encoder)
        if not is_wanted:
            return _Hooked(name, weakref.ref(module), (enter,))
        leave = nn.Module.register_forward_hook(module, _LeaveTap(name, module, listener), with_kwargs=True)
        return _Hooked(name, weakref.ref(module), (enter, leave))


def may_run_fused(layer: nn.Module, args: Any) -> bool:
    """What `nn.TransformerEncoderLayer.forward` asks for before it looks for hooks, as far as training comes into it."""
    tensors = [*parameters_of(layer), *(tensor for _, tensor in tensor_leaves(args))]
    return not layer.training and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


@contextlib.contextmanager
def _without(handles: list[RemovableHandle]) -> Iterator[Callable[[], None]]:
    """Take these hooks off, and put them back at their places; what was added meanwhile comes last. Yields what puts them
    back before the end."""
    places = [
        (hooks, list(hooks), handle.id, hooks[handle.id])
        for handle in handles
        if (hooks := handle.hooks_dict_ref()) is not None and handle.id in hooks
    ]

    def put_back() -> None:
        for hooks, order, number, tap in places:
            hooks[number] = tap
            for other in [*order, *(key for key in hooks if key not in order)]:
                if other in hooks:
                    hooks.move_to_end(other)
        places.clear()

    try:
        for hooks, _, number, _ in places:
            hooks.pop(number, None)
        yield put_back
    finally:
        put_back()


def inside_backward() -> bool:
    """True while autograd runs a backward on this thread (activation checkpointing recomputes forwards there)."""
    return torch._C._current_graph_task_id() != -1
