"""Findings in words: what they are called, how sure they are, what was looked at."""

from __future__ import annotations

import math

from PySide6.QtCore import QCoreApplication

from gradscope.protocol import messages
from gradscope.protocol.findings import Certainty, Evidence, Finding, Severity, Source
from gradscope.protocol.numbers import number
from gradscope.protocol.visible import visible
from gradscope.state.findings import FindingsState
from gradscope.ui.words.text import duration, time_left
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

SIGNS = {Severity.ERROR: ("error", "bad"), Severity.WARNING: ("warning", "warning"), Severity.INFO: ("info", "muted")}
"""The icon of a severity, and the colour of the theme that it has."""
_NAMES = {
    Severity.ERROR: QT_TRANSLATE_NOOP("Findings", "Error"),
    Severity.WARNING: QT_TRANSLATE_NOOP("Findings", "Warning"),
    Severity.INFO: QT_TRANSLATE_NOOP("Findings", "Info"),
}
_COUNTS = {
    Severity.ERROR: (QT_TRANSLATE_NOOP("Findings", "1 error"), QT_TRANSLATE_NOOP("Findings", "%1 errors")),
    Severity.WARNING: (QT_TRANSLATE_NOOP("Findings", "1 warning"), QT_TRANSLATE_NOOP("Findings", "%1 warnings")),
    Severity.INFO: (QT_TRANSLATE_NOOP("Findings", "1 info"), QT_TRANSLATE_NOOP("Findings", "%1 infos")),
}
_CERTAINTIES = {
    Certainty.EXACT: QT_TRANSLATE_NOOP("Findings", "an exact fact"),
    Certainty.EXPERIMENT: QT_TRANSLATE_NOOP("Findings", "tried out on this training"),
    Certainty.WINDOW: QT_TRANSLATE_NOOP("Findings", "seen in too many steps to be chance"),
}
_SOURCES = {
    Source.MONITOR: QT_TRANSLATE_NOOP("Findings", "seen along the way"),
    Source.EXPERIMENT: QT_TRANSLATE_NOOP("Findings", "found by a check-up"),
    Source.DATA: QT_TRANSLATE_NOOP("Findings", "found in the data by a check-up"),
    Source.OWN: QT_TRANSLATE_NOOP("Findings", "found by a rule of your own"),
}


def _tr(text: str, *values: object) -> str:
    translated = QCoreApplication.translate("Findings", text)
    for place, value in enumerate(values, start=1):
        translated = translated.replace(f"%{place}", str(value))
    return translated


def counted(count: int, one: str, many: str) -> str:
    """ "1 step", "120 steps"; `many` has a %1 for the number."""
    return _tr(one) if count == 1 else _tr(many, f"{count:,}")


def severity_name(severity: Severity) -> str:
    return _tr(_NAMES[severity])


def place_of(finding: Finding) -> str:
    """Where it is; what has no place is of the whole training."""
    return visible(finding.where) or _tr(QT_TRANSLATE_NOOP("Findings", "whole training"))


def how_known(finding: Finding) -> str:
    """ "Found by a check-up; tried out on this training"."""
    if finding.source is Source.EXPERIMENT and finding.certainty is Certainty.EXPERIMENT:
        sources = _tr(QT_TRANSLATE_NOOP("Findings", "tried out on this training by a check-up"))
    else:
        sources = f"{_tr(_SOURCES[finding.source])}; {_tr(_CERTAINTIES[finding.certainty])}"
    return sources[:1].upper() + sources[1:]


def seen_from(finding: Finding) -> str:
    """ "steps 3 to 22", "step 3"."""
    if finding.first_step == finding.step:
        return _tr(QT_TRANSLATE_NOOP("Findings", "step %1"), finding.step)
    return _tr(QT_TRANSLATE_NOOP("Findings", "steps %1 to %2"), finding.first_step, finding.step)


def summary(state: FindingsState) -> str:
    """ "1 error, 2 warnings"; "" where nothing is shown."""
    counts = [(severity, state.count(severity)) for severity in Severity]
    return ", ".join(counted(count, *_COUNTS[severity]) for severity, count in counts if count)


def _steps(count: int) -> str:
    return counted(count, QT_TRANSLATE_NOOP("Findings", "1 step"), QT_TRANSLATE_NOOP("Findings", "%1 steps"))


def _checks(count: int) -> str:
    return counted(count, QT_TRANSLATE_NOOP("Findings", "1 check"), QT_TRANSLATE_NOOP("Findings", "%1 checks"))


