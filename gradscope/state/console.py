"""What was evaluated, what came of it, and the expressions that are watched, with their numbers over the steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gradscope.protocol.messages.evaluate import (
    MAX_WATCHES,
    Evaluated,
    WatchExpression,
    WatchTime,
    WatchValue,
    WatchValues,
)
from gradscope.state.log import Log
from gradscope.state.topics import Topic

MAX_ENTRIES = 300
MAX_NUMBERS = 20_000
"""Of one expression; of more every second one is dropped."""


@dataclass
class Entry:
    """One thing that was evaluated. `reply` is None while it runs."""

    number: int
    text: str
    keep: bool
    step: int
    reply: Evaluated | None = None


@dataclass
class Watch:
    """One expression that is watched."""

    expression: WatchExpression
    value: WatchValue | None = None
    """The newest one."""
    step: int = 0
    """Of the value."""
    steps: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    """After steps: `numbers[i]` after step `steps[i]`."""

    @property
    def id(self) -> int:
        return self.expression.id

    def take(self, value: WatchValue, step: int, *, after_step: bool) -> None:
        self.value, self.step = value, step
        if not after_step or value.number is None:
            return
        while self.steps and self.steps[-1] >= step:
            # The training has gone back.
            self.steps.pop()
            self.numbers.pop()
        self.steps.append(step)
        self.numbers.append(value.number)
        if len(self.steps) > MAX_NUMBERS:
            del self.steps[::2], self.numbers[::2]


class ConsoleState:
    """Of one file: what was said stays when it is opened again, and values do not."""

    def __init__(self, before: ConsoleState | None = None) -> None:
        self.entries: list[Entry] = [] if before is None else before.entries
        self.watches: list[Watch] = [] if before is None else [Watch(watch.expression) for watch in before.watches]
        self.note = ""
        """Why watched values are not taken after every step, where they are not."""
        self._entries_made: int = 0 if before is None else before._entries_made
        self._watches_made: int = 0 if before is None else before._watches_made

    # ------------------------------------------------------------------------------------------ from the engine

    def hear(self, message: object, log: Log) -> Iterable[Topic]:
        """A `Part`."""
        if not isinstance(message, WatchValues):
            return ()
        known = {watch.id: watch for watch in self.watches}
        for value in message.values:
            if value.id in known:
                known[value.id].take(value, message.step, after_step=message.after_step)
        if message.after_step:
            self.note = message.note
        return (Topic.WATCHES,)

    # ------------------------------------------------------------------------------------------ evaluating

    @property
    def running(self) -> Entry | None:
        """What is being evaluated now."""
        return self.entries[-1] if self.entries and self.entries[-1].reply is None else None

    def begin(self, text: str, *, keep: bool, step: int) -> Entry:
        self._entries_made += 1
        entry = Entry(self._entries_made, text, keep, step)
        self.entries.append(entry)
        del self.entries[:-MAX_ENTRIES]
        return entry

    def end(self, reply: Evaluated) -> None:
        """What runs has come to this."""
        if self.running is not None:
            self.running.reply = reply

    def clear(self) -> None:
        """Forget what was said; what runs stays."""
        self.entries = [] if self.running is None else [self.running]

    # ------------------------------------------------------------------------------------------ watching

    @property
    def expressions(self) -> tuple[WatchExpression, ...]:
        return tuple(watch.expression for watch in self.watches)

    @property
    def has_room(self) -> bool:
        return len(self.watches) < MAX_WATCHES

    def add(self, text: str, each: WatchTime = WatchTime.STEP) -> None:
        """Watch one more expression, unless it is watched already."""
        if self.has_room and all(watch.expression.text != text for watch in self.watches):
            self.watches.append(Watch(self._expression(text, each)))

    def replace(self, watch: Watch, *, text: str | None = None, each: WatchTime | None = None) -> None:
        """Another text, which is another expression with other numbers; or another time for its values."""
        old = watch.expression
        is_other = text is not None and text != old.text
        time = old.each if each is None else each
        new = (
            Watch(self._expression(text or old.text, time))
            if is_other
            else Watch(
                WatchExpression(id=old.id, text=old.text, each=time),
                watch.value,
                watch.step,
                watch.steps,
                watch.numbers,
            )
        )
        self.watches = [new if other is watch else other for other in self.watches]

    def remove(self, watch: Watch) -> None:
        self.watches = [other for other in self.watches if other is not watch]

    def recall(self, watches: Sequence[tuple[str, WatchTime]]) -> None:
        """These are watched, and no others."""
        self.watches = [Watch(self._expression(text, each)) for text, each in watches[:MAX_WATCHES]]

    def _expression(self, text: str, each: WatchTime) -> WatchExpression:
        self._watches_made += 1
        return WatchExpression(id=self._watches_made, text=text, each=each)
