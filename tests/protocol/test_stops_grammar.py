"""The language of stops: every form, what is said of a wrong one, and texts that parse back to the same tree."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import SubStep
from gradscope.protocol.stops import tree
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.quantities import FIGURES, KINDS, STATISTICS, Figure, Happening, Statistic
from gradscope.protocol.stops.tree import (
    And,
    Arithmetic,
    At,
    AtLayer,
    AtLine,
    AtSubStep,
    Comparison,
    Condition,
    Event,
    Every,
    Found,
    Happens,
    Negative,
    Not,
    Number,
    OfStep,
    OfSubject,
    Or,
    Pattern,
    Previous,
    Stop,
    Unit,
    UpdateRatio,
    Value,
    Within,
)
from gradscope.protocol.subjects import SubjectKind

GRAD = OfSubject(SubjectKind.GRAD, Statistic.L2)
LOSS = OfStep(Figure.LOSS)
IS_LARGE = Comparison(">", GRAD, Number(10))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        *((substep.value, AtSubStep(substep)) for substep in SubStep),
        ("zero_grad", AtSubStep(SubStep.ZERO_GRAD)),
        ("after zero grad", AtSubStep(SubStep.ZERO_GRAD)),
        ("AFTER Backward", AtSubStep(SubStep.BACKWARD)),
        ("before backward", AtSubStep(SubStep.BACKWARD, is_before=True)),
        ("before zero grad", AtSubStep(SubStep.ZERO_GRAD, is_before=True)),
        ("before schedule", AtSubStep(SubStep.SCHEDULE, is_before=True)),
        ("enter encoder.0", AtLayer(Event.ENTER, Pattern("encoder.0"))),
        ("leave encoder.* #2", AtLayer(Event.LEAVE, Pattern("encoder.*"), 2)),
        ("gradient *", AtLayer(Event.GRADIENT, Pattern("*"))),
        ("gradient fc.weight", AtLayer(Event.GRADIENT, Pattern("fc.weight"))),
        ("enter (model)", AtLayer(Event.ENTER, Pattern("(model)"))),
        ('enter "an odd name" #0', AtLayer(Event.ENTER, Pattern("an odd name"), 0)),
        ("at step 40", At(Unit.STEP, 40)),
        ("step 0", At(Unit.STEP, 0)),
        ("epoch 2", At(Unit.EPOCH, 2)),
        ("every step", Every(Unit.STEP, 1)),
        ("every 10 steps", Every(Unit.STEP, 10)),
        ("every 2 epochs", Every(Unit.EPOCH, 2)),
        ("line train.py:42", AtLine("train.py", 42)),
        ('line "/my models/train.py":7', AtLine("/my models/train.py", 7)),
        (r"line C:\x\train.py:42", AtLine(r"C:\x\train.py", 42)),
    ],
)
def test_places(text: str, place: tree.Place) -> None:
    assert parse(text) == Stop(place)
    assert parse(f"{text} if grad.l2 > 10") == Stop(place, IS_LARGE)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("grad.l2 > 10", IS_LARGE),
        ("gradient.norm>1e1", IS_LARGE),
        (
            "activation.zero_share > 90%",
            Comparison(">", OfSubject(SubjectKind.ACTIVATION, Statistic.ZERO_SHARE), Number(0.9)),
        ),
        ("update_ratio >= 0.1", Comparison(">=", UpdateRatio(), Number(0.1))),
        (
            "delta.l2 of fc.weight = 0",
            Comparison("==", OfSubject(SubjectKind.UPDATE, Statistic.L2, Pattern("fc.weight")), Number(0)),
        ),
        ("loss > 1.5 * previous loss", Comparison(">", LOSS, Arithmetic("*", Number(1.5), Previous(LOSS)))),
        ("loss > 1.5 * previous", Comparison(">", LOSS, Arithmetic("*", Number(1.5), Previous(LOSS)))),
        ("loss > 1.5 * previous(loss)", Comparison(">", LOSS, Arithmetic("*", Number(1.5), Previous(LOSS)))),
        ("2 * previous < grad.l2", Comparison("<", Arithmetic("*", Number(2), Previous(GRAD)), GRAD)),
        ("lr < -(1 - 2)", Comparison("<", OfStep(Figure.LR), Negative(Arithmetic("-", Number(1), Number(2))))),
        (
            "loss > 1 - 2 - 3",
            Comparison(">", LOSS, Arithmetic("-", Arithmetic("-", Number(1), Number(2)), Number(3))),
        ),
        (
            "(loss + 1) / 2 > 3",
            Comparison(">", Arithmetic("/", Arithmetic("+", LOSS, Number(1)), Number(2)), Number(3)),
        ),
        ("update ratio > 1", Comparison(">", UpdateRatio(), Number(1))),
        ("Grad norm > previous", Comparison(">", OfStep(Figure.GRAD_NORM), Previous(OfStep(Figure.GRAD_NORM)))),
        ("learning rate < previous learning rate", Comparison("<", OfStep(Figure.LR), Previous(OfStep(Figure.LR)))),
        ("grad_norm != 0", Comparison("!=", OfStep(Figure.GRAD_NORM), Number(0))),
        ("scale < 8", Comparison("<", OfStep(Figure.SCALE), Number(8))),
        ("scale drop", Happens(Happening.SCALE_DROP)),
        ("skipped step", Happens(Happening.SKIPPED_STEP)),
        ("any nan", Happens(Happening.ANY_NAN)),
        ("any nan or inf", Or((Happens(Happening.ANY_NAN), Happens(Happening.ANY_INF)))),
        ("finding", Found()),
        ("finding lr-too-high in head", Within(Found("lr-too-high"), Pattern("head"))),
        ("grad.l2 > 10 in encoder.*", Within(IS_LARGE, Pattern("encoder.*"))),
        (
            "grad.l2 > 10 in a and loss > 1 or not any inf",
            Or(
                (
                    And((Within(IS_LARGE, Pattern("a")), Comparison(">", LOSS, Number(1)))),
                    Not(Happens(Happening.ANY_INF)),
                )
            ),
        ),
        ("(any nan or grad.l2 > 10) in a", Within(Or((Happens(Happening.ANY_NAN), IS_LARGE)), Pattern("a"))),
        ("step > 40", Comparison(">", OfStep(Figure.STEP), Number(40))),
    ],
)
def test_conditions(text: str, condition: Condition) -> None:
    assert parse(text) == Stop(condition=condition)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "ends at column 1; expected a place such as"),
        ("grad.l2 >", "ends at column 10; expected a number, or a quantity"),
        ("grad.size_of > 1", "has 'size_of' at column 6; expected one of l2, mean"),
        ("loss > 1 > 2", "has '>' at column 10; expected 'and'"),
        ("loss > (1", r"ends at column 10; expected '\)'"),
        ("grad.l2 in x > 3", "has 'in' at column 9; expected a comparison such as '> 10' before 'in'"),
        ("(loss > 1) + 2 > 3", "at column 1; expected a number, .* not a condition"),
        ("1 > 2", "at column 1; expected a quantity"),
        ("previous > 3", "at column 1; expected 'previous' and a quantity"),
        ("loss > lr * previous", "at column 13; expected 'previous' and a quantity"),
        ("enter", "ends at column 6; expected the name of a layer"),
        ("enter a b", "has 'b' at column 9; expected 'if'"),
        ("forward backward", "has 'backward' at column 9; expected 'if'"),
        ("gradient > 3", r"has '>' at column 10; expected '\.' and one of l2"),
        ("enter a #-1", "expected the number of a call"),
        ("every 0 steps", "at column 7; expected at least 1"),
        ("at step 1.5", "expected the number of the step"),
        ("line train.py", "at column 6; expected a file and a line"),
        ("loss @ 3", "has '@' at column 6"),
        ("loss > 1e999", "not beyond all others"),
        ("(" * 60 + "loss", "expected at most 50 brackets"),
        ("not " * 60 + "any nan", "expected at most 50 brackets"),
        ("loss > " + "-" * 60 + "1", "expected at most 50 brackets"),
        ("x" * 3000, "3000 characters; expected at most 2000"),
        ("__import__('os')", "at column 1; expected a place"),
    ],
)
def test_what_is_wrong_is_said_with_its_column(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse(text)


names = st.from_regex(r"[A-Za-z_][\w.*?]{0,8}", fullmatch=True).filter(
    lambda name: name.isascii() and name.lower() not in ("and", "or", "in", "if")
) | st.sampled_from(["(model)", "an odd name", "a#b", "[0]", ""])
patterns = names.map(Pattern)
counts = st.integers(0, 2**53 - 1)
places = st.one_of(
    st.sampled_from(SubStep).map(AtSubStep),
    st.just(AtSubStep(SubStep.STEP, is_before=True)),
    st.builds(AtLayer, st.sampled_from(Event), patterns, st.none() | counts),
    st.builds(At, st.sampled_from(Unit), counts),
    st.builds(Every, st.sampled_from(Unit), st.integers(1, 10**9)),
    st.builds(AtLine, st.sampled_from(["train.py", "/a b/c.py", r"C:\t.py"]), st.integers(0, 10**6)),
)
of_subject = st.builds(OfSubject, st.sampled_from(SubjectKind), st.sampled_from(Statistic), st.none() | patterns)
quantities = st.one_of(st.sampled_from(Figure).map(OfStep), of_subject, st.builds(UpdateRatio, st.none() | patterns))
numbers = st.floats(0, 1e300, allow_nan=False).map(Number)
spoken_of = quantities | quantities.map(Previous)


def _calculated(inner: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return inner.map(Negative) | st.builds(Arithmetic, st.sampled_from("+-*/"), inner, inner)


values = st.recursive(numbers | spoken_of, _calculated, max_leaves=5)
comparisons = st.builds(Comparison, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), spoken_of, values)
simple = comparisons | st.sampled_from(Happening).map(Happens) | st.sampled_from(["", "lr-too-high", "a b"]).map(Found)


def _joined(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(inner.map(Not), st.builds(Within, inner, patterns), several.map(And), several.map(Or))


conditions = st.recursive(simple, _joined, max_leaves=5)
stops = st.one_of(
    st.builds(Stop, places), st.builds(lambda c: Stop(condition=c), conditions), st.builds(Stop, places, conditions)
)


@given(stops)
def test_the_text_of_a_tree_parses_back_to_it(stop: Stop) -> None:
    assert parse(str(stop)) == stop


pieces = st.sampled_from(
    [
        *KINDS,
        *STATISTICS,
        *FIGURES,
        *"<>=!+-*/().#%:",
        *(
            "and",
            "or",
            "not",
            "in",
            "of",
            "if",
            "any",
            "nan",
            "inf",
            "previous",
            "scale drop",
            "finding",
            "every",
            "at",
        ),
        *(
            "line",
            "enter",
            "leave",
            "gradient",
            "before",
            "after",
            "zero grad",
            "update_ratio",
            "train.py:3",
            "1",
            "2.5e3",
        ),
        *("encoder.*", "[0]", '"', "\n", "\u202e", "\0", "é"),
    ]
)


@given(st.text() | st.lists(pieces, max_size=12).map(" ".join) | st.lists(pieces, max_size=12).map("".join))
@example('grad.l2 of "\0" > previous')
@example("line a.py:" + "9" * 999)
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        told = str(parse(text))
    except BadInput as wrong:
        told = str(wrong)
        is_wrong = True
    else:
        is_wrong = False
    assert "\n" not in told or not is_wrong
    assert "expected" in told if is_wrong else str(parse(told)) == told


def test_patterns() -> None:
    assert Pattern("encoder.*").fits("encoder.0.weight")
    assert not Pattern("encoder.*").fits("encoder")
    assert Pattern("encoder").covers("encoder.0.weight")
    assert not Pattern("encoder").covers("encoder2.0")
    assert Pattern("*.attention").covers("layers.3.attention.query")
    assert Pattern("(model)").fits("")
    assert not Pattern("(model)").fits("encoder")
    assert Pattern("(model)").covers("encoder.0")
    assert Pattern("odd[name").fits("odd[name")


def test_a_line_is_known_by_the_end_of_its_path() -> None:
    line = AtLine("sub/train.py", 3)
    assert line.is_at("/home/me/sub/train.py", 3)
    assert line.is_at(r"C:\me\sub\train.py", 3)
    assert not line.is_at("/home/me/othersub/train.py", 3)
    assert not line.is_at("/home/me/sub/train.py", 4)


def test_every_word_for_a_thing_is_one_that_can_be_typed() -> None:
    for word in (*KINDS, *STATISTICS, *FIGURES):
        assert re.fullmatch("[a-z_0-9]+", word)
