"""What the comparison of two runs says of its rows, its sides and its result."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QCoreApplication

from gradscope.comparing import Comparison, Divergence, Entry, Presence
from gradscope.comparing.comparison import Side
from gradscope.comparing.divergence import COLUMN_WORDS
from gradscope.comparing.reading.remembered import BRANCH
from gradscope.comparing.telling import sentences
from gradscope.protocol.subjects import SubjectKey
from gradscope.protocol.visible import visible
from gradscope.ui.compare.words import kind_text

_CONTEXT = "CompareRuns"


def _tr(source: str) -> str:
    return QCoreApplication.translate(_CONTEXT, source)


def kind_of(row: Entry) -> str:
    return kind_text(row.key.kind) if isinstance(row.key, SubjectKey) else _tr("of the step")


def is_parting(row: Entry, divergence: Divergence | None) -> bool:
    """Whether the runs part with this row."""
    if divergence is None:
        return False
    return row.key == (divergence.name if divergence.subject is None else divergence.subject)


def remark_of(row: Entry, divergence: Divergence | None) -> str:
    """What there is to say of a row beside its numbers."""
    if divergence is not None and is_parting(row, divergence):
        return _tr("The runs part here: {when}").format(when=divergence.when)
    if row.presence is not Presence.BOTH:
        return _tr("only in A") if row.presence is Presence.OURS else _tr("only in B")
    if row.forms is not None:
        return _tr("{ours} and {theirs}").format(ours=row.forms[0], theirs=row.forms[1])
    if math.isnan(row.relative):
        return _tr("no such step in both") if row.moments else _tr("no moment in both")
    if row.relative == 0:
        return _tr("the same")
    if row.column not in ("l2", "value"):
        return _tr("A and B are: {what}").format(what=COLUMN_WORDS.get(row.column, row.column))
    return ""


def side_text(side: Side) -> str:
    """ "run.jsonl: Digits (JSON lines), steps 0 to 9"."""
    if side.form == BRANCH:
        text = _tr("{name}; recorded are the steps {first} to {last}")
        return text.format(name=visible(side.name), first=side.first_step, last=side.last_step)
    return visible(sentences.side_line(side))


def short_name(side: Side) -> str:
    """For a legend: "branch 1", or the name of the file."""
    if side.form == BRANCH:
        return visible(side.name.partition(",")[0])
    return visible(side.path.replace("\\", "/").rstrip("/").rpartition("/")[2])


def lines_below(comparison: Comparison) -> Sequence[str]:
    """What is the same before the runs part, and how far each goes."""
    return [sentences.agreement(comparison), *sentences.lengths(comparison)]
