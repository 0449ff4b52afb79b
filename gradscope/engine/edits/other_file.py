"""What of an edited recipe file cannot be taken in place: found, in words, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gradscope.engine.edits import change
from gradscope.engine.recipe.facts import ELSEWHERE, OF_DATA, Facts, TurnFacts
from gradscope.engine.recipe.prints import is_shown
from gradscope.engine.wording import listed


def what_stays(base: Facts, new: Facts) -> list[str]:
    """Each difference that only opening the file again brings about."""
    return [*_of_model(base, new), *_of_layers(base, new), *_of_turns(base, new), *_of_fixed(base, new)]


def is_other_code(base: Facts, new: Facts) -> bool:
    """Whether anything that the user has written is another: a function, or the class of a layer."""
    steps = [(one.step, other.step) for one, other in zip(base.turns, new.turns, strict=True)]
    kinds = [(layer.kind, new.layers[name].kind) for name, layer in base.layers.items()]
    return any(one != other for one, other in ((base.loss, new.loss), *steps, *kinds))


def is_same_kind(base: TurnFacts, new: TurnFacts) -> bool:
    """Whether its scheduler can go on as the one of the new file."""
    one, other = base.scheduler, new.scheduler
    return one is not None and other is not None and one.kinds == other.kinds


def is_pair_new(base: TurnFacts, new: TurnFacts) -> bool:
    """Whether the new file's optimizer is needed, with its scheduler, and not the one that is in use with other options."""
    return base.optimizer != new.optimizer or (new.scheduler is not None and not is_same_kind(base, new))


def arrow(before: str, after: str) -> str:
    """Of two prints; "" where they cannot be shown."""
    return change.arrow(before, after) if is_shown(before) and is_shown(after) else ""


def difference(what: str, before: str, after: str) -> str:
    """ "momentum: 0.9 → 0.8", or that it is another."""
    told = arrow(before, after)
    return f"{what}: {told}" if told else f"{what} is another"


# ------------------------------------------------------------------------------------------- private


def _of_model(base: Facts, new: Facts) -> Iterator[str]:
    yield from _of_tensors("parameters", _forms(base), _forms(new))
    yield from _of_tensors("buffers", base.buffers, new.buffers)
    names = {name: others for name, (_, _, others) in new.parameters.items()}
    tied = [name for name, (_, _, others) in base.parameters.items() if names.get(name, others) != others]
    if tied:
        yield f"which parameters are the same one: {listed(tied)}"


def _of_tensors(what: str, base: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    added, gone = [name for name in new if name not in base], [name for name in base if name not in new]
    changed = [f"{name} {form} → {new[name]}" for name, form in base.items() if new.get(name, form) != form]
    for words, names in (("new {}", added), ("{} that are gone", gone), ("{} of another shape", changed)):
        if names:
            yield f"{words.format(what)}: {listed(names)}"


def _forms(facts: Facts) -> dict[str, str]:
    return {name: form for name, (form, _, _) in facts.parameters.items()}


def _of_layers(base: Facts, new: Facts) -> Iterator[str]:
    added = [name for name in new.layers if name not in base.layers]
    gone = [name for name in base.layers if name not in new.layers]
    if added:
        yield f"new layers: {listed(added)}"
    if gone:
        yield f"layers that are gone: {listed(gone)}"
    others = [
        f"layer {name or '(model)'}: {layer.name} → {other.name}"
        for name, layer in base.layers.items()
        if (other := new.layers.get(name, layer)).name != layer.name
    ]
    if others:
        yield listed(others)
    hooked = [
        name or "the model" for name, layer in base.layers.items() if new.layers.get(name, layer).hooks != layer.hooks
    ]
    if hooked:
        yield f"hooks of {listed(hooked)}"


def _of_turns(base: Facts, new: Facts) -> Iterator[str]:
    names, others = [turn.name for turn in base.turns], [turn.name for turn in new.turns]
    if names != others:
        yield f"the optimizers: {listed(names, most=5) or 'one'} → {listed(others, most=5) or 'one'}"
        return
    for turn, other in zip(base.turns, new.turns, strict=True):
        of = f" of {turn.name}" if turn.name else ""
        if [group.names for group in turn.groups] != [group.names for group in other.groups]:
            yield f"which parameters are in which group of the optimizer{of}"
        has_others = any(ELSEWHERE in group.names for group in turn.groups)
        is_moved = is_pair_new(turn, other) or base.loss != new.loss or turn.step != other.step
        if has_others and is_moved:
            yield f"the optimizer{of} holds tensors that are not the model's, which would be others in the edited file"


def _of_fixed(base: Facts, new: Facts) -> Iterator[str]:
    for name, text in base.fixed.items():
        other = new.fixed[name]
        if text != other:
            told = arrow(text, other)
            yield f"{name}: {told}" if told else f"{name} (the data)" if name in OF_DATA else name
