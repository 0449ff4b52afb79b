"""A comparison as one page: no scripts, nothing from outside, in the style of a snapshot's page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradscope.comparing.comparison import Comparison
from gradscope.comparing.telling import sentences
from gradscope.protocol.numbers import number
from gradscope.snapshots.page.markup import Content, Markup, clipped, element
from gradscope.snapshots.page.report_style import STYLE

MAX_ROWS = 1000
_MAX_TEXT = 400


def page_of(comparison: Comparison) -> str:
    """The whole page."""
    title = f"{comparison.ours.name or comparison.ours.path} – two runs"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        element("title", clipped(title, 200)),
        element("style", Markup(STYLE)),
    )
    body = element(
        "main",
        _heading(comparison),
        _result(comparison),
        _titled("What differs", *_facts(comparison)),
        _titled("Rows", *_counts(comparison), *_differing(comparison)),
        _titled("Rows that one run alone has", *_unmatched(comparison)),
        _titled("Tensors, element by element", *_tensors(comparison)),
        _titled("What to know", *_notes(comparison)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"


def _titled(title: str, *content: Markup) -> Markup:
    present = [part for part in content if part]
    return element("section", element("h2", title), present) if present else Markup("")


def _heading(comparison: Comparison) -> Markup:
    sides = [
        element("li", element("code", clipped(sentences.side_line(side), _MAX_TEXT)))
        for side in (comparison.ours, comparison.theirs)
    ]
    return element("header", element("h1", "Two runs"), element("ul", sides, class_="muted"))


def _result(comparison: Comparison) -> Markup:
    divergence = comparison.divergence
    told = [sentences.agreement(comparison), *sentences.lengths(comparison)]
    lines = [element("p", clipped(sentences.headline(comparison), _MAX_TEXT), class_=_sign(comparison))]
    lines += [element("p", line) for line in told]
    if divergence is None:
        return element("div", lines, class_="card")
    tiles = [
        ("Step", str(divergence.step)),
        ("Stage", divergence.when.partition(", ")[2]),
        ("Where", clipped(divergence.name, 80)),
        ("First run", number(divergence.ours, digits=9)),
        ("Second run", number(divergence.theirs, digits=9)),
        ("Relative difference", number(divergence.relative, digits=2)),
        ("Others at that stage", str(divergence.others)),
    ]
    cells = [element("div", element("dt", name), element("dd", text or "–"), class_="tile") for name, text in tiles]
    return element("section", element("div", lines, class_="card"), element("dl", cells, class_="tiles"))


def _sign(comparison: Comparison) -> str | None:
    return None if comparison.divergence is None and not comparison.tensors else "bad"


def _facts(comparison: Comparison) -> Iterator[Markup]:
    facts = sentences.differing_facts(comparison)
    rows = [(fact.topic, fact.name, fact.ours or sentences.UNKNOWN, fact.theirs or sentences.UNKNOWN) for fact in facts]
    yield _table(("", "", "First run", "Second run"), rows)
    yield element("p", sentences.facts_line(comparison), class_="muted small")
    same = [(fact.topic, fact.name, fact.ours or "") for fact in comparison.facts if fact.ours == fact.theirs]
    if same:
        yield element(
            "details", element("summary", "What is the same"), _table(("", "", "Both runs"), same), class_="small"
        )


def _counts(comparison: Comparison) -> Iterator[Markup]:
    rows = [
        (
            count.words.capitalize(),
            str(count.aligned),
            str(count.differing),
            str(count.only_ours),
            str(count.only_theirs),
        )
        for count in sentences.kind_counts(comparison)
    ]
    heads = ("", "In both", "Differ", "Only in the first", "Only in the second")
    yield _table(heads, rows, numbers=(1, 2, 3, 4))


def _differing(comparison: Comparison) -> Iterator[Markup]:
    rows = [
        (sentences.row_name(row), str(row.first_step), sentences.row_size(row), str(row.moments))
        for row in sentences.rows_that_differ(comparison)
    ]
    if rows:
        yield element("h3", "Rows that differ, the earliest first")
        heads = ("", "First at step", "Largest difference of the L2 norm", "Moments compared")
        yield _table(heads, rows, numbers=(1, 2, 3))


def _unmatched(comparison: Comparison) -> Iterator[Markup]:
    rows = [
        (f"{one.subject.shown()} ({sentences.KIND_WORDS[one.subject.kind]})", _there(one.ours), _there(one.theirs))
        for one in comparison.unmatched
    ]
    if rows:
        yield _table(("", "First run", "Second run"), rows)


def _there(form: str | None) -> str:
    return "–" if form is None else form or "there"


def _tensors(comparison: Comparison) -> Iterator[Markup]:
    rows = [
        (f"{one.kind} {one.name}", f"{one.differing:,} of {one.count:,}", number(one.absolute), str(list(one.at)))
        for one in comparison.tensors
    ]
    if rows:
        yield _table(("", "Elements that differ", "Largest difference", "At"), rows, numbers=(1, 2, 3))


def _notes(comparison: Comparison) -> Iterator[Markup]:
    if comparison.notes:
        yield element("ul", [element("li", clipped(note, _MAX_TEXT)) for note in comparison.notes], class_="card")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> Markup:
    if not rows:
        return Markup("")

    def line(kind: str, cells: Sequence[Content]) -> Markup:
        return element(
            "tr", [element(kind, cell, class_="num" if i in numbers else None) for i, cell in enumerate(cells)]
        )

    shown = [line("td", [clipped(cell, _MAX_TEXT) for cell in row]) for row in rows[:MAX_ROWS]]
    table = element("table", element("thead", line("th", heads)), element("tbody", shown), class_="full")
    more = f"and {len(rows) - MAX_ROWS:,} more" if len(rows) > MAX_ROWS else ""
    return element("div", table, element("p", more, class_="muted small") if more else "", class_="scroll card")
