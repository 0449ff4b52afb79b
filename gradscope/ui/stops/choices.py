"""A stop as choices of a form, its text, and the way back from a text. Plain: no widgets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from gradscope.protocol.phases import SubStep
from gradscope.protocol.stops import tree
from gradscope.protocol.stops.quantities import UPDATE_RATIO, Figure, Happening, Statistic
from gradscope.protocol.subjects import SubjectKind


class Where(StrEnum):
    """The values of a layer's events are words of the language."""

    ANYWHERE = "anywhere"
    ENTER = "enter"
    LEAVE = "leave"
    GRADIENT = "gradient"
    DONE = "done"
    """A sub-step is done."""
    BEFORE = "before"
    STEP = "step"
    EPOCH = "epoch"
    STEPS = "steps"
    """Every so manyeth."""
    EPOCHS = "epochs"
    LINE = "line"


class When(StrEnum):
    ALWAYS = "always"
    NUMBER = "number"
    """Of a tensor's summary, or the update ratio."""
    FIGURE = "figure"
    """Of the whole step."""
    NAN = "any nan"
    INF = "any inf"
    SCALE_DROP = "scale drop"
    SKIPPED_STEP = "skipped step"
    FINDING = "finding"


OF_LAYERS = frozenset({Where.ENTER, Where.LEAVE, Where.GRADIENT})
OF_SUBSTEPS = frozenset({Where.DONE, Where.BEFORE})
OF_NUMBERS = frozenset({Where.STEP, Where.EPOCH, Where.STEPS, Where.EPOCHS})
IN_LAYERS = frozenset({When.NUMBER, When.NAN, When.INF})
"""Conditions that can be narrowed to layers."""
SIGNS = (">", ">=", "<", "<=", "==", "!=")
STATISTICS = (
    *(Statistic.L2, Statistic.MEAN, Statistic.STD, Statistic.MIN, Statistic.MAX, Statistic.MAX_ABS, Statistic.RMS),
    *(Statistic.ZERO_SHARE, Statistic.NAN, Statistic.INF),
)
KINDS: tuple[SubjectKind | None, ...] = (
    *(SubjectKind.GRAD, SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD, SubjectKind.PARAMETER),
    *(SubjectKind.UPDATE, None, SubjectKind.CLIPPED_GRAD, SubjectKind.OPTIMIZER_STATE, SubjectKind.BUFFER),
)
"""None is the update ratio."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    where: Where = Where.ANYWHERE
    layer: str = ""
    """A name or a pattern, of places at layers."""
    call: int | None = None
    substep: SubStep = SubStep.BACKWARD
    number: int = 1
    """Of a step or an epoch, or every how manyeth."""
    line: str = ""
    """ "train.py:42"."""
    when: When = When.ALWAYS
    kind: SubjectKind | None = SubjectKind.GRAD
    statistic: Statistic = Statistic.L2
    figure: Figure = Figure.LOSS
    sign: str = ">"
    limit: str = ""
    """As it was typed."""
    is_of_previous: bool = False
    """The limit is so many times what the number was in the step before."""
    within: str = ""
    """A name or a pattern of layers; "" is all."""
    finding: str = ""
    """The id of one; "" is any."""


def text_of(choices: Choices) -> str:
    """In the language of stops. It need not be one that can be parsed: something may still have to be filled in."""
    place, condition = _place(choices), _condition(choices)
    return f"{place} if {condition}" if place and condition else place or condition


def pattern(name: str) -> str:
    """A layer's name as a place or a condition writes it; the model itself has a word."""
    return str(tree.Pattern(name or tree.MODEL))


def exactly(name: str) -> str:
    """The same, where the name holds signs that would make it a pattern of others."""
    return pattern("".join(f"[{sign}]" if sign in "*?[" else sign for sign in name))


def at_layer(event: Where, name: str, call: int | None = None) -> str:
    """ "enter encoder.1", "leave encoder.1 #2"."""
    number = "" if call is None else f" #{call}"
    return f"{event.value} {exactly(name)}{number}"


def at_line(file: str, line: int) -> str:
    return f"line {file}:{line}"


