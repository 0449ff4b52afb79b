"""The session: a plain training loop, one phase at a time. Capture, pausing and undoing hang on it from outside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from gradscope.engine import notes
from gradscope.engine.advice import advice, advised
from gradscope.engine.articles import with_article
from gradscope.engine.batches import BatchSource, EmptyData, make_loader
from gradscope.engine.best import Best, judged
from gradscope.engine.blame import own_failure, users_code, users_failure
from gradscope.engine.checks import checked_capture, checked_seed
from gradscope.engine.clipping import with_norm_after
from gradscope.engine.current_values import known_subjects, values_of
from gradscope.engine.describe import describe_session
from gradscope.engine.devices import move_model, move_optimizer_state, parse_device
from gradscope.engine.edits.change import EditRecord
from gradscope.engine.edits.editor import Editor
from gradscope.engine.error_parts import safely
from gradscope.engine.explain.explain import Explanation
from gradscope.engine.gate import Gate
from gradscope.engine.gradient_check import GradientCheck
from gradscope.engine.keeper import DEFAULT_BUDGET_BYTES, Keeper
from gradscope.engine.loop import Loop
from gradscope.engine.modules import set_training
from gradscope.engine.nonfinite.watch import NonFiniteWatch
from gradscope.engine.observer import Observer
from gradscope.engine.parameters import is_uninitialised, named_tensors
from gradscope.engine.recipe import Recipe
from gradscope.engine.record import Collected
from gradscope.engine.report import PhaseReport
from gradscope.engine.schedule import foretell, steps_to_end
from gradscope.engine.step_record import StepRecord
from gradscope.engine.tracing import Origin, traced
from gradscope.engine.training import Training, momenta_of, rates_of
from gradscope.engine.unwinding import is_interruption
from gradscope.engine.usercode import cut_traceback, describe_error
from gradscope.engine.validation import Validator
from gradscope.engine.why import check_gradient_now, explain_newest_step
from gradscope.protocol.capture import FULL, Capture
from gradscope.protocol.checkpoints import CheckpointLoaded, CheckpointSaved
from gradscope.protocol.edits import Choices, Edit
from gradscope.protocol.failure import BadInput, Failure, FailureKind, UserCodeFailed
from gradscope.protocol.messages import InitialParameters, Report, Schedule, SessionInfo, Validated
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import (
    AFTER,
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
from gradscope.protocol.subjects import SubjectKey, SubjectKind

_NOUNS = {
    SubStep.UNSCALE: "unscaling",
    SubStep.CLIP: "clipping",
    SubStep.UPDATE: "update of the loss scale",
    SubStep.VALIDATE: "validation",
}
"""Sub-steps whose names are verbs, for sentences."""


class _Identity(NamedTuple):
    """Which batch a report is about."""

    epoch: int
    batch: int
    micro: int
    window: int
    optimizer: str


class Session:
    """One recipe being trained on one device: `forward()`, `backward()`, `step()`, in this order, again and again.

    `device`: "cpu", "cuda:0", "mps". `seed` seeds the order of the data; default: the one that `load_recipe` was given, or 0.
    The recipe's model, optimizer and scheduler are trained in place. `budget_bytes` bounds the copies of activations that are
    kept for looking at their values. `capture`: "full", "layers:NAME,NAME...", "norms" or "off" (see `CaptureLevel`).

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
        capture: str | Capture = FULL,
    ) -> None:
        if not isinstance(recipe, Recipe):
            got = with_article(type(recipe).__name__)
            raise BadInput(f"Session() got {got}; expected a Recipe (load_recipe(path) gives one)")
        self.recipe = recipe
        self.seed = checked_seed(recipe, seed)
        self.device = parse_device(device)
        self.gate = gate
        wanted = checked_capture(recipe.model, capture)
        self.history: list[StepRecord] = []
        self.validations: list[Validated] = []
        self.best: Best | None = None
        """The weights of the best validation, where the recipe names a `best_metric`."""
        batches = BatchSource(make_loader(recipe, self.seed))
        self._place_on_device()
        self.training = Training(recipe, self.device)
        self.keeper = Keeper(budget_bytes=budget_bytes)
        self.observer = Observer(recipe.model, keeper=self.keeper, stop_here=self._pass_moment, capture=wanted)
        try:
            self.loop = Loop(self.training, batches, self.observer, self.device, self._make_validator())
            self.observer.scale_of, self.observer.is_left_over = self.loop.scale_of, self.loop.is_left_over
            self.observer.others_names = self.loop.others_names
            self.info: SessionInfo = self.describe()
        except BaseException:
            self.observer.close()
            raise
        self._watch = NonFiniteWatch(self.loop, self.observer, is_late=self.device.type != "cpu")
        self._found: FirstNonFinite | None = None
        """In the newest phase."""
        self.editor = Editor(self)
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
        self._rates: tuple[float, ...] = ()
        self._momenta: tuple[float, ...] = ()
        self._step_seconds = 0.0
        self._report_identity: _Identity | None = None
        self._backward: Collected | None = None
        self._is_window_complete = True
        self._judgement: tuple[Validated, Best | None] | None = None
        self._slowness_is_told = False
        self.is_traced = False
        """Forward and backward run in torch's anomaly mode: a backward that fails names the line of the forward."""
        self._origin: Origin | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------ the three phases

    def forward(self) -> PhaseReport:
        """Load the batch, clear the gradients (at the start of a window), run the model and the loss."""
        return self._run(Phase.FORWARD, self.loop.forward, self._undo_forward)

    def backward(self) -> PhaseReport:
        """Backpropagate the loss: `.grad` of every parameter, the gradient of every layer's output."""
        return self._run(Phase.BACKWARD, self._backpropagate, self._undo_backward)

    def step(self) -> PhaseReport:
        """Unscale and clip, the optimizer moves the parameters, the scheduler sets the next rate."""
        return self._run(Phase.STEP, self._optimize, self.loop.undo_step)

    def advance(self) -> PhaseReport:
        """Run the phase that comes next."""
        return {Phase.FORWARD: self.forward, Phase.BACKWARD: self.backward, Phase.STEP: self.step}[
            NEXT_PHASE[self._rest]
        ]()

    def next_batch(self) -> list[PhaseReport]:
        """Run what is left of the current step (with several optimizers: of all their turns), or a whole one."""
        reports = [self.advance()]
        while not self.is_between_batches:
            reports.append(self.advance())
        return reports

    @property
    def is_between_batches(self) -> bool:
        """At rest before the first turn of a step."""
        return self._rest is Rest.READY and self.loop.turn is self.training.turns[0]

    def zero_grad(self) -> None:
        """Clear the gradients of the optimizer whose turn it is, by hand. Raises BadInput inside a phase."""
        self._need(Verb.ZERO_GRAD)
        self.loop.zero_grad()
        self._backward = None

    def validate(self) -> Validated:
        """One pass over the validation data, which leaves training as it was. Raises BadInput without such data, and
        UserCodeFailed if the user's code raises."""
        self._need(Verb.VALIDATE)
        if not self.training.has_validation:
            raise BadInput("There is nothing to validate with; expected Recipe(validation=...)")
        lazy = [name for name, (tensor, _) in named_tensors(self.recipe.model).items() if is_uninitialised(tensor)]
        if lazy:
            raise BadInput(f"{notes.listed(lazy)} has no shape yet; expected a Forward before the first validation")
        try:
            validation, best = judged(self.recipe, self.loop.validate(), self.best)
        except BaseException as error:
            if is_interruption(error):
                self.undone = "The validation was broken off; training is as before"
                raise
            raise UserCodeFailed(
                users_failure("The validation failed", error, undone="Training is as before")
            ) from error
        self._note_validation(validation, best)
        return validation

    def _backpropagate(self) -> None:
        self._is_window_complete = self.loop.backward()

    def _optimize(self) -> None:
        self.loop.step(self._step)
        self._judgement = None
        if self.loop.validation is not None:
            # Here, where it can be undone: the copy of the weights needs memory.
            self.loop.substep = SubStep.VALIDATE
            self._judgement = judged(self.recipe, self.loop.validation, self.best)

    # ------------------------------------------------------------------------------------------ what is captured

    @property
    def capture(self) -> Capture:
        return self.observer.capture

    def set_capture(self, capture: str | Capture) -> None:
        """Capture more or less from the next forward on. Training goes on just the same; only what torch.compile has compiled
        runs so with capture off, and eagerly otherwise, which may round differently.

        Raises BadInput inside a phase, between a forward and its step, or for a layer that there is not.
        """
        wanted = checked_capture(self.recipe.model, capture)
        if self.is_broken or self.position.rest is not Rest.READY:
            raise BadInput("What is captured can be changed between two steps: finish this one first")
        self.observer.set_capture(wanted)
        if wanted.is_off:
            self.loop.drop_copies()
        self.info = self.describe()

    # ------------------------------------------------------------------------------------------ edits

    def edit(self, edit: Edit) -> EditRecord:
        """Change a setting between two phases: one of `gradscope.protocol.edits`, say `EditOption(group=0, option="lr",
        value="0.01")`. What follows is what a plain loop does after the same assignment at the same place.

        Raises BadInput, and nothing has changed, where the edit is wrong or not possible now.
        """
        record = self.editor.apply(edit)
        self.info = self.describe()
        return record

    def undo_edit(self) -> tuple[EditRecord, str]:
        """Undo the newest edit that is not undone, and say so. Raises BadInput where there is none, or not now."""
        undone = self.editor.undo()
        self.info = self.describe()
        return undone

    @property
    def edits(self) -> list[EditRecord]:
        """Every edit so far, the undone ones too."""
        return self.editor.records

    def choices(self) -> Choices:
        """The losses, optimizers and schedulers that an edit can put in place, and those in use."""
        return self.editor.choices()

    # ------------------------------------------------------------------------------------------ running and undoing

    def _need(self, verb: Verb) -> None:
        if self.is_broken:
            raise BadInput("The session cannot go on: a phase that failed could not be undone. Open the recipe again")
        reason = refusal(self._rest, verb)
        if reason is not None:
            raise BadInput(reason)

    def _run(self, phase: Phase, body: Callable[[], None], undo: Callable[[], str]) -> PhaseReport:
        self._need(Verb(phase.value))
        optimizers = self.training.optimizers
        self._rates, self._momenta = rates_of(optimizers), momenta_of(optimizers)
        loop = self.loop
        if phase is Phase.FORWARD:
            loop.loss = None
            if loop.window.micro == 0:
                self._step_seconds = 0.0
        self.observer.begin(phase)
        self._inside = phase
        self._report_identity = self._identity()
        try:
            if self.is_traced:
                self._origin = None
                traced(body, self._note_origin)
            else:
                body()
            self._report_identity = self._identity()
            collected = self.observer.end(self._more(phase))
        except BaseException as error:
            # BaseException: also sys.exit() in the user's code is only a failure of theirs.
            if is_interruption(error):
                self._leave_failed(phase, undo)
                raise
            raise self._failed(phase, error, undo) from error
        self._step_seconds += collected.seconds
        self._inside = self._moment = None
        self._look_for_nonfinite(phase, collected)
        if phase is Phase.BACKWARD:
            self._complete_backward(collected)
        elif phase is Phase.STEP:
            report = self._complete_step(collected)
            if loop.broken_off is not None:
                self.undone = "The validation was broken off; the step is done"
                raise loop.broken_off
            return report
        else:
            self._complete_forward()
        report = self.reports[phase] = self._report(phase, collected)
        return report

    def _look_for_nonfinite(self, phase: Phase, collected: Collected) -> None:
        watch = self._watch
        look = {Phase.FORWARD: watch.after_forward, Phase.BACKWARD: watch.after_backward, Phase.STEP: watch.after_step}
        self._found = None

        def work() -> None:
            self._found = look[phase](self._step, collected)

        self.observer.guarded(work)

    @property
    def first_nonfinite(self) -> FirstNonFinite | None:
        """Where the training's first NaN or Inf was made, once there is one; also in the report of that phase."""
        return self._watch.first

    def _identity(self) -> _Identity:
        loop = self.loop
        batches, window = loop.batches, loop.window
        return _Identity(batches.epoch, batches.index, window.micro, window.size, loop.turn.name)

    def _more(self, phase: Phase) -> list[tuple[SubjectKey, Tensor]]:
        if phase is not Phase.STEP:
            return []
        if self.capture.norms_only or self.capture.is_off:
            return []
        return [(key, tensor) for key, tensor in self.loop.optimizer_state() if self.observer.wants(key.name)]

    def _complete_forward(self) -> None:
        if not self._slowness_is_told:
            slow = notes.slow_summaries(self.device)
            self.loop.notes += slow
            self._slowness_is_told = bool(slow)
        self._rest = AFTER[Phase.FORWARD]

    def _complete_backward(self, collected: Collected) -> None:
        self._backward = collected
        self.loop.finish_micro_batch(is_complete=self._is_window_complete)
        self._rest = AFTER[Phase.BACKWARD] if self._is_window_complete else Rest.ACCUMULATING

    def _complete_step(self, collected: Collected) -> PhaseReport:
        loop = self.loop
        if loop.clip is not None and not self.capture.is_partial:
            loop.clip = with_norm_after(loop.clip, collected, self.observer.tables)
        loop.loss = loop.window.mean_loss
        report = self.reports[Phase.STEP] = self._report(Phase.STEP, collected)
        assert self._report_identity is not None
        self.history.append(
            StepRecord(
                step=self._step,
                epoch=self._report_identity.epoch,
                batch=self._report_identity.batch,
                loss=loop.loss,
                lr=self._rates,
                grad_l2=self._gradient_norm(),
                update_l2=self._norm_of(collected, SubjectKind.UPDATE),
                seconds=self._step_seconds,
                micro_batches=len(loop.window.losses),
                optimizer=loop.turn.name,
                clip=loop.clip,
                scale=loop.scale,
                is_skipped=loop.is_skipped,
            )
        )
        if self._judgement is not None:
            self._note_validation(*self._judgement)
        self._rest = AFTER[Phase.STEP]
        loop.finish_step(self._step)
        self._step += 1
        return report

    def _note_validation(self, validation: Validated, best: Best | None) -> None:
        self.best = best or self.best
        self.validations.append(validation)

    def _gradient_norm(self) -> float | None:
        """L2 norm of the gradients that this step used; of all parameters, where there is one optimizer."""
        return None if self._backward is None else self._norm_of(self._backward, SubjectKind.GRAD)

    def _norm_of(self, collected: Collected, kind: SubjectKind) -> float | None:
        """L2 norm of all subjects of a kind together; None where some were left out."""
        if self.capture.is_partial:
            return None
        tables = self.observer.tables
        positions = tables.of_kind(collected.subjects, kind)
        if kind is SubjectKind.GRAD and len(self.training.turns) > 1:
            own, rows = self.loop.own_names(), tables.subjects.rows
            positions = np.array([i for i in positions if rows[collected.subjects[i]].key.name in own], dtype=np.int64)
        return collected.total_l2(positions)

    def _failed(self, phase: Phase, error: BaseException, undo: Callable[[], str]) -> UserCodeFailed:
        inside = safely(lambda: self.observer.innermost_layer(error), None)
        moment = self._moment
        substep = self.loop.substep
        told = own_failure(error)
        advised_by = "" if told else safely(lambda: advice(error, self.loop), "")
        said = told.sentence if told else advised(describe_error(error), advised_by)
        report = self._leave_failed(phase, undo)
        where = f" in layer {inside[0] or '(model)'}" if inside else ""
        origin, self._origin = self._origin, None
        if origin is not None:
            where += origin.where
        traceback = cut_traceback(error) if told is None else told.traceback
        if origin is not None and origin.frames:
            traceback = f"In the forward:\n{origin.frames}\n{traceback}"
        failure = Failure(
            kind=FailureKind.BAD_INPUT if type(error) is EmptyData else FailureKind.USER_CODE,
            sentence=f"The {_NOUNS.get(substep, substep.value)} of step {self._step} failed{where}: {said}",
            traceback=traceback,
            phase=phase,
            substep=substep,
            layer=inside[0] if inside else (moment.layer if moment and moment.event == "gradient" else None),
            call=inside[1] if inside else 0,
            undone=self.undone,
            can_be_traced=substep is SubStep.BACKWARD and not self.is_traced and not self.is_broken,
        )
        failed = UserCodeFailed(failure)
        failed.report = report
        return failed

    def _note_origin(self, origin: Origin) -> None:
        self._origin = origin

    def _leave_failed(self, phase: Phase, undo: Callable[[], str]) -> PhaseReport | None:
        """Undo the phase; what it has shown so far is its report now."""
        report = None
        try:
            collected = self.observer.abandon()
            if collected is not None:
                report = self._report(phase, collected, complete=False)
                if phase is not Phase.STEP:
                    # The newest step is the one before: this one is undone.
                    self.reports[phase] = report
            self.undone = undo()
            if report is not None and phase is not Phase.STEP:
                # Those that were told before are not so any more.
                report = self.reports[phase] = report.with_more(self.observer.put_back())
        except BaseException as error:
            # A poisoned CUDA context (a device-side assert) fails in everything that follows.
            self.is_broken = True
            self.undone = f"It could not be undone ({describe_error(error)}): restart the engine"
        self._inside = self._moment = None
        return report

    def _undo_forward(self) -> str:
        undone = self.loop.undo_forward()
        self._rest = Rest.ACCUMULATING if self.loop.window.micro else Rest.READY
        return undone

    def _undo_backward(self) -> str:
        undone = self.loop.undo_backward()
        self._rest = Rest.ACCUMULATING if self.loop.window.micro else Rest.READY
        return undone

    # ------------------------------------------------------------------------------------------ questions

    @property
    def position(self) -> Position:
        rest = self._rest if self._inside is None else INSIDE[self._inside]
        batches, window = self.loop.batches, self.loop.window
        return Position(
            rest=rest,
            step=self._step,
            epoch=batches.epoch,
            batch=batches.index,
            batches_per_epoch=batches.length,
            micro=window.micro,
            window=window.size,
            optimizer=self.loop.turn.name,
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
        return self.loop.batch

    @property
    def in_user_code(self) -> bool:
        """True while the user's code runs: only then may an interruption raise wherever it happens to be."""
        return self.loop.in_user_code

    def describe(self) -> SessionInfo:
        """What is known of the session, by its settings of now."""
        return describe_session(
            self.recipe,
            self.training,
            seed=self.seed,
            device=str(self.device),
            batches_per_epoch=self.loop.batches.length,
            compiled=self.observer.eager.names,
            capture=self.capture,
        )

    def values(self, key: SubjectKey) -> Tensor:
        """The tensor of a subject as it is now, detached. Raises ValuesUnavailable with the reason."""
        return values_of(self, key)

    def known_subjects(self, kind: SubjectKind) -> list[SubjectKey]:
        """The subjects of a kind that there are now: of the newest reports, or every parameter or buffer."""
        return known_subjects(self, kind)

    def initial_parameters(self) -> InitialParameters:
        """Summaries of all parameters and buffers as they are now."""
        collected = self.observer.initial()
        return InitialParameters(
            subjects=collected.subjects,
            summaries=collected.summaries,
            histograms=collected.histograms,
            sampled=collected.sampled,
        )

    def schedule(self, steps: int) -> Schedule:
        """The rates of the next `steps` steps, simulated on stand-ins."""
        ahead = self._steps_scheduled
        return foretell(self.training, self.loop.timing(steps_done=ahead), first_step=self._step + ahead, steps=steps)

    @property
    def steps_to_schedule_end(self) -> int | None:
        """How many steps the schedule still has by its own arguments; None where it has no end."""
        return steps_to_end(self.training, self.loop.timing(steps_done=self._steps_scheduled))

    @property
    def _steps_scheduled(self) -> int:
        # Stopped after the scheduler has moved, the rates are those of the next step already.
        return 1 if self._inside is Phase.STEP and self.observer.last_passed is SubStep.SCHEDULE else 0

    def explain(self, name: str) -> Explanation:
        """Why the newest step moved this parameter as it did: the terms of its delta, or why it is not explained."""
        return explain_newest_step(self, name)[0]

    def check_gradient(self, name: str, samples: int = 16, *, seed: int = 0) -> GradientCheck:
        """Compare autograd's gradient of a parameter with differences of the loss, in float64 on a copy of the model.

        Training is not touched. Raises BadInput if it cannot be done now, and UserCodeFailed if the user's code fails on the
        copy.
        """
        return check_gradient_now(self, name, samples=samples, seed=seed)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot at `path`, which must not exist: a folder, or one file if the name ends with .zip.

        Raises BadInput if it cannot be written; then nothing of it is left.
        """
        from gradscope.engine.snapshot import write_snapshot

        write_snapshot(self, path)

    def save_checkpoint(self, path: str | os.PathLike[str]) -> CheckpointSaved:
        """Write a checkpoint file (see `gradscope.engine.checkpoint`), in the place of an older one.

        Raises BadInput inside a step, or if it cannot be written; an older file is as it was then.
        """
        from gradscope.engine.checkpoint import save_checkpoint

        return save_checkpoint(self, path)

    def save_best(self, path: str | os.PathLike[str]) -> CheckpointSaved:
        """Write the weights of the best validation, a bare state_dict. Raises BadInput as `save_checkpoint` does."""
        from gradscope.engine.checkpoint import save_best

        return save_best(self, path)

    def load_checkpoint(self, path: str | os.PathLike[str], *, strict: bool = True) -> CheckpointLoaded:
        """Take what a file has: one of `save_checkpoint`, any dict with "state_dict" (or "model_state_dict", or "model") and
        perhaps "optimizer", "scheduler", "scaler", "epoch", "step", a bare state_dict, or a safetensors file.

        After one of `save_checkpoint` with the same recipe, training goes on bit for bit where it was saved. Nothing in the
        file is executed. Raises DoesNotFit, with everything that is missing, unexpected or of another shape, if `strict`;
        otherwise what fits is loaded. Raises BadInput for a file that cannot be read, or inside a step. The session is as
        before then.
        """
        from gradscope.engine.checkpoint_load import load_checkpoint

        return load_checkpoint(self, path, strict=strict)

    def continue_at(self, step: int, batches: BatchSource, epoch_losses: dict[str, tuple[float, int]]) -> None:
        """Stand before step `step`, with other weights: what was seen of the newest steps is forgotten."""
        self.loop.continue_at(step, batches, epoch_losses)
        self._watch.forget()
        # What they would put back belongs to the training before.
        self.editor.forget()
        self.keeper.forget(*SubjectKind)
        self.reports.clear()
        self.history = [record for record in self.history if record.step < step]
        self.validations = [validation for validation in self.validations if validation.step < step]
        self._step, self._rest = step, Rest.READY
        self._backward, self._report_identity, self.undone = None, None, ""
        self.editor.continue_at(step)
        self.info = self.describe()

    def close(self) -> None:
        """Remove every hook and copy. The model stays as trained."""
        self.observer.close()
        self.keeper.forget(*SubjectKind)
        self.loop.close()
        self.editor.forget()
        self.best = self.gate = None

    # ------------------------------------------------------------------------------------------ private

    def _make_validator(self) -> Validator | None:
        if not self.training.has_validation:
            return None
        return Validator(self.recipe, self.training, self.device, lambda: self.loop.user_code())

    def _place_on_device(self) -> None:
        try:
            move_model(self.recipe.model, self.device)
            for optimizer in self.recipe.optimizers.values():
                move_optimizer_state(optimizer)
            if isinstance(self.recipe.loss, nn.Module):
                move_model(self.recipe.loss, self.device)
        except BaseException as error:
            if is_interruption(error) or own_failure(error) is not None:
                raise
            said = f"The model cannot be moved to {self.device}: {describe_error(error)}"
            raise BadInput(said, traceback=cut_traceback(error)) from error
        if isinstance(self.recipe.model, nn.Module):
            with users_code("model.train()"):
                set_training(self.recipe.model, True)

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
        loop, identity, is_step = self.loop, self._report_identity, phase is Phase.STEP
        assert identity is not None
        raw = Report(
            phase=phase,
            step=self._step,
            epoch=identity.epoch,
            batch=identity.batch,
            loss=loop.loss,
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
            micro=identity.micro,
            window=identity.window,
            optimizer=identity.optimizer,
            scale=None if phase is Phase.FORWARD else loop.scale,
            skipped=is_step and loop.is_skipped,
            clip=loop.clip if is_step else None,
            evaluations=loop.evaluations if is_step else 0,
            momentum=self._momenta,
            notes=tuple(loop.notes),
            first_nonfinite=self._found if complete else None,
        )
        return PhaseReport(raw, self.observer.tables.subjects.rows, is_partial=self.capture.is_partial)
