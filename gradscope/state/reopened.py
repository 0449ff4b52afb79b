"""A snapshot as the app's state, filled as an engine would fill it. Made in a thread of its own, before anybody has it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gradscope.protocol.messages import FoundNow, InitialParameters, Opened, Places, Report, Schedule, Subjects
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind, SubjectRow
from gradscope.snapshots.snapshot import Snapshot
from gradscope.snapshots.summaries import summarise
from gradscope.state.app_state import AppState
from gradscope.state.engine import Origin
from gradscope.state.history import History

_MAX_SUMMARISED = 1 << 27
"""Elements of parameters and buffers that are looked at for it, a few seconds' worth."""
_NO_FUTURE = "A snapshot holds the learning rates up to its moment"


def state_of(snapshot: Snapshot) -> AppState:
    """Everything that the snapshot tells; the log says what a person should know of it."""
    state = AppState()
    state.log.say(introduction(snapshot))
    for remark in snapshot.remarks:
        state.log.say(remark, is_warning=True)
    state.snapshot = Origin(path=str(snapshot.path), created=snapshot.environment.created)
    state.apply(Opened(session=snapshot.session, position=replace(snapshot.position, running=False)))
    if state.tree is not None:
        # Of a large model, numbering the layers would hold up the window.
        state.tree.rows.names  # noqa: B018
    state.history = _history_of(snapshot)
    state.apply(Subjects(first=0, rows=snapshot.rows))
    state.apply(Places(first=0, rows=snapshot.places))
    groups = len(snapshot.session.groups)
    state.apply(Schedule(first_step=snapshot.position.step, rates=np.zeros((groups, 0)), reason=_NO_FUTURE))
    for edit in snapshot.edits:
        state.apply(edit)
    if snapshot.findings is not None:
        state.apply(FoundNow(findings=snapshot.findings))
    state.validation = next(reversed(snapshot.validations), None)
    state.best = next((validated for validated in reversed(snapshot.validations) if validated.is_best), None)
    order = list(Phase)
    for report in sorted(snapshot.reports.values(), key=lambda report: (report.step, order.index(report.phase))):
        if _is_known(state, report):
            state.reports[report.phase] = report
            state.first_nonfinite = report.first_nonfinite or state.first_nonfinite
        else:
            state.apply(report)
    _add_tensors(state, snapshot)
    return state


def _add_tensors(state: AppState, snapshot: Snapshot) -> None:
    """A script may have written the snapshot before any step: then no report has parameters and buffers, but files do."""
    rows, summaries, histograms, sampled = [], [], [], []
    elements = 0
    keys = [SubjectKey(SubjectKind.PARAMETER, parameter.name) for parameter in snapshot.session.parameters]
    keys += [SubjectKey(SubjectKind.BUFFER, buffer.name) for buffer in snapshot.session.buffers]
    for key in keys:
        info = snapshot.info(key)
        if info is None or state.history.latest(key) is not None:
            continue
        elements += math.prod(info.shape)
        if elements > _MAX_SUMMARISED:
            break
        note = "of abs()" if info.dtype.label == "complex64" else ""
        rows.append(SubjectRow(key, info.shape, info.dtype.label, note))
        summary, histogram, seen = summarise(snapshot.flat(key), math.prod(info.shape))
        summaries.append(summary)
        histograms.append(histogram)
        sampled.append(seen)
    if rows:
        first = len(state.history.rows)
        state.apply(Subjects(first=first, rows=tuple(rows)))
        numbers = np.arange(first, first + len(rows))
        state.apply(
            InitialParameters(
                subjects=numbers,
                summaries=np.array(summaries),
                histograms=np.array(histograms),
                sampled=np.array(sampled, dtype=np.int64),
            )
        )


def introduction(snapshot: Snapshot) -> str:
    """What the log says first."""
    environment = snapshot.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    return (
        f"Snapshot {snapshot.path} of {snapshot.session.name}, step {snapshot.position.step}: written "
        f"{environment.created or 'at an unknown time'} with {versions or 'unknown versions'}, "
        f"on {environment.platform or 'an unknown system'}, device {environment.device or 'unknown'}"
    )


def _history_of(snapshot: Snapshot) -> History:
    """As the app had it; without that (a script has written the snapshot), what the table of steps tells."""
    if snapshot.history is not None:
        return History.restored(snapshot.history, snapshot.rows)
    history, newest = History(), snapshot.reports.get(Phase.STEP)
    # The newest step is told by its own report.
    steps = snapshot.steps if newest is None else snapshot.steps.without(newest.step)
    history.take_table(steps, clip_norm=snapshot.session.clip_norm)
    for validated in snapshot.validations:
        history.add_validation(validated)
    return history


def _is_known(state: AppState, report: Report) -> bool:
    """Whether the history has this report already."""
    rows = state.history.rows
    for number in report.subjects.tolist():
        latest = state.history.latest(rows[number].key)
        return latest is not None and (latest.step, latest.phase) == (report.step, report.phase)
    return report.loss is None or (len(state.history.loss) > 0 and int(state.history.loss.steps[-1]) >= report.step)
