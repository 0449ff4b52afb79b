"""The session: a recipe stepped by hand, and everything that can be asked of it or changed between two phases."""

from __future__ import annotations

import os
from functools import cached_property
from types import TracebackType
from typing import Any

from torch import Tensor

from gradscope.engine.book.step_record import StepRecord
from gradscope.engine.book.values import known_subjects, values_of
from gradscope.engine.data.batches import BatchSource
from gradscope.engine.edits.change import EditRecord
from gradscope.engine.edits.editor import Editor
from gradscope.engine.explain.explain import Explanation
from gradscope.engine.questions.check_now import check_gradient_now
from gradscope.engine.questions.gradient_check import GradientCheck
from gradscope.engine.questions.why import explain_newest_step
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.stepping.schedule import foretell, steps_to_end
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.capture import Capture
from gradscope.protocol.messages import InitialParameters, Schedule, Validated
from gradscope.protocol.messages.checkpoints import CheckpointLoaded, CheckpointSaved
from gradscope.protocol.messages.edits import Choices, Edit, EditMade
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectKind


class Session(Stepper):
    """One recipe being trained on one device: `forward()`, `backward()`, `step()`, in this order, again and again; and the
    doors to the rest: values, explanations, edits, checkpoints, snapshots. A context manager: leaving it closes it.

    `device`: "cpu", "cuda:0", "mps". `seed` seeds the order of the data; default: the one that `load_recipe` was given, or 0.
    The recipe's model, optimizer and scheduler are trained in place. `budget_bytes` bounds the copies of activations that are
    kept for looking at their values. `capture`: "full", "layers:NAME,NAME...", "norms" or "off" (see `CaptureLevel`).

    Each phase returns a `PhaseReport`. It raises BadInput if it is not its turn, and UserCodeFailed if the user's code
    raises; then the phase has been undone and the session stands as before it (`UserCodeFailed.report` is what was captured
    up to there).
    """

    @cached_property
    def editor(self) -> Editor:
        """Makes edits and undoes them."""
        return Editor(self)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------ what is in the book

    @property
    def history(self) -> list[StepRecord]:
        """Every step that is done."""
        return self.book.history

    @property
    def validations(self) -> list[Validated]:
        return self.book.validations

    @property
    def reports(self) -> dict[Phase, PhaseReport]:
        """The newest report of each phase."""
        return self.book.reports

    @property
    def capture(self) -> Capture:
        return self.book.capture

    @property
    def batch(self) -> Any:
        """The batch of the current or newest step, on the device; None before the first."""
        return self.loop.batch

    @property
    def first_nonfinite(self) -> FirstNonFinite | None:
        """Where the training's first NaN or Inf was made, once there is one; also in the report of that phase."""
        return self.book.first_nonfinite

    def partial_report(self) -> PhaseReport | None:
        """What has been captured so far of the phase that the session is stopped in; None between phases."""
        return self.book.partial_report()

    def initial_parameters(self) -> InitialParameters:
        """Summaries of all parameters and buffers as they are now."""
        return self.book.initial_parameters()

    # ------------------------------------------------------------------------------------------ edits

    def edit(self, edit: Edit) -> EditRecord:
        """Change a setting between two phases: one of `protocol.messages.edits`, say `EditOption(group=0, option="lr",
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

    @property
    def edits_made(self) -> tuple[EditMade, ...]:
        """The same as they are told to others."""
        return tuple(record.as_message() for record in self.edits)

    def choices(self) -> Choices:
        """The losses, optimizers and schedulers that an edit can put in place, and those in use."""
        return self.editor.choices()

    # ------------------------------------------------------------------------------------------ questions

    def values(self, key: SubjectKey) -> Tensor:
        """The tensor of a subject as it is now, detached. Raises ValuesUnavailable with the reason."""
        return values_of(self.book, key)

    def known_subjects(self, kind: SubjectKind) -> list[SubjectKey]:
        """The subjects of a kind that there are now: of the newest reports, or every parameter or buffer."""
        return known_subjects(self.book, kind)

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

        return load_checkpoint(self, path, strict=strict)

    def continue_at(self, step: int, batches: BatchSource, epoch_losses: dict[str, tuple[float, int]]) -> None:
        """Stand before step `step`, with other weights: what was seen of the newest steps is forgotten."""
        # What they would put back belongs to the training before.
        self.editor.continue_at(step)
        super().continue_at(step, batches, epoch_losses)

    def close(self) -> None:
        """Remove every hook and copy. The model stays as trained."""
        super().close()
        self.editor.forget()
