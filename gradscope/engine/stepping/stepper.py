"""The driver of a recipe: one phase after the other, each undone where it fails. What is seen goes into the book."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from gradscope.engine.book.book import Book
from gradscope.engine.book.gate import Gate
from gradscope.engine.capture.keeper import DEFAULT_BUDGET_BYTES
from gradscope.engine.capture.record import Collected
from gradscope.engine.data.batches import BatchSource, EmptyData, make_loader
from gradscope.engine.model.modules import set_training
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.model.placement import move_model, move_optimizer_state
from gradscope.engine.recipe.checked import checked_capture, checked_seed
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.stepping.advice import advice, advised
from gradscope.engine.stepping.best import Best, judged
from gradscope.engine.stepping.describe import describe_session
from gradscope.engine.stepping.journal import Journal
from gradscope.engine.stepping.loop import Loop
from gradscope.engine.stepping.tracing import Origin, traced
from gradscope.engine.stepping.training import Training
from gradscope.engine.stepping.validation import Validator
from gradscope.engine.surroundings.blame import own_failure, users_code, users_failure
from gradscope.engine.surroundings.devices import parse_device
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error
from gradscope.engine.wording import listed, with_article
from gradscope.protocol.capture import FULL, Capture
from gradscope.protocol.failure import BadInput, Failure, FailureKind, UserCodeFailed
from gradscope.protocol.messages import SessionInfo, Validated
from gradscope.protocol.phases import AFTER, INSIDE, NEXT_PHASE, Phase, Position, Rest, SubStep, Verb, refusal

_NOUNS = {
    SubStep.UNSCALE: "unscaling",
    SubStep.CLIP: "clipping",
    SubStep.UPDATE: "update of the loss scale",
    SubStep.VALIDATE: "validation",
}
"""Sub-steps whose names are verbs, for sentences."""
_VERBS = {phase: Verb(phase.value) for phase in Phase}


class Stepper:
    """The phases of one recipe on one device, in their order, and the undoing of one that fails. See `Session`."""

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
        wanted = checked_capture(recipe.model, capture)
        self.best: Best | None = None
        """The weights of the best validation, where the recipe names a `best_metric`."""
        batches = BatchSource(make_loader(recipe, self.seed))
        self._place_on_device()
        self.training = Training(recipe, self.device)
        self.book = Book(recipe.model, self.device, budget_bytes=budget_bytes, capture=wanted, gate=gate)
        self.observer, self.keeper = self.book.observer, self.book.keeper
        try:
            self.loop = Loop(self.training, batches, self.observer, self.device, self._make_validator())
            self.book.belongs_to(self.loop)
            self.info: SessionInfo = self.describe()
        except BaseException:
            self.observer.close()
            raise
        self.journal: Journal | None = None
        """Who writes down what is done."""
        self.undone = ""
        """What was undone when a phase was broken off the last time."""
        self.is_broken = False
        """A failed phase could not be undone: nothing here can be trusted any more."""
        self._is_window_complete = True
        self._judgement: tuple[Validated, Best | None] | None = None
        self.is_traced = False
        """Forward and backward run in torch's anomaly mode: a backward that fails names the line of the forward."""
        self._origin: Origin | None = None

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
            NEXT_PHASE[self.book.rest]
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
        return self.book.inside is None and self.book.rest is Rest.READY and self.loop.turn is self.training.turns[0]

    def zero_grad(self) -> None:
        """Clear the gradients of the optimizer whose turn it is, by hand. Raises BadInput inside a phase."""
        self._need(Verb.ZERO_GRAD)
        self.loop.zero_grad()
        self.book.gradients_are_cleared()
        if self.journal is not None:
            self.journal.cleared()

    def validate(self) -> Validated:
        """One pass over the validation data, which leaves training as it was. Raises BadInput without such data, and
        UserCodeFailed if the user's code raises."""
        self._need(Verb.VALIDATE)
        if not self.training.has_validation:
            raise BadInput("There is nothing to validate with; expected Recipe(validation=...)")
        lazy = [name for name, (tensor, _) in named_tensors(self.recipe.model).items() if is_uninitialised(tensor)]
        if lazy:
            raise BadInput(f"{listed(lazy)} has no shape yet; expected a Forward before the first validation")
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
        if self.journal is not None:
            self.journal.validated(validation, best)
        return validation

    def _backpropagate(self) -> None:
        self._is_window_complete = self.loop.backward()

    def _optimize(self) -> None:
        self.loop.step(self.book.step)
        self._judgement = None
        if self.loop.epoch_end.validation is not None:
            # Here, where it can be undone: the copy of the weights needs memory.
            self.loop.substep = SubStep.VALIDATE
            self._judgement = judged(self.recipe, self.loop.epoch_end.validation, self.best)

    # ------------------------------------------------------------------------------------------ running and undoing

    def _need(self, verb: Verb) -> None:
        if self.is_broken:
            raise BadInput("The session cannot go on: a phase that failed could not be undone. Open the recipe again")
        inside = self.book.inside
        if inside is not None:
            # A gate may ask for anything, and stands inside a phase.
            raise BadInput(f"Stopped {INSIDE[inside].value}: finish that phase first")
        reason = refusal(self.book.rest, verb)
        if reason is not None:
            raise BadInput(reason)

    def _run(self, phase: Phase, body: Callable[[], None], undo: Callable[[], str]) -> PhaseReport:
        self._need(_VERBS[phase])
        if self.journal is not None:
            self.journal.before(phase)
        if phase is Phase.FORWARD:
            self.loop.loss = None
        self.book.begin(phase)
        try:
            listener = self.observer.listener
            if listener is None:
                self._run_body(body)
            else:
                with listener.looking(phase):
                    self._run_body(body)
            collected = self.book.end(phase)
        except BaseException as error:
            # BaseException: also sys.exit() in the user's code is only a failure of theirs.
            if is_interruption(error):
                self._leave_failed(phase, undo)
                raise
            if self.book.left_by is not None:
                # What a thread that was left there has not made is missing.
                self._leave_failed(phase, undo)
                raise self.book.left_by from error
            raise self._failed(phase, error, undo) from error
        self.book.close_phase(phase, collected)
        if phase is Phase.STEP:
            return self._complete_step(collected)
        rest = AFTER[phase]
        if phase is Phase.BACKWARD:
            self.loop.finish_micro_batch(is_complete=self._is_window_complete)
            rest = rest if self._is_window_complete else Rest.ACCUMULATING
        report = self.book.write(phase, collected, rest=rest)
        if self.journal is not None:
            self.journal.done(phase)
        return report

    def _run_body(self, body: Callable[[], None]) -> None:
        if self.is_traced:
            self._origin = None
            traced(body, self._note_origin)
        else:
            body()

    def _complete_step(self, collected: Collected) -> PhaseReport:
        loop, book = self.loop, self.book
        report = book.write_step(collected)
        if self._judgement is not None:
            self._note_validation(*self._judgement)
        loop.finish_step(book.step)
        book.next_step()
        if self.journal is not None:
            self.journal.done(Phase.STEP)
        if loop.epoch_end.broken_off is not None:
            self.undone = "The validation was broken off; the step is done"
            raise loop.epoch_end.broken_off
        return report

    def _note_validation(self, validation: Validated, best: Best | None) -> None:
        self.best = best or self.best
        self.book.validations.append(validation)

    def _failed(self, phase: Phase, error: BaseException, undo: Callable[[], str]) -> UserCodeFailed:
        inside = safely(lambda: self.observer.innermost_layer(error), None)
        moment = self.book.moment
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
            sentence=f"The {_NOUNS.get(substep, substep.value)} of step {self.book.step} failed{where}: {said}",
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
            report = self.book.abandon(phase)
            self.undone = undo()
            if self.journal is not None:
                self.journal.undone(phase)
        except BaseException as error:
            # A poisoned CUDA context (a device-side assert) fails in everything that follows.
            self.is_broken = True
            self.undone = f"It could not be undone ({describe_error(error)}): restart the engine"
        self.book.leave()
        if report is None or phase is Phase.STEP or self.is_broken:
            return report
        return self.book.note_undone(phase, report)

    def _undo_forward(self) -> str:
        undone = self.loop.undo_forward()
        self.book.rest = Rest.ACCUMULATING if self.loop.window.micro else Rest.READY
        return undone

    def _undo_backward(self) -> str:
        undone = self.loop.undo_backward()
        self.book.rest = Rest.ACCUMULATING if self.loop.window.micro else Rest.READY
        return undone

    # ------------------------------------------------------------------------------------------ settings and place

    @property
    def position(self) -> Position:
        return self.book.position

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
            batch_size=self.loop.batches.batch_size,
            compiled=self.observer.eager.names,
            capture=self.book.capture,
        )

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

    def continue_at(self, step: int, batches: BatchSource, epoch_losses: dict[str, tuple[float, int]]) -> None:
        """Stand before step `step`, with other weights: what was seen of the newest steps is forgotten."""
        self.loop.continue_at(step, batches, epoch_losses)
        self.book.continue_at(step)
        self.undone = ""
        self.info = self.describe()
        if self.journal is not None:
            self.journal.began_anew()

    def close(self) -> None:
        """Remove every hook and copy. The model stays as trained."""
        self.book.close()
        self.loop.close()
        self.training.forget()
        self.best = None

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
