"""The session: a recipe stepped by hand, and everything that can be asked of it or changed between two phases."""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from types import FrameType, TracebackType
from typing import Any

from gradscope.engine.book.gate import Gate
from gradscope.engine.capture.keeper import DEFAULT_BUDGET_BYTES
from gradscope.engine.data.batches import BatchSource
from gradscope.engine.edits.change import EditRecord
from gradscope.engine.edits.editor import Editor
from gradscope.engine.evaluate.evaluates import Evaluates
from gradscope.engine.evaluate.evaluator import Evaluation
from gradscope.engine.evaluate.of_recipe import place_of
from gradscope.engine.evaluate.place import Place
from gradscope.engine.explain.explain import Explanation
from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.check_up import CheckUp
from gradscope.engine.findings.restore import State
from gradscope.engine.findings.watched import Judged, watched
from gradscope.engine.questions.check_now import check_gradient_now
from gradscope.engine.questions.gradient_check import GradientCheck
from gradscope.engine.questions.why import explain_newest_step
from gradscope.engine.recipe.facts import facts_noted
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.stepping.schedule import foretell, steps_to_end
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.timeline.closer import CloserTimeline, Recomputed
from gradscope.engine.timeline.saved import Reached, SavedTimeline
from gradscope.engine.timeline.state_hash import state_hash
from gradscope.engine.timeline.timeline import Went
from gradscope.engine.what_if.session_part import WhatIf
from gradscope.engine.what_if.surface import MOST_OF_PATH, Past
from gradscope.protocol.capture import FULL, Capture
from gradscope.protocol.failure import BadInput
from gradscope.protocol.findings import Findings, Planned, Progress
from gradscope.protocol.messages import Schedule
from gradscope.protocol.messages.checkpoints import CheckpointLoaded, CheckpointSaved
from gradscope.protocol.messages.edits import Choices, Edit, EditFile, EditMade
from gradscope.protocol.messages.evaluate import Evaluate
from gradscope.protocol.phases import Phase, Position, SubStep
from gradscope.protocol.subjects import SubjectKey


