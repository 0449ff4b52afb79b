"""What a session has of evaluating, whoever drives it."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from types import FrameType

from gradscope.engine.book.readable import Readable
from gradscope.engine.evaluate.completion import completed
from gradscope.engine.evaluate.evaluator import Evaluation, Evaluator
from gradscope.engine.evaluate.names import ALWAYS, Lookup, provided
from gradscope.engine.evaluate.place import Place
from gradscope.engine.evaluate.variables import Variables
from gradscope.engine.evaluate.watches import Watched, Watches
from gradscope.protocol.messages.evaluate import Completions, WatchTime


class Evaluates(Readable):
    """Python in the stopped training: once, or again and again."""

    @abstractmethod
    def place(self) -> Place:
        """Where expressions are evaluated."""

    @cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(self.place())

    @cached_property
    def watches(self) -> Watches:
        """The expressions whose values are taken."""
        return Watches(self.evaluator)

    def evaluate(self, text: str, *, keep: bool = False, frame: FrameType | None = None) -> Evaluation:
        """Evaluate Python with `model`, `batch`, `x`, `target`, `output`, `loss`, `optimizer`, `scheduler`, `grad("layer")`,
        `activation("layer")`, `torch`, `np`, `step` and `epoch`; `_` is the newest value. At rest or stopped inside a phase.

        What it changes of the training is put back, bit for bit, unless `keep`. An error of the code is in what is returned.
        `frame`: also with the variables of the user's code that has called it, of the innermost frame that is theirs.
        """
        return self.evaluator.evaluate(text, keep=keep, frame=frame)

    def watch_expression(self, text: str, each: WatchTime = WatchTime.STEP) -> Watched:
        """From the next step on: the value of an expression after each step is in `numbers` of what is returned. One that
        raises is switched off, and says why. Raises SyntaxError for what is no expression."""
        return self.watches.add(text, each)

    def complete(self, text: str, cursor: int, *, frame: FrameType | None = None) -> Completions:
        """Which names may stand at `cursor` in a text. Nothing of the user's is called."""
        place = self.evaluator.place
        given = provided(place, Lookup(place.book), frozenset())
        names = {**dict.fromkeys(ALWAYS), **given, **Variables.of(frame).all, **self.evaluator.own}
        start, found = completed(text, cursor, names, place.book)
        return Completions(start=start, names=tuple(found))
