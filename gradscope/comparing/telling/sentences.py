"""What a comparison comes to, in sentences and short tables that text and page share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gradscope.comparing.comparison import Comparison, Fact, Row, Side, Unmatched
from gradscope.comparing.sheets import DATA
from gradscope.protocol.numbers import number, percent
from gradscope.protocol.subjects import SubjectKey, SubjectKind

KIND_WORDS: dict[SubjectKind, str] = {
    SubjectKind.ACTIVATION: "outputs of layers",
    SubjectKind.ACTIVATION_GRAD: "gradients of outputs",
    SubjectKind.PARAMETER: "parameters",
    SubjectKind.GRAD: "gradients of parameters",
    SubjectKind.UPDATE: "updates",
    SubjectKind.CLIPPED_GRAD: "clipped gradients",
    SubjectKind.OPTIMIZER_STATE: "states of the optimizer",
    SubjectKind.BUFFER: "buffers",
}
UNKNOWN = "not known"


@dataclass(frozen=True, kw_only=True)
class KindCount:
    """How the rows of one kind compare."""

    words: str
    aligned: int
    differing: int
    only_ours: int
    only_theirs: int


def headline(comparison: Comparison) -> str:
    """The result in one sentence."""
    divergence = comparison.divergence
    if divergence is not None:
        return f"The runs part at {divergence.sentence}"
    if comparison.tensors:
        count = len(comparison.tensors)
        return (
            f"All summaries agree, and {_counted(count, 'tensor')} differ{'s' if count == 1 else ''} in some elements"
        )
    return f"All numbers that both runs have are {_the_same(comparison)}"


def agreement(comparison: Comparison) -> str:
    """What is the same before the runs part; over which steps, where they do not."""
    divergence = comparison.divergence
    if divergence is None:
        first, last = comparison.steps[0], comparison.steps[-1]
        return f"{_counted(len(comparison.steps), 'step was', 'steps were')} compared: {_span(first, last)}"
    if divergence.agrees is None:
        return "Nothing that both runs have comes before it"
    return f"{_the_same(comparison).capitalize()} up to {divergence.agrees.sentence}"


def lengths(comparison: Comparison) -> list[str]:
    """Where one run has steps that the other has not."""
    a, b = comparison.ours, comparison.theirs
    if (a.first_step, a.last_step) == (b.first_step, b.last_step):
        return []
    return [f"The first run has {_span(a.first_step, a.last_step)}, the second {_span(b.first_step, b.last_step)}"]


def side_line(side: Side) -> str:
    """ "run.jsonl: Digits (JSON lines), steps 0 to 9"."""
    return f"{side.path}: {side.name or 'unnamed'} ({side.form}), {_span(side.first_step, side.last_step)}"


def differing_facts(comparison: Comparison) -> list[Fact]:
    """What is known of both runs and not the same; if one alone is known, that comes after."""
    differs = [fact for fact in comparison.facts if fact.differs]
    return differs + [fact for fact in comparison.facts if fact.ours is None or fact.theirs is None]


def facts_line(comparison: Comparison) -> str:
    """What there is to say where no fact differs, or how many are the same."""
    same = sum(fact.ours is not None and fact.ours == fact.theirs for fact in comparison.facts)
    if not comparison.facts:
        return "Nothing is known of the circumstances of the runs"
    if not differing_facts(comparison):
        return (
            f"Nothing of what is known: {_counted(same, 'setting and version', 'settings and versions')} are the same"
        )
    return f"{_counted(same, 'other setting or version is', 'other settings and versions are')} the same"


def kind_counts(comparison: Comparison) -> Iterator[KindCount]:
    """For each kind of subject that one of the runs has."""
    for kind in SubjectKind:
        rows = [row for row in comparison.rows if row.subject is not None and row.subject.kind is kind]
        alone = [one for one in comparison.unmatched if one.subject.kind is kind]
        if rows or alone:
            yield KindCount(
                words=KIND_WORDS[kind],
                aligned=len(rows),
                differing=sum(row.first_step is not None for row in rows),
                only_ours=sum(one.theirs is None for one in alone),
                only_theirs=sum(one.ours is None for one in alone),
            )


def rows_that_differ(comparison: Comparison) -> list[Row]:
    """The earliest first; at the same step in the order of time."""
    found = [row for row in comparison.rows if row.first_step is not None]
    return sorted(found, key=lambda row: row.first_step or 0)


def row_name(row: Row) -> str:
    """ "hidden.weight (gradients of parameters)"."""
    return row.name if row.subject is None else f"{row.name} ({KIND_WORDS[row.subject.kind]})"


def row_size(row: Row) -> str:
    if math.isinf(row.largest):
        return "not the same" if row.name == DATA else "no number"
    return percent(100 * row.largest) if row.largest >= 1e-3 else number(row.largest, digits=2)


def unmatched_of(rows: Iterable[Unmatched], *, ours: bool) -> list[tuple[str, Sequence[SubjectKey]]]:
    """(the kind in words, the subjects of it that one side alone has)."""
    found: dict[SubjectKind, list[SubjectKey]] = {}
    for one in rows:
        if (one.theirs if ours else one.ours) is None:
            found.setdefault(one.subject.kind, []).append(one.subject)
    return [(KIND_WORDS[kind], keys) for kind, keys in found.items()]


def _the_same(comparison: Comparison) -> str:
    if comparison.rtol:
        return f"the same within {number(comparison.rtol)}"
    return "equal to the last digit" if _is_exact(comparison) else "equal"


def _is_exact(comparison: Comparison) -> bool:
    return not any("float32" in note for note in comparison.notes)


def _span(first: int, last: int) -> str:
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _counted(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"
