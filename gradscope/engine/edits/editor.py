"""Applies edits to a session and undoes them, the newest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from torch.optim import Optimizer

from gradscope.engine.book.turns import groups_of
from gradscope.engine.edits.change import Change, EditRecord, sentence
from gradscope.engine.edits.choices import describe_choices
from gradscope.engine.edits.classes import edit_loss, edit_optimizer, edit_scheduler
from gradscope.engine.edits.file import edit_file
from gradscope.engine.edits.file_versions import Version, load_version
from gradscope.engine.edits.journal import Deed, DeedKind, Journal, Place, option_value
from gradscope.engine.edits.layers import edit_dropout, edit_mode, edit_requires_grad
from gradscope.engine.edits.options import edit_membership, edit_option
from gradscope.engine.edits.step import edit_accumulation, edit_clipping, edit_scheduler_metric, edit_zero_grad
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import edits
from gradscope.protocol.messages.edits import Choices, Edit, edit_refusal
from gradscope.protocol.phases import Rest

_LONGEST_LINE = 80
_SEEN_BY_A_CLOSURE = (edits.EditLoss, edits.EditDropout, edits.EditMode, edits.EditZeroGrad)

Undoable = tuple[EditRecord, type[Edit], Callable[[], str | None]]


class Editor:
    """The edits of one session, in `records`; the newest that is not undone can be undone."""

    def __init__(
        self, stepper: Stepper, run: Callable[[str, Mapping[str, Any]], object] = lambda text, names: None
    ) -> None:
        """`run` evaluates code once more, with its effects kept and with these variables of the console's."""
        self.records: list[EditRecord] = []
        self.journal = Journal()
        """Every edit as it was made, and what else was done by hand."""
        self._stepper, self._run = stepper, run
        self._stack: list[Undoable] = []
        self._files: list[Version] = []
        """Each of the versions of the recipe's file that it went on with, so that it can be done again."""
        self._made: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()

    def apply(self, edit: Edit) -> EditRecord:
        """Make an edit. Raises BadInput, and nothing has changed, where it is wrong or not possible now."""
        self._check_place(type(edit))
        place = Place.of(self._stepper)
        is_known = isinstance(edit, edits.EditOption) and 0 <= edit.group < len(groups_of(self._optimizers))
        before, _ = option_value(self._stepper, edit) if is_known else (None, False)
        change = self._change(edit)
        after, is_tensor = option_value(self._stepper, edit)
        self.journal.deeds.append(
            Deed(
                kind=DeedKind.EDIT,
                place=place,
                number=len(self.records),
                edit=edit,
                values=(before, after),
                is_tensor=is_tensor,
                scheduler=self._scheduler_made(edit),
            )
        )
        record = EditRecord(number=len(self.records), step=self._stepper.position.step, text=change.text)
        self.records.append(record)
        self._stack.append((record, type(edit), change.undo))
        return record

    def resolved(self, edit: Edit) -> Edit:
        """An edit that can be made again at the same place: the recipe's file is loaded now. Raises BadInput as `apply`."""
        if not isinstance(edit, edits.EditFile) or edit.version:
            return edit
        self._check_place(edits.EditFile)
        self._files.append(load_version(self._stepper))
        return edits.EditFile(version=len(self._files))

    def undo(self) -> tuple[EditRecord, str]:
        """Undo the newest edit; the text says what that has done. Raises BadInput where there is none, or not now."""
        if not self._stack:
            raise BadInput("There is no edit to undo")
        record, edit, undo = self._stack[-1]
        self._check_place(edit)
        said = undo()
        self._stack.pop()
        record.undone_at = self._stepper.position.step
        place = Place.of(self._stepper)
        self.journal.deeds.append(Deed(kind=DeedKind.UNDO, place=place, number=record.number, said=said or ""))
        return record, sentence([f"Undone: {record.text}", said or ""])

    def note_cleared(self) -> None:
        """The gradients of the optimizer whose turn it is were cleared by hand."""
        place, turn = Place.of(self._stepper), self._stepper.loop.turn.name
        self.journal.deeds.append(Deed(kind=DeedKind.CLEAR, place=place, turn=turn))

    def note_code(self, text: str) -> EditRecord:
        """This was evaluated, and its effects stay. It is no edit that could be undone."""
        place = Place.of(self._stepper)
        self.journal.deeds.append(Deed(kind=DeedKind.CODE, place=place, said=text))
        line = " ".join(text.split())
        shown = line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} ..."
        return EditRecord(number=len(self.records), step=self._stepper.position.step, text=f"evaluated: {shown}")

    def run_again(self, text: str, names: Mapping[str, Any]) -> EditRecord:
        """Evaluate it as then, with the console's variables of then."""
        self._run(text, names)
        return self.note_code(text)

    def choices(self) -> Choices:
        """What losses, optimizers and schedulers there are to choose from, and which are in use."""
        return describe_choices(self._stepper, self._made)

    def undoable(self) -> list[Undoable]:
        """What `undo` would undo, the oldest first."""
        return list(self._stack)

    def put_undoable(self, stack: list[Undoable]) -> None:
        """Training stands where these were what can be undone."""
        self._stack = list(stack)

    def forget(self) -> None:
        """Let go of what undoing would bring back."""
        self._stack.clear()
        self._files.clear()

    def continue_at(self, step: int) -> None:
        """A checkpoint stands before step `step`: later edits have not been made, and the earlier ones stay for good."""
        self.forget()
        self.journal.cut(step)
        self.records = [record for record in self.records if record.step < step]
        for record in self.records:
            if record.undone_at is not None and record.undone_at >= step:
                record.undone_at = None

    @property
    def _optimizers(self) -> list[Optimizer]:
        return self._stepper.training.optimizers

    def _scheduler_made(self, edit: Edit) -> tuple[str, dict[str, str]] | None:
        """What has become of the scheduler of an optimizer that was replaced."""
        if not isinstance(edit, edits.EditOptimizer):
            return None
        turn = next(turn for turn in self._stepper.training.turns if turn.name == edit.turn)
        made = None if turn.scheduler is None else self._made.get(turn.scheduler)
        return None if made is None else (type(turn.scheduler).__name__, dict(made))

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
                return edit_option(stepper.training, edit)
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
            case edits.EditFile(version=number):
                if not 0 < number <= len(self._files):
                    raise BadInput(
                        f"No version {number} of the recipe's file was loaded; expected 0, as it is on disk now"
                    )
                return edit_file(stepper, self._files[number - 1])
        raise BadInput(f"{type(edit).__name__} is no edit; expected one of gradscope.protocol.messages.edits")
