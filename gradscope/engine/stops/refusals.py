"""Why a stop cannot hold in a training, by what is captured of it and by the names that it has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from gradscope.engine.book.book import Book
from gradscope.protocol.phases import SubStep
from gradscope.protocol.stops import tree
from gradscope.protocol.stops.evaluation import figures_of, kinds_of, quantities_of
from gradscope.protocol.stops.quantities import OF_NORMS, Figure
from gradscope.protocol.stops.tree import Condition, Pattern, Stop
from gradscope.protocol.subjects import SubjectKind

OF_A_SCRIPT = frozenset(SubStep) - {SubStep.VALIDATE}
"""The sub-steps that a script may come to. It validates by calling its models without gradients: that is EVALUATE."""
_OTHER_WORDS = {
    SubStep.VALIDATE: "in a script it is 'evaluate', each call of a model without gradients",
    SubStep.EVALUATE: "in a recipe it is 'validate'",
}


def why_never(
    stop: Stop, book: Book, *, has_findings: bool = True, substeps: Collection[SubStep] = frozenset(SubStep)
) -> str:
    """As a sentence without a full stop; "" where it can. `has_findings`: somebody looks for them; `substeps`: those that
    the training comes to."""
    capture, condition = book.capture, stop.condition
    if isinstance(stop.place, tree.AtSubStep) and stop.place.substep not in substeps:
        other = _OTHER_WORDS.get(stop.place.substep)
        is_here = (stop.place.substep is SubStep.VALIDATE) is book.is_of_script
        more = f": {other}" if other is not None and is_here else ""
        return f"there is no '{stop.place.substep.value}' to stop at in this training{more}"
    if isinstance(stop.place, (tree.AtLayer, tree.AtLine)) and capture.is_off:
        return "capture is off, so no layer is looked at"
    if condition is not None:
        why = _by_capture(condition, book)
        if why:
            return why
        if not has_findings and any(isinstance(leaf, tree.Found) for leaf in tree.leaves(condition)):
            return "nobody looks for findings here"
    return next((f"nothing here is called {pattern}" for pattern in _unfit(stop, book)), "")


def _by_capture(condition: Condition, book: Book) -> str:
    capture = book.capture
    if capture.is_off and kinds_of(condition):
        return "capture is off, so no tensor is summarised"
    if (capture.is_partial or capture.is_off) and Figure.GRAD_NORM in figures_of(condition):
        return "not all layers are captured, so the norm of all gradients is not known"
    if capture.norms_only:
        for quantity, _ in quantities_of(condition):
            if isinstance(quantity, tree.OfSubject):
                if quantity.statistic not in OF_NORMS:
                    return f"only norms are captured, so {quantity.statistic} is not known"
                if quantity.kind is SubjectKind.OPTIMIZER_STATE:
                    return "only norms are captured, so the optimizer's state is not known"
    return ""


def _unfit(stop: Stop, book: Book) -> Iterator[Pattern]:
    """Patterns that fit no name of the training as it is now."""
    observer = book.observer
    layers = ["", *observer.modules()]
    if isinstance(stop.place, tree.AtLayer):
        parameters = observer.tensors() if stop.place.event is tree.Event.GRADIENT else ()
        if not _fits_any(stop.place.pattern, [*layers, *parameters]):
            yield stop.place.pattern
    if stop.condition is not None:
        names = [*layers, *observer.tensors(), *observer.buffers()]
        for quantity, _ in quantities_of(stop.condition):
            if (
                not isinstance(quantity, tree.OfStep)
                and quantity.named is not None
                and not _fits_any(quantity.named, names)
            ):
                yield quantity.named
        for pattern in _within(stop.condition):
            if not _fits_any(pattern, names):
                yield pattern


def _fits_any(pattern: Pattern, names: Iterable[str]) -> bool:
    return any(pattern.covers(name) for name in names)


def _within(condition: Condition) -> Iterator[Pattern]:
    match condition:
        case tree.Within(inner, pattern):
            yield pattern
            yield from _within(inner)
        case tree.Not(inner):
            yield from _within(inner)
        case tree.And(parts) | tree.Or(parts):
            for part in parts:
                yield from _within(part)
