"""A stop looked at over steps that are over: where it would have stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from gradscope.protocol.failure import BadInput
from gradscope.protocol.stops import tree
from gradscope.protocol.stops.evaluation import Binding, Lookup, holding
from gradscope.protocol.stops.quantities import Figure
from gradscope.protocol.stops.telling import sentence, subject_of
from gradscope.protocol.stops.tree import Stop
from gradscope.protocol.subjects import LAYER_KINDS

MOST_FOUND = 10_000
Found = tuple[int, str, str]
"""(step, subject, sentence)"""


def recheck(stop: Stop, steps: Iterable[Lookup]) -> list[Found]:
    """Where it holds in what is recorded, at most MOST_FOUND times. Of a place with a condition, the condition; the steps and
    the layer of the place count.

    Raises BadInput for a place alone that no record tells of.
    """
    check_recorded(stop)
    return list(islice((found for lookup in steps for found in found_in(stop, lookup)), MOST_FOUND))


def check_recorded(stop: Stop) -> None:
    """Raises BadInput where no record tells of it."""
    if stop.condition is None and not isinstance(stop.place, (tree.At, tree.Every)):
        raise BadInput(f"'{stop}' is a place; expected a condition, such as grad.l2 > 10, to look at what is recorded")


def found_in(stop: Stop, lookup: Lookup) -> Iterator[Found]:
    """Where it holds in one step."""
    if not _is_in(stop.place, lookup):
        return
    if stop.condition is None:
        yield lookup.step, "", f"step {lookup.step}"
        return
    for binding in holding(stop.condition, lookup):
        if _is_of(stop.place, binding):
            yield lookup.step, subject_of(binding), sentence(stop.condition, lookup, binding)


def _is_in(place: tree.Place | None, lookup: Lookup) -> bool:
    match place:
        case tree.At(tree.Unit.STEP, number):
            return lookup.step == number
        case tree.Every(tree.Unit.STEP, count):
            return lookup.step % count == 0
        case tree.At(tree.Unit.EPOCH, number):
            return lookup.figure(Figure.EPOCH) == number
        case tree.Every(tree.Unit.EPOCH, count):
            epoch = lookup.figure(Figure.EPOCH)
            return epoch is not None and epoch % count == 0 and lookup.figure(Figure.BATCH) in (0, None)
    return True


def _is_of(place: tree.Place | None, binding: Binding) -> bool:
    if not isinstance(place, tree.AtLayer):
        return True
    keys = [key for variable, key in binding.items() if variable.named is None and key is not None]
    return all(
        place.pattern.fits(key.name)
        or (key.kind not in LAYER_KINDS and place.pattern.fits(key.name.rpartition(".")[0]))
        for key in keys
    )
