"""The numbers of a report page: for each kind of subject one table, a row for each subject."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.messages import Report
from gradscope.protocol.subjects import (
    COUNT,
    INF,
    L2,
    MAX,
    MEAN,
    MIN,
    NAN,
    STD,
    ZERO,
    SubjectKind,
    SubjectRow,
    has_norms_only,
)
from gradscope.snapshots.page.markup import Markup, clipped, element
from gradscope.snapshots.page.numbers import counted, number, percent, shape
from gradscope.snapshots.page.remarks import Reports, when, words
from gradscope.snapshots.page.svg import Magnitudes, histogram

MAX_ROWS = 500
"""Of one table. What holds NaN or Inf is never among the rows that are left out, as far as it fits."""
OPEN_ROWS = 60
"""A longer table is folded up."""
MAX_NAME = 200

_TITLES: dict[str, str] = {
    SubjectKind.ACTIVATION: "Outputs of layers",
    SubjectKind.ACTIVATION_GRAD: "Gradients of outputs",
    SubjectKind.PARAMETER: "Parameters",
    SubjectKind.GRAD: "Gradients of parameters",
    SubjectKind.UPDATE: "Updates of parameters",
    SubjectKind.CLIPPED_GRAD: "Gradients after clipping",
    SubjectKind.OPTIMIZER_STATE: "Optimizer state",
    SubjectKind.BUFFER: "Buffers",
}
_MOMENTS = (("min", MIN), ("max", MAX), ("mean", MEAN), ("std", STD), ("L2", L2))


@dataclass(frozen=True)
class _Entry:
    row: SubjectRow
    summary: FloatArray
    histogram: npt.NDArray[np.int32]
    sampled: int

    @property
    def non_finite(self) -> int:
        return int(self.summary[NAN] + self.summary[INF])


def subject_tables(reports: Reports) -> Iterator[Markup]:
    """One folding section for each report and kind of subject in it, in the order of SubjectKind."""
    for kind in SubjectKind:
        for report, rows in reports:
            entries = [
                _Entry(row, report.summaries[i], report.histograms[i], int(report.sampled[i]))
                for i, row in enumerate(rows)
                if row.key.kind is kind
            ]
            if entries:
                yield _section(kind, report, entries, _sizes(report, rows) if kind is SubjectKind.UPDATE else {})


def _sizes(report: Report, rows: list[SubjectRow]) -> dict[str, float]:
    """The L2 norm of every parameter of a report."""
    return {
        row.key.name: float(report.summaries[i, L2])
        for i, row in enumerate(rows)
        if row.key.kind is SubjectKind.PARAMETER
    }


def _section(kind: SubjectKind, report: Report, entries: list[_Entry], sizes: dict[str, float]) -> Markup:
    bad = sum(entry.non_finite > 0 for entry in entries)
    about = f"{when(report)}, {counted(len(entries), 'tensor')}"
    summary = element(
        "summary",
        _TITLES.get(kind, words(kind).capitalize()),
        " ",
        element("span", f"– {about}", class_="muted"),
        element("span", f" – {_SIGN} {bad:,} not finite", class_="bad") if bad else "",
    )
    shown = _chosen(entries)
    left_out = len(entries) - len(shown)
    rest = (
        element("p", f"{left_out:,} more rows are not shown here; summaries.csv has all of them.", class_="muted small")
        if left_out
        else ""
    )
    magnitudes = Magnitudes.of(np.stack([entry.histogram for entry in shown]))
    is_sampled = any(0 < entry.sampled < entry.summary[COUNT] for entry in shown)
    sampled = "; of a large tensor only a sample" if is_sampled else ""
    legend = f"Values: {magnitudes.sentence()}; each row to its own height{sampled}."
    if all(has_norms_only(entry.summary) for entry in entries):
        legend = "Only norms were captured: – stands for what is not known."
    table = element("div", _table(shown, sizes, magnitudes), class_="scroll")
    return element(
        "details",
        summary,
        element("p", legend, class_="muted small"),
        table,
        rest,
        open="" if len(entries) <= OPEN_ROWS else None,
    )


def _chosen(entries: list[_Entry]) -> list[_Entry]:
    """At most MAX_ROWS, in their order: those that are not finite, and then the first ones."""
    if len(entries) <= MAX_ROWS:
        return entries
    order = sorted(range(len(entries)), key=lambda i: (entries[i].non_finite == 0, i))
    return [entries[i] for i in sorted(order[:MAX_ROWS])]


def _table(entries: list[_Entry], sizes: dict[str, float], magnitudes: Magnitudes) -> Markup:
    names = ["elements", "not finite", "zeros", *(name for name, _ in _MOMENTS)]
    head = [element("th", name) for name in ("name", "shape", "type")]
    head += [element("th", name, class_="num") for name in names]
    if sizes:
        head.append(element("th", "update / parameter", class_="num", title="L2 of the update by L2 of the parameter"))
    head.append(element("th", "values"))
    return element(
        "table",
        element("thead", element("tr", head)),
        element("tbody", (_row(entry, sizes, magnitudes) for entry in entries)),
        class_="full",
    )


def _row(entry: _Entry, sizes: dict[str, float], magnitudes: Magnitudes) -> Markup:
    row, summary = entry.row, entry.summary
    count, zeros = float(summary[COUNT]), float(summary[ZERO])
    note = element("div", clipped(row.note, MAX_NAME), class_="muted small") if row.note else ""
    cells = [
        element("td", element("code", clipped(row.key.label(), MAX_NAME)), note, class_="name"),
        element("td", shape(row.shape), class_="shape"),
        element("td", clipped(row.dtype, MAX_NAME), class_="shape"),
        element("td", f"{count:,.0f}", class_="num"),
        _non_finite(summary),
        _zeros_cell(zeros, count),
    ]
    cells += [_number_cell(float(summary[column])) for _, column in _MOMENTS]
    if sizes:
        size = sizes.get(row.key.name, 0.0)
        cells.append(_number_cell(float(summary[L2]) / size if size > 0 else np.nan))
    if has_norms_only(summary):
        cells.append(element("td", "–"))
        return element("tr", cells)
    zeros_in_sample = zeros * entry.sampled / count if count else 0.0
    sample = f"from a sample of {entry.sampled:,}" if 0 < entry.sampled < count else None
    cells.append(element("td", histogram(entry.histogram, zeros_in_sample, magnitudes), title=sample))
    return element("tr", cells)


def _zeros_cell(zeros: float, count: float) -> Markup:
    if np.isnan(zeros):
        return element("td", "–", class_="num")
    return element(
        "td", percent(zeros, count) if zeros else "0", class_="num", title=f"{zeros:,.0f}" if zeros else None
    )


def _number_cell(value: float) -> Markup:
    """Short, and exact when pointed at. min to L2 are of the finite part: NaN says that there is none."""
    if np.isnan(value):
        return element("td", "–", class_="num")
    return element("td", number(value), class_="num", title=repr(value))


_SIGN = "▲"


def _non_finite(summary: FloatArray) -> Markup:
    found = [f"{summary[column]:,.0f} {name}" for name, column in (("NaN", NAN), ("Inf", INF)) if summary[column] > 0]
    if not found:
        return element("td", "0", class_="num")
    return element("td", f"{_SIGN} {', '.join(found)}", class_="num bad")
