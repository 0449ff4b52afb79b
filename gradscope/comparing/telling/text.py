"""A comparison as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradscope.comparing.comparison import Comparison
from gradscope.comparing.telling import sentences
from gradscope.protocol.visible import visible

MAX_ROWS = 12
"""Of each table; all of them are in the page and in the JSON."""
_MAX_CELL = 44


def text_of(comparison: Comparison) -> str:
    """Some lines, the result first."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"1: {visible(sentences.side_line(comparison.ours))}"
    yield f"2: {visible(sentences.side_line(comparison.theirs))}"
    yield ""
    yield visible(sentences.headline(comparison))
    yield sentences.agreement(comparison)
    yield from sentences.lengths(comparison)
    yield from _facts(comparison)
    yield from _rows(comparison)
    yield from _unmatched(comparison)
    yield from _tensors(comparison)
    if comparison.notes:
        yield ""
        yield from (f"note: {visible(note)}" for note in comparison.notes)


def _facts(comparison: Comparison) -> Iterator[str]:
    differing = sentences.differing_facts(comparison)
    yield ""
    yield "What differs"
    cells = [
        (f"{fact.topic}: {fact.name}", fact.ours or sentences.UNKNOWN, fact.theirs or sentences.UNKNOWN)
        for fact in differing
    ]
    yield from _table(cells)
    yield f"  {sentences.facts_line(comparison)}"


def _rows(comparison: Comparison) -> Iterator[str]:
    yield ""
    yield "Rows"
    counts = [
        (
            count.words,
            f"{count.aligned} in both",
            f"{count.differing} differ" if count.differing else "",
            f"{count.only_ours} only in 1" if count.only_ours else "",
            f"{count.only_theirs} only in 2" if count.only_theirs else "",
        )
        for count in sentences.kind_counts(comparison)
    ]
    yield from _table(counts, limit=len(counts))
    differing = sentences.rows_that_differ(comparison)
    if differing:
        yield ""
        yield "Rows that differ, the earliest first (largest difference of the L2 norm)"
        yield from _table([(sentences.row_name(r), f"step {r.first_step}", sentences.row_size(r)) for r in differing])


def _unmatched(comparison: Comparison) -> Iterator[str]:
    for which, ours in (("first", True), ("second", False)):
        for words, keys in sentences.unmatched_of(comparison.unmatched, ours=ours):
            yield ""
            yield f"Only in the {which} run: {words}"
            yield from _table([(key.shown(),) for key in keys])
    other = [(one.subject.shown(), one.ours, one.theirs) for one in comparison.unmatched if one.ours and one.theirs]
    if other:
        yield ""
        yield "Of another shape or dtype"
        yield from _table(other)


def _tensors(comparison: Comparison) -> Iterator[str]:
    if comparison.tensors:
        yield ""
        yield "Tensors whose elements differ (how many, the largest difference, and where)"
        cells = [
            (f"{one.kind} {one.name}", f"{one.differing:,} of {one.count:,}", f"{one.absolute:.3g} at {list(one.at)}")
            for one in comparison.tensors
        ]
        yield from _table(cells)


def _table(rows: Sequence[Sequence[str]], limit: int = MAX_ROWS) -> Iterator[str]:
    """In columns; the last one is as wide as it likes."""
    shown = [[_cell(cell) for cell in row] for row in rows[:limit]]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    if len(rows) > limit:
        yield f"  and {len(rows) - limit:,} more"


def _cell(text: str) -> str:
    shown = visible(text)
    return shown if len(shown) <= _MAX_CELL else shown[: _MAX_CELL - 1] + "…"
