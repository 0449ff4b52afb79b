"""Doing again what was done: the user's code is really run, by the same loop, and what it comes to is compared with then."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch

from gradscope.engine.book.gate import Gate
from gradscope.engine.edits.change import EditRecord
from gradscope.engine.edits.editor import Editor
from gradscope.engine.stepping.best import Best
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.timeline.ways import Action, ByHand, Cleared, Edited, Ran, Way
from gradscope.protocol.messages import Validated
from gradscope.protocol.messages.edits import Edit
from gradscope.protocol.messages.evaluate import Evaluate
from gradscope.protocol.phases import Moment, Phase

NEAR = 8
"""So many steps before the one that is gone to are kept as they are passed: who steps back once does so again."""

Tick = Callable[[int, int, int], None]
"""Called at each phase of a replay with (step, the first, the one that is gone to); may raise, and at each moment inside."""


def nothing(step: int, start: int, until: int) -> None:
    """Nobody wants to know."""


def is_same_loss(one: float | None, other: float | None) -> bool:
    """To the last bit, also of NaN; True where one is not known."""
    return one is None or other is None or struct.pack("<d", one) == struct.pack("<d", other)


def why_approximate(device: torch.device) -> str:
    """Why a replay on a device may come to other last digits; "" where it comes to the same."""
    if device.type == "cpu" or torch.are_deterministic_algorithms_enabled():
        return ""
    return (
        f"Approximate: {device} computes the same in different ways, unless "
        "torch.use_deterministic_algorithms(True) is set"
    )


class Listening(Protocol):
    """Who keeps the journal."""

    def edited(
        self, edit: Edit | Evaluate | None, record: EditRecord, names: Mapping[str, Any] | None = None
    ) -> None: ...
    def validated(self, validation: Validated, best: Best | None) -> None: ...


class _Passing:
    """A gate at which nobody stops; who wants to break off is asked."""

    def __init__(self, behind: Gate | None, tick: Callable[[], None]) -> None:
        self._tick = tick
        self.is_armed = behind is not None

    def stop(self, moment: Moment) -> None:
        self._tick()


class Replay:
    """From a checkpoint to a place on a way."""

    def __init__(
        self, stepper: Stepper, editor: Editor, journal: Listening, way: Way, *, until: int, tick: Tick
    ) -> None:
        self._stepper, self._editor, self._journal, self._way, self._tick = stepper, editor, journal, way, tick
        self.until = until
        self.has_run = False
        self.notes: list[str] = []
        self._compared = 0
        self._differs_from: int | None = None

    @property
    def verified(self) -> bool | None:
        """Whether everything that could be compared was the same; None where nothing could be."""
        return None if not self._compared else self._differs_from is None

    def run(self, start: int, start_at: int, until: int, until_at: int) -> None:
        """Everything from there on, up to there."""
        work: list[tuple[int, list[Action]]] = []
        for number in range(start, until + 1):
            actions = self._way.steps[number].actions if number in self._way.steps else []
            end = until_at if number == until else len(actions)
            work.append((number, actions[start_at if number == start else 0 : end]))
        if not any(actions for _, actions in work):
            return
        with self._quiet(start, until):
            for number, actions in work:
                self._stepper.keeper.keeps_all = number >= until - 1
                for action in actions:
                    self._tick(number, start, until)
                    self._do(action)

    def compare(self, number: int, difference: str) -> None:
        """Of two marks in a step: what is another, "" where nothing is."""
        self._note(number, not difference, difference)

    def compare_loss(self, number: int, then: float | None, now: float | None) -> None:
        """Of a forward."""
        if then is not None and now is not None:
            self._note(number, is_same_loss(then, now), "its loss")

    def _note(self, number: int, is_same: bool, what: str) -> None:
        self._compared += 1
        if not is_same and self._differs_from is None:
            self._differs_from = number
            self.notes.append(
                f"The replay was not the same from step {number} on ({what} is another than then): the code goes by "
                "something that is not put back, the time or a generator of its own, or it computes in an order that varies"
            )

    def _do(self, action: Action) -> None:
        stepper = self._stepper
        match action:
            case Ran(phase=phase):
                self.has_run = True
                runs = {Phase.FORWARD: Stepper.forward, Phase.BACKWARD: Stepper.backward, Phase.STEP: Stepper.step}
                runs[phase](stepper)
            case Cleared():
                stepper.zero_grad()
            case Edited(edit=None):
                record, _ = self._editor.undo()
                self._journal.edited(None, record)
            case Edited(edit=Evaluate(text=text) as evaluated, names=names):
                self._journal.edited(evaluated, self._editor.run_again(text, names), names)
            case Edited(edit=edit) if edit is not None and not isinstance(edit, Evaluate):
                self._journal.edited(edit, self._editor.apply(edit))
            case ByHand(validation=validation, best=best):
                stepper.best = best or stepper.best
                stepper.book.validations.append(validation)
                self._journal.validated(validation, best)

    @contextlib.contextmanager
    def _quiet(self, start: int, until: int) -> Iterator[None]:
        """Nobody is told of what was told already."""
        stepper = self._stepper
        book, observer = stepper.book, stepper.observer
        gate, listener, is_traced, keeps_all = book.gate, observer.listener, stepper.is_traced, stepper.keeper.keeps_all
        book.gate = _Passing(gate, lambda: self._tick(book.step, start, until))
        observer.listener, stepper.is_traced = None, False
        try:
            yield
        finally:
            book.gate, observer.listener, stepper.is_traced = gate, listener, is_traced
            stepper.keeper.keeps_all = keeps_all
