"""The numbers of layers and parameters in the step that is shown, as the texts of the layer tree. No Qt."""

from __future__ import annotations

import math

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.numbers import number
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import (
    COUNT,
    INF,
    L2,
    MAX,
    MEAN,
    MIN,
    NAN,
    STD,
    SubjectKey,
    SubjectKind,
    has_norms_only,
    is_mask,
)
from gradscope.state.app_state import AppState
from gradscope.state.tree import Node


class LayerValues:
    """Reads the history of one session. A node with several outputs or calls is told by its first; one that the newest pass
    did not reach has no text."""

    def __init__(self, state: AppState) -> None:
        self._history = state.history
        self._reports = state.reports
        self._shown = state.shown
        self._first: dict[tuple[SubjectKind, str], SubjectKey] = {}
        self._known = dict.fromkeys(SubjectKind, 0)

    def read_new_subjects(self) -> None:
        for kind in SubjectKind:
            keys = self._history.subjects(kind)
            for key in keys[self._known[kind] :]:
                self._first.setdefault((kind, key.name), key)
            self._known[kind] = len(keys)

    def value(self, node: Node) -> str:
        """ "0.5 ± 0.2": mean and standard deviation; "–" where only norms were captured. Of whole numbers "3" or "0 to 9".
        "NaN" or "Inf" where there is any: the mean of the rest would hide it."""
        summary = self._newest(node.value_kind, node)
        if summary is None:
            return ""
        if is_mask(node.value_kind, summary):
            return "0, Inf"
        if summary[NAN] > 0 or summary[INF] > 0:
            return "NaN" if summary[NAN] > 0 else "Inf"
        if not has_norms_only(summary) and math.isnan(summary[MEAN]) and not math.isnan(summary[MIN]):
            return _range(summary)
        if has_norms_only(summary) or math.isnan(summary[MEAN]):
            return "–"
        return f"{number(float(summary[MEAN]), digits=2)} ± {number(float(summary[STD]), digits=2)}"

    def exact_value(self, node: Node) -> str:
        """The same with all its digits."""
        summary = self._newest(node.value_kind, node)
        if summary is None or math.isnan(summary[MEAN]):
            return ""
        return f"{float(summary[MEAN])!r} ± {float(summary[STD])!r}"

    def gradient(self, node: Node) -> float | None:
        """The L2 norm of the gradient; NaN or infinite where some of it is."""
        if node.is_buffer:
            return None
        summary = self._newest(SubjectKind.GRAD if node.is_parameter else SubjectKind.ACTIVATION_GRAD, node)
        return None if summary is None else _norm(summary)

    def update_ratio(self, node: Node) -> float | None:
        """||update|| / ||parameter||; nothing where the parameter is all zero, and for modules. NaN or infinite where some of
        the update is."""
        update = self._newest(SubjectKind.UPDATE, node) if node.is_parameter else None
        if update is not None and not math.isfinite(_norm(update)):
            return _norm(update)
        parameter = self._newest(SubjectKind.PARAMETER, node)
        if update is None or parameter is None or not parameter[L2] > 0:
            return None
        # As Python's own floats, which divide without a warning.
        return float(update[L2]) / float(parameter[L2])

    def trouble(self, kind: SubjectKind, node: Node) -> str:
        """ "784 NaN, 2 Inf of 50,176; the rest has the L2 norm 0.5"; "" where all is finite."""
        summary = self._newest(kind, node)
        if summary is None or not (summary[NAN] > 0 or summary[INF] > 0):
            return ""
        found = ((NAN, "NaN"), (INF, "Inf"))
        counts = ", ".join(f"{summary[column]:,.0f} {word}" for column, word in found if summary[column] > 0)
        rest = "" if math.isnan(summary[L2]) else f"; the rest has the L2 norm {float(summary[L2]):.6g}"
        return f"{counts} of {summary[COUNT]:,.0f}{rest}"

    def _newest(self, kind: SubjectKind, node: Node) -> FloatArray | None:
        # Before the first step a parameter has no place in the history yet, only its newest summary.
        latest = self._shown.latest(self._first.get((kind, node.name), SubjectKey(kind, node.name)))
        if latest is None:
            return None
        if self._shown.step is not None:
            return latest.summary
        # A layer or parameter that the newest pass did not reach has no number now; an older one would be a lie.
        newest = self._reports.get(latest.phase or Phase.STEP)
        if newest is None:
            return latest.summary
        # What was there before the first step is old when that is done.
        is_old = newest.step > latest.step or (latest.phase is None and newest.complete)
        return None if is_old else latest.summary


def _range(summary: FloatArray) -> str:
    """Of whole numbers, which have no mean: "3", or "0 to 9"."""
    low, high = (f"{summary[column]:,.0f}" for column in (MIN, MAX))
    return low if low == high else f"{low} to {high}"


def _norm(summary: FloatArray) -> float:
    """The L2 norm of all, not of the finite part."""
    if summary[NAN] > 0:
        return math.nan
    return math.inf if summary[INF] > 0 else float(summary[L2])
