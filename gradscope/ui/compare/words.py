"""What the Compare tab says of a side, a kind of subject, a result."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.numbers import number
from gradscope.protocol.subjects import SubjectKind
from gradscope.protocol.visible import visible
from gradscope.state.comparison import Comparison, Row, Side, Verdict
from gradscope.ui.words import text
from gradscope.ui.words.translation import QT_TRANSLATE_NOOP

_CONTEXT = "Compare"
_KINDS = {
    SubjectKind.ACTIVATION: QT_TRANSLATE_NOOP("Compare", "activation"),
    SubjectKind.ACTIVATION_GRAD: QT_TRANSLATE_NOOP("Compare", "activation gradient"),
    SubjectKind.PARAMETER: QT_TRANSLATE_NOOP("Compare", "parameter"),
    SubjectKind.GRAD: QT_TRANSLATE_NOOP("Compare", "gradient"),
    SubjectKind.UPDATE: QT_TRANSLATE_NOOP("Compare", "update"),
    SubjectKind.CLIPPED_GRAD: QT_TRANSLATE_NOOP("Compare", "clipped gradient"),
    SubjectKind.OPTIMIZER_STATE: QT_TRANSLATE_NOOP("Compare", "optimizer state"),
    SubjectKind.BUFFER: QT_TRANSLATE_NOOP("Compare", "buffer"),
}
_COUNTED = {
    Verdict.DIFFERENT: QT_TRANSLATE_NOOP("Compare", "{count} differ"),
    Verdict.OTHER_SHAPE: QT_TRANSLATE_NOOP("Compare", "{count} of another shape"),
    Verdict.OTHER_DTYPE: QT_TRANSLATE_NOOP("Compare", "{count} of another type"),
    Verdict.ONLY_OURS: QT_TRANSLATE_NOOP("Compare", "{count} only in A"),
    Verdict.ONLY_THEIRS: QT_TRANSLATE_NOOP("Compare", "{count} only in B"),
    Verdict.UNKNOWN: QT_TRANSLATE_NOOP("Compare", "{count} without values"),
    Verdict.WAITING: QT_TRANSLATE_NOOP("Compare", "{count} not compared"),
    Verdict.IDENTICAL: QT_TRANSLATE_NOOP("Compare", "{count} identical"),
}


def _tr(source: str) -> str:
    return QCoreApplication.translate(_CONTEXT, source)


def kind_text(kind: SubjectKind) -> str:
    return _tr(_KINDS[kind])


def side_text(side: Side, *, is_over: bool = False) -> str:
    """ "Digits, step 41, now", or "Digits, step 41, of a.zip, written ...". `is_over`: the session has moved on."""
    if side.snapshot is None and is_over:
        return _tr("{name}, as it was at step {step}").format(name=visible(side.name), step=side.step)
    if side.snapshot is None:
        return _tr("{name}, step {step}, now").format(name=visible(side.name), step=side.step)
    return _tr("{name}, step {step}, of {file}, written {when}").format(
        name=visible(side.name),
        step=side.step,
        file=Path(side.snapshot.path).name,
        when=text.written_at(side.snapshot.created) or "?",
    )


def result_text(comparison: Comparison) -> str:
    """ "12 differ, 3 only in A, 40 identical"."""
    counts = comparison.verdicts()
    if set(counts) == {Verdict.IDENTICAL}:
        return _tr("All {count} tensors are identical").format(count=counts.total())
    return ", ".join(_tr(words).format(count=counts[verdict]) for verdict, words in _COUNTED.items() if counts[verdict])


def remark(row: Row) -> str:
    """What there is to say of a row beside its numbers."""
    match row.verdict:
        case Verdict.ONLY_OURS:
            return _tr("only in A")
        case Verdict.ONLY_THEIRS:
            return _tr("only in B")
        case Verdict.OTHER_SHAPE if row.ours is not None and row.theirs is not None:
            shapes = (text.shape(row.ours.row.shape), text.shape(row.theirs.row.shape))
            return _tr("shapes: {ours} and {theirs}").format(ours=shapes[0], theirs=shapes[1])
        case Verdict.UNKNOWN if row.difference is not None:
            return row.difference.problem
        case Verdict.IDENTICAL:
            return _tr("identical")
        case Verdict.OTHER_DTYPE | Verdict.DIFFERENT if row.ours is not None and row.theirs is not None:
            if row.ours.row.dtype == row.theirs.row.dtype:
                return ""
            dtypes = _tr("{ours} and {theirs}").format(ours=row.ours.row.dtype, theirs=row.theirs.row.dtype)
            return (
                dtypes if row.verdict is Verdict.DIFFERENT else _tr("the same numbers, {dtypes}").format(dtypes=dtypes)
            )
    return ""


def largest_text(row: Row | None) -> str:
    """ "Largest at [3, 17]: A 0.51, B 0.48"."""
    difference = row.difference if row is not None else None
    if difference is None or difference.problem or not difference.differing:
        return ""
    return _tr("Largest difference at [{index}]: A {ours}, B {theirs}").format(
        index=", ".join(str(i) for i in difference.at),
        ours=number(difference.ours, digits=9),
        theirs=number(difference.theirs, digits=9),
    )
