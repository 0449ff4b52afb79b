"""A snapshot as the app's state, filled as an engine would fill it. Made in a thread of its own, before anybody has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradscope.protocol import messages
from gradscope.protocol.phases import Phase
from gradscope.snapshots.snapshot import Snapshot
from gradscope.state.app_state import AppState, Origin
from gradscope.state.history import History
from gradscope.state.log import Log

_NO_FUTURE = "A snapshot holds the learning rates up to its moment"


def state_of(snapshot: Snapshot, log: Log | None = None) -> AppState:
    """Everything that the snapshot tells; `log` is the one that the app has already."""
    state = AppState(log)
    state.snapshot = Origin(path=str(snapshot.path), created=snapshot.environment.created)
    state.apply(messages.Opened(session=snapshot.session, position=replace(snapshot.position, running=False)))
    state.history = _history_of(snapshot)
    state.apply(messages.Subjects(first=0, rows=snapshot.rows))
    state.apply(messages.Places(first=0, rows=snapshot.places))
    groups = len(snapshot.session.groups)
    state.apply(messages.Schedule(first_step=snapshot.position.step, rates=np.zeros((groups, 0)), reason=_NO_FUTURE))
    order = list(Phase)
    for report in sorted(snapshot.reports.values(), key=lambda report: (report.step, order.index(report.phase))):
        if _is_known(state, report):
            state.reports[report.phase] = report
        else:
            state.apply(report)
    return state


def introduction(snapshot: Snapshot) -> str:
    """What the log says of it."""
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
    history, steps = History(), snapshot.steps
    for i, step in enumerate(steps.step.tolist()):
        history.loss.add(step, (float(steps.loss[i]),))
        if steps.rates.shape[1]:
            history.lr.add(step, tuple(steps.rates[i].tolist()))
    return history


def _is_known(state: AppState, report: messages.Report) -> bool:
    """Whether the history has this report already."""
    rows = state.history.rows
    for number in report.subjects.tolist():
        latest = state.history.latest(rows[number].key)
        return latest is not None and (latest.step, latest.phase) == (report.step, report.phase)
    return report.loss is None or (len(state.history.loss) > 0 and int(state.history.loss.steps[-1]) >= report.step)
