"""What a condition comes to: against Python's own arithmetic and logic, and by what is not known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gradscope.protocol.failure import BadInput
from gradscope.protocol.stops.evaluation import evaluate, holding
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.quantities import Figure, Happening, Summary
from gradscope.protocol.stops.recheck import recheck
from gradscope.protocol.stops.telling import sentence, subject_of
from gradscope.protocol.stops.tree import Condition
from gradscope.protocol.subjects import COLUMNS, COUNT, SubjectKey, SubjectKind


def summary(**numbers: float) -> Summary:
    row = np.zeros(len(COLUMNS))
    row[COUNT] = 10
    for name, value in numbers.items():
        row[COLUMNS.index(name)] = value
    return row


@dataclass
class Known:
    """A `Lookup` with what a test says."""

    step: int = 0
    figures: dict[Figure, float] = field(default_factory=dict)
    before: dict[Figure, float] = field(default_factory=dict)
    rows: dict[SubjectKey, Summary] = field(default_factory=dict)
    rows_before: dict[SubjectKey, Summary] = field(default_factory=dict)
    happened: dict[Happening, bool] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)

    def summary(self, key: SubjectKey, *, of_step_before: bool = False) -> Summary | None:
        return (self.rows_before if of_step_before else self.rows).get(key)

    def keys(self, kind: SubjectKind) -> Iterable[SubjectKey]:
        return [key for key in self.rows if key.kind is kind]

    def figure(self, figure: Figure, *, of_step_before: bool = False) -> float | None:
        return (self.before if of_step_before else self.figures).get(figure)

    def happens(self, happening: Happening) -> bool | None:
        return self.happened.get(happening)

    def found(self, id: str) -> Mapping[str, str]:
        return self.findings if id in ("", "lr-too-high") else {}


def condition_of(text: str) -> Condition:
    condition = parse(text).condition
    assert condition is not None
    return condition


def told(text: str, known: Known) -> list[str]:
    condition = condition_of(text)
    return [sentence(condition, known, binding) for binding in holding(condition, known)]


numbers = st.sampled_from(["0", "1", "2.5", "10", "1e3"])
names = st.sampled_from(["loss", "lr", "scale", "previous loss", "previous lr"])
values = st.recursive(
    numbers | names,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from("+-*"), inner).map(" ".join),
        inner.map(lambda text: f"-({text})"),
    ),
    max_leaves=5,
)
comparisons = st.tuples(names, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), values).map(" ".join)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=6,
)
floats = st.floats(-1e6, 1e6, width=32)


@given(conditions, floats, floats, floats, floats, floats)
def test_numbers_and_logic_are_those_of_python(
    text: str, loss: float, lr: float, scale: float, loss_before: float, lr_before: float
) -> None:
    known = Known(
        figures={Figure.LOSS: loss, Figure.LR: lr, Figure.SCALE: scale},
        before={Figure.LOSS: loss_before, Figure.LR: lr_before},
    )
    space = {"loss": loss, "lr": lr, "scale": scale, "previous_loss": loss_before, "previous_lr": lr_before}
    try:
        # Only here, where the test itself has made the text.
        expected = eval(text.replace("previous ", "previous_"), {}, space)
    except (ZeroDivisionError, OverflowError):
        assume(False)
    condition = condition_of(text)
    assert evaluate(condition, known, {}) is expected
    assert bool(list(holding(condition, known))) is expected
    if expected:
        assert sentence(condition, known, {})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("loss > 1 and lr > 1", None),
        ("loss > 9 and lr > 1", False),
        ("loss > 1 or lr > 1", True),
        ("loss > 9 or lr > 1", None),
        ("not lr > 1", None),
        ("loss > previous", None),
        ("scale drop", None),
        ("scale drop or loss > 1", True),
    ],
)
def test_what_is_not_known_is_neither_true_nor_false(text: str, holds: bool | None) -> None:
    assert evaluate(condition_of(text), Known(figures={Figure.LOSS: 3.0}), {}) is holds


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "=="])
def test_nothing_compares_with_nan(sign: str) -> None:
    known = Known(figures={Figure.LOSS: math.nan})
    assert evaluate(condition_of(f"loss {sign} 3"), known, {}) is False
    assert told("not loss < 3", known) == ["loss is NaN, not below 3"]
    assert told("loss != 3", known) == ["loss is NaN, not equal to 3"]


@pytest.mark.parametrize(
    ("text", "holds"), [("loss / 0 > 1e300", True), ("loss / 0 < 0", False), ("0 / 0 == loss", False)]
)
def test_division_by_zero_is_that_of_floats(text: str, holds: bool) -> None:
    assert evaluate(condition_of(text), Known(figures={Figure.LOSS: 3.0}), {}) is holds


def key(kind: SubjectKind, name: str, call: int = 0, leaf: str = "") -> SubjectKey:
    return SubjectKey(kind, name, call, leaf)


ROWS = {
    key(SubjectKind.ACTIVATION, "enc"): summary(zero=9, l2=2, min=-3, max=1),
    key(SubjectKind.ACTIVATION, "enc", 1): summary(zero=1, l2=5, min=-1, max=2),
    key(SubjectKind.ACTIVATION, "enc.0", 0, "[0]"): summary(l2=7),
    key(SubjectKind.GRAD, "enc.weight"): summary(l2=3),
    key(SubjectKind.GRAD, "enc.0.weight"): summary(l2=12.4),
    key(SubjectKind.GRAD, "head.weight"): summary(nan=3, l2=1),
    key(SubjectKind.PARAMETER, "enc.weight"): summary(l2=4),
    key(SubjectKind.UPDATE, "enc.weight"): summary(l2=2),
    key(SubjectKind.PARAMETER, "head.weight"): summary(l2=0),
    key(SubjectKind.UPDATE, "head.weight"): summary(l2=2),
    key(SubjectKind.BUFFER, "enc.mask"): summary(inf=4, zero=6),
}


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("grad.l2 > 10", ["grad.l2 of enc.0.weight is 12.4, above 10"]),
        ("grad.l2 > 2 in enc.0", ["grad.l2 of enc.0.weight is 12.4, above 2"]),
        ("grad.l2 > 2 in enc", ["grad.l2 of enc.weight is 3, above 2", "grad.l2 of enc.0.weight is 12.4, above 2"]),
        ("grad.l2 of enc.* > 2", ["grad.l2 of enc.weight is 3, above 2", "grad.l2 of enc.0.weight is 12.4, above 2"]),
        ("grad.l2 of enc > 2", []),
        ("activation.zero_share >= 90%", ["activation.zero_share of enc is 0.9, not below 0.9"]),
        ("activation.max_abs > 2.5", ["activation.max_abs of enc is 3, above 2.5"]),
        ("activation.l2 > 4 in enc.0", ["activation.l2 of enc.0 [0] is 7, above 4"]),
        (
            "activation.l2 > 4 and grad.l2 < 10",
            ["activation.l2 of enc #1 is 5, above 4; grad.l2 of enc.weight is 3, below 10"],
        ),
        ("update_ratio > 0.1", ["update_ratio of enc.weight is 0.5, above 0.1"]),
        (
            "grad.l2 of enc.0.weight > 4 * grad.l2 of enc.weight",
            ["grad.l2 of enc.0.weight is 12.4, above 4 * grad.l2 of enc.weight, which is 12"],
        ),
        ("10 < grad.l2", ["grad.l2 of enc.0.weight is 12.4, and 10 is below it"]),
        ("any nan", ["grad of head.weight has NaN: 3 of 10 values"]),
        ("any inf", []),
        ("buffer.inf > 0", ["buffer.inf of enc.mask is 4, above 0"]),
        (
            "not grad.l2 < 10 in enc.0",
            ["grad.l2 of enc.0.weight is 12.4, not below 10", "not in enc.0", "not in enc.0"],
        ),
    ],
)
def test_each_subject_is_looked_at_by_itself(text: str, sentences: list[str]) -> None:
    assert sorted(told(text, Known(rows=ROWS))) == sorted(sentences)


def test_only_what_has_become_known_is_looked_at() -> None:
    known = Known(rows=ROWS)
    condition = condition_of("grad.l2 > 2")
    (binding,) = holding(condition, known, key(SubjectKind.GRAD, "enc.weight"))
    assert subject_of(binding) == "enc.weight"
    assert not list(holding(condition, known, key(SubjectKind.ACTIVATION, "enc")))


def test_happenings_and_findings() -> None:
    known = Known(
        figures={Figure.SCALE: 8.0, Figure.LOSS: math.inf},
        before={Figure.SCALE: 16.0},
        happened={Happening.SCALE_DROP: True, Happening.SKIPPED_STEP: True},
        findings={"head": "The rate is too high"},
    )
    assert told("scale drop", known) == ["the scale has dropped from 16 to 8"]
    assert told("skipped step", known) == ["the step was skipped"]
    assert told("any inf", known) == ["the loss is Inf"]
    assert told("finding lr-too-high in head", known) == ["found: The rate is too high (head)"]
    assert told("finding in tail or finding other", known) == []


def test_recheck_goes_through_the_steps() -> None:
    steps = [
        Known(step=n, figures={Figure.LOSS: float(n % 3)}, before={Figure.LOSS: float((n - 1) % 3)})
        for n in range(1, 7)
    ]
    assert recheck(parse("loss < previous"), steps) == [
        (n, "", "loss is 0, below previous loss, which is 2") for n in (3, 6)
    ]
    assert [step for step, _, _ in recheck(parse("every 2 steps if loss > 0"), steps)] == [2, 4]
    assert [step for step, _, _ in recheck(parse("at step 5"), steps)] == [5]
    rows = Known(step=7, rows=ROWS)
    assert [subject for _, subject, _ in recheck(parse("leave enc if activation.l2 > 1"), [rows])] == ["enc", "enc #1"]
    with pytest.raises(BadInput, match="is a place; expected a condition"):
        recheck(parse("enter enc"), steps)
