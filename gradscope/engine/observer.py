"""The observer of one session: installs the hooks, and turns what they tell into one record a phase."""

from __future__ import annotations

import contextlib
import math
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradscope.engine.absences import unseen_after_backward, unseen_after_forward
from gradscope.engine.compiled import EagerModules
from gradscope.engine.hooks import ModuleHooks, inside_backward
from gradscope.engine.keeper import Keeper
from gradscope.engine.modules import named_modules
from gradscope.engine.parameters import Model, PreviousValues, is_uninitialised, named_tensors
from gradscope.engine.quantities.values import shape_of
from gradscope.engine.record import Collected, PhaseRecord, Tables
from gradscope.protocol import absences
from gradscope.protocol.messages import Absence
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectKind

StopHere = Callable[[SubStep, str, str, int], None]
"""(sub-step, event, layer, call): called at every moment; returns when training may go on."""


class Observer:
    """Watches one model through the phases of a step. Never changes a tensor, never draws a random number.

    `begin(phase)` ... the phase runs ... `end()` gives what was collected. Errors inside the capture are kept in
    `errors` and never reach the user's model.
    """

    def __init__(self, model: Model, *, keeper: Keeper, stop_here: StopHere) -> None:
        self.tables = Tables()
        self.keeper = keeper
        self.previous = PreviousValues()
        self.errors: list[str] = []
        self._model = model
        self._stop_here = stop_here
        self.last_passed: SubStep | None = None
        """The newest sub-step of the session that is done."""
        self.gradient_scale: float | None = None
        """What all gradients are multiplied with now; they are shown divided by it."""
        self.scale_of: Callable[[str], float | None] = lambda name: self.gradient_scale
        """The same of one parameter, when the backward is over."""
        self.is_left_over: Callable[[str, Tensor], bool] = lambda name, tensor: False
        """Whether a parameter's gradient has nothing to do with this backward."""
        self._is_muted = False
        self._tensors: dict[str, Tensor] | None = None
        self._record: PhaseRecord | None = None
        self._entered: list[tuple[str, int, float]] = []
        self._calls: dict[str, int] = {}
        self._recomputed: dict[str, int] = {}
        self._awaited: dict[SubjectKey, str] = {}
        """Gradients that have not arrived (yet), with the reason should they never do."""
        self._fused: set[str] = set()
        self._never_called: set[str] = set()
        self._pass = 0
        self._seen_gradients: dict[str, tuple[weakref.ref[Tensor], int]] = {}
        self._leaf_handles: list[RemovableHandle] = []
        self._hooked: dict[str, tuple[Tensor, RemovableHandle, RemovableHandle | None]] = {}
        self.eager = EagerModules()
        self.eager.take(model if isinstance(model, nn.Module) else None)
        self._hooks = ModuleHooks(model, self) if isinstance(model, nn.Module) else None

    # ------------------------------------------------------------------------------------------ phases

    def begin(self, phase: Phase) -> None:
        if phase is Phase.FORWARD:
            self._pass += 1
            self._calls.clear()
            self._awaited.clear()
            self._fused.clear()
            self.keeper.forget(SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD)
            self._remove_leaf_handles()
        elif phase is Phase.BACKWARD:
            self._recomputed.clear()
            self._seen_gradients.clear()
            self._hook_parameters()
        self._entered.clear()
        self.last_passed = None
        self._tensors = None
        self._record = PhaseRecord(phase, self.tables, self.keeper)

    def end(self, more: Iterable[tuple[SubjectKey, Tensor]] = ()) -> Collected:
        """Complete the record of the phase that `begin` opened, with `more` subjects."""
        record = self._record
        assert record is not None
        try:
            self._guarded(partial(self._complete, record, more))
            return record.finish()
        finally:
            self._record = self._tensors = None

    @contextlib.contextmanager
    def muted(self) -> Iterator[None]:
        """Inside, the model runs for other reasons than the phase: nothing is noted and nothing stops."""
        before, self._is_muted = self._is_muted, True
        try:
            yield
        finally:
            self._is_muted = before

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """As muted, and torch finds no hook of ours on any module."""
        with self.muted(), self._hooks.lifted() if self._hooks is not None else contextlib.nullcontext():
            yield

    def so_far(self) -> Collected | None:
        """What has been collected of the phase under way; None between phases."""
        return self._record.finish() if self._record is not None else None

    def abandon(self) -> Collected | None:
        """The phase has failed: what was captured up to there."""
        record, self._record, self._tensors = self._record, None, None
        if self._hooks is not None:
            self._hooks.end_lift()
        return record.finish() if record is not None else None

    def innermost_layer(self, error: BaseException) -> tuple[str, int] | None:
        """(name, call) of the innermost layer that the error came through; None if it was raised outside any layer."""
        running = {id(frame.f_locals.get("self")) for frame, _ in traceback.walk_tb(error.__traceback__)}
        modules = dict(named_modules(self._model)) if isinstance(self._model, nn.Module) else {}
        # Not simply the one that was entered last: its error may have been caught, and another raised later.
        return next((e[:2] for e in reversed(self._entered) if id(modules.get(e[0])) in running), None)

    def passing(self, substep: SubStep, *, start: float | None = None, detail: str = "") -> None:
        """A sub-step of the session is done: note it, and stop here if somebody wants to."""
        self.last_passed = substep
        if self._record is not None:
            self._record.pass_place(substep, start=start, detail=detail)
        self._stop_here(substep, "", "", 0)

    def note(self, key: SubjectKey, tensor: Tensor) -> None:
        """Take in a subject of the phase under way, as it is now."""
        if self._record is not None:
            self._guarded(partial(self._record.add, key, tensor))

    def leave_out(self, seconds: float) -> None:
        """Training stood still for so long: that is nobody's running time."""
        if self._record is not None:
            self._record.paused_seconds += seconds

    def elapsed(self) -> float:
        return self._record.elapsed() if self._record is not None else math.nan

    def tensors(self) -> dict[str, Tensor]:
        """name -> tensor, each once; parameters of lazy modules are left out until they have a shape."""
        if self._tensors is not None:
            return self._tensors
        found = {
            name: tensor for name, (tensor, _) in named_tensors(self._model).items() if not is_uninitialised(tensor)
        }
        if self._record is not None and self._record.phase is not Phase.FORWARD:
            # Looked for once a phase: parameters come, go and get their shape in forwards, or between two phases.
            self._tensors = found
        return found

    def moving(self) -> dict[str, Tensor]:
        """The parameters that a step may change: an optimizer also moves a frozen one that still has a gradient."""
        return {
            name: tensor for name, tensor in self.tensors().items() if tensor.requires_grad or tensor.grad is not None
        }

    def initial(self) -> Collected:
        """Summaries of all parameters as they are now, outside any phase."""
        record = PhaseRecord(Phase.STEP, self.tables, self.keeper)
        for name, tensor in self.tensors().items():
            record.add(SubjectKey(SubjectKind.PARAMETER, name), tensor)
        return record.finish()

    def close(self) -> None:
        """Remove every hook."""
        if self._hooks is not None:
            self._hooks.remove()
        self.eager.restore()
        self._unhook_parameters(list(self._hooked))
        self._remove_leaf_handles()
        self.previous = PreviousValues()
        self._record = None

    # ------------------------------------------------------------------------------------------ layers

    def layer_entered(self, name: str) -> None:
        record = self._record
        if record is None or self._is_muted or inside_backward():
            return
        call = self._calls.get(name, 0)
        self._calls[name] = call + 1
        self._stop_here(self._substep(), "enter", name, call)
        self._entered.append((name, call, record.elapsed()))

    def layer_left(self, name: str, output: list[tuple[str, Tensor]]) -> None:
        record = self._record
        if record is None or self._is_muted:
            return
        if inside_backward():
            self._guarded(partial(self._recompute, name, output))
            return
        start = math.nan
        call = self._calls.get(name, 1) - 1
        while self._entered:
            # Layers that were entered and never left (their forward raised and the model caught it) are passed over.
            entered, entered_call, entered_at = self._entered.pop()
            if entered == name:
                call, start = entered_call, entered_at
                break
            self._tell_raised(record, entered, entered_call)
        self._guarded(partial(self._note_output, record, name, call, output, start))
        self._stop_here(self._substep(), "leave", name, call)

    def _note_output(
        self, record: PhaseRecord, name: str, call: int, output: list[tuple[str, Tensor]], start: float
    ) -> None:
        record.pass_place(
            self._substep(),
            layer=name,
            call=call,
            event="call",
            detail=", ".join(_shape_text(tensor) for _, tensor in output[:4]) + (", ..." if len(output) > 4 else ""),
            start=start,
            output_bytes=float(sum(_bytes(tensor) for _, tensor in output)),
        )
        if not output:
            label = SubjectKey(SubjectKind.ACTIVATION, name, call).label()
            record.absent.append(Absence(name=label, kind=SubjectKind.ACTIVATION.value, reason=absences.NO_TENSOR))
        for leaf, tensor in output:
            record.add(SubjectKey(SubjectKind.ACTIVATION, name, call, leaf), tensor)
            self._await_gradient(SubjectKey(SubjectKind.ACTIVATION_GRAD, name, call, leaf), tensor)

    def layer_lifted(self, name: str) -> None:
        if self._record is not None and not self._is_muted:
            self._fused.add(name)

    def _recompute(self, name: str, output: list[tuple[str, Tensor]]) -> None:
        """A checkpointed layer runs once more inside the backward: its numbers are known, its graph is new."""
        call = self._recomputed.get(name, 0)
        self._recomputed[name] = call + 1
        for leaf, tensor in output:
            key = SubjectKey(SubjectKind.ACTIVATION_GRAD, name, call, leaf)
            is_seen = self._record is not None and self._record.has(key)
            if is_seen or self._awaited.get(key, absences.WITHOUT_GRAPH) != absences.WITHOUT_GRAPH:
                # The forward's own output has a graph (a checkpoint that is not reentrant): its gradient is the one.
                continue
            if self._calls.get(name, 0) <= 1:
                self._await_gradient(key, tensor)
            else:
                self._awaited[key] = absences.WHICH_CALL

    def _await_gradient(self, key: SubjectKey, tensor: Tensor) -> None:
        self._awaited[key] = _why_no_gradient(tensor)
        if not tensor.requires_grad:
            return
        handle = tensor.register_hook(_GradientTap(self, key, self._pass))
        if tensor.is_leaf:
            # A hook on a leaf (a layer that returns its own weight) outlives the graph.
            self._leaf_handles.append(handle)

    def gradient_arrived(self, key: SubjectKey, of_pass: int, gradient: Tensor) -> None:
        record = self._record
        # A gradient taken inside the forward (a gradient penalty) is not the loss's gradient; one of an older graph is stale.
        if record is None or self._is_muted or record.phase is not Phase.BACKWARD or of_pass != self._pass:
            if record is not None and record.phase is Phase.FORWARD and key in self._awaited:
                self._awaited[key] = absences.INNER_GRADIENT
            return
        self._guarded(partial(record.add, key, gradient, self.gradient_scale))
        self._awaited.pop(key, None)
        self._stop_here(SubStep.BACKWARD, "gradient", key.name, key.call)

    # ------------------------------------------------------------------------------------------ parameters

    def _hook_parameters(self) -> None:
        tensors = self.tensors()
        # A parameter that was replaced, renamed or taken out is not held on to.
        self._unhook_parameters([n for n, (tensor, *_) in self._hooked.items() if tensors.get(n) is not tensor])
        for name, tensor in tensors.items():
            if tensor.requires_grad and tensor.is_leaf and name not in self._hooked:
                self._hooked[name] = self._hook_parameter(name, tensor)

    def _hook_parameter(self, name: str, tensor: Tensor) -> tuple[Tensor, RemovableHandle, RemovableHandle | None]:
        first, users = None, tensor._post_accumulate_grad_hooks
        if users:
            # The user's own may step an optimizer and drop the gradient: it is looked at before them, and after.
            before = list(users)
            first = tensor.register_post_accumulate_grad_hook(_AccumulatedTap(self, name))
            # Not by move_to_end: autograd reads the dict, and not its links.
            for number in before:
                users[number] = users.pop(number)
        again = _AccumulatedTap(self, name, is_second=first is not None)
        return tensor, tensor.register_post_accumulate_grad_hook(again), first

    def _unhook_parameters(self, names: list[str]) -> None:
        for name in names:
            _, *handles = self._hooked.pop(name)
            for handle in handles:
                if handle is not None:
                    handle.remove()

    def parameter_gradient_arrived(self, name: str, tensor: Tensor, *, is_second: bool) -> None:
        record = self._record
        if record is None or self._is_muted or record.phase is not Phase.BACKWARD or tensor.grad is None:
            return
        self._guarded(partial(self._note_gradient, record, name, tensor.grad))
        if is_second:
            return
        record.pass_place(SubStep.BACKWARD, layer=name, event="gradient", detail=_shape_text(tensor))
        self._stop_here(SubStep.BACKWARD, "gradient", name, 0)

    def _note_gradient(self, record: PhaseRecord, name: str, gradient: Tensor) -> None:
        record.add(SubjectKey(SubjectKind.GRAD, name), gradient, self.gradient_scale)
        self._seen_gradients[name] = (weakref.ref(gradient), gradient._version)

    # ------------------------------------------------------------------------------------------ ends

    def _complete(self, record: PhaseRecord, more: Iterable[tuple[SubjectKey, Tensor]]) -> None:
        if record.phase is Phase.FORWARD:
            self._tell_uncalled(record)
        elif record.phase is Phase.BACKWARD:
            self._complete_backward(record)
        else:
            for name, tensor in self.tensors().items():
                record.add(SubjectKey(SubjectKind.PARAMETER, name), tensor)
                pair = self.previous.pair(name)
                if pair is not None:
                    record.add_change(SubjectKey(SubjectKind.UPDATE, name), *pair)
        for key, tensor in more:
            record.add(key, tensor)

    def _complete_backward(self, record: PhaseRecord) -> None:
        for name, tensor in self.tensors().items():
            key = SubjectKey(SubjectKind.GRAD, name)
            if tensor.grad is not None and self.is_left_over(name, tensor):
                reason = "no gradient reached it in this turn (its .grad is of another optimizer's)"
                record.absent.append(Absence(name=name, kind=key.kind.value, reason=reason))
            elif tensor.grad is not None:
                # Again, if a later backward or the user's own hook has changed it since it arrived, or no hook saw it.
                reference, version = self._seen_gradients.get(name, (None, 0))
                if reference is None or reference() is not tensor.grad or tensor.grad._version != version:
                    record.add(key, tensor.grad, self.scale_of(name))
            elif record.has(key):
                # It arrived, and a hook of the user's has used it up.
                continue
            else:
                reason = absences.NO_GRADIENT if tensor.requires_grad else absences.FROZEN
                record.absent.append(Absence(name=name, kind=key.kind.value, reason=reason))
        for key, reason in self._awaited.items():
            record.absent.append(Absence(name=key.label(), kind=key.kind.value, reason=reason))
        if isinstance(self._model, nn.Module):
            reached = {id(tensor) for name, tensor in self.tensors().items() if name in self._seen_gradients}
            record.absent += unseen_after_backward(self._model, self._never_called, self._calls, reached)

    def _tell_uncalled(self, record: PhaseRecord) -> None:
        for name, call, _ in self._entered:
            self._tell_raised(record, name, call)
        if self._hooks is None or not isinstance(self._model, nn.Module):
            return
        modules = dict(named_modules(self._model))
        new = self._hooks.follow(modules)
        unseen = list(unseen_after_forward(modules, self._calls, new=new, fused=self._fused))
        record.absent += unseen
        self._never_called = {absence.name for absence in unseen if absence.reason == absences.NEVER_CALLED}
        for name in self.eager.names:
            if name in self._calls:
                record.absent.append(Absence(name=name, kind=absences.COMPILED, reason=absences.RUN_EAGERLY))
        self.eager.take(self._model if new else None)

    def _tell_raised(self, record: PhaseRecord, name: str, call: int) -> None:
        label = SubjectKey(SubjectKind.ACTIVATION, name, call).label()
        record.absent.append(Absence(name=label, kind=SubjectKind.ACTIVATION.value, reason=absences.RAISED))

    # ------------------------------------------------------------------------------------------ private

    def _substep(self) -> SubStep:
        record = self._record
        if record is None or record.phase is Phase.FORWARD:
            return SubStep.FORWARD
        return SubStep.BACKWARD if record.phase is Phase.BACKWARD else SubStep.STEP

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            text = f"Capture failed: {type(error).__name__}: {error}"
            if text not in self.errors:
                self.errors.append(text)

    def _remove_leaf_handles(self) -> None:
        for handle in self._leaf_handles:
            handle.remove()
        self._leaf_handles.clear()


