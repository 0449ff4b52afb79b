"""What is remarkable about a layer, a parameter or a buffer, as words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from PySide6.QtCore import QCoreApplication

from gradscope.protocol import absences
from gradscope.protocol.capture import CaptureLevel
from gradscope.protocol.findings import Finding
from gradscope.protocol.findings import Severity as FindingSeverity
from gradscope.protocol.messages import Report
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import INF, NAN, SubjectKey, SubjectKind, is_mask
from gradscope.state.app_state import AppState
from gradscope.state.tree import Node
from gradscope.ui.words.capture import why_not_captured
from gradscope.ui.words.findings import severity_name
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP


class Severity(Enum):
    """The gravest first."""

    BAD = "bad"
    WARNING = "warning"
    NEUTRAL = "muted"


@dataclass(frozen=True)
class Flag:
    severity: Severity
    word: str
    """For the column; short."""
    explanation: str


_PLACES = {
    SubjectKind.ACTIVATION: QT_TRANSLATE_NOOP("LayerFlags", "output"),
    SubjectKind.ACTIVATION_GRAD: QT_TRANSLATE_NOOP("LayerFlags", "gradient of the output"),
    SubjectKind.PARAMETER: QT_TRANSLATE_NOOP("LayerFlags", "value"),
    SubjectKind.GRAD: QT_TRANSLATE_NOOP("LayerFlags", "gradient"),
    SubjectKind.UPDATE: QT_TRANSLATE_NOOP("LayerFlags", "update"),
    SubjectKind.CLIPPED_GRAD: QT_TRANSLATE_NOOP("LayerFlags", "clipped gradient"),
    SubjectKind.OPTIMIZER_STATE: QT_TRANSLATE_NOOP("LayerFlags", "optimizer state"),
    SubjectKind.BUFFER: QT_TRANSLATE_NOOP("LayerFlags", "value"),
}
_WORDS = {NAN: "NaN", INF: "Inf"}
_NEVER = QT_TRANSLATE_NOOP("LayerFlags", "never called")
_NO_GRADIENT = QT_TRANSLATE_NOOP("LayerFlags", "no gradient")
_ABSENCES = {
    absences.NEVER_CALLED: (Severity.WARNING, _NEVER),
    absences.NOT_USED: (Severity.WARNING, _NEVER),
    absences.RAISED: (Severity.WARNING, QT_TRANSLATE_NOOP("LayerFlags", "raised")),
    absences.USED_WITHOUT_CALL: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "used without a call")),
    absences.COMPILED_SINCE: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "ran compiled")),
    absences.OTHER_MODEL: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "not called")),
    absences.LAYERS_CALLED: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "not called itself")),
    absences.HAS_NO_FORWARD: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "no forward")),
    absences.NEW_LAYER: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "new")),
    absences.NO_TENSOR: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "no tensor")),
    absences.FUSED: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "not looked into")),
    absences.RUN_EAGERLY: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "run eagerly")),
    absences.NOT_DIFFERENTIABLE: (Severity.NEUTRAL, _NO_GRADIENT),
    absences.NEEDS_NO_GRADIENT: (Severity.NEUTRAL, _NO_GRADIENT),
    absences.WITHOUT_GRAPH: (Severity.NEUTRAL, _NO_GRADIENT),
    absences.OTHERS_TURN: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "not its turn")),
    absences.LEFT_OVER: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "not its turn")),
}
"""Reason -> how grave it is, and a word for it; others are warnings by their kind."""
_SCRIPTED = (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "scripted"))
_OTHERS = {
    SubjectKind.ACTIVATION.value: (Severity.WARNING, QT_TRANSLATE_NOOP("LayerFlags", "not seen")),
    SubjectKind.ACTIVATION_GRAD.value: (Severity.WARNING, _NO_GRADIENT),
    SubjectKind.GRAD.value: (Severity.WARNING, _NO_GRADIENT),
    absences.COMPILED: (Severity.NEUTRAL, QT_TRANSLATE_NOOP("LayerFlags", "run eagerly")),
}
_ROOT = "(model)"
_OF_FINDING = {
    FindingSeverity.ERROR: (0, Severity.BAD),
    FindingSeverity.WARNING: (1, Severity.WARNING),
    FindingSeverity.INFO: (2, Severity.NEUTRAL),
}


class LayerFlags:
    """The flags of all nodes of one session, by the summary of every subject in the step that is shown."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._read: dict[Phase, Report] = {}
        self._suspects: set[SubjectKey] = set()
        """What was not finite once, by the newest reports."""
        self._absent: dict[tuple[str, str], str] = {}
        self._non_finite: dict[str, dict[int, list[str]]] = {}
        """Node name -> column (NAN or INF) -> what is not finite."""
        self._found: dict[str, list[Finding]] = {}
        """Node name -> what was found there."""
        self._found_inside: dict[str, tuple[str, Finding]] = {}
        """Node name -> (a name below it, the gravest that was found there)."""
        self._ancestors: dict[str, dict[int, str]] = {}
        """Node name -> column -> a node below it that is not finite."""

    def read_new_reports(self) -> None:
        """Take in the reports that came since the last time."""
        for phase, report in self._state.reports.items():
            if self._read.get(phase) is not report:
                self._read[phase] = report
                self._find_suspects(report)
        self._judge_suspects()
        self._read_findings()
        self._absent = {}
        reports = self._read if self._state.shown.step is None else self._state.shown.reports
        for phase in (Phase.FORWARD, Phase.BACKWARD):
            for absence in reports[phase].absent if phase in reports else ():
                key = ("" if absence.name == _ROOT else absence.name, absence.kind)
                # What a backward has found out of an output that was not seen; it may be older than the forward.
                if phase is Phase.FORWARD or absence.kind != SubjectKind.ACTIVATION or key in self._absent:
                    self._absent[key] = absence.reason

    def of(self, node: Node) -> list[Flag]:
        """The flags of a node, the worst first."""
        flags = [*self._non_finite_flags(node.name), *self._findings(node.name), *self._absences(node)]
        flags += [*self._of_parameter(node), *self._of_buffer(node), *self._of_module(node)]
        flags += self._of_capture(node)
        return sorted(flags, key=lambda flag: list(Severity).index(flag.severity))

    def _find_suspects(self, report: Report) -> None:
        is_suspect = (report.summaries[:, [NAN, INF]] > 0).any(axis=1)
        rows = self._state.history.rows
        self._suspects.update(rows[number].key for number in report.subjects[is_suspect].tolist())

    def _judge_suspects(self) -> None:
        self._non_finite.clear()
        self._ancestors.clear()
        shown = self._state.shown
        is_of_now = shown.step is None
        for key in sorted(self._suspects if is_of_now else set(shown.non_finite())):
            latest = shown.latest(key)
            counts = {column: latest.summary[column] for column in _WORDS} if latest is not None else {}
            if latest is not None and is_mask(key.kind, latest.summary):
                continue
            for column, count in counts.items():
                if count > 0:
                    text = f"{QCoreApplication.translate('LayerFlags', _PLACES[key.kind])}: {count:,.0f}"
                    self._non_finite.setdefault(key.name, {}).setdefault(column, []).append(text)
                    self._tell_ancestors(key.name, column)
            if is_of_now and not any(count > 0 for count in counts.values()):
                self._suspects.discard(key)

    def _tell_ancestors(self, name: str, column: int) -> None:
        above = name
        while above:
            above = above.rpartition(".")[0]
            self._ancestors.setdefault(above, {}).setdefault(column, name)

    def _read_findings(self) -> None:
        self._found, self._found_inside = self._state.findings.places(), {}
        step = self._state.shown.step
        if step is not None:
            # What was first seen later was not there to be seen.
            seen = ((name, [one for one in ones if one.first_step <= step]) for name, ones in self._found.items())
            self._found = {name: ones for name, ones in seen if ones}
        for name, findings in self._found.items():
            worst, above = findings[0], name.rpartition(".")[0]
            while above and worst.severity.counts:
                known = self._found_inside.get(above)
                if known is None or _OF_FINDING[worst.severity][0] < _OF_FINDING[known[1].severity][0]:
                    self._found_inside[above] = (name, worst)
                above = above.rpartition(".")[0]

    def _findings(self, name: str) -> list[Flag]:
        """What was found there; of what is inside, the gravest, since a layer may be folded."""
        flags = [
            Flag(
                _OF_FINDING[finding.severity][1],
                finding.id.replace("-", " "),
                f"{severity_name(finding.severity)}: {finding.title}. {finding.why}",
            )
            for finding in self._found.get(name, ())
        ]
        inside = self._found_inside.get(name)
        if inside is not None and not any(flag.severity is not Severity.NEUTRAL for flag in flags):
            where, finding = inside
            word = QCoreApplication.translate("LayerFlags", "%1 inside").replace("%1", finding.id.replace("-", " "))
            told = f"{severity_name(finding.severity)}: {finding.title} ({where})"
            flags.append(Flag(_OF_FINDING[finding.severity][1], word, told))
        return flags

    def _non_finite_flags(self, name: str) -> list[Flag]:
        flags = []
        for column, word in _WORDS.items():
            own = self._non_finite.get(name, {}).get(column)
            below = self._ancestors.get(name, {}).get(column)
            if own:
                flags.append(Flag(Severity.BAD, word, f"{word} — " + "; ".join(own)))
            elif below:
                inside = QCoreApplication.translate("LayerFlags", "%1 inside").replace("%1", word)
                flags.append(Flag(Severity.BAD, inside, f"{inside}: {below}"))
        return flags

    def _absences(self, node: Node) -> list[Flag]:
        if node.is_buffer:
            return []
        if node.is_parameter:
            is_frozen = node.parameter is not None and not node.parameter.requires_grad
            kinds = [] if is_frozen else [SubjectKind.GRAD.value]
        else:
            kinds = [SubjectKind.ACTIVATION.value, SubjectKind.ACTIVATION_GRAD.value]
        flags = [self._absence(node.name, kind) for kind in kinds]
        # Without an output there is no gradient of it either.
        shown = [flag for flag in flags if flag is not None][:1]
        eager = None if node.is_parameter else self._absence(node.name, absences.COMPILED)
        return shown if eager is None else [*shown, eager]

    def _absence(self, name: str, kind: str) -> Flag | None:
        reason = self._absent.get((name, kind))
        if reason is None:
            return None
        severity, word = _SCRIPTED if reason.endswith(absences.IN_SCRIPT) else _ABSENCES.get(reason) or _OTHERS[kind]
        return Flag(severity, QCoreApplication.translate("LayerFlags", word), reason)

    def _of_capture(self, node: Node) -> list[Flag]:
        """Which layers are left out, where some are; where all are, the tool bar says so."""
        capture = self._state.capture
        if capture.level is not CaptureLevel.LAYERS or capture.wants(node.name):
            return []
        word = QCoreApplication.translate("LayerFlags", "not captured")
        return [Flag(Severity.NEUTRAL, word, why_not_captured(self._state, SubjectKind.ACTIVATION, node.name))]

    def _of_parameter(self, node: Node) -> list[Flag]:
        parameter, flags = node.parameter, []
        if parameter is None:
            return []
        if not parameter.requires_grad:
            word = QCoreApplication.translate("LayerFlags", "frozen")
            reason = QCoreApplication.translate("LayerFlags", "requires_grad is False: it gets no gradient")
            flags.append(Flag(Severity.NEUTRAL, word, reason))
        elif parameter.group is None:
            word = QCoreApplication.translate("LayerFlags", "not in optimizer")
            reason = QCoreApplication.translate("LayerFlags", "No parameter group holds it: no step moves it")
            flags.append(Flag(Severity.WARNING, word, reason))
        if parameter.aliases:
            word = QCoreApplication.translate("LayerFlags", "tied")
            reason = QCoreApplication.translate("LayerFlags", "The same tensor is also called %1")
            flags.append(Flag(Severity.NEUTRAL, word, reason.replace("%1", ", ".join(parameter.aliases))))
        return flags

    def _of_buffer(self, node: Node) -> list[Flag]:
        buffer, flags = node.buffer, []
        if buffer is None:
            return []
        if not buffer.is_persistent:
            word = QCoreApplication.translate("LayerFlags", "not saved")
            reason = QCoreApplication.translate("LayerFlags", "It is not persistent: the state_dict does not have it")
            flags.append(Flag(Severity.NEUTRAL, word, reason))
        if buffer.aliases:
            word = QCoreApplication.translate("LayerFlags", "shared")
            reason = QCoreApplication.translate("LayerFlags", "The same tensor is also called %1")
            flags.append(Flag(Severity.NEUTRAL, word, reason.replace("%1", ", ".join(buffer.aliases))))
        return flags

    def _of_module(self, node: Node) -> list[Flag]:
        module, flags = node.module, []
        if module is not None and module.aliases:
            word = QCoreApplication.translate("LayerFlags", "shared")
            reason = QCoreApplication.translate("LayerFlags", "The same module is also called %1")
            flags.append(Flag(Severity.NEUTRAL, word, reason.replace("%1", ", ".join(module.aliases))))
        if module is not None and not module.training:
            word = QCoreApplication.translate("LayerFlags", "eval mode")
            reason = QCoreApplication.translate("LayerFlags", "This module is in eval mode, not in train mode")
            flags.append(Flag(Severity.NEUTRAL, word, reason))
        return flags
