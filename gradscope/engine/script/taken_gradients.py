"""`torch.autograd.grad` of what is trained: a backward, where a step is made of what it gives; else a part of the forward.

Which of them it is shows only later: the step that follows makes a backward of it, a backward that follows (a gradient
penalty, an inner loop, a weight between two losses) makes it a part of that backward's forward. So it waits, and is told with
the step. After that the place in the script is known, and its next one is a backward as soon as it begins.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gradscope.engine.script.finding import losses
from gradscope.engine.script.finding.optimizers import gradient_identity
from gradscope.engine.surroundings import transforms
from gradscope.engine.surroundings.frames import users_frame
from gradscope.protocol.source import SourceLine

if TYPE_CHECKING:
    from gradscope.engine.script.following import Following

_MOST_WAITING = 64
"""Calls of which no step is made: gradients of single samples, say."""
_TOLD_LATE = (
    "That {} is the backward here was seen only by the step that followed: of this first time, gradients of "
    "activations are not known, nor those of parameters that the script has not kept"
)
Place = tuple[CodeType, int]


@dataclass
class Taken:
    """One call of `torch.autograd.grad`, with what was known when it was made."""

    loss: losses.Loss
    outputs: list[Tensor]
    """What was differentiated; nothing, once it is known that this is no backward yet."""
    line: SourceLine | None
    place: Place | None
    inputs: list[Tensor]
    """Those that are trained; with the places in the call's result."""
    numbers: list[int]
    keeps_graph: bool
    at: int
    """How many stations the script had come through, since the newest end of a phase."""
    calls: int
    """How many calls of models the forward had."""
    called_from: SourceLine | None
    called_at: int
    before: list[tuple[int, int]]
    """What was in `.grad` of each."""
    by: str = "torch.autograd.grad"
    gradients: list[Callable[[], Tensor | None]] = field(default_factory=list)
    """What came of it. None is kept alive while it waits: whoever makes a step of them has them."""

    def take_in(self, result: Sequence[Tensor | None], *, keeps_alive: bool) -> None:
        own = [None if (one := result[number]) is None else transforms.unwrapped(one) for number in self.numbers]
        make = _strong if keeps_alive else weakref.ref
        self.gradients = [_nothing if gradient is None else make(gradient) for gradient in own]


