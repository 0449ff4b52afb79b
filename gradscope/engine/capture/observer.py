"""The observer of one model: installs the hooks, and turns what they tell into one record a phase."""

from __future__ import annotations

import contextlib
import math
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial

from torch import Tensor, nn

from gradscope.engine.capture import changes
from gradscope.engine.capture.absences import trained_by_others, unseen_after_backward, unseen_after_forward
from gradscope.engine.capture.awaited import AwaitedGradients
from gradscope.engine.capture.hooks import ModuleHooks, inside_backward
from gradscope.engine.capture.keeper import Keeper
from gradscope.engine.capture.listeners import Listener
from gradscope.engine.capture.missing import tell_missing, tell_no_gradient
from gradscope.engine.capture.native import library as native
from gradscope.engine.capture.parameter_hooks import ParameterHooks
from gradscope.engine.capture.record import Collected, PhaseRecord, Slot, Tables, record_outside
from gradscope.engine.capture.running import Gated, RunningLayers, StopHere
from gradscope.engine.capture.shared_hooks import SharedHooks
from gradscope.engine.capture.sites import Sites
from gradscope.engine.capture.wanted import Wanted
from gradscope.engine.model.buffers import Buffers
from gradscope.engine.model.compiled import EagerModules
from gradscope.engine.model.leaves import Inputs, tensor_leaves
from gradscope.engine.model.parameters import Model, PreviousValues
from gradscope.engine.model.structure import Structure
from gradscope.engine.nonfinite.births import Births
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.surroundings.error_parts import class_name, message_of
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.protocol import absences
from gradscope.protocol.capture import FULL, Capture
from gradscope.protocol.messages import Absence
from gradscope.protocol.phases import BEGINS, Phase, SubStep
from gradscope.protocol.source import SourceLine
from gradscope.protocol.subjects import SubjectKey, SubjectKind

_UNSEEN = None, 0


