"""Applies edits to a session and undoes them, the newest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from gradscope.engine.edits.change import Change, EditRecord, sentence
from gradscope.engine.edits.choices import describe_choices
from gradscope.engine.edits.classes import edit_loss, edit_optimizer, edit_scheduler
from gradscope.engine.edits.layers import edit_dropout, edit_mode, edit_requires_grad
from gradscope.engine.edits.options import edit_membership, edit_option
from gradscope.engine.edits.step import edit_accumulation, edit_clipping, edit_scheduler_metric, edit_zero_grad
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import edits
from gradscope.protocol.messages.edits import Choices, Edit, edit_refusal
from gradscope.protocol.phases import Rest

_SEEN_BY_A_CLOSURE = (edits.EditLoss, edits.EditDropout, edits.EditMode, edits.EditZeroGrad)


class Editor:
    """The edits of one session, in `records`; the newest that is not undone can be undone."""

    def __init__(self, stepper: Stepper) -> None:
        self.records: list[EditRecord] = []
        self._stepper = stepper
        self._stack: list[tuple[EditRecord, type[Edit], Callable[[], str | None]]] = []
        self._made: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()

    def apply(self, edit: Edit) -> EditRecord:
        """Make an edit. Raises BadInput, and nothing has changed, where it is wrong or not possible now."""
        self._check_place(type(edit))
        change = self._change(edit)
        record = EditRecord(number=len(self.records), step=self._stepper.position.step, text=change.text)
        self.records.append(record)
        self._stack.append((record, type(edit), change.undo))
        return record

    def undo(self) -> tuple[EditRecord, str]:
        """Undo the newest edit; the text says what that has done. Raises BadInput where there is none, or not now."""
        if not self._stack:
            raise BadInput("There is no edit to undo")
        record, edit, undo = self._stack[-1]
        self._check_place(edit)
        said = undo()
        self._stack.pop()
        record.undone_at = self._stepper.position.step
        return record, sentence([f"Undone: {record.text}", said or ""])

    def choices(self) -> Choices:
        """What losses, optimizers and schedulers there are to choose from, and which are in use."""
        return describe_choices(self._stepper, self._made)

    def forget(self) -> None:
        """Let go of what undoing would bring back."""
        self._stack.clear()

    def continue_at(self, step: int) -> None:
        """A checkpoint stands before step `step`: later edits have not been made, and the earlier ones stay for good."""
        self.forget()
        self.records = [record for record in self.records if record.step < step]
        for record in self.records:
            if record.undone_at is not None and record.undone_at >= step:
                record.undone_at = None

    def _check_place(self, edit: type[Edit]) -> None:
        rest = self._stepper.position.rest
        reason = edit_refusal(rest, edit)
        if reason is not None:
            raise BadInput(reason)
        turn = self._stepper.loop.turn
        if rest is not Rest.READY and turn.needs_closure and edit in _SEEN_BY_A_CLOSURE:
            name = type(turn.optimizer).__name__
            raise BadInput(f"{name} evaluates this batch again in its step: finish the step first")

    def _change(self, edit: Edit) -> Change:
        stepper, made = self._stepper, self._made
        match edit:
            case edits.EditOption():
                return edit_option(stepper, edit)
            case edits.EditMembership():
                return edit_membership(stepper, edit)
            case edits.EditClipping():
                return edit_clipping(stepper, edit)
            case edits.EditAccumulation():
                return edit_accumulation(stepper, edit)
            case edits.EditZeroGrad():
                return edit_zero_grad(stepper, edit)
            case edits.EditSchedulerMetric():
                return edit_scheduler_metric(stepper, edit)
            case edits.EditLoss():
                return edit_loss(stepper, edit, made)
            case edits.EditOptimizer():
                return edit_optimizer(stepper, edit, made)
            case edits.EditScheduler():
                return edit_scheduler(stepper, edit, made)
            case edits.EditRequiresGrad():
                return edit_requires_grad(stepper, edit)
            case edits.EditMode():
                return edit_mode(stepper, edit)
            case edits.EditDropout():
                return edit_dropout(stepper, edit)
        raise BadInput(f"{type(edit).__name__} is no edit; expected one of gradscope.protocol.messages.edits")
