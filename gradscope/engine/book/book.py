"""The book of one training: where it stands, what the newest phases have shown, what every step was."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.book import notes
from gradscope.engine.book.driver import Driver
from gradscope.engine.book.first_weights import FirstWeightsNote
from gradscope.engine.book.gate import Gate
from gradscope.engine.book.nonfinite_watch import NonFiniteWatch
from gradscope.engine.book.step_record import StepRecord
from gradscope.engine.book.turns import rates_and_momenta
from gradscope.engine.capture.hooks import ModuleHooks
from gradscope.engine.capture.keeper import Keeper
from gradscope.engine.capture.observer import Observer
from gradscope.engine.capture.record import Collected
from gradscope.engine.capture.shared_hooks import SharedHooks
from gradscope.engine.model.parameters import Model
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.surroundings import transforms
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.protocol.capture import Capture
from gradscope.protocol.messages import InitialParameters, Report, Validated
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import AFTER, INSIDE, Moment, Phase, Position, Rest, SubStep
from gradscope.protocol.source import SourceLine
from gradscope.protocol.subjects import SubjectKey, SubjectKind


class _Identity(NamedTuple):
    """Which batch a report is about."""

    epoch: int
    batch: int
    micro: int
    window: int
    optimizer: str


class Book:
    """Written by who drives the training, the same calls in the same order whoever that is.

    `begin(phase)` ... the phase runs ... `end(phase)`, `close_phase(...)`; then `write(phase, ...)`, or `write_step(...)` and
    `next_step()`. Where the phase has failed, `abandon(phase)`, `leave()` when it is undone, and `note_undone(...)`. Read by
    everybody else.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device,
        *,
        budget_bytes: int,
        capture: Capture,
        gate: Gate | None = None,
        hooks: type[ModuleHooks] | type[SharedHooks] = ModuleHooks,
    ) -> None:
        self.model, self.device, self.gate = model, device, gate
        self.keeper = Keeper(budget_bytes=budget_bytes)
        self.observer = Observer(
            model, keeper=self.keeper, stop_here=self._pass_moment, gated=self, capture=capture, hooks=hooks
        )
        self.first_weights = FirstWeightsNote(self.observer.tensors)
        self.history: list[StepRecord] = []
        self.validations: list[Validated] = []
        self.reports: dict[Phase, PhaseReport] = {}
        """The newest report of each phase."""
        self.step = 0
        """Number of the step that is next, or under way."""
        self.rest = Rest.READY
        """Where training stands between two phases."""
        self.inside: Phase | None = None
        self.moment: Moment | None = None
        """Where in a phase it has been stopped."""
        self.is_of_script = False
        """A script drives, which has moments between its phases, too."""
        self._stopping = threading.RLock()
        self._thread = threading.get_ident()
        """In which the phase runs."""
        self.left_by: BaseException | None = None
        """Raised at a moment on another thread, to leave the phase: the user's code may keep it there."""
        self._found: FirstNonFinite | None = None
        """In the newest phase."""
        self._rates: tuple[float, ...] = ()
        self._momenta: tuple[float, ...] = ()
        self._step_seconds = 0.0
        self._identity: _Identity | None = None
        self._backward: Collected | None = None
        # Only a GPU has a kernel of its own that may be missing.
        self._slowness_is_told = device.type != "cuda"

    def belongs_to(self, driver: Driver) -> None:
        """Who drives is known from here on."""
        self.driver = driver
        self.watch = NonFiniteWatch(driver, self.observer, is_late=self.device.type != "cpu")

    # ------------------------------------------------------------------------------------------ writing

    def begin(self, phase: Phase) -> None:
        """A phase begins: from here on what is seen is collected."""
        driver = self.driver
        self._rates, self._momenta = rates_and_momenta([turn.optimizer for turn in driver.turns])
        if phase is Phase.FORWARD and driver.window.micro == 0:
            self._step_seconds = 0.0
        if phase is Phase.BACKWARD and driver.window.micro == 0:
            self.observer.guarded(partial(self.first_weights.before_backward, self.step))
        self.observer.begin(phase)
        self.inside, self.left_by, self._thread = phase, None, threading.get_ident()
        self._identity = _identity_of(driver)

    def end(self, phase: Phase) -> Collected:
        """The phase is complete. What was seen in it is whole; what else is to be known of it, `write` is told after. Raises
        `left_by`."""
        self._leave_if_wanted()
        self._identity = _identity_of(self.driver)
        return self.observer.end(self._more(phase))

    def close_phase(self, phase: Phase, collected: Collected) -> None:
        """Nothing can fail in it any more: judge what it has shown."""
        self._step_seconds += collected.seconds
        self.inside = self.moment = None
        self._found = None
        self.observer.guarded(partial(self._look, phase, collected))
        if self.observer.listener is not None:
            self.observer.guarded(partial(self.observer.listener.phase_done, phase, collected))

    def _look(self, phase: Phase, collected: Collected) -> None:
        watch, step = self.watch, self.step
        if phase is Phase.FORWARD:
            self._found = watch.after_forward(step, collected)
        elif phase is Phase.BACKWARD:
            self._found = watch.after_backward(step, collected)
        else:
            self._found = watch.after_step(step, collected)

    def write(self, phase: Phase, collected: Collected, *, rest: Rest) -> PhaseReport:
        """The report of a forward or a backward, after which training stands at `rest`."""
        if phase is Phase.BACKWARD:
            self._backward = collected
        elif not self._slowness_is_told:
            slow = notes.slow_summaries(self.device)
            self.driver.notes += slow
            self._slowness_is_told = bool(slow)
        self.rest = rest
        report = self.reports[phase] = self._report(phase, collected)
        return report

    def write_step(self, collected: Collected) -> PhaseReport:
        """The report of a step, which is in the history then; `next_step` when all of it is done."""
        driver = self.driver
        if driver.clip is not None and not self.capture.is_partial:
            clipped = self.observer.tables.of_kind(collected.subjects, SubjectKind.CLIPPED_GRAD)
            driver.clip = replace(driver.clip, norm_after=collected.total_l2(clipped))
        driver.loss = driver.window.loss_of_step
        report = self.reports[Phase.STEP] = self._report(Phase.STEP, collected)
        assert self._identity is not None
        self.history.append(
            StepRecord(
                step=self.step,
                epoch=self._identity.epoch,
                batch=self._identity.batch,
                loss=driver.loss,
                lr=self._rates,
                grad_l2=self.gradient_norm(),
                update_l2=self._norm_of(collected, SubjectKind.UPDATE),
                seconds=self._step_seconds,
                micro_batches=len(driver.window.losses),
                optimizer=driver.turn.name,
                clip=driver.clip,
                scale=driver.gradients.scale,
                is_skipped=driver.is_skipped,
            )
        )
        self.rest = AFTER[Phase.STEP]
        return report

    def next_step(self) -> None:
        """All of the step is done."""
        self.step += 1

    def abandon(self, phase: Phase) -> PhaseReport | None:
        """The phase has failed, and will be undone: what it has shown so far is its report now."""
        if self.observer.listener is not None:
            self.observer.listener.abandon()
        collected = self.observer.abandon()
        if collected is None:
            return None
        report = self._report(phase, collected, complete=False)
        if phase is not Phase.STEP:
            # The newest step is the one before: this one is undone.
            self.reports[phase] = report
        return report

    def note_undone(self, phase: Phase, report: PhaseReport) -> PhaseReport:
        """The phase has been undone: the buffers that were told before are not so any more."""

        def work() -> None:
            self.reports[phase] = report.with_more(self.observer.buffers_now())

        self.observer.guarded(work)
        return self.reports[phase]

    def leave(self) -> None:
        """Out of a phase that has failed."""
        self.inside = self.moment = None

    def gradients_are_cleared(self) -> None:
        """By hand, between two phases."""
        self._backward = None

    def continue_at(self, step: int) -> None:
        """Training stands before step `step`, with other weights: what was seen of the newest steps is forgotten."""
        self.first_weights.forget()
        self._turn_back_to(step)

    def _turn_back_to(self, step: int) -> None:
        self.watch.forget()
        self.keeper.forget(*SubjectKind)
        self.reports.clear()
        self.history = [record for record in self.history if record.step < step]
        self.validations = [validation for validation in self.validations if validation.step < step]
        self.step, self.rest = step, Rest.READY
        self._backward, self._identity = None, None

    def stand_at(
        self, step: int, rest: Rest, validations: Iterable[Validated], first_nonfinite: FirstNonFinite | None
    ) -> None:
        """Training stands where it has been before, at `rest` of step `step`."""
        self._turn_back_to(step)
        self.rest, self.validations = rest, [*validations]
        self.watch.stand_where(first_nonfinite)

    def close(self) -> None:
        """Remove every hook and copy."""
        self.observer.close()
        self.keeper.forget(*SubjectKind)
        self.gate = None

    # ------------------------------------------------------------------------------------------ reading

    @property
    def capture(self) -> Capture:
        return self.observer.capture

    @property
    def position(self) -> Position:
        driver = self.driver
        batches, window = driver.batches, driver.window
        return Position(
            rest=self.rest if self.inside is None else INSIDE[self.inside],
            step=self.step,
            epoch=batches.epoch,
            batch=batches.index,
            batches_per_epoch=batches.length,
            micro=window.micro,
            window=window.size,
            optimizer=driver.turn.name,
            moment=self.moment,
        )

    @property
    def first_nonfinite(self) -> FirstNonFinite | None:
        """Where the training's first NaN or Inf was made, once there is one; also in the report of that phase."""
        return self.watch.first

    def partial_report(self) -> PhaseReport | None:
        """What has been captured so far of the phase that training is stopped in; None between phases."""
        collected = self.observer.so_far()
        if collected is None or self.inside is None:
            return None
        return self._report(self.inside, collected, complete=False)

    def newest_reports(self) -> dict[Phase, PhaseReport]:
        """Also of the phase that training is stopped in, as far as it has come."""
        partial = self.partial_report()
        found = dict(self.reports)
        if partial is not None:
            found[partial.phase] = partial
        return {phase: found[phase] for phase in Phase if phase in found}

    def initial_parameters(self) -> InitialParameters:
        """Summaries of all parameters and buffers as they are now."""
        collected = self.observer.initial()
        return InitialParameters(
            subjects=collected.subjects,
            summaries=collected.summaries,
            histograms=collected.histograms,
            sampled=collected.sampled,
        )

    # ------------------------------------------------------------------------------------------ private

    def _more(self, phase: Phase) -> list[tuple[SubjectKey, Tensor]]:
        if phase is not Phase.STEP:
            return []
        capture = self.capture
        if capture.norms_only or capture.is_off:
            return []
        states = self.driver.gradients.optimizer_state()
        return [(key, tensor) for key, tensor in states if self.observer.wants(key.name)]

    def gradient_norm(self) -> float | None:
        """L2 norm of the gradients that this step used; of all parameters, where there is one optimizer."""
        return None if self._backward is None else self._norm_of(self._backward, SubjectKind.GRAD)

    def _norm_of(self, collected: Collected, kind: SubjectKind) -> float | None:
        """L2 norm of all subjects of a kind together; None where some were left out."""
        if self.capture.is_partial:
            return None
        tables = self.observer.tables
        positions = tables.of_kind(collected.subjects, kind)
        if kind is SubjectKind.GRAD and len(self.driver.turns) > 1:
            own, rows = self.driver.gradients.own_names(), tables.subjects.rows
            positions = np.array([i for i in positions if rows[collected.subjects[i]].key.name in own], dtype=np.int64)
        return collected.total_l2(positions)

    @property
    def is_armed(self) -> bool:
        """Whether somebody may stop at a moment now."""
        return self.gate is not None and self.gate.is_armed

    def pass_again(self, substep: SubStep, *, detail: str, line: SourceLine | None) -> None:
        """Noted in the phase that is open now; it was a moment before that."""
        gate, self.gate = self.gate, None
        try:
            self.observer.passing(substep, detail=detail, line=line)
        finally:
            self.gate = gate

    def pass_beside(self, substep: SubStep, event: str = "") -> None:
        """A moment of a script, also of one that is between two phases: then training stands there if it stops."""
        if self.inside is not None:
            self._pass_moment(substep, event, "", 0)
        elif self.gate is not None and self.gate.is_armed:
            with transforms.outside():
                self.gate.stop(Moment(step=self.step, substep=substep, event=event))

    def _pass_moment(self, substep: SubStep, event: str, layer: str, call: int) -> None:
        if self.left_by is not None:
            self._leave_if_wanted()
            return
        if self.gate is None or not self.gate.is_armed:
            return
        # A model may call its layers on several threads: while one is stopped, those that come to a moment wait.
        with self._stopping:
            gate = self.gate
            if gate is None or not gate.is_armed or self.inside is None or self.left_by is not None:
                # Meanwhile the phase was left: this thread does not know it yet.
                return
            around, self.moment = (
                self.moment,
                Moment(step=self.step, substep=substep, event=event, layer=layer, call=call),
            )
            stopped_at = time.perf_counter()
            try:
                with transforms.outside():
                    gate.stop(self.moment)
            except BaseException as error:
                if threading.get_ident() != self._thread and is_interruption(error):
                    self.left_by = error
                raise
            finally:
                self.moment = around
                self.observer.leave_out(time.perf_counter() - stopped_at)

    def _leave_if_wanted(self) -> None:
        if self.left_by is not None and threading.get_ident() == self._thread:
            raise self.left_by

    def _report(self, phase: Phase, collected: Collected, *, complete: bool = True) -> PhaseReport:
        driver, identity, is_step = self.driver, self._identity, phase is Phase.STEP
        assert identity is not None
        # The protocol's report is made when somebody asks for it: many never do, and all that it is made of is known now.
        raw = partial(
            _raw_of,
            collected,
            phase=phase,
            step=self.step,
            epoch=identity.epoch,
            batch=identity.batch,
            loss=driver.loss,
            lr=self._rates,
            complete=complete,
            micro=identity.micro,
            window=identity.window,
            optimizer=identity.optimizer,
            scale=None if phase is Phase.FORWARD else driver.gradients.scale,
            skipped=is_step and driver.is_skipped,
            clip=driver.clip if is_step else None,
            evaluations=driver.evaluations if is_step else 0,
            momentum=self._momenta,
            notes=tuple(driver.notes),
            first_nonfinite=self._found if complete else None,
            line=driver.line,
        )
        return PhaseReport(raw, self.observer.tables.subjects.rows, is_partial=self.capture.is_partial)


def _raw_of(collected: Collected, **facts: Any) -> Report:
    return Report(
        subjects=collected.subjects,
        summaries=collected.summaries,
        histograms=collected.histograms,
        sampled=collected.sampled,
        places=collected.places,
        times=collected.times,
        absent=collected.absent,
        seconds=collected.seconds,
        **facts,
    )


def _identity_of(driver: Driver) -> _Identity:
    """As it is now."""
    batches, window = driver.batches, driver.window
    return _Identity(batches.epoch, batches.index, window.micro, window.size, driver.turn.name)
