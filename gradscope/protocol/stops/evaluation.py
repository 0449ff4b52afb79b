"""Whether a condition holds, over numbers that somebody else looks up: the engine as they arise, the app in what is recorded.

A condition is looked at for one subject at a time: all its quantities without a name of their own are of the same layer or
the same parameter (or of a layer and its own parameters). What is not known yet makes neither true nor false.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from gradscope.protocol.stops import tree
from gradscope.protocol.stops.quantities import Figure, Happening, Summary, ratio, read
from gradscope.protocol.stops.tree import Condition, Pattern, Quantity, Value
from gradscope.protocol.subjects import INF, NAN, SubjectKey, SubjectKind, is_mask


class Lookup(Protocol):
    """What is known of one step, so far."""

    @property
    def step(self) -> int: ...

    def summary(self, key: SubjectKey, *, of_step_before: bool = False) -> Summary | None:
        """The newest of a subject; None where there is none (yet)."""

    def keys(self, kind: SubjectKind) -> Iterable[SubjectKey]:
        """The subjects of a kind that have a summary in this step."""

    def figure(self, figure: Figure, *, of_step_before: bool = False) -> float | None: ...

    def happens(self, happening: Happening) -> bool | None:
        """Of SCALE_DROP and SKIPPED_STEP; None where it is not known yet."""

    def found(self, id: str) -> Mapping[str, str]:
        """Where a finding of this name ("" is any) has been made that was not there before: place -> what was found."""


class Domain(Enum):
    """What one subject of a condition can be."""

    LAYER = "layer"
    """One tensor of the output of one call."""
    PARAMETER = "parameter"
    STATE = "state"
    """One thing that the optimizer remembers of a parameter."""
    BUFFER = "buffer"
    ANY = "any"
    """For `any nan`: whatever is summarised, or the loss."""


DOMAINS: Mapping[SubjectKind, Domain] = {
    SubjectKind.ACTIVATION: Domain.LAYER,
    SubjectKind.ACTIVATION_GRAD: Domain.LAYER,
    **dict.fromkeys(
        (SubjectKind.PARAMETER, SubjectKind.GRAD, SubjectKind.UPDATE, SubjectKind.CLIPPED_GRAD), Domain.PARAMETER
    ),
    SubjectKind.OPTIMIZER_STATE: Domain.STATE,
    SubjectKind.BUFFER: Domain.BUFFER,
}
_KIND_OF_DOMAIN = {
    Domain.LAYER: SubjectKind.ACTIVATION,
    Domain.PARAMETER: SubjectKind.PARAMETER,
    Domain.STATE: SubjectKind.OPTIMIZER_STATE,
    Domain.BUFFER: SubjectKind.BUFFER,
}
_BAD_COLUMN = {Happening.ANY_NAN: NAN, Happening.ANY_INF: INF}
MOST_BINDINGS = 100_000
"""Of one condition at one moment that are tried: with several names in it, these are all their combinations."""


class Variable(NamedTuple):
    """A subject that a condition is about: the one it is looked at for (`named` is None), or one that it names."""

    domain: Domain
    named: Pattern | None = None


Binding: TypeAlias = Mapping[Variable, SubjectKey | None]
"""The subjects that a condition is looked at for; None in the place of ANY is the loss."""
Trigger: TypeAlias = SubjectKey | Figure | Happening
"""What has become known."""


class At(NamedTuple):
    """The layer's call (or the parameter) that a place is at: a condition there is about it."""

    name: str
    call: int | None = None


# ---------------------------------------------------------------------------------------------- what it speaks of


def _variable_of(quantity: Quantity) -> Variable | None:
    match quantity:
        case tree.OfSubject(kind, _, named):
            return Variable(DOMAINS[kind], named)
        case tree.UpdateRatio(named):
            return Variable(Domain.PARAMETER, named)
    return None


def quantities_of(condition: Condition) -> Iterator[tuple[Quantity, bool]]:
    """(quantity, whether of the step before) of all comparisons."""
    for leaf in tree.leaves(condition):
        if isinstance(leaf, tree.Comparison):
            yield from tree.quantities(leaf.left)
            yield from tree.quantities(leaf.right)


def variables_of(condition: Condition) -> tuple[Variable, ...]:
    found = dict.fromkeys(v for v in (_variable_of(quantity) for quantity, _ in quantities_of(condition)) if v)
    for leaf in tree.leaves(condition):
        if isinstance(leaf, tree.Happens) and leaf.happening in _BAD_COLUMN:
            found[Variable(Domain.ANY)] = None
    return tuple(found)


