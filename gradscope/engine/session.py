"""The session: a plain training loop, one phase at a time. Capture, pausing and undoing hang on it from outside."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gradscope.engine.batches import BatchSource, EmptyData, make_loader
from gradscope.engine.checks import checked_loss, checked_seed, input_and_target, loss_of, or_nan
from gradscope.engine.describe import describe_session
from gradscope.engine.devices import copy_batch, move_model, move_optimizer_state, parse_device
from gradscope.engine.keeper import DEFAULT_BUDGET_BYTES, Keeper
from gradscope.engine.observer import Observer
from gradscope.engine.parameters import is_uninitialised
from gradscope.engine.recipe import Recipe
from gradscope.engine.record import Collected
from gradscope.engine.report import PhaseReport
from gradscope.engine.schedule import foretell, rates_of
from gradscope.engine.undo import ForwardUndo, StepUndo
from gradscope.engine.unwinding import Unwind
from gradscope.engine.usercode import cut_traceback, describe_error
from gradscope.protocol.failure import BadInput, Failure, FailureKind, UserCodeFailed
from gradscope.protocol.messages import InitialParameters, Report, Schedule, SessionInfo
from gradscope.protocol.phases import (
    AFTER,
    BEFORE,
    INSIDE,
    NEXT_PHASE,
    Moment,
    Phase,
    Position,
    Rest,
    SubStep,
    Verb,
    refusal,
)
from gradscope.protocol.subjects import PARAMETER_KINDS, SubjectKey, SubjectKind


class ValuesUnavailable(Exception):
    """The values of a subject cannot be had now; the text says why."""


class Gate(Protocol):
    """Decides at every moment whether training stops there. `stop` returns when it may go on, or raises Unwind."""

    is_armed: bool
    """False: `stop` need not be asked at all."""

    def stop(self, moment: Moment) -> None: ...


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One completed step, for the history."""

    step: int
    epoch: int
    batch: int
    loss: float | None
    lr: tuple[float, ...]
    grad_l2: float | None
    """L2 norm of all parameters' gradients together."""
    update_l2: float | None
    """L2 norm of all parameters' updates together."""
    seconds: float


