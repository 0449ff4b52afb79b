"""Where in a training a step is tried: the batch that is at hand, whose step comes, and whether its gradients wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.stepping.training import RecipeTurn
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import AT_REST, Rest
from gradscope.protocol.what_if.tried import Measured, Standing

_STANDINGS = {
    Rest.READY: Standing.BETWEEN,
    Rest.FORWARD: Standing.FORWARD_DONE,
    Rest.BACKWARD: Standing.BACKWARD_DONE,
}


@dataclass(frozen=True)
class Place:
    """Of a training that stands still."""

    batch: Any
    """The newest one, not to be written to."""
    turn: RecipeTurn
    """Whose step comes, or is under way."""
    standing: Standing
    step: int
    batch_step: int
    """The step whose batch it is."""
    window: int
    """Micro-batches of the step that is tried."""

    @staticmethod
    def of(stepper: Stepper) -> Place:
        """Raises BadInput inside a phase or a window, and before the first forward."""
        if stepper.is_broken:
            raise BadInput("The session cannot go on: a phase that failed could not be undone. Open the recipe again")
        rest, loop, step = stepper.position.rest, stepper.loop, stepper.position.step
        if rest not in AT_REST:
            raise BadInput("Something can be tried between two phases: finish this one first")
        loaded = loop.loaded_batch
        batch = loop.batch if loaded is None else loaded
        if batch is None:
            raise BadInput("There is no batch to try anything with; expected a Forward first")
        if rest is Rest.ACCUMULATING or (rest is Rest.FORWARD and loop.window.micro):
            raise BadInput(
                f"{loop.window.micro} of the {loop.window.size} micro-batches of this step are done; expected all or none: "
                "go on to the end of the last one's backward"
            )
        standing = _STANDINGS[rest]
        return Place(
            batch=batch,
            turn=loop.turn,
            standing=standing,
            step=step,
            batch_step=max(0, step - 1) if loaded is None else step,
            window=loop.window.size if standing is Standing.BACKWARD_DONE else 1,
        )

    @property
    def has_gradients(self) -> bool:
        return self.standing is Standing.BACKWARD_DONE

    def measured(self, notes: Sequence[str]) -> Measured:
        return Measured(
            step=self.step,
            standing=self.standing,
            batch_step=self.batch_step,
            samples=samples_in(self.batch),
            micro_batches=self.window,
            turn=self.turn.name,
            notes=tuple(notes),
        )


def samples_in(batch: Any) -> int:
    """The first side of all its tensors; 0 where they have not all the same, or there are none."""
    sides = {tensor.shape[0] if tensor.dim() else 0 for _, tensor in tensor_leaves(batch)}
    return int(sides.pop()) if len(sides) == 1 else 0


def is_same_batch(one: Any, other: Any) -> bool:
    """Whether two batches hold the same numbers."""
    left, right = ([tensor for _, tensor in tensor_leaves(batch)] for batch in (one, other))
    return len(left) == len(right) and all(
        a.shape == b.shape and a.dtype is b.dtype and torch.equal(a.to(b.device), b)
        for a, b in zip(left, right, strict=True)
    )


def resized(batches: Sequence[Any], samples: int) -> Any:
    """The first so many samples of several batches of one kind. Raises BadInput where they cannot be put together."""
    sizes = [samples_in(batch) for batch in batches]
    if 0 in sizes:
        raise BadInput(
            "A batch of another size cannot be made of this data: its tensors have not all the same first side"
        )
    if sum(sizes) < samples:
        raise BadInput(f"There are {sum(sizes)} samples at hand; expected a batch of at most that many")
    return _joined(list(batches), samples)


def _joined(parts: list[Any], samples: int) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        if any(part.shape[1:] != first.shape[1:] or part.dtype is not first.dtype for part in parts):
            raise BadInput("A batch of another size cannot be made of this data: its batches differ in shape")
        return torch.cat([part.detach().to(first.device) for part in parts])[:samples]
    if type(first) in (list, tuple):
        return type(first)(_joined([part[i] for part in parts], samples) for i in range(len(first)))
    if type(first) is dict:
        return {key: _joined([part[key] for part in parts], samples) for key in first}
    raise BadInput(f"A batch of another size cannot be made of this data: {type(first).__name__} cannot be cut")
