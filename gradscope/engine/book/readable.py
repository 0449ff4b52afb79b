"""What every session has from its book, whoever drives it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gradscope.engine.book.book import Book
from gradscope.engine.book.step_record import StepRecord
from gradscope.engine.book.values import known_subjects, values_of
from gradscope.engine.reports.report import PhaseReport
from gradscope.protocol.capture import Capture
from gradscope.protocol.messages import InitialParameters, Validated
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind


class Readable:
    """A session, as far as it is read."""

    book: Book

    @property
    def history(self) -> list[StepRecord]:
        """Every step that is done."""
        return self.book.history

    @property
    def validations(self) -> list[Validated]:
        """None of a script: its own are stations."""
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
        """The batch of the current or newest step, on the device; None before the first, and where it was not kept."""
        return self.book.driver.batch

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

    def values(self, key: SubjectKey) -> Tensor:
        """The tensor of a subject as it is now, detached. Raises ValuesUnavailable with the reason."""
        return values_of(self.book, key)

    def known_subjects(self, kind: SubjectKind) -> list[SubjectKey]:
        """The subjects of a kind that there are now: of the newest reports, or every parameter or buffer."""
        return known_subjects(self.book, kind)
