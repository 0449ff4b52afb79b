"""Every summary seen so far, by subject and step. Lives in the app process; bounded in memory.

For each kind of subject one block of numbers (see `block`), so that a long run keeps its whole length, evenly, and never
loses a step with NaN, Inf or an extreme.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import IntArray
from gradscope.protocol.messages import InitialParameters, Report
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import L2, SubjectKey, SubjectKind, SubjectRow
from gradscope.snapshots.format.saved_history import SavedHistory
from gradscope.state.records.block import MAX_STEPS, Block
from gradscope.state.records.histograms import HistogramHistory
from gradscope.state.records.kept_reports import KeptReports
from gradscope.state.records.newest import Latest, Newest, Told
from gradscope.state.records.report_subjects import KnownSubjects, Part, ReportSubjects
from gradscope.state.records.step_curves import StepCurves


class History(StepCurves):
    """Blocks and histograms by kind, the curves of the steps, and the newest summary of every subject."""

    def __init__(self, *, max_steps: int = MAX_STEPS) -> None:
        super().__init__()
        self.rows: list[SubjectRow] = []
        self.blocks: dict[SubjectKind, Block] = {kind: Block(max_steps=max_steps) for kind in SubjectKind}
        self.histograms: dict[SubjectKind, HistogramHistory] = {kind: HistogramHistory() for kind in SubjectKind}
        self.kept = KeptReports()
        """The newest reports, as they came."""
        self._newest, self._initial = Newest(), Newest()
        self._subjects = KnownSubjects()

    def latest(self, key: SubjectKey) -> Latest | None:
        return self._newest.get(key)

    def newest(self) -> list[Latest]:
        """The newest summary of every subject."""
        return list(self._newest)

    def subjects(self, kind: SubjectKind) -> list[SubjectKey]:
        """All subjects of a kind, in the order in which they were first seen."""
        return self.blocks[kind].keys

    def add_report(self, report: Report, *, clip_norm: float | None = None) -> None:
        """Take in a report; `clip_norm` is the threshold that its step was clipped by."""
        self.add_step(report, clip_norm=clip_norm)
        self._add(report, report.step)
        self.kept.add(report)

    def add_reports(self, reports: Sequence[Report], *, clip_norm: float | None = None) -> None:
        """Take in earlier reports, in the order of time: the newest summaries and histograms are not theirs."""
        runs: dict[SubjectKind, _Run] = {}
        # Reports that came together have the same array.
        subjects = {
            id(report.subjects): self._subjects.of(report.subjects, self.rows)
            for report in {id(report.subjects): report for report in reports}.values()
        }
        for report in reports:
            self.add_step(report, clip_norm=clip_norm)
            for kind, part in subjects[id(report.subjects)].parts.items():
                run = runs.get(kind)
                if run is None or not run.take(report):
                    if run is not None:
                        run.add_to(self.blocks[kind])
                    runs[kind] = _Run(report, part)
        for kind, run in runs.items():
            run.add_to(self.blocks[kind])

    def cut(self, step: int) -> None:
        """Forget the steps from `step` on, and the newest summaries, which are of weights that are there no more."""
        super().cut(step)
        for block in self.blocks.values():
            block.cut(step)
        for histograms in self.histograms.values():
            histograms.cut(step)
        self.kept.cut(step)
        self._newest = Newest()

    def until(self, step: int) -> History:
        """A copy of what is known of the steps before `step`; without the newest summaries, see `look_at`."""
        other = History()
        self.copy_curves(other)
        other.blocks = {kind: block.copy() for kind, block in self.blocks.items()}
        other.histograms = {kind: histograms.copy() for kind, histograms in self.histograms.items()}
        # The table goes on with what the engine tells.
        other.rows = self.rows
        other.cut(step)
        # No report tells what the parameters were before the first step.
        other._initial = self._initial
        for told, positions in self._initial.of_step(step):
            other._newest.take_some(told, positions)
        for earlier in self.kept:
            for report in self.kept.of(earlier).values() if earlier < step else ():
                other.kept.add(report)
        return other

    def look_at(self, reports: Iterable[Report]) -> None:
        """Take the summaries of these reports, which are known already, for the newest ones."""
        for report in reports:
            self._take_latest(report)

    @property
    def nbytes(self) -> int:
        """What the summaries take, nearly."""
        blocks = sum(block.nbytes for block in self.blocks.values())
        return blocks + sum(one.nbytes for one in self.histograms.values()) + self.kept.nbytes

    def keep_curves_only(self) -> None:
        """Forget all summaries, but not the numbers of whole steps."""
        self.blocks |= {kind: Block() for kind in SubjectKind}
        self.histograms |= {kind: HistogramHistory() for kind in SubjectKind}
        self.kept = KeptReports()
        self._newest = Newest()

    def undo_step(self, report: Report) -> None:
        """Forget what a step has told that was broken off and undone."""
        self.cut_step(report.step)
        self.kept.undo(report)
        subjects = self._subjects.of(report.subjects, self.rows)
        for kind in subjects.parts:
            self.blocks[kind].cut(report.step)
            self.histograms[kind].cut(report.step)
        self._newest.forget(subjects.keys)

    def add_initial(self, initial: InitialParameters, *, step: int = 0) -> None:
        """The parameters as they are before step `step`; those that the step before has told of are known already."""
        subjects = self._subjects.of(initial.subjects, self.rows)
        told = _told(initial, subjects, step=step, phase=None)
        new = np.flatnonzero(~self._newest.is_of(subjects, step - 1))
        for newest in (self._newest, self._initial):
            newest.take_some(told, new)

    def update_ratio(self) -> tuple[list[SubjectKey], IntArray, npt.NDArray[np.float32]]:
        """||update|| / ||parameter||, both of the same step: (update subjects, steps, ratios (subjects, steps)).

        NaN where a norm is unknown or the parameter is all zero.
        """
        updates, parameters = self.blocks[SubjectKind.UPDATE], self.blocks[SubjectKind.PARAMETER]
        ratios = np.full((len(updates.keys), len(updates.steps)), np.nan, dtype=np.float32)
        # Either may have steps that the other has not.
        _, ours, theirs = np.intersect1d(updates.steps, parameters.steps, assume_unique=True, return_indices=True)
        norms = updates.column(L2)
        with np.errstate(all="ignore"):
            for i, key in enumerate(updates.keys):
                size = parameters.series(SubjectKey(SubjectKind.PARAMETER, key.name), L2)[theirs]
                ratios[i, ours] = np.where(size > 0, norms[i, ours] / size, np.nan)
        return updates.keys, updates.steps, ratios

    def saved(self) -> SavedHistory:
        """A copy of everything, for a snapshot."""
        return SavedHistory(
            blocks={kind: block.saved() for kind, block in self.blocks.items() if block.keys},
            histograms={kind: self.histograms[kind].saved() for kind, block in self.blocks.items() if block.keys},
            curves=self.saved_curves(),
            clip_parameters=tuple(self.clip_parameters),
            skipped_steps=self.skipped_steps,
            latest=self._newest.saved(),
        )

    @classmethod
    def restored(cls, saved: SavedHistory, rows: Iterable[SubjectRow] = ()) -> History:
        """The reverse. `rows` is the subject table that the snapshot's reports refer to by number."""
        history = cls()
        history.rows = list(rows)
        history.blocks |= {kind: Block.restored(block) for kind, block in saved.blocks.items()}
        history.histograms |= {kind: HistogramHistory.restored(one) for kind, one in saved.histograms.items()}
        history.restore_curves(saved)
        history._newest = Newest.restored(saved.latest)
        return history

    def _take_latest(self, report: Report) -> ReportSubjects:
        subjects = self._subjects.of(report.subjects, self.rows)
        self._newest.take(_told(report, subjects, step=report.step, phase=report.phase))
        return subjects

    def _add(self, report: Report, step: int) -> None:
        for kind, part in self._take_latest(report).parts.items():
            summaries = report.summaries[part.positions]
            rows = self.blocks[kind].add(step, part.keys, summaries, is_part=_is_part(report))
            self.histograms[kind].add(report, part.positions, rows)


