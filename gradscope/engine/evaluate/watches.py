"""Expressions whose values are taken at every stop, or after every step too; those that raise are switched off, and training
goes on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from gradscope.engine.evaluate import door
from gradscope.engine.evaluate.calls import layers_asked_for
from gradscope.engine.evaluate.code import Compiled, Sources
from gradscope.engine.evaluate.evaluator import Evaluator, Space, sentence_of
from gradscope.engine.evaluate.names import wanted_subjects
from gradscope.engine.evaluate.output import caught
from gradscope.engine.evaluate.telling import line_of, number_of
from gradscope.engine.evaluate.variables import Variables
from gradscope.engine.surroundings.unwinding import Unwind, is_interruption
from gradscope.protocol.messages.evaluate import WatchExpression, WatchTime, WatchValue, WatchValues
from gradscope.protocol.numbers import number

FREE_SECS = 0.05
"""What takes no longer is done after every step."""
_MOST_WAITING = 1000
"""That nobody has asked for."""
LEAST_PAUSE = 1.0
"""What takes longer is done so rarely that it takes no more than half of the time."""


@dataclass
class Watched:
    """One expression, and the numbers that it had after steps: `numbers[i]` after step `steps[i]`."""

    expression: WatchExpression
    compiled: Compiled | None = None
    error: str = ""
    is_off: bool = False
    steps: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    newest: WatchValue | None = None


class Watches:
    """Of one training."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._sources = Sources("watch")
        self.watched: dict[int, Watched] = {}
        """By their ids."""
        self._due = 0.0
        self._note = ""
        self.waiting: deque[WatchValues] = deque(maxlen=_MOST_WAITING)
        """What was taken after steps, and nobody has taken away yet."""
        self.was_interrupted = False
        """A person has broken off one of them, and with it what else was under way."""

    def set(self, expressions: Sequence[WatchExpression]) -> None:
        """These from now on. What is the same as before keeps its numbers; one that was switched off is on again."""
        before, self.watched = self.watched, {}
        self._due, self._note = 0.0, ""
        for expression in expressions:
            known = before.get(expression.id)
            if known is None or known.expression.text != expression.text:
                known = self._new(expression)
            known.expression, known.is_off = expression, False
            self.watched[expression.id] = known
        self._keep_what_is_read()

    def add(self, text: str, each: WatchTime = WatchTime.STEP) -> Watched:
        """One more. Raises SyntaxError for what is no expression."""
        number = max(self.watched, default=-1) + 1
        new = self._new(WatchExpression(id=number, text=text, each=each))
        if new.compiled is None:
            raise SyntaxError(new.error)
        self.watched[number] = new
        self._keep_what_is_read()
        return new

    def values_now(self, frame: FrameType | None = None) -> WatchValues | None:
        """The training stands still here: the values of all. None where nothing is watched. Raises what interrupts it, when
        the expression that took so long is switched off."""
        wanted, began = list(self.watched.values()), time.perf_counter()
        try:
            return self._taken(wanted, after_step=False, frame=frame)
        except BaseException as error:
            if is_interruption(error):
                self._break_off(wanted, began)
            raise

    def after_step(self, frame: FrameType | None = None) -> None:
        """A step is done: the values of those that are taken in each. Raises nothing but Ctrl+C. `frame`: as above."""
        wanted = [one for one in self.watched.values() if one.expression.each is WatchTime.STEP and not one.is_off]
        began = time.perf_counter()
        if not wanted or began < self._due:
            return
        try:
            taken = self._taken(wanted, after_step=True, frame=frame)
        except BaseException as error:
            if not is_interruption(error):
                # A training of a strange kind, or no memory for a copy.
                for one in wanted:
                    self._switch_off(one, f"It cannot be taken here: {sentence_of(error)}")
            else:
                self._break_off(wanted, began)
                if type(error) is not Unwind:
                    # Ctrl+C, where nobody else listens for it.
                    raise
                self.was_interrupted = True
            taken = self._told([one.newest for one in wanted if one.newest], began, after_step=True)
        spent = time.perf_counter() - began
        if spent > FREE_SECS:
            self._due = time.perf_counter() + LEAST_PAUSE * spent
            self._note = (
                f"Taking them takes {number(1000 * spent, digits=2)} ms, so in a run they are not taken after every step: "
                "half of the time is left to the training"
            )
        if taken is not None:
            self.waiting.append(taken)

    def take_waiting(self) -> list[WatchValues]:
        """What was taken after steps since it was asked the last time."""
        waiting = list(self.waiting)
        self.waiting.clear()
        return waiting

    def _new(self, expression: WatchExpression) -> Watched:
        new = Watched(expression)
        try:
            compiled = self._sources.compiled(expression.text)
            if compiled.statements is not None or compiled.expression is None:
                new.error = "Only an expression can be watched, as loss.item()"
            else:
                new.compiled = compiled
        except BaseException as error:
            if is_interruption(error):
                raise
            new.error = sentence_of(error)
        return new

    def _keep_what_is_read(self) -> None:
        """Of layers, activations and gradients are kept in a run only where they are watched."""
        book = self._evaluator.place.book
        texts = [one.expression.text for one in self.watched.values()]
        asked = [call for text in texts for call in layers_asked_for(text)]
        book.keeper.watch_also(list(wanted_subjects(book, iter(asked))))

    def _taken(self, wanted: list[Watched], *, after_step: bool, frame: FrameType | None) -> WatchValues | None:
        if not wanted:
            return None
        evaluator, began = self._evaluator, time.perf_counter()
        used = frozenset(name for one in wanted if one.compiled for name in one.compiled.names)
        space = Space(evaluator.place, evaluator.own, Variables.of(frame), used)
        roots = {**space.variables.roots(), **evaluator.place.names()}
        step = self._step(after_step=after_step)
        with door.put_back_after(evaluator.place, roots), caught():
            for one in wanted:
                self._take(one, space, step, after_step=after_step)
        return self._told([one.newest for one in wanted if one.newest], began, after_step=after_step)

    def _take(self, one: Watched, space: Space, step: int, *, after_step: bool) -> None:
        identity = one.expression.id
        if one.is_off or one.compiled is None or one.compiled.expression is None:
            one.newest = WatchValue(id=identity, error=one.error, is_off=True)
            return
        one.newest = WatchValue(id=identity, text=_RUNNING)
        try:
            with self._evaluator.interruptible():
                value = eval(one.compiled.expression, dict(space.names))
                text, single = line_of(value), number_of(value)
        except BaseException as error:
            if is_interruption(error):
                raise
            if after_step:
                self._switch_off(one, sentence_of(error))
            else:
                one.newest = WatchValue(id=identity, error=sentence_of(error))
            return
        one.newest = WatchValue(id=identity, text=text, number=single)
        if after_step:
            # What an earlier way through the steps had come to from here on.
            while one.steps and one.steps[-1] >= step:
                del one.steps[-1], one.numbers[-1]
        if after_step and single is not None:
            one.steps.append(step)
            one.numbers.append(single)

    def _break_off(self, wanted: list[Watched], began: float) -> None:
        """Which of them has taken so long is known: the last one that was begun."""
        culprit = next((one for one in wanted if one.newest and one.newest.text == _RUNNING), wanted[0])
        self._switch_off(culprit, f"It was interrupted after {number(time.perf_counter() - began, digits=2)} s")

    def _switch_off(self, one: Watched, error: str) -> None:
        one.is_off, one.error = True, error
        one.newest = WatchValue(id=one.expression.id, error=error, is_off=True)

    def _told(self, values: list[Any], began: float, *, after_step: bool) -> WatchValues:
        return WatchValues(
            step=self._step(after_step=after_step),
            after_step=after_step,
            values=tuple(values),
            seconds=time.perf_counter() - began,
            note=self._note if after_step else "",
        )

    def _step(self, *, after_step: bool) -> int:
        book = self._evaluator.place.book
        return book.history[-1].step if after_step and book.history else book.step


_RUNNING = "..."