class _GradientTap:
    """The tensor hook of one output. Weak: the collector cannot see through a graph that holds what holds the graph."""

    __slots__ = ("_key", "_observer", "_pass")

    def __init__(self, observer: Observer, key: SubjectKey, of_pass: int) -> None:
        self._observer, self._key, self._pass = weakref.ref(observer), key, of_pass

    def __call__(self, gradient: Tensor) -> None:
        observer = self._observer()
        if observer is not None:
            observer.gradient_arrived(self._key, self._pass, gradient)


class _AccumulatedTap:
    """The post-accumulate hook of one parameter. Copies as itself and ignores other tensors (see hooks._Tap)."""

    __slots__ = ("_is_second", "_name", "_observer")

    def __init__(self, observer: Observer, name: str, *, is_second: bool = False) -> None:
        self._observer, self._name, self._is_second = weakref.ref(observer), name, is_second

    def __deepcopy__(self, memo: object) -> _AccumulatedTap:
        return self

    def __call__(self, tensor: Tensor) -> None:
        observer = self._observer()
        if observer is not None:
            observer.parameter_gradient_arrived(self._name, tensor, is_second=self._is_second)


def _why_no_gradient(tensor: Tensor) -> str:
    """The reason, should no gradient of this output arrive."""
    if tensor.requires_grad:
        return absences.NO_GRADIENT_OF_VIEW if tensor._is_view() else absences.NO_GRADIENT
    if not tensor.is_floating_point() and not tensor.is_complex():
        return absences.NOT_DIFFERENTIABLE
    return absences.NEEDS_NO_GRADIENT if torch.is_grad_enabled() else absences.WITHOUT_GRAPH


def _shape_text(tensor: Tensor) -> str:
    shape = shape_of(tensor)
    return "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"


def _bytes(tensor: Tensor) -> int:
    return 0 if tensor.layout is not torch.strided else tensor.numel() * tensor.element_size()
