"""The newest numbers of layers and parameters, as the texts of the layer tree. No Qt."""

from __future__ import annotations

import math

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.numbers import number
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import INF, L2, MEAN, NAN, STD, SubjectKey, SubjectKind, has_norms_only
from gradscope.state.app_state import AppState
from gradscope.state.tree import Node


class LayerValues:
    """Reads the history of one session. A node with several outputs or calls is told by its first; one that the newest pass
    did not reach has no text."""

    def __init__(self, state: AppState) -> None:
        self._history = state.history
        self._reports = state.reports
        self._first: dict[tuple[SubjectKind, str], SubjectKey] = {}
        self._known = dict.fromkeys(SubjectKind, 0)

    def read_new_subjects(self) -> None:
        for kind in SubjectKind:
            keys = self._history.subjects(kind)
            for key in keys[self._known[kind] :]:
                self._first.setdefault((kind, key.name), key)
            self._known[kind] = len(keys)

    def value(self, node: Node) -> str:
        """ "0.5 ± 0.2": mean and standard deviation; "–" where only norms were captured."""
        summary = self._newest(SubjectKind.PARAMETER if node.is_parameter else SubjectKind.ACTIVATION, node)
        if summary is None:
            return ""
        if has_norms_only(summary):
            return "–"
        if math.isnan(summary[MEAN]):
            return "NaN" if summary[NAN] > 0 else "Inf" if summary[INF] > 0 else "–"
        return f"{number(float(summary[MEAN]), digits=2)} ± {number(float(summary[STD]), digits=2)}"

    def exact_value(self, node: Node) -> str:
        """The same with all its digits."""
        summary = self._newest(SubjectKind.PARAMETER if node.is_parameter else SubjectKind.ACTIVATION, node)
        if summary is None or math.isnan(summary[MEAN]):
            return ""
        return f"{float(summary[MEAN])!r} ± {float(summary[STD])!r}"

    def gradient(self, node: Node) -> float | None:
        """The L2 norm of the gradient."""
        summary = self._newest(SubjectKind.GRAD if node.is_parameter else SubjectKind.ACTIVATION_GRAD, node)
        return None if summary is None else float(summary[L2])

    def update_ratio(self, node: Node) -> float | None:
        """||update|| / ||parameter||; nothing where the parameter is all zero, and for modules."""
        update = self._newest(SubjectKind.UPDATE, node) if node.is_parameter else None
        parameter = self._newest(SubjectKind.PARAMETER, node)
        if update is None or parameter is None or not parameter[L2] > 0:
            return None
        # As Python's own floats, which divide without a warning.
        return float(update[L2]) / float(parameter[L2])

    def _newest(self, kind: SubjectKind, node: Node) -> FloatArray | None:
        # Before the first step a parameter has no place in the history yet, only its newest summary.
        latest = self._history.latest(self._first.get((kind, node.name), SubjectKey(kind, node.name)))
        if latest is None:
            return None
        # A layer or parameter that the newest pass did not reach has no number now; an older one would be a lie.
        newest = self._reports.get(latest.phase or Phase.STEP)
        if newest is None:
            return latest.summary
        # What was there before the first step is old when that is done.
        is_old = newest.step > latest.step or (latest.phase is None and newest.complete)
        return None if is_old else latest.summary