def looked_at(state: FindingsState) -> str:
    """ "27 checks, nothing found in 120 steps", or "27 checks in 120 steps" where something was."""
    known = state.known
    if not known.checks:
        return _tr(QT_TRANSLATE_NOOP("Findings", "Nothing has been looked at yet"))
    if not state.judged:
        return _tr(QT_TRANSLATE_NOOP("Findings", "Nothing has been judged yet"))
    if not known.steps and not known.findings:
        text = QT_TRANSLATE_NOOP("Findings", "%1, nothing found before the first step")
        return _tr(text, _checks(state.judged))
    if known.findings:
        return _tr(QT_TRANSLATE_NOOP("Findings", "%1 in %2"), _checks(state.judged), _steps(known.steps))
    return _tr(QT_TRANSLATE_NOOP("Findings", "%1, nothing found in %2"), _checks(state.judged), _steps(known.steps))


def not_judged(count: int, *, is_beside: bool = False) -> str:
    """`is_beside` those that were judged."""
    if is_beside:
        return counted(
            count,
            QT_TRANSLATE_NOOP("Findings", "1 more could not be judged"),
            QT_TRANSLATE_NOOP("Findings", "%1 more could not be judged"),
        )
    return counted(
        count,
        QT_TRANSLATE_NOOP("Findings", "1 check not judged"),
        QT_TRANSLATE_NOOP("Findings", "%1 checks not judged"),
    )


def evidence_text(evidence: Evidence) -> str:
    """ "Share of units: 0.95 (threshold 0.5)"."""
    parts = [visible(evidence.name)]
    if evidence.value is not None:
        value = f"{number(evidence.value)} {visible(evidence.unit)}".rstrip()
        parts = [f"{parts[0]}: {value}"]
    if evidence.threshold is not None:
        parts.append(_tr(QT_TRANSLATE_NOOP("Findings", "(threshold %1)"), number(evidence.threshold)))
    text = " ".join(parts)
    if not evidence.text:
        return text[:1].upper() + text[1:]
    return f"{text[:1].upper()}{text[1:]}; {visible(evidence.text)}"


def as_text(finding: Finding) -> str:
    """Everything that there is to say of it, for the clipboard."""
    near = f" ({_tr(QT_TRANSLATE_NOOP('Findings', 'also %1'), ', '.join(finding.near))})" if finding.near else ""
    lines = [
        f"{severity_name(finding.severity)}: {finding.title} [{finding.id}]",
        f"{place_of(finding)}{near}, {seen_from(finding)}",
        how_known(finding),
        finding.why,
        *(f"  - {evidence_text(evidence)}" for evidence in finding.evidence),
        _tr(QT_TRANSLATE_NOOP("Findings", "Not something else: %1"), finding.instead) if finding.instead else "",
        _tr(QT_TRANSLATE_NOOP("Findings", "What to do: %1"), finding.do),
    ]
    return "\n".join(line for line in lines if line)


def seconds_text(seconds: float) -> str:
    """ "0.31 s"; nothing for what cannot be a time."""
    return duration(seconds) if math.isfinite(seconds) and seconds > 0 else ""


def estimate_text(seconds: float) -> str:
    """ "0.3 s", "12 s", "2 min": no more exact than a guess is; nothing for what cannot be a time."""
    if not math.isfinite(seconds) or seconds <= 0:
        return ""
    if seconds < 0.1:
        return "< 0.1 s"
    return f"{seconds:.1f} s" if seconds < 9.95 else time_left(seconds)


def passes_in_short(forward: int, backward: int) -> str:
    """ "60 F, 60 B"."""
    parts = ((forward, QT_TRANSLATE_NOOP("Findings", "%1 F")), (backward, QT_TRANSLATE_NOOP("Findings", "%1 B")))
    return ", ".join(_tr(text, f"{count:,}") for count, text in parts if count)


def passes_text(forward: int, backward: int) -> str:
    """ "4 forwards, 1 backward"."""
    parts = []
    if forward or not backward:
        parts.append(
            counted(forward, QT_TRANSLATE_NOOP("Findings", "1 forward"), QT_TRANSLATE_NOOP("Findings", "%1 forwards"))
        )
    if backward:
        parts.append(
            counted(
                backward, QT_TRANSLATE_NOOP("Findings", "1 backward"), QT_TRANSLATE_NOOP("Findings", "%1 backwards")
            )
        )
    return ", ".join(parts)


def check_up_told(reply: messages.CheckUpDone | messages.Cancelled, state: FindingsState, step: int) -> str:
    """What the log says of a check-up that has ended."""
    if isinstance(reply, messages.Cancelled):
        return _tr(
            QT_TRANSLATE_NOOP("Findings", "Check-up before step %1 cancelled: training is as it was before it"), step
        )
    found = reply.findings
    took = ", ".join(part for part in (passes_text(found.forward, found.backward), seconds_text(found.seconds)) if part)
    return _tr(
        QT_TRANSLATE_NOOP("Findings", "Check-up before step %1: %2 (%3); training is as it was before it"),
        step,
        summary(state) or _tr(QT_TRANSLATE_NOOP("Findings", "nothing found")),
        took,
    )