class Session(WhatIf, Judged, Evaluates):
    """One recipe being trained on one device: `forward()`, `backward()`, `step()`, in this order, again and again; and the
    doors to the rest: values, explanations, edits, checkpoints, snapshots. A context manager: leaving it closes it.

    `device`: "cpu", "cuda:0", "mps". `seed` seeds the order of the data; default: the one that `load_recipe` was given, or 0.
    The recipe's model, optimizer and scheduler are trained in place. `budget_bytes` bounds the copies of activations that are
    kept for looking at their values. `capture`: "full", "layers:NAME,NAME...", "norms" or "off" (see `CaptureLevel`).
    `findings`: monitors ride along, and a check-up can be made. `timeline_bytes` bounds the memory that going back may take;
    0: one cannot go back.

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
        findings: bool = False,
        timeline_bytes: int = 0,
    ) -> None:
        # As it was loaded: what is trained by it changes it.
        facts = facts_noted(recipe)
        super().__init__(recipe, device, seed, gate=gate, budget_bytes=budget_bytes, capture=capture)
        self.training.facts = facts
        self.loaded_checkpoint: str | None = None
        """The newest file that `load_checkpoint` has read, or the folder of `load_timeline`."""
        self.timeline = CloserTimeline(self, lambda: self.editor, timeline_bytes)
        """The way back: how far one can go, and what it costs."""
        self._start: State | None = None
        """As it was when somebody began to look for findings, where that takes no more than a bounded part of memory."""
        if findings:
            self.look_for_findings()

    @cached_property
    def editor(self) -> Editor:
        """Makes edits and undoes them."""
        return Editor(self, self._evaluate_again)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------ edits

    def edit(self, edit: Edit) -> EditRecord:
        """Change a setting between two phases: one of `protocol.messages.edits`, say `EditOption(group=0, option="lr",
        value="0.01")`. What follows is what a plain loop does after the same assignment at the same place.

        Raises BadInput, and nothing has changed, where the edit is wrong or not possible now.
        """
        edit = self.editor.resolved(edit)
        record = self.editor.apply(edit)
        self.timeline.edited(edit, record)
        self.info = self.describe()
        return record

    def go_on_with_file(self) -> EditRecord:
        """Go on with the recipe's file as it was edited since it was loaded: the file is loaded again, and what it says
        otherwise is taken: loss, training step, the code of layers, options of optimizers, schedulers, clipping,
        accumulation, plain attributes of layers. All else goes on: parameters, state, random states, the place in the data,
        and edits that the file says nothing of. The record says by name what has changed, and what begins anew.

        Raises BadInput, one sentence, and nothing has changed, where the file cannot be loaded, says nothing new, or has what
        cannot be taken in place: other parameters or layers, other data, another precision.
        """
        return self.edit(EditFile())

    def undo_edit(self) -> tuple[EditRecord, str]:
        """Undo the newest edit that is not undone, and say so. Raises BadInput where there is none, or not now."""
        undone = self.editor.undo()
        self.timeline.edited(None, undone[0])
        self.info = self.describe()
        return undone

    @property
    def edits(self) -> list[EditRecord]:
        """Every edit so far, the undone ones too."""
        return self.editor.records

    @property
    def edits_made(self) -> tuple[EditMade, ...]:
        """The same as they are told to others."""
        return tuple(record.as_message() for record in self.edits)

    def choices(self) -> Choices:
        """The losses, optimizers and schedulers that an edit can put in place, and those in use."""
        return self.editor.choices()

    # ------------------------------------------------------------------------------------------ going back

    def step_back(self) -> Position:
        """Go to before the newest phase. What follows is what a loop does that never went back.

        Raises BadInput where nothing before is kept (see `timeline`), and what the user's code raises where it is run again:
        then the session stands where it was. `timeline.newest` says what was not as it was.
        """
        return self.stand_elsewhere(self.timeline.step_back()).position

    def go_to(self, step: int, branch: int | None = None) -> Position:
        """Go to before the forward of a step that was made, on the branch that the training is on or another one of
        `timeline.branches`. Raises as `step_back` does."""
        return self.stand_elsewhere(self.timeline.go_to(step, branch)).position

    def stand_elsewhere(self, went: Went) -> Went:
        """Training has gone there: what the monitors have seen was another time. What a check-up has found stays."""
        before = self.verdicts
        if before is not None:
            self.look_for_findings()
            assert self.verdicts is not None
            self.verdicts.found_by_experiments = before.found_by_experiments
            self.verdicts.not_judged_by = before.not_judged_by
            self.verdicts.own = before.own
        return went

    def go_to_last(self, condition: str) -> Position:
        """Go to before the newest step before this one in which a condition held, one over the records of the steps such as
        "loss > 1.5 * previous" (docs/stops.md). Raises BadInput where there is none, and as `go_to` does."""
        return self.stand_elsewhere(self.timeline.go_to_last(condition)).position

    def values_at(self, step: int, key: SubjectKey) -> Recomputed:
        """The tensor of a subject in a step that is over, computed again; training stands where it stood, bit for bit.

        Raises BadInput where that step cannot be gone to, or has no such values, and what the user's code raises where it is
        run again.
        """
        return self.timeline.values_at(step, key)

    def state_hash(self) -> str:
        """A hex digest of everything that training depends on: parameters, buffers, gradients, the state and the options of
        optimizers, schedulers and the scaler, random states, the place in the data, flags, settings, and attributes of the
        user's objects. Two are equal if and only if those are, bit for bit."""
        return state_hash(self)

    # ------------------------------------------------------------------------------------------ questions

    def schedule(self, steps: int) -> Schedule:
        """The rates of the next `steps` steps, simulated on stand-ins."""
        ahead = self._steps_scheduled
        return foretell(
            self.training, self.loop.timing(steps_done=ahead), first_step=self.book.step + ahead, steps=steps
        )

    @property
    def steps_to_schedule_end(self) -> int | None:
        """How many steps the schedule still has by its own arguments; None where it has no end."""
        return steps_to_end(self.training, self.loop.timing(steps_done=self._steps_scheduled))

    @property
    def _steps_scheduled(self) -> int:
        # Stopped after the scheduler has moved, the rates are those of the next step already.
        return 1 if self.book.inside is Phase.STEP and self.observer.last_passed is SubStep.SCHEDULE else 0

    def explain(self, name: str) -> Explanation:
        """Why the newest step moved this parameter as it did: the terms of its delta, or why it is not explained."""
        return explain_newest_step(self.book, name)[0]

    def check_gradient(self, name: str, samples: int = 16, *, seed: int = 0) -> GradientCheck:
        """Compare autograd's gradient of a parameter with differences of the loss, in float64 on a copy of the model.

        Training is not touched. Raises BadInput if it cannot be done now, and UserCodeFailed if the user's code fails on the
        copy.
        """
        return check_gradient_now(self, name, samples=samples, seed=seed)

    def step(self) -> PhaseReport:
        """Unscale and clip, the optimizer moves the parameters, the scheduler sets the next rate."""
        report = super().step()
        self.ask_own_rules()
        self.watches.after_step()
        return report

    def evaluate(self, text: str, *, keep: bool = False, frame: FrameType | None = None) -> Evaluation:
        used = set(re.findall(r"\w+", text)) if keep and self.timeline.is_on else frozenset[str]()
        names = {name: value for name, value in self.evaluator.own.items() if name in used}
        try:
            evaluation = super().evaluate(text, keep=keep, frame=frame)
        except BaseException as error:
            if keep and is_interruption(error):
                # What it had changed up to there stays, and no script comes here.
                self.editor.note_code(text)
                self.info = self.describe()
            raise
        if evaluation.told.moved and keep:
            record = self.editor.note_code(text)
            if self.book.inside is None:
                # In the middle of a phase nobody could do it again at the same place.
                self.timeline.edited(Evaluate(text=text, keep=True), record, names)
            self.info = self.describe()
        return evaluation

    def _evaluate_again(self, text: str, names: Mapping[str, Any]) -> None:
        """With its effects kept, and the console's variables of then; the person's console is as before."""
        evaluator = self.evaluator
        now, evaluator.own = evaluator.own, dict(names)
        try:
            evaluator.evaluate(text, keep=True)
        finally:
            evaluator.own = now

    def place(self) -> Place:
        if self.is_broken:
            raise BadInput("Nothing can be evaluated: a phase that failed could not be undone. Open the recipe again")
        return place_of(self)

    def zero_grad(self) -> None:
        """Clear the gradients of the optimizer whose turn it is, by hand. Raises BadInput inside a phase."""
        super().zero_grad()
        self.editor.note_cleared()

    def look_for_findings(self) -> None:
        """From here on: monitors ride along, and a check-up can be made."""
        self.verdicts = watched(self.book, self.training, self.recipe.rules)
        self._start = None

        def take() -> None:
            self._start = State.take(self, edits=len(self.edits))

        if self.is_between_batches:
            self.observer.guarded(take)

    def planned_check_up(self, only: Collection[str] | None = None) -> list[Planned]:
        """The experiments that a check-up would run now, with what they take. `only`: these ids of findings.

        Raises BadInput where the session was opened without findings.
        """
        return self._check_up().plan(only)

    def check_up(
        self, only: Collection[str] | None = None, progress: Callable[[Progress], bool] | None = None
    ) -> Findings:
        """Run experiments on this training, and put everything back bit for bit; what is known then is returned.

        `only`: experiments that may find these ids. `progress` is called after every forward; where it returns False the
        check-up ends, and raises CheckUpCancelled. Raises BadInput inside a step, or where the session was opened without
        findings.
        """
        self._check_up().run(only, progress)
        return self.findings()

    def bench(self) -> Bench:
        """Where this training can be run again in another way, with everything put back. Raises BadInput as `check_up`."""
        if self.verdicts is None:
            raise BadInput("This session was opened without findings; expected Session(recipe, findings=True)")
        if not self.is_between_batches or self.loop.window.micro:
            raise BadInput("A check-up can be made between two steps: finish this one first")
        return Bench(self, self.verdicts.watch.record, start=self._start, edits=len(self.edits))

    def _past_parameters(self) -> Past:
        """The parameters before those of the newest steps that the timeline keeps."""
        tensors = self.observer.tensors()
        # Who has gone back has checkpoints ahead.
        before = [step for step in self.timeline.checkpoints if step < self.position.step]
        return [(step, self.timeline.values_before(step, tensors)) for step in before[-MOST_OF_PATH:]]

    def _check_up(self) -> CheckUp:
        bench = self.bench()
        assert self.verdicts is not None
        times = self.verdicts.watch.record.step_seconds
        return CheckUp(self.verdicts, bench, step_seconds=statistics.median(times) if times else 0.0)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot at `path`, which must not exist: a folder, or one file if the name ends with .zip.

        Raises BadInput if it cannot be written; then nothing of it is left.
        """
        from gradscope.engine.export.snapshot import write_snapshot

        write_snapshot(self, path)

    def save_checkpoint(self, path: str | os.PathLike[str]) -> CheckpointSaved:
        """Write a checkpoint file (see `gradscope.engine.checkpoints.save`), in the place of an older one.

        Raises BadInput inside a step, or if it cannot be written; an older file is as it was then.
        """
        from gradscope.engine.checkpoints.save import save_checkpoint

        return save_checkpoint(self, path)

    def save_best(self, path: str | os.PathLike[str]) -> CheckpointSaved:
        """Write the weights of the best validation, a bare state_dict. Raises BadInput as `save_checkpoint` does."""
        from gradscope.engine.checkpoints.save import save_best

        return save_best(self, path)

    def load_checkpoint(self, path: str | os.PathLike[str], *, strict: bool = True) -> CheckpointLoaded:
        """Take what a file has: one of `save_checkpoint`, any dict with "state_dict" (or "model_state_dict", or "model") and
        perhaps "optimizer", "scheduler", "scaler", "epoch", "step", a bare state_dict, or a safetensors file.

        After one of `save_checkpoint` with the same recipe, training goes on bit for bit where it was saved. Nothing in the
        file is executed. Raises DoesNotFit, with everything that is missing, unexpected or of another shape, if `strict`;
        otherwise what fits is loaded. Raises BadInput for a file that cannot be read, or inside a step. The session is as
        before then.
        """
        from gradscope.engine.checkpoints.load import load_checkpoint

        loaded = load_checkpoint(self, path, strict=strict)
        self.loaded_checkpoint = os.fspath(path)
        return loaded

    def load_timeline(
        self, folder: str | os.PathLike[str], step: int | None = None, *, tick: Callable[[], None] | None = None
    ) -> Reached:
        """Stand before a step of a timeline that `gradscope run --timeline` has written: the nearest checkpoint up to it is
        loaded, and the steps between are made again. None: before its newest checkpoint. The answer says whether what was
        written down of those steps is as it was, to the last bit, and if not, from which step on. `tick` is called before
        each phase, and may raise.

        Raises BadInput where the folder has no such timeline, or as `load_checkpoint` does, and what the user's code raises
        where it is run again.
        """
        saved = SavedTimeline(folder)
        reached = saved.go_to(self, saved.newest if step is None else step, tick or (lambda: None))
        self.loaded_checkpoint = os.fspath(folder)
        return reached

    def reproduce(self) -> str:
        """A plain PyTorch script that comes to this moment without gradscope, and prints the same loss.

        It loads the recipe's file, and repeats the edits at the places where they were made. Raises BadInput, one sentence,
        where that cannot be written: before the first forward, inside a phase, after a checkpoint was loaded, for a recipe
        that is of no file or whose file is another one now, and for an edit that a script cannot repeat.
        """
        from gradscope.engine.reproduce.script import write_script

        if self.loaded_checkpoint is not None:
            raise BadInput(
                f"A script cannot come here: the checkpoint {self.loaded_checkpoint} was loaded, and what led to that is not "
                "known here"
            )
        return write_script(self, self.editor.journal)

    def continue_at(self, step: int, batches: BatchSource, epoch_losses: dict[str, tuple[float, int]]) -> None:
        """Stand before step `step`, with other weights: what was seen of the newest steps is forgotten."""
        # What they would put back belongs to the training before.
        self.editor.continue_at(step)
        super().continue_at(step, batches, epoch_losses)

    def close(self) -> None:
        """Remove every hook and copy. The model stays as trained."""
        self.timeline.close()
        super().close()
        self.editor.forget()
