"""Copies of what a script trains, before its steps: parameters, buffers, what its optimizers remember, random states.

They can be put back between two steps. That is not an earlier moment of the script: its own variables (counters, its place in
the data, schedulers, the rates that they have set) go on as they are. Nothing here holds anything of the script's: tensors
are known by their names, states of optimizers by their places.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.aside.value_holders import is_same, version_of
from gradscope.engine.book.optimizer_before import copied
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.model.modules import named_buffers
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import interruptions_put_off, is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.engine.timeline.blocks import Block, Copy, Ledger, copies_of, give
from gradscope.engine.timeline.pace import Pace
from gradscope.engine.timeline.thinning import order_of_going, wanted_bytes
from gradscope.engine.wording import listed
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Rest

if TYPE_CHECKING:
    from gradscope.engine.script.session import ScriptSession

_OVERHEAD_BYTES = 16 * 1024
"""Of random states, and of what else is kept beside tensors."""
_State = dict[Any, Any]
_Name = str | tuple[str, str]
"""Of a parameter or a buffer; or the place of a parameter in an optimizer, and the key of what is remembered of it."""


@dataclass(eq=False)
class Kept:
    """Of before one step."""

    step: int
    tensors: dict[str, Copy]
    """By the names of parameters and buffers."""
    remembered: dict[str, dict[str, Copy]]
    """Tensors that optimizers remember of each parameter, by the places of `_places`."""
    others: dict[str, _State]
    """What else they remember, by the same places; empty where that is nothing."""
    random: RandomStates
    loose_bytes: int

    @property
    def blocks(self) -> Iterable[Block]:
        states = (copy for state in self.remembered.values() for copy in state.values())
        return {id(copy.block): copy.block for copy in (*self.tensors.values(), *states)}.values()


class KeptWeights:
    """Of one script. `limit_bytes` is never exceeded; where it is short, steps are kept densely near now, sparsely behind.

    `pace`: how much of the time may go into it.
    """

    def __init__(self, session: ScriptSession, limit_bytes: int) -> None:
        self._session, self.limit_bytes = session, limit_bytes
        self.pace = Pace()
        self.reason = ""
        """Why nothing is kept, where nothing is."""
        self._kept: dict[int, Kept] = {}
        self._ledger = Ledger()
        self._loose_bytes = 0
        self._known: dict[_Name, tuple[int, int, Copy]] = {}
        """(id, version, copy) of each tensor at the newest taking, by name or place."""
        self._random: RandomStates | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """Before which something is kept, in their order."""
        return tuple(sorted(self._kept))

    @property
    def used_bytes(self) -> int:
        return self._ledger.used_bytes + self._loose_bytes

    # ------------------------------------------------------------------------------------------ taking

    def take(self) -> None:
        """Between two steps: keep what there is before the next one. It raises nothing of the user's: what fails turns it
        off, with the reason."""
        if self.reason or not self.pace.is_due():
            return
        began = time.perf_counter()
        try:
            with interruptions_put_off(), self._session.unseen(), torch.no_grad():
                self._take()
        except BaseException as error:
            if is_interruption(error):
                raise
            self._clear()
            self.reason = f"Weights cannot be kept: {describe_error(error)}"
        self.pace.spend(time.perf_counter() - began)

    def _take(self) -> None:
        step, tensors, places = self._session.position.step, self._tensors(), self._places()
        lazy = [name for name, tensor in tensors.items() if is_uninitialised(tensor)]
        if lazy:
            return
        remembered = {
            (place, key): value
            for place, state in places.items()
            for key, value in state.items()
            if _is_tensor(key, value)
        }
        size = sum(_size(tensor) for tensor in (*tensors.values(), *remembered.values()))
        others = {
            place: {key: copied(value) for key, value in state.items() if not _is_tensor(key, value)}
            for place, state in places.items()
        }
        loose = sum(_size(tensor) for state in others.values() for _, tensor in tensor_leaves(state)) + _OVERHEAD_BYTES
        if not self._make_room(size + loose, step):
            self._clear()
            self.reason = (
                f"The weights, buffers and optimizer states take {size / 2**20:.0f} MiB, and the limit is "
                f"{self.limit_bytes / 2**20:.0f} MiB"
            )
            return
        everything: dict[_Name, Tensor] = {}
        everything.update(tensors)
        everything.update(remembered)
        copies = self._copies(everything)
        self._random = RandomStates.capture(self._random)
        kept = Kept(
            step=step,
            tensors={name: copies[name] for name in tensors},
            remembered={
                place: {key: copies[place, key] for key, value in state.items() if _is_tensor(key, value)}
                for place, state in places.items()
            },
            others=others,
            random=self._random,
            loose_bytes=loose,
        )
        self._drop(step)
        self._kept[step] = kept
        self._ledger.hold(kept.blocks)
        self._loose_bytes += loose

    def _copies(self, tensors: Mapping[_Name, Tensor]) -> dict[_Name, Copy]:
        """Shared with the newest ones where a tensor has not changed."""
        found: dict[_Name, Copy] = {}
        for name, tensor in tensors.items():
            known = self._known.get(name)
            # Whoever writes through .data leaves no mark: the version only spares the comparing of what has surely changed.
            if known is not None and known[:2] == (id(tensor), version_of(tensor)) and is_same(tensor, known[2].tensor):
                found[name] = known[2]
        new = {name: tensor for name, tensor in tensors.items() if name not in found}
        found |= dict(zip(new, copies_of(list(new.values())), strict=True))
        self._known = {name: (id(tensor), version_of(tensor), found[name]) for name, tensor in tensors.items()}
        return found

    def _make_room(self, size: int, now: int) -> bool:
        """So that `size` more bytes fit. Whether they do."""
        if self.used_bytes + size <= self.limit_bytes:
            return True
        goal, steps = wanted_bytes(self.limit_bytes) - size, self.steps
        for step in (*(steps[place] for place in order_of_going(steps, now)), *steps):
            if self.used_bytes <= goal:
                break
            self._drop(step)
        return self.used_bytes + size <= self.limit_bytes

    def _drop(self, step: int) -> None:
        kept = self._kept.pop(step, None)
        if kept is not None:
            self._ledger.let_go(kept.blocks)
            self._loose_bytes -= kept.loose_bytes

    def _clear(self) -> None:
        for step in self.steps:
            self._drop(step)
        self._known = {}

    # ------------------------------------------------------------------------------------------ putting back

    def restore(self, step: int) -> list[str]:
        """Put what was kept of before that step in its place; sentences about what could not be.

        Raises BadInput where nothing is kept of it, or inside a step.
        """
        if self._session.position.rest is not Rest.READY:
            raise BadInput("Weights are put back between two steps: finish this one first")
        kept = self._kept.get(step)
        if kept is None:
            raise BadInput(
                f"Nothing is kept of step {step}; expected one of those that are marked in the Timeline panel"
            )
        with interruptions_put_off(), self._session.unseen(), torch.no_grad():
            notes = self._give_tensors(kept)
            self._give_states(kept)
            # Last of all: putting back may draw.
            kept.random.restore()
        return notes

    def _give_tensors(self, kept: Kept) -> list[str]:
        now = self._tensors()
        odd = [name for name, tensor in now.items() if not _fits(tensor, kept.tensors.get(name))]
        for name, tensor in now.items():
            if name not in odd:
                give(tensor, kept.tensors[name].tensor)
        return [f"Left as it is, since it was not there then, or had another form: {listed(odd)}"] if odd else []

    def _give_states(self, kept: Kept) -> None:
        for optimizer, place, parameter in self._parameters():
            if place not in kept.others:
                # Nothing was remembered of it yet.
                optimizer.state.pop(parameter, None)
                continue
            state = optimizer.state[parameter]
            tensors = kept.remembered[place]
            for key in [key for key in state if key not in tensors and key not in kept.others[place]]:
                del state[key]
            for key, copy in tensors.items():
                if _fits(state.get(key), copy):
                    give(state[key], copy.tensor)
                else:
                    state[key] = copy.tensor.clone()
            state.update({key: copied(value) for key, value in kept.others[place].items()})

    # ------------------------------------------------------------------------------------------ what there is

    def _tensors(self) -> dict[str, Tensor]:
        model = self._session.found.model
        return {name: tensor for name, (tensor, _) in named_tensors(model).items()} | dict(named_buffers(model))

    def _parameters(self) -> Iterable[tuple[Optimizer, str, Any]]:
        """(optimizer, "0.3", the parameter) of each that an optimizer holds."""
        for number, optimizer in enumerate(self._session.optimizers):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            for i, parameter in enumerate(parameters):
                yield optimizer, f"{number}.{i}", parameter

    def _places(self) -> dict[str, _State]:
        """What optimizers remember of each parameter, where they do."""
        found: dict[str, _State] = {}
        for optimizer, place, parameter in self._parameters():
            # Asking a defaultdict would make one.
            if parameter in optimizer.state:
                found[place] = optimizer.state[parameter]
        return found


def _fits(tensor: object, copy: Copy | None) -> bool:
    if copy is None or not isinstance(tensor, Tensor):
        return False
    kept = copy.tensor
    return tensor.shape == kept.shape and tensor.dtype is kept.dtype and tensor.device == kept.device


def _is_tensor(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor)


def _size(tensor: Tensor) -> int:
    return int(tensor.numel() * tensor.element_size())