def _place(choices: Choices) -> str:
    match choices.where:
        case Where.ENTER | Where.LEAVE | Where.GRADIENT:
            layer = choices.layer.strip()
            call = "" if choices.call is None else f" #{choices.call}"
            return f"{choices.where.value} {pattern(layer)}{call}" if layer else choices.where.value
        case Where.DONE:
            return choices.substep.value
        case Where.BEFORE:
            return f"before {choices.substep.value}"
        case Where.STEP | Where.EPOCH:
            return f"at {choices.where.value} {choices.number}"
        case Where.STEPS:
            return str(tree.Every(tree.Unit.STEP, max(1, choices.number)))
        case Where.EPOCHS:
            return str(tree.Every(tree.Unit.EPOCH, max(1, choices.number)))
        case Where.LINE:
            return f"line {choices.line.strip()}".strip()
    return ""


def _condition(choices: Choices) -> str:
    if choices.when is When.ALWAYS:
        return ""
    if choices.when in (When.NUMBER, When.FIGURE):
        quantity = choices.figure.value
        if choices.when is When.NUMBER:
            is_ratio = choices.kind is None
            quantity = UPDATE_RATIO if is_ratio else f"{choices.kind}.{choices.statistic}"
        limit = choices.limit.strip()
        if choices.is_of_previous and limit:
            limit = f"{limit} * previous {quantity}"
        text = f"{quantity} {choices.sign} {limit}".strip()
    elif choices.when is When.FINDING:
        text = str(tree.Found(choices.finding.strip()))
    else:
        text = choices.when.value
    within = choices.within.strip()
    return f"{text} in {pattern(within)}" if within and choices.when in IN_LAYERS else text


def choices_of(stop: tree.Stop) -> Choices | None:
    """What a form would have to hold for this; None where it is more than a form can say."""
    found = _with_place(Choices(), stop.place)
    found = None if found is None else _with_condition(found, stop.condition)
    return found


def _with_place(choices: Choices, place: tree.Place | None) -> Choices | None:
    match place:
        case None:
            return choices
        case tree.AtLayer(event, named, call):
            return replace(choices, where=Where(event.value), layer=named.text, call=call)
        case tree.AtSubStep(substep, is_before):
            return replace(choices, where=Where.BEFORE if is_before else Where.DONE, substep=substep)
        case tree.At(unit, number):
            return replace(choices, where=Where.STEP if unit is tree.Unit.STEP else Where.EPOCH, number=number)
        case tree.Every(unit, count):
            return replace(choices, where=Where.STEPS if unit is tree.Unit.STEP else Where.EPOCHS, number=count)
        case tree.AtLine(file, line):
            return replace(choices, where=Where.LINE, line=f"{file}:{line}")


def _with_condition(choices: Choices, condition: tree.Condition | None) -> Choices | None:
    match condition:
        case None:
            return choices
        case tree.Within(tree.Comparison() | tree.Happens() as inner, named):
            found = _with_condition(choices, inner)
            can_be_narrowed = found is not None and found.when in IN_LAYERS
            return replace(found, within=named.text) if found is not None and can_be_narrowed else None
        case tree.Happens(happening):
            return replace(choices, when=_WHEN[happening])
        case tree.Found(name):
            return replace(choices, when=When.FINDING, finding=name)
        case tree.Comparison(sign, left, right):
            return _with_comparison(choices, sign, left, right)
    return None


_WHEN = {
    Happening.ANY_NAN: When.NAN,
    Happening.ANY_INF: When.INF,
    Happening.SCALE_DROP: When.SCALE_DROP,
    Happening.SKIPPED_STEP: When.SKIPPED_STEP,
}


def _with_comparison(choices: Choices, sign: str, left: tree.Value, right: tree.Value) -> Choices | None:
    match left:
        case tree.OfStep(figure):
            found = replace(choices, when=When.FIGURE, figure=figure)
        case tree.OfSubject(kind, statistic, None) if statistic in STATISTICS:
            found = replace(choices, when=When.NUMBER, kind=kind, statistic=statistic)
        case tree.UpdateRatio(None):
            found = replace(choices, when=When.NUMBER, kind=None)
        case _:
            return None
    match right:
        case tree.Number() | tree.Negative(tree.Number()):
            return replace(found, sign=sign, limit=str(right))
        case tree.Arithmetic("*", tree.Number() as factor, tree.Previous(quantity)) if quantity == left:
            return replace(found, sign=sign, limit=str(factor), is_of_previous=True)
    return None