def kinds_of(condition: Condition) -> frozenset[SubjectKind]:
    """Of which kinds summaries are needed."""
    kinds: set[SubjectKind] = set()
    for quantity, _ in quantities_of(condition):
        if isinstance(quantity, tree.OfSubject):
            kinds.add(quantity.kind)
        elif isinstance(quantity, tree.UpdateRatio):
            kinds |= {SubjectKind.UPDATE, SubjectKind.PARAMETER}
    return frozenset(SubjectKind) if Variable(Domain.ANY) in variables_of(condition) else frozenset(kinds)


def figures_of(condition: Condition) -> frozenset[Figure]:
    figures = {quantity.figure for quantity, _ in quantities_of(condition) if isinstance(quantity, tree.OfStep)}
    return frozenset(figures | {Figure.LOSS} if Variable(Domain.ANY) in variables_of(condition) else figures)


def happenings_of(condition: Condition) -> frozenset[Happening]:
    return frozenset(leaf.happening for leaf in tree.leaves(condition) if isinstance(leaf, tree.Happens))


def asks_for_findings(condition: Condition) -> bool:
    return any(isinstance(leaf, tree.Found) for leaf in tree.leaves(condition))


# ---------------------------------------------------------------------------------------------- for which subjects


def holding(
    condition: Condition, lookup: Lookup, trigger: Trigger | None = None, at: At | None = None
) -> Iterator[Binding]:
    """For which subjects it holds. `trigger`: only those that it can hold for since this has become known."""
    variables = variables_of(condition)
    tried = 0
    for start in _starts(variables, trigger):
        if start and not _is_possible(start, at):
            continue
        for binding in _completed(dict(start), [v for v in variables if v not in start], lookup, at):
            tried += 1
            if tried > MOST_BINDINGS:
                return
            if evaluate(condition, lookup, binding) is True:
                yield binding


def _starts(variables: tuple[Variable, ...], trigger: Trigger | None) -> Iterator[Binding]:
    if not isinstance(trigger, SubjectKey):
        yield {Variable(Domain.ANY): None} if trigger is Figure.LOSS and Variable(Domain.ANY) in variables else {}
        return
    for variable in variables:
        if variable.domain is Domain.ANY:
            yield {variable: trigger}
        elif DOMAINS[trigger.kind] is variable.domain and (variable.named is None or variable.named.fits(trigger.name)):
            yield {variable: _canonical(trigger)}


def _canonical(key: SubjectKey) -> SubjectKey:
    return replace(key, kind=_KIND_OF_DOMAIN[DOMAINS[key.kind]])


def _completed(
    binding: dict[Variable, SubjectKey | None], missing: list[Variable], lookup: Lookup, at: At | None
) -> Iterator[Binding]:
    if not missing:
        yield dict(binding)
        return
    variable, *others = missing
    for key in _candidates(variable, lookup):
        binding[variable] = key
        if _is_possible(binding, at):
            yield from _completed(binding, others, lookup, at)
    binding.pop(variable, None)


def _candidates(variable: Variable, lookup: Lookup) -> Iterable[SubjectKey | None]:
    if variable.domain is Domain.ANY:
        return [None, *(key for kind in SubjectKind for key in lookup.keys(kind))]
    kinds = [kind for kind, domain in DOMAINS.items() if domain is variable.domain]
    keys = dict.fromkeys(_canonical(key) for kind in kinds for key in lookup.keys(kind))
    return [key for key in keys if variable.named is None or variable.named.fits(key.name)]


def _is_possible(binding: Binding, at: At | None) -> bool:
    """Whether the subjects without a name of their own belong together, and to the place."""
    keys = [key for variable, key in binding.items() if variable.named is None and key is not None]
    if at is not None and not all(_is_at(key, at) for key in keys):
        return False
    return all(_belong_together(first, second) for i, first in enumerate(keys) for second in keys[i + 1 :])


def _is_at(key: SubjectKey, at: At) -> bool:
    if DOMAINS[key.kind] is Domain.LAYER:
        return key.name == at.name and at.call in (None, key.call)
    return at.name in (key.name, _owner(key))


