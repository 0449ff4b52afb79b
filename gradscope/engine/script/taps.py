"""The taps in torch: few places that every training comes through, whatever name a function was imported under.

Each asks first whether it is on, whether this is the thread that trains, and whether this is not gradscope's own doing;
otherwise it calls the original and nothing else. Nothing is hung on a module, a tensor or an optimizer of the user's. What
fails in here is kept, and never reaches the script.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as nn_module
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import dataloader

from gradscope.engine.model.modules import is_compiled_wrapper
from gradscope.engine.script.by_hand import ByHandWatch
from gradscope.engine.script.clip_taps import ClipTaps
from gradscope.engine.script.finding import losses
from gradscope.engine.script.finding.batches import Waiting, length_of
from gradscope.engine.script.finding.optimizers import innermost, tensors_of, with_subclasses
from gradscope.engine.script.following import Following
from gradscope.engine.script.grad_tap import GradTap
from gradscope.engine.script.letting_go import LettingGo
from gradscope.engine.script.replacing import MutedWarning, Replacements
from gradscope.engine.script.stack import Forked, calls_under_way, depth, is_alive, is_stepping, steps_under_way
from gradscope.engine.surroundings.devices import is_capturing
from gradscope.engine.surroundings.error_parts import class_name, message_of
from gradscope.protocol.phases import SubStep

_ident, _is_compiling, _graph_task = threading.get_ident, torch.compiler.is_compiling, torch._C._current_graph_task_id
_MOST_SECS_OF_STEP = 2.0
"""Taken away by another thread, the taps wait so long for the end of a step."""


class Taps:
    """Installed once in a process, before the script's first line or in the middle of it; `remove` leaves nothing."""

    def __init__(self, following: Following) -> None:
        self.following = following
        self.errors = following.errors
        following.unseen = self.unseen
        self.hand = ByHandWatch(following, lambda: not self._listens(), self.safely)
        following.look_again = self.hand.look_again
        self._clips, self._grads = ClipTaps(self), GradTap(self)
        self._letting_go = LettingGo(
            following, self.hand, lambda: self._listens() and not (self._steps or self.is_in_call())
        )
        self._is_on, self._is_busy, self._is_let_go = True, False, False
        self._thread, self._has_trained = _ident(), False
        self._warning = MutedWarning()
        self._forked = Forked(self.turn_off)
        self._stack: list[nn.Module] = []
        self._steps: list[tuple[Optimizer, int]] = []
        """The optimizers that are stepping, with how deep in Python they are."""
        self._in_closure = 0
        self._passed: tuple[weakref.ref[Any], int | None] | None = None
        """The iterator of a DataLoader that gave the newest batch, and how many it gives."""
        self._has_stepped_in_scaler = True
        self._schedulers_stepping = self._schedulers_starting = 0
        self._replaced, self._handles = Replacements(), list[Any]()

    # ------------------------------------------------------------------------------------------ putting in, taking out

    def install(self) -> None:
        """Also once more, after `remove`."""
        self._is_on = True
        self._letting_go.install()
        self._warning.mute()
        self._handles += [
            nn_module.register_module_forward_pre_hook(self._entered),
            # It takes what it is given: torch leaves the keyword arguments out where the forward has raised.
            nn_module.register_module_forward_hook(self._left, with_kwargs=True, always_call=True),
            register_optimizer_step_pre_hook(self._step_begins),
            register_optimizer_step_post_hook(self._step_ends),
        ]
        listens = self._listens_to_backward
        self._wrap(torch.autograd, "_engine_run_backward", self._run_backward, lost="backward", listens=listens)
        self._wrap(Optimizer, "add_param_group", self._add_param_group, lost="optimizers")
        self._wrap(Optimizer, "zero_grad", self._zero_grad, lost="zero_grad")
        self._wrap(nn.Module, "zero_grad", self._zero_grad, lost="zero_grad")
        self._wrap(dataloader._BaseDataLoaderIter, "__next__", self._next_batch, lost="batches")
        self._wrap_clipping()
        scaler = torch.amp.GradScaler
        self._wrap(scaler, "scale", self._scale, lost="the loss scale")
        self._wrap(scaler, "unscale_", self._unscale, lost="unscaling")
        self._wrap(scaler, "step", self._scaler_step, lost="skipped steps")
        self._wrap(scaler, "update", self._scaler_update, lost="the scaler's update")
        self._wrap(LRScheduler, "__init__", self._scheduler_made, lost="schedulers")
        self._wrap(LRScheduler, "_initial_step", self._scheduler_starts, lost="schedulers")
        for cls in with_subclasses(LRScheduler):
            self._wrap_scheduler(cls)

    def _wrap(
        self,
        owner: Any,
        name: str,
        ours: Callable[..., Any],
        *,
        lost: str = "",
        listens: Callable[[], bool] | None = None,
    ) -> None:
        original = vars(owner).get(name)
        if not callable(original):
            self.errors.append(f"This torch has no {getattr(owner, '__name__', owner)}.{name}: {lost} cannot be seen")
            return
        listens = listens or self._listens

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return ours(original, *args, **kwargs) if listens() else original(*args, **kwargs)

        wrapper.__gradscope_tap__ = True  # type: ignore[attr-defined]
        self._replaced.put(owner, name, wrapper)

    def _wrap_clipping(self) -> None:
        module = sys.modules["torch.nn.utils.clip_grad"]
        public = vars(module).get("clip_grads_with_norm_")
        inner = vars(module).get("_clip_grads_with_norm_")
        self._wrap(module, "_clip_grads_with_norm_", self._clips.norm, lost="clipping by norm")
        wrapped = vars(module).get("_clip_grads_with_norm_")
        for owner in (module, torch.nn.utils):
            if public is not None and public is inner and vars(owner).get("clip_grads_with_norm_") is public:
                self._replaced.put(owner, "clip_grads_with_norm_", wrapped)
        before = vars(module).get("clip_grad_value_")
        self._wrap(module, "clip_grad_value_", self._clips.value, lost="clipping by value")
        if vars(torch.nn.utils).get("clip_grad_value_") is before:
            self._replaced.put(torch.nn.utils, "clip_grad_value_", vars(module)["clip_grad_value_"])

    def find_imported(self) -> None:
        """Where the script has run before this: names that it has imported."""
        self._replaced.find_imported()

    def switch_off(self) -> None:
        """From any thread: nothing is told any more. They are taken away by the next backward, or by `remove`."""
        self._is_on, self._is_let_go = False, True

    def remove(self) -> None:
        """Take every tap out."""
        self._is_on = self._is_let_go = False
        self._letting_go.remove()
        began = time.monotonic()
        while is_stepping(self._thread) and time.monotonic() - began < _MOST_SECS_OF_STEP:
            # torch may be going through its hooks there: they are taken away right after.
            time.sleep(0.001)
        for handle in self._handles:
            handle.remove()
            # torch leaves that behind.
            vars(nn_module).get("_global_forward_hooks_with_kwargs", {}).pop(handle.id, None)
        self._handles.clear()
        self._replaced.undo()
        self._warning.restore()
        self.hand.remove()
        self._stack.clear()
        self._steps.clear()

    def turn_off(self) -> None:
        """Nothing is told any more, as in a worker that was forked; the taps stay where they are."""
        self._is_on = False

    @contextlib.contextmanager
    def unseen(self) -> Iterator[None]:
        """Inside, what this thread does is no part of the script."""
        before, self._is_busy = self._is_busy, True
        try:
            yield
        finally:
            self._is_busy = before

    def _listens(self) -> bool:
        return self._is_on and not self._is_busy and _ident() == self._thread and not is_capturing()

    def _listens_to_backward(self) -> bool:
        if self._is_let_go and _ident() == self._thread:
            self.remove()
        if self._is_on and not self._is_busy and _graph_task() == -1:
            self._may_be_trained_here()
            self._has_trained = self._has_trained or _ident() == self._thread
        return self._listens()

    def _may_be_trained_here(self) -> None:
        """The thread of the first backward is the one that trains; when it has ended, there may be another."""
        ident = _ident()
        if ident != self._thread and (not self._has_trained or not is_alive(self._thread)):
            self._thread, self._has_trained = ident, False
            self._stack.clear()
            self._steps.clear()

    def is_in_call(self) -> bool:
        """Of a model, or in a part of a backward."""
        if self._stack:
            self._forget_left(calls_under_way())
        return bool(self._stack) or _graph_task() != -1

    def _forget_left(self, most: int) -> None:
        """Calls that were broken off by what torch tells no hook of, as KeyboardInterrupt: at most so many go on."""
        if len(self._stack) > most:
            del self._stack[most:]
            if not most:
                self.safely(self.following.forward_failed)

    def safely(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Gradscope's own work, in the middle of the script's. None where it fails."""
        before, self._is_busy = self._is_busy, True
        try:
            return work(*args, **kwargs)
        except Exception as error:
            text = f"Following the script failed: {class_name(type(error))}: {message_of(error)}"
            if text not in self.errors:
                self.errors.append(text)
            return None
        finally:
            self._is_busy = before

    # ------------------------------------------------------------------------------------------ modules

    def _entered(self, module: nn.Module, args: Any) -> None:
        if _is_compiling() or not self._is_on or self._is_busy:
            return
        if not self._stack and is_capturing():
            return
        following = self.following
        if _graph_task() != -1:
            # Recomputed by a checkpoint, perhaps on a thread of autograd's.
            if following.is_listening and (layers := following.layers()) is not None:
                layers.entered(module)
            return
        if _ident() != self._thread:
            if self._stack or not torch.is_grad_enabled():
                return
            self._may_be_trained_here()
            if _ident() != self._thread:
                return
        if self._stack and self._stack[0] is module:
            self._forget_left(calls_under_way() - 1)
        self._stack.append(module)
        if len(self._stack) == 1:
            self.safely(self._root_entered, module)
            if is_compiled_wrapper(module):
                module = module._modules["_orig_mod"]  # type: ignore[assignment]
        if following.is_listening and (layers := following.layers()) is not None:
            layers.entered(module)

    def _root_entered(self, module: nn.Module) -> None:
        if torch.is_grad_enabled():
            self.hand.settle()
            self.hand.notice_cleared()
        self.following.root_entered(module)

    def _left(self, module: nn.Module, args: Any, *rest: Any) -> None:
        if _is_compiling() or not self._is_on or self._is_busy:
            return
        if not self._stack and is_capturing():
            return
        has_raised = len(rest) == 1 or (rest[1] is None and sys.exc_info()[0] is not None)
        kwargs, output = ({}, None) if len(rest) == 1 else rest
        following = self.following
        layers = following.layers() if following.is_listening else None
        if _graph_task() != -1:
            if layers is not None and not has_raised:
                layers.left(module, (args, kwargs), output)
            return
        if _ident() != self._thread:
            return
        stack = self._stack
        # A layer that has raised may have been left without telling.
        while stack and stack.pop() is not module:
            pass
        if layers is not None and not has_raised:
            known = module._modules["_orig_mod"] if not stack and is_compiled_wrapper(module) else module
            layers.left(known, (args, kwargs), output)  # type: ignore[arg-type]
        if not stack:
            self.safely(following.root_left, module, (args, kwargs), has_raised=has_raised)

    # ------------------------------------------------------------------------------------------ data, backward

    def _next_batch(self, original: Callable[..., Any], iterator: Any) -> Any:
        batch = original(iterator)
        if self._stack:
            self._forget_left(calls_under_way())
        self.safely(self._batch_loaded, iterator, batch)
        return batch

    def _batch_loaded(self, iterator: Any, batch: Any) -> None:
        if self._passed is None or self._passed[0]() is not iterator:
            self._passed = weakref.ref(iterator), length_of(iterator)
        length = self._passed[1]
        number = getattr(iterator, "_num_yielded", 1) - 1
        self.following.batches.loaded(Waiting(batch, iterator, number, length))

    def _run_backward(self, original: Callable[..., Any], outputs: Any, *args: Any, **kwargs: Any) -> Any:
        # (grad_tensors, retain_graph, create_graph, inputs); accumulate_grad=False is autograd.grad.
        if not kwargs.get("accumulate_grad", True):
            return self._grads.take(original, outputs, *args, **kwargs)
        following = self.following
        is_outer = following.in_backward == 0 and _graph_task() == -1
        if is_outer and self._stack:
            self._forget_left(calls_under_way())
        following.in_backward += 1
        is_followed, has_failed = False, True
        try:
            if is_outer:
                is_followed = bool(self.safely(self._backward_begins, outputs, args))
                following.is_listening = is_followed
            result = original(outputs, *args, **kwargs)
            has_failed = False
            return result
        finally:
            following.in_backward -= 1
            if is_outer:
                following.is_listening = False
                self.safely(self._backward_ends, is_followed, has_failed)

    def _backward_begins(self, outputs: Any, args: tuple[Any, ...]) -> bool:
        self.following.gradient_calls.before_backward()
        self.hand.settle()
        self.hand.notice_cleared()
        tensors = [tensor for tensor in outputs if isinstance(tensor, Tensor)]
        self.following.taken.backward_follows()
        is_followed = self.following.backward_begins(tensors, keeps_graph=any(args[1:3]))
        self.hand.before_backward()
        return is_followed

    def _backward_ends(self, is_followed: bool, has_failed: bool) -> None:
        if is_followed and not has_failed:
            self.hand.after_backward()
        if is_followed:
            self.following.backward_ends(has_failed=has_failed)
        if not has_failed:
            self.following.gradient_calls.find_reached()

    # ------------------------------------------------------------------------------------------ optimizers

    def _add_param_group(self, original: Callable[..., Any], optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        result = original(optimizer, *args, **kwargs)
        self.safely(self.following.found.optimizers.note, optimizer)
        return result

    def _zero_grad(self, original: Callable[..., Any], owner: Any, *args: Any, **kwargs: Any) -> Any:
        if self.following.in_backward or self._is_inside_step():
            return original(owner, *args, **kwargs)
        self.safely(self.hand.settle)
        self.safely(self.following.beside.begins, SubStep.ZERO_GRAD)
        before, self.hand.is_by_torch = self.hand.is_by_torch, True
        try:
            result = original(owner, *args, **kwargs)
        finally:
            self.hand.is_by_torch = before
        self.safely(self._cleared, owner)
        return result

    def _cleared(self, owner: Any) -> None:
        tensors = list(tensors_of(owner) if isinstance(owner, Optimizer) else nn.Module.parameters(owner))
        self.hand.note_cleared()
        self.following.gradient_calls.cleared(tensors)

    def _is_inside_step(self) -> bool:
        """Of an optimizer, and not in a closure that it calls."""
        if self._steps:
            # Less than in the call that is asked about.
            self._forget_broken_steps(depth() - 2)
        return bool(self._steps) and not self._in_closure

    def _forget_broken_steps(self, here: int) -> None:
        """Those that have raised were never told to have ended."""
        self._steps = [(other, deep) for other, deep in self._steps if deep < here]
        if self._steps:
            del self._steps[steps_under_way() :]

    def _step_begins(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if not self._listens():
            return None
        following, here = self.following, depth()
        self._forget_broken_steps(here)
        if self._steps:
            # The one that begins is one of those.
            del self._steps[max(0, steps_under_way() - 1) :]
        self._steps.append((optimizer, here))
        if len(self._steps) > 1:
            return None
        self._in_closure = 0
        if not following.found.optimizers.knows(optimizer):
            self.safely(following.found.optimizers.note, optimizer)
        self.hand.are_held_now(tensors_of(optimizer))
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if not callable(closure):
            self.safely(following.step_begins, optimizer)
            return None
        self.safely(following.closure_given, optimizer)
        evaluated = self._wrapped_closure(optimizer, closure)
        if "closure" in kwargs:
            return args, {**kwargs, "closure": evaluated}
        return (args[0], evaluated, *args[2:]), kwargs

    def _wrapped_closure(self, optimizer: Optimizer, closure: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(closure, updated=())
        def evaluated(*args: Any, **kwargs: Any) -> Any:
            self._in_closure += 1
            try:
                result = closure(*args, **kwargs)
            finally:
                self._in_closure -= 1
            self.safely(self.following.step_begins, optimizer, after_closure=True)
            return result

        return evaluated

    def _step_ends(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self._listens():
            return
        while self._steps and self._steps.pop()[0] is not optimizer:
            pass
        if self._steps:
            return
        self._has_stepped_in_scaler = True
        self.safely(self.following.step_ends, optimizer)

    # ------------------------------------------------------------------------------------------ scaler

    def _scale(self, original: Callable[..., Any], scaler: Any, outputs: Any) -> Any:
        result = original(scaler, outputs)
        if isinstance(outputs, Tensor) and isinstance(result, Tensor) and result is not outputs:
            self.safely(lambda: losses.SCALED.note(result, outputs, float(scaler.get_scale())))
            self.following.gradient_calls.scaled_by(scaler)
        return result

    def _unscale(self, original: Callable[..., Any], scaler: Any, optimizer: Any) -> Any:
        if not scaler.is_enabled():
            return original(scaler, optimizer)
        optimizer_itself = innermost(optimizer)
        self.safely(lambda: self.following.gradient_calls.unscaling(optimizer_itself, self.following.here()))
        result = original(scaler, optimizer)
        self.safely(self.following.gradient_calls.unscaled)
        return result

    def _scaler_step(self, original: Callable[..., Any], scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        self._has_stepped_in_scaler = False
        result = original(scaler, optimizer, *args, **kwargs)
        if not self._has_stepped_in_scaler and scaler.is_enabled():
            self.safely(self.following.step_skipped, innermost(optimizer))
        return result

    def _scaler_update(self, original: Callable[..., Any], scaler: Any, *args: Any, **kwargs: Any) -> Any:
        if scaler.is_enabled():
            self.safely(self.following.beside.begins, SubStep.UPDATE)
        result = original(scaler, *args, **kwargs)
        if scaler.is_enabled():
            self.safely(self.following.trails, SubStep.UPDATE)
        return result

    # ------------------------------------------------------------------------------------------ schedulers

    def _scheduler_made(self, original: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        for cls in type(scheduler).__mro__:
            self._wrap_scheduler(cls)
        result = self._scheduler_starts(original, scheduler, *args, **kwargs)
        self.safely(self.following.found.optimizers.note_scheduler, scheduler)
        return result

    def _scheduler_starts(self, original: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        # It sets the first rate by a step; a SequentialLR has those that it holds do so once more.
        self._schedulers_starting += 1
        try:
            return original(scheduler, *args, **kwargs)
        finally:
            self._schedulers_starting -= 1

    def _wrap_scheduler(self, cls: type) -> None:
        # The class, and not the object, whose __dict__ is what its state_dict() is.
        step = vars(cls).get("step")
        if callable(step) and not hasattr(step, "__gradscope_tap__"):
            self._wrap(cls, "step", self._schedule)

    def _schedule(self, original: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        is_outer = self._schedulers_stepping == self._schedulers_starting == 0
        line = self.safely(self.following.here) if is_outer else None
        if is_outer:
            optimizer = innermost(getattr(scheduler, "optimizer", None))
            notes = self.safely(self.following.order.schedule, optimizer, line)
            self.safely(self.following.beside.begins, SubStep.SCHEDULE)
        self._schedulers_stepping += 1
        try:
            result = original(scheduler, *args, **kwargs)
        finally:
            self._schedulers_stepping -= 1
        if is_outer:
            self.safely(self.following.found.optimizers.note_scheduler, scheduler)
            self.safely(self.following.trails, SubStep.SCHEDULE, notes=notes or ())
        return result
