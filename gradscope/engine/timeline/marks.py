"""Marks of a training, cheap enough for every step: another one where a replay has gone another way.

Before the first forward of a step it is of the parameters, the buffers, what the optimizers remember, gradients that will be
added to, attributes of the user's objects as far as they are plain values (and numpy arrays, generators), the rates, the
random states and the place in the data. After a forward it is of the buffers and the random states (its loss is compared
besides), after a backward of the gradients and the random states.

All of it counts in each step, with one exception: of a large tensor that an optimizer remembers, one block of 256 KB in 8
does, other ones in each step. What differs there differs in the parameters of the next step as well, and all of it has been
looked at after 8 steps. Of an array of more than 64 KB some elements count. What `state_hash` says is of everything, and
takes longer.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from gradscope.engine.book.turns import rates_of
from gradscope.engine.model.modules import named_modules
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.random_memory import numpy_memory, python_memory, torch_words
from gradscope.engine.timeline.spans import PLAIN
from gradscope.engine.timeline.sums import Sums, differing
from gradscope.protocol.arrays import IntArray
from gradscope.protocol.phases import Phase

_ONE_IN = 8
_MOST_DETAIL_BYTES = 32 * 1024 * 1024
"""Of sums by tensor, which say where two marks differ; of the oldest marks it is only known whether they do."""
_MOST_DETAILED = 20_000
_NOTHING: IntArray = np.zeros(0, dtype=np.int64)


class Attributes(NamedTuple):
    """Of the objects that were there from the beginning on."""

    walk: int
    """Sums of different walks say nothing about each other."""
    sums: IntArray
    place: Callable[[int], str]
    """Of an object, for people."""


def no_attributes() -> Attributes:
    """Where nobody looks at them."""
    return Attributes(-1, _NOTHING, str)


@dataclass(eq=False)
class Mark:
    """At one place."""

    digest: bytes
    """Of everything but the attributes."""
    rest: bytes
    """Of what is no tensor."""
    sums: IntArray | None
    attributes: Attributes

    def is_same(self, other: Mark) -> bool:
        """But for attributes: what changes those (a clock) is not yet another training."""
        return self.digest == other.digest

    def has_same_attributes(self, other: Mark) -> bool:
        mine, others = self.attributes, other.attributes
        return mine.walk != others.walk or differing(mine.sums, others.sums) is None


class Marks:
    """Of one training."""

    def __init__(
        self, stepper: Stepper, attributes: Callable[[], Attributes], is_cleared: Callable[[], Callable[[Tensor], bool]]
    ) -> None:
        """`is_cleared` says of which tensors the next forward clears the gradients."""
        self._stepper, self._attributes, self._is_cleared = stepper, attributes, is_cleared
        self._sums = Sums()
        self._inside: tuple[int, list[Tensor], list[dict[str, Tensor | None]]] | None = None
        """Of the step with that number: whose gradients a backward makes, and the dicts with its buffers."""
        self._detailed: deque[Mark] = deque()
        self._detail_bytes = 0

    def now(self) -> Mark:
        """Before the first forward of a step."""
        batches, training = self._stepper.loop.batches, self._stepper.training
        # The code that runs now may put others in their places.
        self._inside = None
        _, tensors, one_in = zip(*self._before_step(), strict=True)
        sums = self._sums.of(tensors, what="before", one_in=one_in, turn=self._stepper.book.step)
        rest = (self._stepper.book.step, batches.epoch, batches.index, rates_of(training.optimizers))
        return self._made(sums, repr(rest), self._attributes())

    def after(self, phase: Phase) -> Mark:
        """Between two phases of a step."""
        tensors = [tensor for _, tensor in self._inside_step(phase)]
        sums = self._sums.of(tensors, what="buffers") if phase is Phase.FORWARD else self._sums.of_new(tensors)
        return self._made(sums, phase.value, no_attributes())

    def difference(self, then: Mark, now: Mark, phase: Phase | None = None) -> str:
        """What is another, with its name and size, as training stands now; "" where all is the same. `phase`: the marks are
        of after it."""
        where = "before its forward" if phase is None else f"after its {phase.value}"
        if not then.is_same(now):
            at = None if then.sums is None or now.sums is None else differing(then.sums, now.sums)
            if at is not None:
                return f"{self._named(at, phase)} {where}"
            if then.rest != now.rest:
                return f"the random states, the rates or the place in the data {where}"
            return f"the state {where}"
        if not then.has_same_attributes(now):
            at = differing(then.attributes.sums, now.attributes.sums)
            name = "" if at is None else now.attributes.place(at)
            return f"an attribute of {name} {where}" if name else f"an attribute {where}"
        return ""

    # ------------------------------------------------------------------------------------------ private

    def _made(self, sums: IntArray, rest: str, attributes: Attributes) -> Mark:
        digest = hashlib.blake2b(rest.encode(), digest_size=16)
        digest.update((python_memory() or b"") + (numpy_memory() or b""))
        digest.update(torch_words())
        others = digest.digest()
        digest.update(sums.tobytes())
        mark = Mark(digest.digest(), others, sums, attributes)
        self._detailed.append(mark)
        self._detail_bytes += sums.nbytes + attributes.sums.nbytes
        while self._detail_bytes > _MOST_DETAIL_BYTES or len(self._detailed) > _MOST_DETAILED:
            old = self._detailed.popleft()
            self._detail_bytes -= (0 if old.sums is None else old.sums.nbytes) + old.attributes.sums.nbytes
            old.sums, old.attributes = None, no_attributes()
        return mark

    def _before_step(self) -> Iterator[tuple[str, Tensor, int]]:
        """(what it is, tensor, one in so many of its blocks counts)."""
        stepper, is_cleared = self._stepper, self._is_cleared()
        # With several optimizers the others' gradients are no business of this turn.
        adds_up = stepper.training.zero_grad != "auto"
        seen = set[int]()
        for what, tensor in _tensors_of(stepper, stepper.training.modules()):
            if id(tensor) in seen or (type(tensor) not in PLAIN and is_uninitialised(tensor)):
                continue
            seen.add(id(tensor))
            yield what, tensor, 1
            gradient = tensor.grad if adds_up and tensor.is_leaf and not is_cleared(tensor) else None
            if gradient is not None:
                yield "the gradient of ", gradient, 1
        for turn in stepper.training.turns:
            for parameter in turn.parameters:
                state = turn.optimizer.state.get(parameter)
                for name, value in state.items() if isinstance(state, dict) else ():
                    if type(value) is Tensor:
                        yield f"{name} of the optimizer for ", value, _ONE_IN

    def _inside_step(self, phase: Phase) -> list[tuple[str, Tensor]]:
        leaves, buffers = self._of_step()
        if phase is not Phase.FORWARD:
            gradients = [tensor.grad for tensor in leaves]
            return [("the gradient of ", gradient) for gradient in gradients if gradient is not None]
        found = {id(tensor): tensor for own in buffers for tensor in own.values() if tensor is not None}
        return [(_BUFFER, one) for one in found.values() if type(one) in PLAIN or not is_uninitialised(one)]

    def _of_step(self) -> tuple[list[Tensor], list[dict[str, Tensor | None]]]:
        """The model is walked through once in a step."""
        number = self._stepper.book.step
        if self._inside is None or self._inside[0] != number:
            modules = self._stepper.training.modules()
            found = {
                id(tensor): tensor
                for _, tensor in _tensors_of(self._stepper, modules)
                if (type(tensor) in PLAIN or not is_uninitialised(tensor)) and tensor.is_leaf
            }
            buffers = [module._buffers for module in modules if module._buffers]
            self._inside = number, list(found.values()), buffers
        return self._inside[1:]

    def _named(self, at: int, phase: Phase | None) -> str:
        """The tensor with that number in a mark of now."""
        found = (
            [(what, tensor) for what, tensor, _ in self._before_step()]
            if phase is None
            else list(self._inside_step(phase))
        )
        what, tensor = found[at]
        shape = " x ".join(map(str, tensor.shape)) or "one number"
        return f"{what}{self._names().get(id(tensor), 'a tensor')} ({shape})"

    def _names(self) -> dict[int, str]:
        """Of tensors by their ids; what belongs to a parameter has its name."""
        names: dict[int, str] = {}
        for name, (tensor, _) in named_tensors(self._stepper.recipe.model).items():
            names[id(tensor)] = name
            if tensor.is_leaf and tensor.grad is not None:
                names[id(tensor.grad)] = name
        for name, tensor in self._stepper.loop.gradients.movable().items():
            names.setdefault(id(tensor), name)
        model = self._stepper.recipe.model
        for name, module in named_modules(model) if isinstance(model, nn.Module) else ():
            for own, buffer in module._buffers.items():
                if buffer is not None:
                    names[id(buffer)] = f"{name}.{own}" if name else own
        for turn in self._stepper.training.turns:
            for parameter in turn.parameters:
                state = turn.optimizer.state.get(parameter)
                for value in state.values() if isinstance(state, dict) else ():
                    names[id(value)] = names.get(id(parameter), "a parameter")
        return names


_BUFFER = "the buffer "
"""Those have a shape."""


def _tensors_of(stepper: Stepper, modules: Iterable[nn.Module]) -> Iterator[tuple[str, Tensor]]:
    for module in modules:
        for what, inside in (("", module._parameters), (_BUFFER, module._buffers)):
            for tensor in inside.values() if inside else ():
                if tensor is not None:
                    yield what, tensor
    for turn in stepper.training.turns:
        for parameter in turn.parameters:
            yield "", parameter