class _Run:
    """Reports of steps that follow each other, with the same subjects of one kind: they are taken in at once."""

    def __init__(self, report: Report, part: Part) -> None:
        self._reports = [report]
        self._part = part

    def take(self, report: Report) -> bool:
        """Whether it is one of them."""
        newest = self._reports[-1]
        if report.subjects is not newest.subjects or report.step <= newest.step or _is_part(report):
            return False
        self._reports.append(report)
        return True

    def add_to(self, block: Block) -> None:
        steps = [report.step for report in self._reports]
        summaries = np.stack([report.summaries[self._part.positions] for report in self._reports])
        if len(steps) > 1 and not (len(block.steps) and block.steps[-1] >= steps[0]):
            block.add_all(np.array(steps), self._part.keys, summaries)
            return
        for report, step, numbers in zip(self._reports, steps, summaries, strict=True):
            block.add(step, self._part.keys, numbers, is_part=_is_part(report))


def _is_part(report: Report) -> bool:
    """It is of a later micro-batch of its step."""
    return report.micro > 0 and report.phase is not Phase.STEP


def _told(message: Report | InitialParameters, subjects: ReportSubjects, *, step: int, phase: Phase | None) -> Told:
    return Told(
        subjects=subjects,
        step=step,
        phase=phase,
        summaries=message.summaries,
        histograms=message.histograms,
        sampled=message.sampled,
    )
