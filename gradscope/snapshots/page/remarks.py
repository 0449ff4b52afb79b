"""What a person should look at first in the reports of one moment: non-finite, all zero, no gradient, never called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gradscope.protocol import absences
from gradscope.protocol.capture import CaptureLevel
from gradscope.protocol.messages import Report, SessionInfo
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COUNT, INF, NAN, ZERO, SubjectKind, SubjectRow, has_norms_only, is_mask
from gradscope.snapshots.page.numbers import counted

Reports = Sequence[tuple[Report, list[SubjectRow]]]
"""Each report with the rows of its own subjects, in the same order."""


class Severity(Enum):
    """The gravest first."""

    BAD = "bad"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Remark:
    severity: Severity
    sentence: str
    places: tuple[str, ...] = ()
    """What it is about: names of subjects, in the order in which they were seen."""


_NOUNS: dict[str, tuple[str, str]] = {
    SubjectKind.ACTIVATION: ("output", "outputs"),
    SubjectKind.ACTIVATION_GRAD: ("gradient of an output", "gradients of outputs"),
    SubjectKind.PARAMETER: ("parameter", "parameters"),
    SubjectKind.GRAD: ("parameter's gradient", "parameters' gradients"),
    SubjectKind.UPDATE: ("update", "updates"),
    SubjectKind.CLIPPED_GRAD: ("clipped gradient", "clipped gradients"),
    SubjectKind.OPTIMIZER_STATE: ("optimizer state", "optimizer states"),
    SubjectKind.BUFFER: ("buffer", "buffers"),
}
_AS_IT_SHOULD_BE = frozenset({absences.OTHERS_TURN, absences.LEFT_OVER})
"""Reasons for an absence that are no finding."""
_MAY_BE_ZERO = frozenset(
    {SubjectKind.PARAMETER, SubjectKind.CLIPPED_GRAD, SubjectKind.OPTIMIZER_STATE, SubjectKind.BUFFER}
)
"""A bias and a running mean often begin at zero; of the others the gradient tells."""


def remarks(session: SessionInfo, reports: Reports) -> list[Remark]:
    """The gravest first."""
    frozen = frozenset(parameter.name for parameter in session.parameters if not parameter.requires_grad)
    found = [Remark(severity=Severity.WARNING, sentence=warning) for warning in session.warnings]
    for report, rows in reports:
        if not report.complete:
            sentence = f"Not completed: {when(report)}; this is what was seen of it"
            found.append(Remark(severity=Severity.WARNING, sentence=sentence))
        if report.skipped:
            sentence = f"The gradient scaler left step {report.step} out: a gradient was not finite"
            found.append(Remark(severity=Severity.WARNING, sentence=sentence))
        found += [Remark(severity=Severity.WARNING, sentence=f"{note} ({when(report)})") for note in report.notes]
        found += _of_summaries(report, rows)
        found += _of_absences(report, frozen)
    found += _of_capture(session, reports)
    return sorted(found, key=lambda remark: list(Severity).index(remark.severity))


def _of_summaries(report: Report, rows: Sequence[SubjectRow]) -> list[Remark]:
    found, where = [], when(report)
    for kind in dict.fromkeys(row.key.kind for row in rows):
        mine = [(row, report.summaries[i]) for i, row in enumerate(rows) if row.key.kind is kind]
        bad = [
            (row.key.label(), numbers)
            for row, numbers in mine
            if numbers[NAN] + numbers[INF] > 0 and not is_mask(kind, numbers)
        ]
        zero = [row.key.label() for row, numbers in mine if numbers[COUNT] > 0 and numbers[ZERO] == numbers[COUNT]]
        if bad:
            holding = " and ".join(
                name for name, column in (("NaN", NAN), ("Inf", INF)) if any(numbers[column] > 0 for _, numbers in bad)
            )
            verb = "holds" if len(bad) == 1 else "hold"
            sentence = f"{_share(len(bad), len(mine), kind)} {verb} {holding} ({where})"
            found.append(Remark(severity=Severity.BAD, sentence=sentence, places=tuple(name for name, _ in bad)))
        if zero and kind not in _MAY_BE_ZERO:
            verb = "is" if len(zero) == 1 else "are"
            sentence = f"{_share(len(zero), len(mine), kind)} {verb} zero in every element ({where})"
            found.append(Remark(severity=Severity.WARNING, sentence=sentence, places=tuple(zero)))
    return found


def _of_capture(session: SessionInfo, reports: Reports) -> list[Remark]:
    """What nothing can be said of, because it was not captured."""
    level, _, layers = session.capture.partition(":")
    sentences = []
    if any(has_norms_only(summary) for report, _ in reports for summary in report.summaries):
        sentences.append("Only norms were captured: whether something is all zero is not known")
    if reports and not any(rows for _, rows in reports):
        sentences.append("Nothing was captured of layers, gradients and parameters: only loss and rate are known")
    elif level == CaptureLevel.LAYERS:
        sentences.append(f"Only chosen layers were captured ({layers}): nothing is known of the others")
    return [Remark(severity=Severity.NOTE, sentence=sentence) for sentence in sentences]


def _share(some: int, of_all: int, kind: str) -> str:
    """ "8 of 11 gradients of outputs"."""
    noun, plural = nouns(kind)
    return f"{some:,} of {of_all:,} {noun if of_all == 1 else plural}"


def _of_absences(report: Report, frozen: frozenset[str]) -> list[Remark]:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for absence in report.absent:
        by_reason.setdefault((absence.kind, absence.reason), []).append(absence.name or "(model)")
    return [
        Remark(
            severity=Severity.NOTE if frozen.issuperset(names) or reason in _AS_IT_SHOULD_BE else Severity.WARNING,
            sentence=f"{counted(len(names), *nouns(kind))} missing ({when(report)}): {reason}",
            places=tuple(names),
        )
        for (kind, reason), names in by_reason.items()
    ]


def when(report: Report) -> str:
    """ "backward of step 7"; the optimizer's step is "step 7" itself."""
    return f"step {report.step}" if report.phase is Phase.STEP else f"{report.phase.value} of step {report.step}"


def nouns(kind: str) -> tuple[str, str]:
    """What a subject of a kind is called, one and many."""
    return _NOUNS.get(kind) or (f"{words(kind)} tensor", f"{words(kind)} tensors")


def words(kind: str) -> str:
    """ "activation_grad" as "activation grad"."""
    return kind.replace("_", " ")