class Observer:
    """Watches one model through the phases of a step. Never changes a tensor, never draws a random number.

    `begin(phase)` ... the phase runs ... `end()` gives what was collected. Errors inside the capture are kept in
    `errors` and never reach the user's model.
    """

    def __init__(
        self,
        model: Model,
        *,
        keeper: Keeper,
        stop_here: StopHere,
        gated: Gated,
        capture: Capture = FULL,
        hooks: type[ModuleHooks] | type[SharedHooks] = ModuleHooks,
    ) -> None:
        self.tables = Tables()
        self.keeper = keeper
        self.previous = PreviousValues()
        self.errors: list[str] = []
        self.births = Births()
        """Which layers' outputs of the newest forward were not finite."""
        self._model = model
        self._structure = Structure(model)
        self._buffers = Buffers(self._structure.modules)
        self._stop_here = stop_here
        self.last_passed: SubStep | None = None
        """The newest sub-step that is done."""
        self.gradient_scale: float | None = None
        """What all gradients are multiplied with now; they are shown divided by it."""
        self.scale_of: Callable[[str], float | None] = lambda name: self.gradient_scale
        """The same of one parameter, when the backward is over."""
        self.left_over: Callable[[Mapping[str, Tensor]], Collection[str]] = lambda tensors: ()
        """The parameters whose gradients have nothing to do with this backward."""
        self.others_names: Callable[[], frozenset[str]] = frozenset
        """The parameters that other optimizers hold than the one whose turn it is."""
        self.listener: Listener | None = None
        self._is_muted = False
        self._has_run_again = False
        """In this phase, after the forward: a part of the model, which may have changed buffers."""
        self._tensors: Mapping[str, Tensor] | None = None
        self.record: PhaseRecord | None = None
        """Of the phase under way."""
        self.running = RunningLayers()
        self._recomputed: dict[str, int] = {}
        self._awaited = AwaitedGradients(self)
        self._fused: set[str] = set()
        self._never_called: set[str] = set()
        self._sites = Sites(self.tables)
        self.capture = capture
        self.wants = Wanted(model, self._structure, capture)
        """Whether the layer, parameter or buffer of a name is looked at."""
        self._summaries = SummaryBatch()
        self._seen_gradients: dict[str, tuple[weakref.ref[Tensor], int]] = {}
        self._taps = native.taps_of(self, gated, self.running, self._sites, self._awaited, self.births, keeper)
        self._told = self if self._taps is None else self._taps
        """What the hooks tell."""
        self._parameter_hooks = ParameterHooks(self._told)
        self.eager = EagerModules()
        self.stay_compiled: set[str] = set()
        """Layers that run compiled, where they are not made to run eagerly."""
        self._kind_of_hooks = hooks
        self._hooks: ModuleHooks | SharedHooks | None = None
        self._install_hooks()

    # ------------------------------------------------------------------------------------------ what is captured

    def set_capture(self, capture: Capture) -> None:
        """From the next phase on. Between two phases only."""
        self.capture = capture
        self.wants.change(capture)
        self._remove_hooks()
        self._install_hooks()

    def _install_hooks(self) -> None:
        if isinstance(self._model, nn.Module) and not self.capture.is_off:
            if self._kind_of_hooks.runs_eagerly:
                self.eager.take(self._model)
            self._hooks = self._kind_of_hooks(self._structure.modules(), self._told, self.wants)

    @property
    def shared_hooks(self) -> SharedHooks | None:
        """Where the hooks are such; None also with capture off."""
        return self._hooks if isinstance(self._hooks, SharedHooks) else None

    # ------------------------------------------------------------------------------------------ phases

    def begin(self, phase: Phase) -> None:
        if phase is Phase.FORWARD:
            self._awaited.begin_pass()
            self._fused.clear()
            self.births.clear()
            self.keeper.forget(SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD)
        elif phase is Phase.BACKWARD:
            self._recomputed.clear()
            self._seen_gradients.clear()
        self.running.begin(is_new_pass=phase is Phase.FORWARD)
        self._has_run_again = False
        self.last_passed = self._tensors = None
        self._summaries.clear(norms_only=self.capture.norms_only)
        self.record = record = PhaseRecord(phase, self.tables, self.keeper, self._summaries)
        if self._taps is not None:
            native.begin(self._taps, record, of_pass=self._awaited.of_pass, norms=self.capture.norms_only)
        if phase is Phase.BACKWARD:
            self._parameter_hooks.follow(self._wanted_tensors())
            record.own_seconds = record.elapsed()

    def end(self, more: Iterable[tuple[SubjectKey, Tensor]] = ()) -> Collected:
        """Complete the record of the phase that `begin` opened, with `more` subjects."""
        record = self.record
        assert record is not None
        try:
            self.guarded(partial(self._complete, record, more))
            return record.finish()
        finally:
            self._drop_record()

    @contextlib.contextmanager
    def muted(self) -> Iterator[None]:
        """Inside, the model runs for other reasons than the phase: nothing is noted and nothing stops."""
        before, self._is_muted, self._has_run_again = self._is_muted, True, True
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
        return self.record.finish() if self.record is not None else None

    def abandon(self) -> Collected | None:
        """The phase has failed: what was captured up to there."""
        record = self.record
        self._drop_record()
        if self._hooks is not None:
            self._hooks.end_lift()
        return record.finish() if record is not None else None

    def _drop_record(self) -> None:
        self.record = self._tensors = None
        if self._taps is not None:
            self._taps.end()

    def innermost_layer(self, error: BaseException) -> tuple[str, int] | None:
        """(name, call) of the innermost layer that the error came through; None if it was raised outside any layer."""
        return self.running.innermost(error, self._structure.modules())

    def coming(self, substep: SubStep) -> float:
        """A sub-step begins: stop here if somebody wants to. The time from which it runs."""
        self._stop_here(substep, BEGINS, "", 0)
        return self.elapsed()

    def passing(
        self, substep: SubStep, *, start: float | None = None, detail: str = "", line: SourceLine | None = None
    ) -> None:
        """A sub-step is done: note it, and stop here if somebody wants to."""
        self.last_passed, record = substep, self.record
        if record is not None:
            record.pass_place(self.tables.place(substep, detail=detail, line=line), start)
        if self.listener is not None and substep is SubStep.ZERO_GRAD and not self._is_muted:
            self.guarded(self.listener.gradients_cleared)
        self._stop_here(substep, "", "", 0)

    def note(self, key: SubjectKey, tensor: Tensor) -> None:
        """Take in a subject of the phase under way, as it is now."""
        if self.record is not None and self.wants(key.name):
            self.guarded(partial(self.record.add, key, tensor))

    def leave_out(self, seconds: float) -> None:
        """Training stood still for so long: that is nobody's running time."""
        if self.record is not None:
            self.record.paused_seconds += seconds

    def elapsed(self) -> float:
        return self.record.elapsed() if self.record is not None else math.nan

    def tensors(self) -> Mapping[str, Tensor]:
        """name -> tensor, each once; parameters of lazy modules are left out until they have a shape."""
        if self._tensors is not None:
            return self._tensors
        found = self._structure.tensors()
        if self.record is not None and self.record.phase is not Phase.FORWARD:
            # Looked for once a phase: parameters come, go and get their shape in forwards, or between two phases.
            self._tensors = found
        return found

    def modules(self) -> Mapping[str, nn.Module]:
        """name -> module, each once."""
        return self._structure.modules()

    def known_tensors(self) -> Mapping[str, Tensor]:
        """What `tensors` had found when it was asked the last time: the same object while nothing has changed."""
        return self._structure.known()

    @property
    def reached(self) -> Collection[str]:
        """The parameters that the newest backward has reached, as far as the hooks have seen it."""
        return self._seen_gradients

    def buffers(self) -> Mapping[str, Tensor]:
        """name -> buffer, each once, as they are now; those of lazy modules are left out until they have a shape."""
        return self._buffers.now()

    @property
    def has_seen_buffers(self) -> bool:
        """Whether there were any when they were looked at the last time."""
        return self._buffers.are_any

    def _wanted_buffers(self) -> Iterator[tuple[Slot, Tensor]]:
        """To be looked at now."""
        return ((self._sites.of_buffer(name), tensor) for name, tensor in self._buffers.look() if self.wants(name))

    def _wanted_tensors(self) -> Mapping[str, Tensor]:
        tensors: Mapping[str, Tensor] = {} if self.capture.is_off else self.tensors()
        return {n: t for n, t in tensors.items() if self.wants(n)} if self.capture.is_partial else tensors

    def initial(self) -> Collected:
        """Summaries of all parameters and buffers as they are now, outside any phase."""
        record = record_outside(self.tables, self.keeper, self.capture)
        record.take_all((self._sites.of_parameter(n).parameter, t) for n, t in self._wanted_tensors().items())
        if not self.capture.is_off:
            record.take_all(self._wanted_buffers())
        return record.finish()

    def buffers_now(self) -> Collected:
        """Summaries of all buffers, outside any phase: one that had changed them was undone."""
        record = record_outside(self.tables, self.keeper, self.capture)
        if not self.capture.is_off:
            self.guarded(lambda: record.take_all(self._wanted_buffers()))
        return record.finish()

    def close(self) -> None:
        """Remove every hook."""
        self._remove_hooks()
        self.forget_structure()
        self.previous = PreviousValues()
        self._drop_record()

    def forget_structure(self) -> None:
        """Hold nothing of what is in the model, until the next question."""
        self._structure.forget()
        self._buffers.forget()

    # ------------------------------------------------------------------------------------------ layers

    def layer_entered(self, name: str) -> None:
        record = self.record
        if record is None or self._is_muted:
            return
        if inside_backward():
            # A checkpointed layer; it is not always left again.
            self._has_run_again = True
            return
        call = self.running.count(name)
        self._stop_here(record.substep, "enter", name, call)
        self.running.enter(name, call, record.elapsed())

    def layer_left(self, name: str, output: object, inputs: Inputs) -> None:
        record = self.record
        if record is None or self._is_muted:
            return
        if inside_backward():
            self.guarded(partial(self._recompute, name, output))
            return
        call, start, passed_over = self.running.leave(name)
        for entered in passed_over:
            record.tell_absent(SubjectKey(SubjectKind.ACTIVATION, *entered[:2]), absences.RAISED)
        try:
            bad = self._note_output(record, name, call, output, start)
            self._after_output(name, call, bad, output, inputs)
        except BaseException as error:
            self._note_error(error)
        self.running.tell_left()
        self._stop_here(record.substep, "leave", name, call)

    def _after_output(
        self, name: str, call: int, bad: tuple[Slot, Tensor] | None, output: object, inputs: Inputs
    ) -> None:
        """`bad`: which of its tensors is the first that is known not to be finite."""
        record = self.record
        if record is None:
            return
        if self.births.is_watching and (bad is not None or self.births.has_pending):
            self._note_birth(record, (name, call), bad, inputs)
        if self.listener is not None and record.phase is Phase.FORWARD:
            self.listener.layer_left(name, output, inputs)

    def _note_output(
        self, record: PhaseRecord, name: str, call: int, output: object, start: float
    ) -> tuple[Slot, Tensor] | None:
        """Which of its tensors is the first that is known not to be finite."""
        leaves = (("", output),) if type(output) is Tensor else tuple(tensor_leaves(output))
        site = self._sites.of_call(name, call)
        site.follow(record.substep, leaves)
        record.pass_place(site.place, start, site.bytes)
        if not leaves:
            record.tell_absent(SubjectKey(SubjectKind.ACTIVATION, name, call), absences.NO_TENSOR)
        bad = None
        for (activation, gradient), (_, tensor) in zip(site.slots, leaves, strict=True):
            record.take(activation, tensor)
            if bad is None and record.is_known_bad(activation):
                bad = activation, tensor
            self._awaited.expect(gradient, tensor)
        return bad

    def _note_birth(
        self, record: PhaseRecord, call: tuple[str, int], bad: tuple[Slot, Tensor] | None, inputs: Inputs
    ) -> None:
        started = time.perf_counter()
        if bad is None:
            self.births.left_good(call, inputs)
        else:
            slot, output = bad
            module, has_nan = self._structure.modules().get(call[0]), record.is_known_nan(slot)
            self.births.left_bad(slot.key, output, module, inputs, has_nan=has_nan, around=self.running.around())
        record.own_seconds += time.perf_counter() - started

    def layer_lifted(self, name: str) -> None:
        if self.record is not None and not self._is_muted:
            self._fused.add(name)

    def _recompute(self, name: str, output: object) -> None:
        """A checkpointed layer runs once more inside the backward: its numbers are known, its graph is new."""
        call = self._recomputed.get(name, 0)
        self._recomputed[name] = call + 1
        for leaf, tensor in tensor_leaves(output):
            _, slot = self._sites.slots(name, call, leaf)
            if self.record is None or not self.record.has(slot.key):
                self._awaited.expect_again(slot, tensor, is_only_call=self.running.calls.get(name, 0) <= 1)

    def gradient_arrived(self, slot: Slot, of_pass: int, gradient: Tensor) -> None:
        record = self.record
        # A gradient taken inside the forward (a gradient penalty) is not the loss's gradient; one of an older graph is stale.
        if record is None or self._is_muted or record.phase is not Phase.BACKWARD or of_pass != self._awaited.of_pass:
            if record is not None and record.phase is Phase.FORWARD:
                self._awaited.explain_inner(slot)
            return
        self.guarded(partial(record.take, slot, gradient, self.gradient_scale))
        self._awaited.arrived(slot)
        self._stop_here(SubStep.BACKWARD, "gradient", slot.key.name, slot.key.call)

    # ------------------------------------------------------------------------------------------ parameters

    def parameter_gradient_seen_again(self, name: str, tensor: Tensor) -> None:
        self.parameter_gradient_arrived(name, tensor, is_second=True)

    def parameter_gradient_arrived(self, name: str, tensor: Tensor, *, is_second: bool = False) -> None:
        record = self.record
        if record is None or self._is_muted or record.phase is not Phase.BACKWARD or tensor.grad is None:
            return
        try:
            site, gradient = self._sites.of_parameter(name), tensor.grad
            record.take(site.gradient, gradient, self.gradient_scale)
            self._seen_gradients[name] = (weakref.ref(gradient), gradient._version)
            if is_second:
                return
            record.pass_place(site.place_of(tensor), None)
        except BaseException as error:
            self._note_error(error)
        self._stop_here(SubStep.BACKWARD, "gradient", name, 0)

    # ------------------------------------------------------------------------------------------ ends

    def _complete(self, record: PhaseRecord, more: Iterable[tuple[SubjectKey, Tensor]]) -> None:
        if self.capture.is_off:
            return
        if record.phase is Phase.FORWARD:
            self._tell_uncalled(record)
            record.take_all(self._wanted_buffers())
        elif record.phase is Phase.BACKWARD:
            self._complete_backward(record)
        else:
            # An optimizer may have put others in their places.
            self._tensors = None
            changes.take(record, self._wanted_tensors(), self._sites, self.previous, self._taps)
        record.take_all((self.tables.slot(key), tensor) for key, tensor in more)
        if record.phase is not Phase.FORWARD and (self._has_run_again or self._buffers.have_moved()):
            # After the forward: by a checkpointed layer that ran again in the backward, a closure, the optimizer, a hook. All
            # of them: to find out which have moved takes as long.
            record.take_all(self._wanted_buffers())

    def _complete_backward(self, record: PhaseRecord) -> None:
        others = trained_by_others(self.others_names(), self.tensors())
        wanted, site_of = self._wanted_tensors(), self._sites.of_parameter
        left_over = self.left_over(wanted)
        for name, tensor in wanted.items():
            if (gradient := tensor.grad) is None:
                tell_no_gradient(record, site_of(name).gradient, tensor, others)
            elif name in left_over:
                record.tell_absent(site_of(name).gradient.key, absences.LEFT_OVER)
            else:
                # Again, if a later backward or the user's own hook has changed it since it arrived, or no hook saw it.
                reference, version = self._seen_gradients.get(name, _UNSEEN)
                if reference is None or reference() is not gradient or gradient._version != version:
                    record.take(site_of(name).gradient, gradient, self.scale_of(name))
        tell_missing(record, self._awaited, others)
        if self._never_called and not record.is_late:
            reached = {id(tensor) for name, tensor in self.tensors().items() if name in self._seen_gradients}
            record.absent += unseen_after_backward(
                self._structure.modules(), self._never_called, self.running.calls, reached
            )

    def _tell_uncalled(self, record: PhaseRecord) -> None:
        for entered in self.running.all():
            record.tell_absent(SubjectKey(SubjectKind.ACTIVATION, *entered[:2]), absences.RAISED)
        self._never_called.clear()
        if self._hooks is None or not isinstance(self._model, nn.Module):
            return
        modules = self._structure.modules()
        new = self._hooks.follow(modules)
        stay, calls = None if self._hooks.runs_eagerly else self.stay_compiled, self.running.calls
        unseen = list(unseen_after_forward(modules, calls, new=new, fused=self._fused, stays_compiled=stay))
        has_compiled = any(absence.reason == absences.COMPILED_SINCE for absence in unseen)
        for absence in unseen if not self.capture.is_partial else [a for a in unseen if self.wants(a.name)]:
            record.absent.append(absence)
            # Where not all calls are seen, a gradient does not tell by which of them it came.
            if absence.reason == absences.NEVER_CALLED and not self.capture.is_partial:
                self._never_called.add(absence.name)
        for name in self.eager.names:
            if name in self.running.calls:
                record.absent.append(Absence(name=name, kind=absences.COMPILED, reason=absences.RUN_EAGERLY))
        self.eager.take(self._model if stay is None and (new or has_compiled) else None)

    # ------------------------------------------------------------------------------------------ private

    def guarded(self, work: Callable[[], None]) -> None:
        """Do what looks at the training; what it raises is kept in `errors`."""
        try:
            work()
        except BaseException as error:
            self._note_error(error)

    def _note_error(self, error: BaseException) -> None:
        """A tensor of a class of the user's may raise anything. An interruption is raised again."""
        if is_interruption(error):
            raise error
        text = f"Capture failed: {class_name(type(error))}: {message_of(error)}"
        if text not in self.errors:
            self.errors.append(text)

    def _remove_hooks(self) -> None:
        if self._hooks is not None:
            self._hooks.remove()
            self._hooks = None
        self.eager.restore()
        self._parameter_hooks.remove()
        self._awaited.remove_hooks()