class TakenGradients:
    """Of one script. The taps tell it of each call; it tells `Following`."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._waiting: list[Taken] = []
        self._has_accumulated = False
        """There was a backward since the newest step."""
        self._are_backwards: dict[Place, bool] = {}
        """By the place of the call: what the newest one there has been."""

    def begins(self, outputs: Any, args: Sequence[Any]) -> Taken | None:
        """None: it is no backward, whatever follows. `args` are those of the engine, behind the outputs."""
        _, keeps_graph, creates_graph, inputs = args[:4]
        if transforms.are_running() or any(isinstance(one, Tensor) and transforms.is_wrapped(one) for one in outputs):
            return self._following.func.begins(outputs, inputs)
        return None if creates_graph else self.of(outputs, inputs, keeps_graph=bool(keeps_graph))

    def of(
        self,
        outputs: Sequence[Any],
        inputs: Sequence[Any],
        *,
        keeps_graph: bool,
        is_trained: Callable[[Any], bool] | None = None,
    ) -> Taken | None:
        """A call that may be a backward: of tensors that are trained. None where there are none among the inputs."""
        is_trained = is_trained or self.is_trained
        numbers = [number for number, tensor in enumerate(inputs) if is_trained(tensor)]
        if not numbers:
            return None
        frame, following = users_frame(), self._following
        mine = [inputs[number] for number in numbers]
        losses_of = [tensor for tensor in outputs if isinstance(tensor, Tensor)]
        return Taken(
            loss=losses.described(losses_of),
            outputs=losses_of,
            line=following.here(),
            place=None if frame is None else (frame.f_code, frame.f_lasti),
            inputs=mine,
            numbers=numbers,
            keeps_graph=keeps_graph,
            at=len(following.journal.stations),
            calls=len(following.calls),
            called_from=following.called_from,
            called_at=following.journal.called_at,
            before=[gradient_identity(tensor) for tensor in mine],
        )

    def is_trained(self, tensor: Any) -> bool:
        if not isinstance(tensor, Tensor) or not tensor.is_leaf:
            return False
        optimizers = self._following.found.optimizers
        return optimizers.hold(tensor) or (not optimizers.are_any and tensor.requires_grad)

    def is_backward(self, taken: Taken) -> bool:
        """As far as is known before it has run."""
        known = None if taken.place is None else self._are_backwards.get(taken.place)
        if known is not None:
            return known
        # Where nobody holds tensors, neither an optimizer nor a model, there is nothing else that they could be for.
        found = self._following.found
        return not found.optimizers.are_any and not found.known_ids().keys() & {id(tensor) for tensor in taken.inputs}

    def find(self, tensors: list[Tensor]) -> None:
        """These are trained, as it has turned out."""
        following = self._following
        if following.found.follow_reached(tensors) or following.session is None:
            following.start_or_grow(stops=True)

    def wait(self, taken: Taken) -> None:
        """It has run, and what it is has to be seen."""
        taken.outputs = []
        self._waiting.append(taken)
        del self._waiting[:-_MOST_WAITING]

    # ------------------------------------------------------------------------------------------ what it was

    def step_follows(self) -> None:
        """What waits was a backward: all of it, if there was no other. Else what has been put into `.grad` since."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        chosen = [taken for taken in waiting if not self._has_accumulated or _is_in_use(taken)]
        self._remember(waiting, chosen)
        self._tell(chosen)

    def backward_follows(self) -> None:
        """What waits was a part of its forward, unless it has been put into `.grad`, where the backward adds to it."""
        waiting, self._waiting = self._waiting, []
        self._has_accumulated = True
        if not waiting:
            return
        chosen = [taken for taken in waiting if _is_in_use(taken)]
        self._remember(waiting, chosen)
        self._tell(chosen)

    def step_done(self) -> None:
        self._has_accumulated = False

    def _remember(self, waiting: list[Taken], chosen: list[Taken]) -> None:
        for taken in waiting:
            if taken.place is not None:
                self._are_backwards[taken.place] = any(taken is other for other in chosen)

    def _tell(self, chosen: list[Taken]) -> None:
        """In the order in which the script has come through all this."""
        following = self._following
        if not chosen:
            return
        stations, done, calls = following.journal.stations, 0, following.calls
        called_at, called_from, done_calls = following.journal.called_at, following.called_from, 0
        for taken in chosen:
            following.journal.stations = stations[done : taken.at]
            following.journal.called_at = max(0, taken.called_at - done)
            following.calls = calls[done_calls : taken.calls]
            following.called_from = taken.called_from
            done, done_calls = max(done, taken.at), max(done_calls, taken.calls)
            with following.standing_at(taken.line):
                self.find(taken.inputs)
                if following.begin_backward(taken.loss, keeps_graph=taken.keeps_graph):
                    following.facts.notes.append(_TOLD_LATE.format(taken.by))
                    book = following.book
                    if book is not None and book.observer.record is not None:
                        book.observer.record.is_late = True
                    self.end(taken)
        following.journal.stations += stations[done:]
        following.journal.called_at = max(0, called_at - done)
        following.calls, following.called_from = calls[done_calls:], called_from

    def end(self, taken: Taken, *, has_failed: bool = False) -> None:
        """Of a backward that has begun."""
        following = self._following
        with following.standing_at(taken.line), _in_place(taken, following.facts.gradients.movable().values()):
            following.backward_ends(has_failed=has_failed, is_taken=True)


def _is_in_use(taken: Taken) -> bool:
    """Whether `.grad` was given something since."""
    for tensor, before, own in zip(taken.inputs, taken.before, taken.gradients, strict=True):
        gradient = tensor.grad
        if gradient is not None and gradient_identity(tensor) != before:
            return gradient is own() or gradient.is_sparse or bool(gradient.any())
    return False


@contextlib.contextmanager
def _in_place(taken: Taken, movable: Iterable[Tensor]) -> Iterator[None]:
    """Inside, what was taken is where whoever looks at a backward expects it, and nothing of another backward is there."""
    own = {id(tensor): gradient() for tensor, gradient in zip(taken.inputs, taken.gradients, strict=True)}
    reached = {id(tensor): tensor for tensor in (*movable, *taken.inputs)}
    before = [(tensor, tensor.grad) for tensor in reached.values()]
    try:
        for tensor, _ in before:
            tensor.grad = own.get(id(tensor))
        yield
    finally:
        for tensor, gradient in before:
            tensor.grad = gradient


def _nothing() -> None:
    """In the place of a reference to a gradient, where there is none."""


def _strong(gradient: Tensor) -> Callable[[], Tensor]:
    return lambda: gradient
