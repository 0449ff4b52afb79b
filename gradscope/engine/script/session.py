"""The session of a script: what can be asked of it, as of the session of a recipe. It steps nothing itself."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.optim import Optimizer

from gradscope.engine.book.book import Book
from gradscope.engine.book.description import (
    describe_buffers,
    describe_groups,
    describe_modules,
    describe_parameters,
)
from gradscope.engine.book.gate import Gate
from gradscope.engine.book.turns import Turn
from gradscope.engine.capture.shared_hooks import SharedHooks
from gradscope.engine.evaluate.evaluates import Evaluates
from gradscope.engine.evaluate.place import Place
from gradscope.engine.explain.explain import Explanation
from gradscope.engine.findings.check_up import CheckUp
from gradscope.engine.findings.script_bench import ScriptBench
from gradscope.engine.findings.watched import Judged, watched_script
from gradscope.engine.questions.why import explain_newest_step
from gradscope.engine.recipe.checked import unmatched_layer
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.abilities import REFUSED, refused_in
from gradscope.engine.script.evaluating import place_of
from gradscope.engine.script.facts import Facts
from gradscope.engine.script.finding.found import ByHand, Found
from gradscope.engine.script.stations import Journal, Passage
from gradscope.engine.what_if.script_part import ScriptWhatIf
from gradscope.engine.wording import listed
from gradscope.protocol.capture import Capture
from gradscope.protocol.failure import BadInput
from gradscope.protocol.findings import Findings, Planned, Progress
from gradscope.protocol.last_place import LastPlace
from gradscope.protocol.messages import Schedule, SessionInfo
from gradscope.protocol.messages.edits import Edit, EditMade, EditOption
from gradscope.protocol.phases import AT_REST, Position, Rest, SubStep
from gradscope.protocol.scripts import Ability, Script, ScriptKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager
    from types import FrameType

    from torch import nn

    from gradscope.engine.edits.change import Change, EditRecord
    from gradscope.engine.evaluate.evaluator import Evaluation
    from gradscope.engine.model.leaves import Inputs

_FIRST_ORDER = SubStep.FORWARD, SubStep.LOSS, SubStep.BACKWARD, SubStep.STEP
"""Until the first step is done."""


class ScriptSession(Judged, ScriptWhatIf, Evaluates):
    """One training that a script drives. Made when it is known that there is one; the model in its book grows."""

    def __init__(
        self,
        script: Script,
        found: Found,
        journal: Journal,
        *,
        capture: Capture,
        budget_bytes: int,
        gate: Gate,
    ) -> None:
        self.script, self.found, self.journal = script, found, journal
        self.device = next((tensor.device for tensor in found.model.parameters()), torch.device("cpu"))
        self.book = Book(
            found.model, self.device, budget_bytes=budget_bytes, capture=capture, gate=gate, hooks=SharedHooks
        )
        self.book.is_of_script = True
        self.observer, self.keeper = self.book.observer, self.book.keeper
        self.observer.stay_compiled = found.compiled
        self.facts = Facts(found, self.observer)
        self.book.belongs_to(self.facts)
        self.newest: Passage | None = None
        """What the script came through in the newest phase."""
        self.unfinished: PhaseReport | None = None
        """What the phase had shown that was under way when the script ended."""
        self.unseen: Callable[[], AbstractContextManager[object]] = nullcontext
        """Inside, what this thread does is not followed."""
        self.look_again: Callable[[], None] = lambda: None
        """A person has changed something, which is none of the script's doing."""
        self._told_order: tuple[SubStep, ...] = ()
        self._last_place: LastPlace | None = None
        self.edits: list[EditRecord] = []
        self._undo: list[Change] = []
        self.info: SessionInfo = self.describe()

    def place(self) -> Place:
        return place_of(self, lambda: self.unseen())

    def evaluate(self, text: str, *, keep: bool = False, frame: FrameType | None = None) -> Evaluation:
        """As of any session. What a person changes of the weights for good (`keep`) is not taken for a step of the script."""
        try:
            return super().evaluate(text, keep=keep, frame=frame)
        finally:
            if keep:
                self.look_again()

    # ------------------------------------------------------------------------------------------ findings

    def look_for_findings(self) -> None:
        """From here on, before its first step."""
        self.verdicts = watched_script(self.book)

    def planned_check_up(self, only: Collection[str] | None = None) -> list[Planned]:
        """The experiments that a check-up would run now, and those that a script does not allow, with the reason."""
        return self._check_up().plan(only)

    def check_up(
        self, only: Collection[str] | None = None, progress: Callable[[Progress], bool] | None = None
    ) -> Findings:
        """As `Session.check_up`, of what needs only the model and its newest batch."""
        self._check_up().run(only, progress)
        return self.findings()

    def _check_up(self) -> CheckUp:
        if self.verdicts is None:
            raise BadInput("Nobody looks for findings in this script")
        if self.position.rest is not Rest.READY:
            raise BadInput("A check-up can be made between two steps: finish this one first")
        name, module, inputs = self.facts.call or ("", None, None)
        bench = ScriptBench(self.observer, name, module, inputs, self.facts.batch)
        return CheckUp(self.verdicts, bench, step_seconds=self.history[-1].seconds if self.history else 0.0)

    def _call(self) -> tuple[str, nn.Module, Inputs] | None:
        return self.facts.call

    # ------------------------------------------------------------------------------------------ what is known

    def renew(self) -> None:
        """More is known than when it was described."""
        self.info = self.describe()

    def order_has_changed(self) -> bool:
        return self.journal.order != self._told_order

    def describe(self) -> SessionInfo:
        model, turns = self.found.model, self.found.turns
        self._told_order = self.journal.order
        schedulers = [type(turn.scheduler).__name__ for turn in turns if turn.scheduler is not None]
        names = list(dict.fromkeys(type(turn.optimizer).__name__ for turn in turns if not _is_by_hand(turn)))
        path, digest = self._source()
        return SessionInfo(
            name=self.script.title,
            description="",
            path=path,
            sha256=digest,
            seed=0,
            device=str(self.device),
            modules=tuple(module for module in describe_modules(model) if module.name),
            parameters=describe_parameters(model, turns),
            buffers=describe_buffers(model),
            groups=describe_groups(model, turns),
            optimizer=" + ".join(names) or "by hand",
            scheduler=" + ".join(schedulers) or None,
            loss="" if self.newest is None else self.newest.loss_name,
            scheduler_unit="step",
            batches_per_epoch=self.facts.batches.length,
            substeps=self.journal.order or _FIRST_ORDER,
            optimizers=tuple(turn.name for turn in turns) or ("",),
            capture=str(self.book.capture),
            warnings=tuple(self._warnings()),
            script=self.script,
            refused=refused_in(self.script),
        )

    def _warnings(self) -> Sequence[str]:
        found = []
        if self.found.untrained:
            names = listed(list(self.found.untrained))
            found.append(f"{names}: called, and held by no optimizer, so it is not looked into (a teacher, an average)")
        if self.found.compiled:
            names = listed(sorted(self.found.compiled))
            found.append(
                f"Compiled by torch.compile: {names}. It stays compiled, and only its outermost calls are seen"
            )
        unmatched = unmatched_layer(self.found.model, self.book.capture)
        if unmatched:
            found.append(f"{unmatched}, so nothing is captured of it")
        return found

    def _source(self) -> tuple[str, str]:
        if self.script.kind in (ScriptKind.MODULE, ScriptKind.ATTACHED):
            return "", ""
        path = Path(self.script.folder, self.script.name).absolute()
        with suppress(OSError):
            return str(path), hashlib.sha256(path.read_bytes()).hexdigest()
        return str(path), ""

    def leave_place_in(self, place: LastPlace | None) -> None:
        """Where the training is, and in which layer, is written there from now on, for whoever outlives this process."""
        self._last_place = place
        if place is not None:
            self.observer.running.tell = place.layer

    def note_place(self) -> None:
        if self._last_place is not None:
            self._last_place.write(self.position)

    @property
    def position(self) -> Position:
        return self.book.position

    @property
    def turns(self) -> list[Turn]:
        return self.found.turns

    @property
    def optimizers(self) -> list[Optimizer]:
        return [turn.optimizer for turn in self.found.turns]

    @property
    def scheduler_unit(self) -> str:
        """The script steps its schedulers when it wants to."""
        return "step"

    # ------------------------------------------------------------------------------------------ edits

    def edit(self, edit: Edit) -> EditRecord:
        """Change an option of a parameter group, as the script could. Raises BadInput where that cannot be, and for any other
        edit."""
        # Not before it is asked for: the script waits while this is imported.
        from gradscope.engine.edits.change import EditRecord
        from gradscope.engine.edits.options import edit_option

        self._need_rest()
        if not isinstance(edit, EditOption):
            raise BadInput(REFUSED[Ability.EDIT_STEP.value])
        change = edit_option(self, edit)
        record = EditRecord(number=len(self.edits), step=self.position.step, text=change.text)
        self.edits.append(record)
        self._undo.append(change)
        self.renew()
        return record

    def undo_edit(self) -> tuple[EditRecord, str]:
        """Undo the newest edit that is not undone. Raises BadInput where there is none, or not now."""
        from gradscope.engine.edits.change import sentence

        self._need_rest()
        if not self._undo:
            raise BadInput("There is no edit to undo")
        record = [record for record in self.edits if record.undone_at is None][-1]
        said = self._undo.pop().undo()
        record.undone_at = self.position.step
        self.renew()
        return record, sentence([f"Undone: {record.text}", said or ""])

    def _need_rest(self) -> None:
        if self.position.rest not in AT_REST:
            raise BadInput("An option can be changed between two phases: finish this one first")

    @property
    def edits_made(self) -> tuple[EditMade, ...]:
        return tuple(record.as_message() for record in self.edits)

    # ------------------------------------------------------------------------------------------ questions

    def explain(self, name: str) -> Explanation:
        """Why the newest step moved this parameter as it did."""
        return explain_newest_step(self.book, name)[0]

    def schedule(self, steps: int) -> Schedule | None:
        """None: the rates to come are the script's."""
        return None

    def set_capture(self, capture: Capture) -> None:
        """Capture more or less from the next forward on. Raises BadInput inside a phase."""
        if self.book.inside is not None or self.position.rest not in AT_REST:
            raise BadInput("What is captured can be changed between two phases: finish this one first")
        self.observer.set_capture(capture)
        self.renew()

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot at `path`, which must not exist. Raises BadInput if it cannot be written."""
        from gradscope.engine.export.snapshot import write_snapshot

        write_snapshot(self, path)

    def end(self) -> None:
        """The script has ended: what is known stays."""
        book = self.book
        if book.inside is not None:
            report = book.abandon(book.inside)
            if report is not None:
                self.unfinished = report
            book.leave()
        book.rest = Rest.ENDED

    def close(self) -> None:
        """Remove every hook and copy."""
        self.book.close()


def _is_by_hand(turn: Turn) -> bool:
    return isinstance(turn.optimizer, ByHand)
