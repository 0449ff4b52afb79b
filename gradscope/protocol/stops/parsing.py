"""From the text of a stop to its tree: recursive descent over the grammar in docs/stops.md."""

from __future__ import annotations

import math
from collections.abc import Callable

from gradscope.protocol.failure import BadInput
from gradscope.protocol.limits import MAX_COUNT
from gradscope.protocol.phases import SubStep
from gradscope.protocol.stops import tree
from gradscope.protocol.stops.quantities import FIGURES, KINDS, STATISTICS, UPDATE_RATIO, Happening
from gradscope.protocol.stops.tokens import Kind, Scanner, Token
from gradscope.protocol.stops.tree import Condition, Place, Quantity, Stop, Value

MAX_LENGTH = 2000
MAX_BRACKETS = 50
"""Of what is inside of what: brackets, signs and `not`."""
_A_STOP = "a place such as 'backward', 'enter LAYER' or 'at step 40', or a condition such as 'grad.l2 > 10'"
_A_LAYER = "the name of a layer, or a pattern such as encoder.*"
_A_VALUE = "a number, or a quantity such as grad.l2 or loss"
_A_COMPARISON = "a comparison such as '> 10'"
_STATISTICS = ", ".join(statistic.value for statistic in dict.fromkeys(STATISTICS.values()))
_EVENTS = {event.value: event for event in tree.Event}
_SUBSTEPS = {substep.value: substep for substep in SubStep}
_OF_TWO = frozenset({UPDATE_RATIO, "grad_norm", "learning_rate", "loss_scale"})
"""Quantities that may be written as two words, as the window has them."""
_FIRST_OF_TWO = frozenset(name.partition("_")[0] for name in _OF_TWO)
_CONDITIONS = (tree.Comparison, tree.Happens, tree.Found, tree.Within, tree.Not, tree.And, tree.Or)
_SIGNS = {"<", "<=", ">", ">=", "==", "=", "!="}


def parse(text: str) -> Stop:
    """Raises BadInput with one sentence: what stands at which column, and what was expected there."""
    if len(text) > MAX_LENGTH:
        raise BadInput(f"The stop has {len(text)} characters; expected at most {MAX_LENGTH}")
    return _Parser(text).stop()