def _belong_together(first: SubjectKey, second: SubjectKey) -> bool:
    own, others = DOMAINS[first.kind], DOMAINS[second.kind]
    if own is others:
        return (first.name, first.call, first.leaf) == (second.name, second.call, second.leaf)
    if {own, others} == {Domain.PARAMETER, Domain.STATE}:
        return first.name == second.name
    return _owner(first) == _owner(second)


def _owner(key: SubjectKey) -> str:
    """The layer that a subject belongs to."""
    return key.name if DOMAINS[key.kind] is Domain.LAYER else key.name.rpartition(".")[0]


# ---------------------------------------------------------------------------------------------- true or false

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_CALCULATE: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: _quotient(left, right),
}


def _quotient(left: float, right: float) -> float:
    if right:
        return left / right
    return math.nan if not left or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1.0, right)


def evaluate(condition: Condition, lookup: Lookup, binding: Binding) -> bool | None:
    """None: not known yet. A comparison with NaN is false (but "!=")."""
    match condition:
        case tree.Comparison(sign, left, right):
            numbers = value_of(left, lookup, binding), value_of(right, lookup, binding)
            return None if numbers[0] is None or numbers[1] is None else _COMPARE[sign](numbers[0], numbers[1])
        case tree.Happens(happening):
            return _happens(happening, lookup, binding)
        case tree.Found(id):
            return any(True for _ in lookup.found(id))
        case tree.Within(inner, pattern):
            return evaluate(inner, lookup, binding) if _is_within(inner, pattern, lookup, binding) else False
        case tree.Not(inner):
            holds = evaluate(inner, lookup, binding)
            return None if holds is None else not holds
        case tree.And(parts):
            return _all(evaluate(part, lookup, binding) for part in parts)
        case tree.Or(parts):
            holds = _all(_not(evaluate(part, lookup, binding)) for part in parts)
            return _not(holds)


def _not(holds: bool | None) -> bool | None:
    return None if holds is None else not holds


def _all(parts: Iterable[bool | None]) -> bool | None:
    found = list(parts)
    return False if False in found else None if None in found else True


def _happens(happening: Happening, lookup: Lookup, binding: Binding) -> bool | None:
    column = _BAD_COLUMN.get(happening)
    if column is None:
        return lookup.happens(happening)
    key = binding.get(Variable(Domain.ANY))
    if key is None:
        loss = lookup.figure(Figure.LOSS)
        if loss is None:
            return None
        return math.isnan(loss) if column == NAN else math.isinf(loss)
    row = lookup.summary(key)
    if row is None:
        return None
    return bool(row[column] > 0) and not (column == INF and is_mask(key.kind, row))


def _is_within(inner: Condition, pattern: Pattern, lookup: Lookup, binding: Binding) -> bool:
    """Whether all subjects that a condition is about are in the layers that a pattern fits."""
    for leaf in tree.leaves(inner):
        if isinstance(leaf, tree.Found) and not any(pattern.covers(where) for where in lookup.found(leaf.id)):
            return False
    keys = [binding.get(variable) for variable in variables_of(inner)]
    return all(key is not None and pattern.covers(key.name) for key in keys)


def value_of(value: Value, lookup: Lookup, binding: Binding, *, of_step_before: bool = False) -> float | None:
    """The number that a value is now; None where it is not known."""
    match value:
        case tree.Number(number):
            return number
        case tree.Previous(quantity):
            return value_of(quantity, lookup, binding, of_step_before=True)
        case tree.Negative(inner):
            positive = value_of(inner, lookup, binding)
            return None if positive is None else -positive
        case tree.Arithmetic(sign, left, right):
            first, second = value_of(left, lookup, binding), value_of(right, lookup, binding)
            return None if first is None or second is None else _CALCULATE[sign](first, second)
        case tree.OfStep(figure):
            return lookup.figure(figure, of_step_before=of_step_before)
        case tree.OfSubject(kind, statistic, named):
            key = binding[Variable(DOMAINS[kind], named)]
            row = None if key is None else lookup.summary(replace(key, kind=kind), of_step_before=of_step_before)
            return None if row is None else read(statistic, row)
        case tree.UpdateRatio(named):
            key = binding[Variable(Domain.PARAMETER, named)]
            if key is None:
                return None
            rows = [
                lookup.summary(replace(key, kind=kind), of_step_before=of_step_before)
                for kind in (SubjectKind.UPDATE, SubjectKind.PARAMETER)
            ]
            return None if rows[0] is None or rows[1] is None else ratio(rows[0], rows[1])
