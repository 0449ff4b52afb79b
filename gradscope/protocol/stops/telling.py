"""What is said of a condition that holds: the threshold that was set, and the value that was found."""

from __future__ import annotations

from gradscope.protocol import numbers
from gradscope.protocol.stops import tree
from gradscope.protocol.stops.evaluation import DOMAINS, Binding, Domain, Lookup, Variable, evaluate, value_of
from gradscope.protocol.stops.quantities import UPDATE_RATIO, Figure, Happening
from gradscope.protocol.stops.tree import Condition, Value
from gradscope.protocol.subjects import COUNT, INF, NAN, SubjectKey

_WORDS = {
    "<": "below",
    "<=": "not above",
    ">": "above",
    ">=": "not below",
    "==": "equal to",
    "!=": "not equal to",
}
_BAD = {Happening.ANY_NAN: ("NaN", NAN), Happening.ANY_INF: ("Inf", INF)}


def subject_of(binding: Binding) -> str:
    """The label of the subject that it holds for; "" where there is none, or it is several."""
    keys = dict.fromkeys(key for key in binding.values() if key is not None)
    layers = [key for key in keys if DOMAINS[key.kind] is Domain.LAYER]
    chosen = list(keys) if len(keys) == 1 else layers
    return chosen[0].label() if len(chosen) == 1 else ""


def sentence(condition: Condition, lookup: Lookup, binding: Binding) -> str:
    """ "grad.l2 of encoder.0.weight is 12.4, above 10". Of a condition that holds."""
    return "; ".join(_parts(condition, lookup, binding, holds=True))


def _parts(condition: Condition, lookup: Lookup, binding: Binding, *, holds: bool) -> list[str]:
    """Of what makes it hold, or not hold."""
    match condition:
        case tree.Comparison():
            return [_comparison(condition, lookup, binding, holds=holds)]
        case tree.Happens(happening):
            return [_happening(happening, lookup, binding, holds=holds)]
        case tree.Found(id):
            if not holds:
                return [f"no finding {id}".rstrip()]
            return [
                f"found: {text} ({place})" if place else f"found: {text}" for place, text in lookup.found(id).items()
            ]
        case tree.Within(inner, pattern):
            if holds or evaluate(inner, lookup, binding) is False:
                return _parts(inner, lookup, binding, holds=holds)
            return [f"not in {pattern}"]
        case tree.Not(inner):
            return _parts(inner, lookup, binding, holds=not holds)
        case tree.And(parts) | tree.Or(parts):
            agreeing = [part for part in parts if evaluate(part, lookup, binding) is holds]
            return [text for part in agreeing for text in _parts(part, lookup, binding, holds=holds)]


def _comparison(comparison: tree.Comparison, lookup: Lookup, binding: Binding, *, holds: bool) -> str:
    left, right = comparison.left, comparison.right
    word = _WORDS[comparison.sign]
    if not holds:
        word = word.removeprefix("not ") if word.startswith("not ") else f"not {word}"
    found, limit = value_of(left, lookup, binding), value_of(right, lookup, binding)
    if isinstance(left, tree.Number):
        return f"{_text(right, binding)} is {numbers.number(limit)}, and {numbers.number(found)} is {word} it"
    told = f"{_text(left, binding)} is {numbers.number(found)}, {word} "
    if isinstance(right, (tree.Number, tree.Negative)) and not list(tree.quantities(right)):
        return told + numbers.number(limit)
    return f"{told}{_text(right, binding)}, which is {numbers.number(limit)}"


def _text(value: Value, binding: Binding) -> str:
    """As it was written, with the name of the subject."""
    match value:
        case tree.OfSubject(kind, statistic, named):
            key = binding.get(Variable(DOMAINS[kind], named))
            return f"{kind.value}.{statistic.value}" + _of(key)
        case tree.UpdateRatio(named):
            return UPDATE_RATIO + _of(binding.get(Variable(Domain.PARAMETER, named)))
        case tree.Previous(quantity):
            return f"previous {_text(quantity, binding)}"
        case tree.Negative(inner):
            return f"-({_text(inner, binding)})" if isinstance(inner, tree.Arithmetic) else f"-{_text(inner, binding)}"
        case tree.Arithmetic(sign, left, right):
            texts = [
                f"({_text(side, binding)})"
                if isinstance(side, tree.Arithmetic) and side.sign in "+-"
                else _text(side, binding)
                for side in (left, right)
            ]
            return f"{texts[0]} {sign} {texts[1]}"
    return str(value)


def _of(key: SubjectKey | None) -> str:
    return "" if key is None else f" of {key.label()}"


def _happening(happening: Happening, lookup: Lookup, binding: Binding, *, holds: bool) -> str:
    if happening in _BAD:
        name, column = _BAD[happening]
        key = binding.get(Variable(Domain.ANY))
        if key is None:
            return f"the loss is {numbers.number(lookup.figure(Figure.LOSS))}"
        row = lookup.summary(key)
        what = f"{key.kind.value} of {key.label()}"
        if row is None or not holds:
            return f"{what} has no {name}"
        return f"{what} has {name}: {int(row[column])} of {int(row[COUNT])} values"
    if happening is Happening.SKIPPED_STEP:
        return "the step was skipped" if holds else "the step was not skipped"
    scale, before = lookup.figure(Figure.SCALE), lookup.figure(Figure.SCALE, of_step_before=True)
    if not holds:
        return f"the scale is {numbers.number(scale)}"
    return f"the scale has dropped from {numbers.number(before)} to {numbers.number(scale)}"