class _Parser:
    def __init__(self, text: str) -> None:
        self._scanner = Scanner(text)
        self._depth = 0
        self._bare: list[Token] = []
        """Where "previous" stands alone, of the comparison under way."""

    def stop(self) -> Stop:
        if self._scanner.peek().kind is Kind.END:
            self._scanner.fail(_A_STOP)
        place = self._place()
        if place is None:
            condition = self._condition(_A_STOP)
            self._end("'and', 'or', 'in' or the end")
            return Stop(condition=condition)
        if self._scanner.takes_word("if"):
            condition = self._condition("a condition such as 'grad.l2 > 10'")
            self._end("'and', 'or', 'in' or the end")
            return Stop(place, condition)
        self._end("'if' and a condition, or the end")
        return Stop(place)

    def _end(self, expected: str) -> None:
        if self._scanner.peek().kind is not Kind.END:
            self._scanner.fail(expected)

    # ------------------------------------------------------------------------------------------ places

    def _place(self) -> Place | None:
        """None where a condition stands."""
        scanner = self._scanner
        word = scanner.peek()
        if word.is_word("gradient") and scanner.after_next().is_symbol(".", *_SIGNS):
            return None
        if word.is_word(*_EVENTS):
            return self._at_layer(_EVENTS[scanner.take().text.lower()])
        if word.is_word("at"):
            scanner.take()
            return self._at()
        if word.is_word("every"):
            scanner.take()
            return self._every()
        if word.is_word("line"):
            scanner.take()
            return tree.AtLine(*scanner.file_and_line("a file and a line such as train.py:42"))
        if word.is_word("before", "after"):
            return self._beside(is_before=scanner.take().is_word("before"))
        if word.is_word("step", "epoch") and scanner.after_next().kind is Kind.NUMBER:
            return self._at()
        return self._sub_step_alone()

    def _at_layer(self, event: tree.Event) -> Place:
        scanner = self._scanner
        expected = _A_LAYER if event is not tree.Event.GRADIENT else f"{_A_LAYER}, or of a parameter"
        pattern = tree.Pattern(scanner.pattern(expected))
        call = self._whole("the number of a call, the first is 0") if scanner.takes_symbol("#") else None
        return tree.AtLayer(event, pattern, call)

    def _at(self) -> Place:
        unit = self._unit("'step' or 'epoch' and its number", plural=False)
        return tree.At(unit, self._whole(f"the number of the {unit.value}"))

    def _every(self) -> Place:
        scanner, count = self._scanner, 1
        if scanner.peek().kind is Kind.NUMBER:
            token = scanner.peek()
            count = self._whole("a number of steps or epochs")
            if count < 1:
                scanner.fail("at least 1", token)
        return tree.Every(self._unit("'step' or 'epoch', or a number of them", plural=True), count)

    def _unit(self, expected: str, *, plural: bool) -> tree.Unit:
        for unit in tree.Unit:
            if self._scanner.takes_word(unit.value, *([f"{unit.value}s"] if plural else [])):
                return unit
        self._scanner.fail(expected)

    def _beside(self, *, is_before: bool) -> Place:
        substep = self._sub_step()
        if substep is None:
            self._scanner.fail("the name of a sub-step such as 'backward' or 'zero grad'")
        return tree.AtSubStep(substep, is_before)

    def _sub_step_alone(self) -> Place | None:
        """Of "loss" and "loss > 1", the first only."""
        scanner = self._scanner
        if scanner.peek().is_word(*KINDS, *FIGURES):
            behind = scanner.after_next()
            if behind.kind is not Kind.END and not behind.is_word("if"):
                return None
        substep = self._sub_step()
        return None if substep is None else tree.AtSubStep(substep)

    def _sub_step(self) -> SubStep | None:
        scanner = self._scanner
        if scanner.takes_word("zero_grad"):
            return SubStep.ZERO_GRAD
        if scanner.takes_word("zero"):
            if not scanner.takes_word("grad"):
                scanner.fail("'grad': 'zero grad'")
            return SubStep.ZERO_GRAD
        word = scanner.peek()
        return _SUBSTEPS[scanner.take().text.lower()] if word.is_word(*_SUBSTEPS) else None

    def _whole(self, expected: str) -> int:
        token = self._scanner.peek()
        if token.kind is not Kind.NUMBER or not token.text.isdigit() or len(token.text) > 16:
            self._scanner.fail(expected)
        number = int(self._scanner.take().text)
        if number > MAX_COUNT:
            self._scanner.fail(expected, token)
        return number

    # ------------------------------------------------------------------------------------------ conditions

    def _condition(self, expected: str) -> Condition:
        return self._as_condition(self._or(expected))

    def _as_condition(self, node: Condition | Value) -> Condition:
        if not isinstance(node, _CONDITIONS):
            self._scanner.fail(_A_COMPARISON)
        return node

    def _as_value(self, node: Condition | Value, start: Token) -> Value:
        if isinstance(node, _CONDITIONS):
            self._scanner.fail(f"{_A_VALUE}, not a condition", start)
        return node

    def _or(self, expected: str) -> Condition | Value:
        return self._joined("or", tree.Or, self._and, expected)

    def _and(self, expected: str) -> Condition | Value:
        return self._joined("and", tree.And, self._not, expected)

    def _joined(
        self,
        word: str,
        made: Callable[[tuple[Condition, ...]], Condition],
        part: Callable[[str], Condition | Value],
        expected: str,
    ) -> Condition | Value:
        first = part(expected)
        if not self._scanner.peek().is_word(word):
            return first
        parts = [self._as_condition(first)]
        while self._scanner.takes_word(word):
            parts.append(self._as_condition(part(f"a condition behind '{word}'")))
        return made(tuple(parts))

    def _not(self, expected: str) -> Condition | Value:
        if not self._scanner.peek().is_word("not"):
            return self._compared(expected)
        self._scanner.take()
        return tree.Not(self._as_condition(self._deeper(self._not, "a condition behind 'not'")))

    def _compared(self, expected: str) -> Condition | Value:
        start = self._scanner.peek()
        bare, self._bare = self._bare, []
        node = self._sum(expected)
        if self._scanner.peek().kind is Kind.SYMBOL and self._scanner.peek().text in _SIGNS:
            left = self._as_value(node, start)
            sign = self._scanner.take().text
            behind = self._scanner.peek()
            right = self._as_value(self._sum(_A_VALUE), behind)
            node = self._comparison("==" if sign == "=" else sign, left, right, start)
            if self._scanner.peek().text in _SIGNS:
                self._scanner.fail("'and' before another comparison")
            self._bare = bare
        else:
            self._bare = bare + self._bare
        while self._scanner.peek().is_word("in"):
            if not isinstance(node, _CONDITIONS):
                self._scanner.fail(f"{_A_COMPARISON} before 'in', or 'of' and a name")
            self._scanner.take()
            node = tree.Within(node, tree.Pattern(self._scanner.pattern(_A_LAYER)))
        return node

    def _comparison(self, sign: str, left: Value, right: Value, start: Token) -> Condition:
        """With what "previous" alone stands for in its place: the quantity that is compared."""
        spoken_of = [quantity for value in (left, right) for quantity, _ in tree.quantities(value)]
        if not spoken_of:
            self._scanner.fail("a quantity such as loss or grad.l2 in the comparison", start)
        if self._bare:
            known = {quantity for quantity in spoken_of if quantity is not _BARE}
            if len(known) != 1:
                self._scanner.fail("'previous' and a quantity, such as 'previous loss'", self._bare[0])
            left, right = (_with(value, next(iter(known))) for value in (left, right))
        return tree.Comparison(sign, left, right)

    # ------------------------------------------------------------------------------------------ numbers

    def _sum(self, expected: str) -> Condition | Value:
        return self._calculated(("+", "-"), self._product, expected)

    def _product(self, expected: str) -> Condition | Value:
        return self._calculated(("*", "/"), self._signed, expected)

    def _calculated(
        self, signs: tuple[str, ...], part: Callable[[str], Condition | Value], expected: str
    ) -> Condition | Value:
        start = self._scanner.peek()
        node = part(expected)
        while self._scanner.peek().is_symbol(*signs):
            left = self._as_value(node, start)
            sign = self._scanner.take().text
            behind = self._scanner.peek()
            node = tree.Arithmetic(sign, left, self._as_value(part(_A_VALUE), behind))
        return node

    def _signed(self, expected: str) -> Condition | Value:
        if not self._scanner.takes_symbol("-"):
            return self._atom(expected)
        start = self._scanner.peek()
        return tree.Negative(self._as_value(self._deeper(self._signed, _A_VALUE), start))

    def _atom(self, expected: str) -> Condition | Value:
        scanner = self._scanner
        token = scanner.peek()
        if token.kind is Kind.NUMBER:
            return self._number()
        if scanner.takes_symbol("("):
            node = self._deeper(self._or, expected)
            if not scanner.takes_symbol(")"):
                scanner.fail("')'")
            return node
        if token.is_word("previous", "last"):
            return self._previous()
        happens = self._happens()
        return happens if happens is not None else self._quantity(expected)

    def _deeper(self, part: Callable[[str], Condition | Value], expected: str) -> Condition | Value:
        self._depth += 1
        if self._depth > MAX_BRACKETS:
            self._scanner.fail(f"at most {MAX_BRACKETS} brackets inside each other")
        node = part(expected)
        self._depth -= 1
        return node

    def _number(self) -> Value:
        token = self._scanner.take()
        value = float(token.text)
        if self._scanner.takes_symbol("%"):
            value /= 100
        if not math.isfinite(value):
            self._scanner.fail("a number that is not beyond all others", token)
        return tree.Number(value)

    def _previous(self) -> Value:
        scanner = self._scanner
        word = scanner.take()
        if scanner.takes_symbol("("):
            quantity = self._quantity(_A_VALUE)
            if not scanner.takes_symbol(")"):
                scanner.fail("')'")
            return tree.Previous(quantity)
        ahead = scanner.peek()
        if ahead.is_word(*FIGURES, *KINDS, UPDATE_RATIO, *_FIRST_OF_TWO):
            return tree.Previous(self._quantity(_A_VALUE))
        if ahead.kind is Kind.WORD and not ahead.is_word("and", "or", "in"):
            scanner.fail("a quantity such as loss or grad.l2")
        self._bare.append(word)
        return tree.Previous(_BARE)

    def _happens(self) -> Condition | None:
        scanner = self._scanner
        if scanner.takes_word("any"):
            for word, happening in (("nan", Happening.ANY_NAN), ("inf", Happening.ANY_INF)):
                if scanner.takes_word(word):
                    return tree.Happens(happening)
            scanner.fail("'any nan' or 'any inf'")
        for first, second, happening in (
            ("scale", "drop", Happening.SCALE_DROP),
            ("skipped", "step", Happening.SKIPPED_STEP),
        ):
            if scanner.takes_word(f"{first}_{second}"):
                return tree.Happens(happening)
            if scanner.peek().is_word(first) and (first == "skipped" or scanner.after_next().is_word(second)):
                scanner.take()
                if not scanner.takes_word(second):
                    scanner.fail(f"'{second}': '{first} {second}'")
                return tree.Happens(happening)
        for word, happening in (("nan", Happening.ANY_NAN), ("inf", Happening.ANY_INF)):
            if scanner.takes_word(word):
                return tree.Happens(happening)
        if scanner.takes_word("finding"):
            ahead = scanner.peek()
            is_named = ahead.kind is Kind.WORD and not ahead.is_word("and", "or", "in")
            is_named = is_named or ahead.text == '"'
            return tree.Found(scanner.pattern("the name of a finding") if is_named else "")
        return None

    def _quantity(self, expected: str) -> Quantity:
        scanner = self._scanner
        token = scanner.peek()
        word = token.text.lower() if token.kind is Kind.WORD else ""
        both = f"{word}_{scanner.after_next().text.lower()}" if word in _FIRST_OF_TWO else ""
        is_of_two = both in _OF_TWO
        if is_of_two:
            scanner.take()
            word = both
        if word == UPDATE_RATIO:
            scanner.take()
            return tree.UpdateRatio(self._named())
        is_summary = scanner.after_next().is_symbol(".") if word and not is_of_two else False
        if word in KINDS and (is_summary or word not in FIGURES):
            scanner.take()
            if not scanner.takes_symbol("."):
                scanner.fail(f"'.' and one of {_STATISTICS}")
            ahead = scanner.peek()
            if not ahead.is_word(*STATISTICS):
                scanner.fail(f"one of {_STATISTICS}")
            statistic = STATISTICS[scanner.take().text.lower()]
            return tree.OfSubject(KINDS[word], statistic, self._named())
        if word in FIGURES:
            scanner.take()
            return tree.OfStep(FIGURES[word])
        scanner.fail(expected)

    def _named(self) -> tree.Pattern | None:
        if not self._scanner.takes_word("of"):
            return None
        return tree.Pattern(self._scanner.pattern("the name of a layer or a parameter"))


_BARE = tree.OfSubject(KINDS["grad"], STATISTICS["l2"], tree.Pattern("\0"))
"""What stands for the quantity of a "previous" alone, until that is known; no text can name it."""


def _with(value: Value, quantity: Quantity) -> Value:
    match value:
        case tree.Previous(inner):
            return tree.Previous(quantity) if inner is _BARE else value
        case tree.Negative(inner):
            return tree.Negative(_with(inner, quantity))
        case tree.Arithmetic(sign, left, right):
            return tree.Arithmetic(sign, _with(left, quantity), _with(right, quantity))
    return value