class Session:
    """One recipe being trained on one device: `forward()`, `backward()`, `step()`, in this order, again and again.

    `device`: "cpu", "cuda:0", "mps". `seed` seeds the order of the data; default: the one that `load_recipe` was given, or 0.
    The recipe's model, optimizer and scheduler are trained in place. `budget_bytes` bounds the copies of activations that are
    kept for looking at their values.

    Each phase returns a `PhaseReport`. It raises BadInput if it is not its turn, and UserCodeFailed if the user's code
    raises; then the phase has been undone and the session stands as before it (`UserCodeFailed.report` is what was captured
    up to there).
    """

    def __init__(
        self,
        recipe: Recipe,
        device: str = "cpu",
        seed: int | None = None,
        *,
        gate: Gate | None = None,
        budget_bytes: int = DEFAULT_BUDGET_BYTES,
    ) -> None:
        if not isinstance(recipe, Recipe):
            raise BadInput(f"Session() got a {type(recipe).__name__}; expected a Recipe (load_recipe(path) gives one)")
        self.recipe = recipe
        self.seed = checked_seed(recipe, seed)
        self.device = parse_device(device)
        self.gate = gate
        self.history: list[StepRecord] = []
        self._batches = BatchSource(make_loader(recipe, self.seed))
        self._place_on_device()
        self.info: SessionInfo = describe_session(
            recipe, seed=self.seed, device=str(self.device), batches_per_epoch=self._batches.length
        )
        self.keeper = Keeper(budget_bytes=budget_bytes)
        self.observer = Observer(recipe.model, keeper=self.keeper, stop_here=self._pass_moment)
        self.in_user_code = False
        """True while the user's code runs: only then may an interruption raise wherever it happens to be."""
        self.undone = ""
        """What was undone when a phase was broken off the last time."""
        self.is_broken = False
        """A failed phase could not be undone: nothing here can be trusted any more."""
        self.reports: dict[Phase, PhaseReport] = {}
        """The newest report of each phase."""
        self._step = 0
        self._rest = Rest.READY
        self._moment: Moment | None = None
        self._inside: Phase | None = None
        self._batch_on_device: Any = None
        self._loss: Tensor | None = None
        self._loss_value: float | None = None
        self._epoch_loss = (0.0, 0)
        """Sum and number of the losses of this epoch's finished steps."""
        self._rates: tuple[float, ...] = ()
        self._step_seconds = 0.0
        self._report_identity = (0, 0)
        self._forward_undo = ForwardUndo(recipe.model)
        self._step_undo = StepUndo(recipe.optimizer, recipe.scheduler)
        self._older_gradients: list[tuple[Tensor, Tensor | None, Tensor | None]] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------ the three phases

    def forward(self) -> PhaseReport:
        """Load the batch, clear the gradients, run the model and the loss."""
        return self._run(Phase.FORWARD, self._forward, self._undo_forward)

    def backward(self) -> PhaseReport:
        """Backpropagate the loss: `.grad` of every parameter, the gradient of every layer's output."""
        return self._run(Phase.BACKWARD, self._backward, self._undo_backward)

    def step(self) -> PhaseReport:
        """The optimizer moves the parameters, the scheduler sets the next rate."""
        return self._run(Phase.STEP, self._optimize, self._undo_step)

    def advance(self) -> PhaseReport:
        """Run the phase that comes next."""
        return {Phase.FORWARD: self.forward, Phase.BACKWARD: self.backward, Phase.STEP: self.step}[
            NEXT_PHASE[self._rest]
        ]()

    def next_batch(self) -> list[PhaseReport]:
        """Run what is left of the current step, or a whole one; returns the reports."""
        reports = [self.advance()]
        while self._rest is not Rest.READY:
            reports.append(self.advance())
        return reports

    def _forward(self) -> None:
        passing, elapsed = self.observer.passing, self.observer.elapsed
        self._forward_undo.remember()
        start = elapsed()
        with self._user_code():
            loaded = self._batches.current()
        batch = self._batch_on_device = copy_batch(loaded, self.device)
        self._forward_undo.remember_random_states()
        passing(SubStep.BATCH, start=start)
        self.recipe.optimizer.zero_grad(set_to_none=True)
        start = elapsed()
        if self.recipe.training_step is not None:
            with self._user_code():
                loss = loss_of(self.recipe.training_step(self.recipe.model, batch))
            passing(SubStep.FORWARD, start=start)
            start = elapsed()
        else:
            x, target = input_and_target(batch)
            assert callable(self.recipe.model) and self.recipe.loss is not None
            with self._user_code():
                output = self.recipe.model(x)
            passing(SubStep.FORWARD, start=start)
            start = elapsed()
            with self._user_code():
                loss = self.recipe.loss(output, target)
        self._loss = checked_loss(loss)
        self._loss_value = float(self._loss.detach())
        passing(SubStep.LOSS, start=start)

    def _backward(self) -> None:
        assert self._loss is not None
        self._remember_gradients()
        start = self.observer.elapsed()
        with self._user_code():
            self._loss.backward()
        self._loss = None
        self.observer.passing(SubStep.BACKWARD, start=start)

    def _optimize(self) -> None:
        passing, elapsed = self.observer.passing, self.observer.elapsed
        # Until both copies are complete there is nothing to put back.
        self.observer.previous.forget()
        self._step_undo.forget()
        self._step_undo.remember()
        self.observer.previous.remember(self._movable())
        start = elapsed()
        with self._user_code():
            self.recipe.optimizer.step()
        passing(SubStep.STEP, start=start)
        start = elapsed()
        is_last = self._batches.is_last()
        if self.recipe.scheduler is not None and (self.recipe.scheduler_unit == "step" or is_last):
            with self._user_code():
                self._schedule()
        passing(SubStep.SCHEDULE, start=start)

    def _schedule(self) -> None:
        scheduler = self.recipe.scheduler
        assert scheduler is not None
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            total, count = self._epoch_loss
            scheduler.step((total + or_nan(self._loss_value)) / (count + 1))
        else:
            scheduler.step()

    # ------------------------------------------------------------------------------------------ running and undoing

    def _run(self, phase: Phase, body: Callable[[], None], undo: Callable[[], str]) -> PhaseReport:
        reason = refusal(self._rest, Verb(phase.value))
        if reason is not None:
            raise BadInput(reason)
        rates = self._rates = rates_of(self.recipe.optimizer)
        self._report_identity = (self._batches.epoch, self._batches.index)
        if phase is Phase.FORWARD:
            self._loss_value = None
            self._step_seconds = 0.0
        self.observer.begin(phase)
        self._inside = phase
        try:
            body()
            collected = self.observer.end()
        except (Unwind, KeyboardInterrupt):
            self._leave_failed(phase, undo)
            raise
        except BaseException as error:
            # BaseException: also sys.exit() in the user's code is only a failure of theirs.
            raise self._failed(phase, error, undo) from error
        report = self.reports[phase] = self._report(phase, collected)
        self._inside = self._moment = None
        self._rest = AFTER[phase]
        self._step_seconds += collected.seconds
        if phase is Phase.STEP:
            self._complete_step(rates)
        return report

    def _complete_step(self, rates: tuple[float, ...]) -> None:
        epoch, batch = self._report_identity
        self.history.append(
            StepRecord(
                step=self._step,
                epoch=epoch,
                batch=batch,
                loss=self._loss_value,
                lr=rates,
                grad_l2=self._total_norm(Phase.BACKWARD, SubjectKind.GRAD),
                update_l2=self._total_norm(Phase.STEP, SubjectKind.UPDATE),
                seconds=self._step_seconds,
            )
        )
        total, count = self._epoch_loss
        self._batches.advance()
        self._epoch_loss = (0.0, 0) if self._batches.index == 0 else (total + or_nan(self._loss_value), count + 1)
        self._step += 1

    def _total_norm(self, phase: Phase, kind: SubjectKind) -> float | None:
        report = self.reports.get(phase)
        if report is None:
            return None
        return report.total_l2(kind)

    def _failed(self, phase: Phase, error: BaseException, undo: Callable[[], str]) -> UserCodeFailed:
        inside = self.observer.innermost_layer(error)
        moment = self._moment
        substep = self._failing_substep(phase)
        report = self._leave_failed(phase, undo)
        where = f" in layer {inside[0] or '(model)'}" if inside else ""
        failure = Failure(
            kind=FailureKind.BAD_INPUT if isinstance(error, EmptyData) else FailureKind.USER_CODE,
            sentence=f"The {substep.value} of step {self._step} failed{where}: {describe_error(error)}",
            traceback=cut_traceback(error),
            phase=phase,
            substep=substep,
            layer=inside[0] if inside else (moment.layer if moment and moment.event == "gradient" else None),
            call=inside[1] if inside else 0,
            undone=self.undone,
        )
        failed = UserCodeFailed(failure)
        failed.report = report
        return failed

    def _leave_failed(self, phase: Phase, undo: Callable[[], str]) -> PhaseReport | None:
        """Undo the phase; what it has shown so far is its report now."""
        report = None
        try:
            collected = self.observer.abandon()
            if collected is not None:
                report = self.reports[phase] = self._report(phase, collected, complete=False)
            self.undone = undo()
        except Exception as error:
            # A poisoned CUDA context (a device-side assert) fails in everything that follows.
            self.is_broken = True
            self.undone = f"It could not be undone ({describe_error(error)}): restart the engine"
        self._inside = self._moment = None
        return report

    def _failing_substep(self, phase: Phase) -> SubStep:
        """The sub-step that was under way: the one after the last that was passed."""
        order = [substep for substep in SubStep if Moment(step=0, substep=substep).phase is phase]
        passed = self.observer.last_passed
        if passed in order and order.index(passed) + 1 < len(order):
            return order[order.index(passed) + 1]
        return order[0]

    def _undo_forward(self) -> str:
        self._forward_undo.restore()
        self._loss = None
        self._loss_value = None
        return f"The forward was undone: buffers and random states are as before, and {self._batches.fate}"

    def _undo_backward(self) -> str:
        for tensor, gradient, copied in self._older_gradients:
            if gradient is not None and copied is not None:
                gradient.detach().copy_(copied)
            tensor.grad = gradient
        self._undo_forward()
        self._rest = BEFORE[Phase.FORWARD]
        return "The backward was undone, and its forward, whose graph is used up: the same batch is ready for a new forward"

    def _undo_step(self) -> str:
        self.observer.previous.restore()
        self._step_undo.restore()
        return "The step was undone: parameters, rates and schedule are as before, and the gradients are still there"

    def _remember_gradients(self) -> None:
        """Normally all None: only tensors that the optimizer does not clear have one already."""
        self._older_gradients = [
            (tensor, tensor.grad, None if tensor.grad is None else tensor.grad.detach().clone())
            for tensor in self.observer.moving().values()
            if tensor.is_leaf
        ]

    # ------------------------------------------------------------------------------------------ questions

    @property
    def position(self) -> Position:
        rest = self._rest if self._inside is None else INSIDE[self._inside]
        return Position(
            rest=rest,
            step=self._step,
            epoch=self._batches.epoch,
            batch=self._batches.index,
            batches_per_epoch=self._batches.length,
            moment=self._moment,
        )

    def partial_report(self) -> PhaseReport | None:
        """What has been captured so far of the phase that the session is stopped in; None between phases."""
        collected = self.observer.so_far()
        if collected is None or self._inside is None:
            return None
        return self._report(self._inside, collected, complete=False)

    @property
    def batch(self) -> Any:
        """The batch of the current or newest step, on the device; None before the first."""
        return self._batch_on_device

    def values(self, key: SubjectKey) -> Tensor:
        """The tensor of a subject as it is now, detached. Raises ValuesUnavailable with the reason."""
        if key.kind in (SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD):
            kept = self.keeper.get(key)
            if kept is None:
                raise ValuesUnavailable(self.keeper.why_not(key))
            return kept
        tensor = self.observer.tensors().get(key.name)
        if tensor is None:
            raise ValuesUnavailable(f"The model has no parameter {key.name!r}")
        if key.kind is SubjectKind.PARAMETER:
            return tensor.detach()
        if key.kind is SubjectKind.GRAD:
            if tensor.grad is None:
                raise ValuesUnavailable(
                    "There is no gradient: .grad is None (a forward clears it, a backward makes it)"
                )
            return tensor.grad.detach()
        delta = self.observer.previous.delta(key.name)
        if delta is None:
            raise ValuesUnavailable("There is no update yet: press Step")
        return delta

    def known_subjects(self, kind: SubjectKind) -> list[SubjectKey]:
        """The subjects of a kind that there are now: of the newest reports, or every parameter."""
        if kind in PARAMETER_KINDS:
            return [SubjectKey(kind, name) for name in self.observer.tensors()]
        return [
            subject.key for report in self.reports.values() for subject in report.subjects if subject.kind == kind.value
        ]

    def initial_parameters(self) -> InitialParameters:
        """Summaries of all parameters as they are now."""
        collected = self.observer.initial()
        return InitialParameters(
            subjects=collected.subjects,
            summaries=collected.summaries,
            histograms=collected.histograms,
            sampled=collected.sampled,
        )

    def schedule(self, steps: int) -> Schedule:
        """The rates of the next `steps` steps, simulated on stand-ins."""
        length = self._batches.length
        # Stopped after the scheduler has moved, the rates are those of the next step already.
        ahead = 1 if self._inside is Phase.STEP and self.observer.last_passed is SubStep.SCHEDULE else 0
        return foretell(
            self.recipe.optimizer,
            self.recipe.scheduler,
            first_step=self._step + ahead,
            steps=steps,
            steps_to_epoch_end=None if length is None else (length - self._batches.index - ahead) or length,
            steps_per_epoch=length,
            per_epoch=self.recipe.scheduler_unit == "epoch",
        )

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot folder at `path`, which must not exist. Raises BadInput if it cannot be written."""
        from gradscope.engine.snapshot import write_snapshot

        write_snapshot(self, path)

    def close(self) -> None:
        """Remove every hook and copy. The model stays as trained."""
        self.observer.close()
        self.keeper.forget(*SubjectKind)
        self._batches.close()
        self._forward_undo.forget()
        self._step_undo.forget()
        self._older_gradients = []
        self._loss = self._batch_on_device = self.gate = None

    # ------------------------------------------------------------------------------------------ private

    @contextlib.contextmanager
    def _user_code(self) -> Iterator[None]:
        self.in_user_code = True
        try:
            yield
        finally:
            self.in_user_code = False

    def _movable(self) -> dict[str, Tensor]:
        """The model's parameters, and what else the optimizer holds (a loss function with weights of its own)."""
        found = self.observer.moving()
        known = {id(tensor) for tensor in found.values()}
        for i, group in enumerate(self.recipe.optimizer.param_groups):
            for k, tensor in enumerate(group["params"]):
                if id(tensor) not in known and not is_uninitialised(tensor):
                    found[f"(optimizer group {i}, parameter {k})"] = tensor
        return found

    def _place_on_device(self) -> None:
        try:
            move_model(self.recipe.model, self.device)
            move_optimizer_state(self.recipe.optimizer)
            if isinstance(self.recipe.loss, nn.Module):
                self.recipe.loss.to(self.device)
        except (RuntimeError, NotImplementedError) as error:
            raise BadInput(f"The model cannot be moved to {self.device}: {describe_error(error)}") from error
        if isinstance(self.recipe.model, nn.Module):
            self.recipe.model.train()

    def _pass_moment(self, substep: SubStep, event: str, layer: str, call: int) -> None:
        if self.gate is None or not self.gate.is_armed:
            return
        self._moment = Moment(step=self._step, substep=substep, event=event, layer=layer, call=call)
        stopped_at = time.perf_counter()
        try:
            self.gate.stop(self._moment)
        finally:
            self._moment = None
            self.observer.leave_out(time.perf_counter() - stopped_at)

    def _report(self, phase: Phase, collected: Collected, *, complete: bool = True) -> PhaseReport:
        epoch, batch = self._report_identity
        raw = Report(
            phase=phase,
            step=self._step,
            epoch=epoch,
            batch=batch,
            loss=self._loss_value,
            lr=self._rates,
            subjects=collected.subjects,
            summaries=collected.summaries,
            histograms=collected.histograms,
            sampled=collected.sampled,
            places=collected.places,
            times=collected.times,
            absent=collected.absent,
            seconds=collected.seconds,
            complete=complete,
        )
        return PhaseReport(raw, self.observer.tables.subjects.rows)
