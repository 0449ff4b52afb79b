"""A digest of everything that a training depends on.

What the walk of `aside` reaches is written in the order in which it is reached, each thing under the name of the place where
it is: plain values by their bits (-0.0 is not 0.0, and NaNs have their payload), tensors with dtype, shape, device and bits,
other objects by their class and by when they were first met, so that what two share they share in both. Ids are not in it,
and nothing of gradscope's own hooks. What has no form that could be written (a generator, a file) is left out.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.aside.holders import MISSING, DictHolder, Holder, ItemsHolder, SetHolder
from gradscope.engine.aside.places import Place
from gradscope.engine.aside.value_holders import BytesHolder, MemoryHolder, RandomHolder
from gradscope.engine.checkpoints.save import cleared_before_use
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.stepping.roots import roots_of
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.error_parts import qualified_name, safely
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.timeline.blocks import parts_of
from gradscope.engine.timeline.canonical import Canonical
from gradscope.engine.timeline.data_seen import parts_to_keep
from gradscope.engine.timeline.walks import Walk
from gradscope.protocol.phases import Rest

_SETTINGS = (
    *("accumulate", "zero_grad", "clip_norm", "clip_value", "precision"),
    *("scheduler_unit", "scheduler_metric", "has_validation"),
)
_DIGEST_BYTES = 32
_OF_COMPILER = "_torchdynamo"
"""What torch.compile notes of what it has wrapped: ids among it."""
_NUMBER_OF_HOOK = re.compile(r"hooks\[\d+\]")
"""Torch counts hooks for the whole process."""
_BY_ID = "_per_optimizer_states"
"""Of a gradient scaler: its keys are ids."""


def state_hash(stepper: Stepper, *, counts_cleared: bool = True) -> str:
    """Hex. Training is as before. `counts_cleared`: gradients count, too, that the next step clears before it adds to them,
    between two steps; no checkpoint file has those, and nothing that is trained depends on them. Without them it is the hash
    that is compared with files: what they do not bring back of schedulers and options, who shares what, does not count."""
    canonical = Canonical(stepper.training, as_in_file=not counts_cleared)
    is_between = stepper.book.rest is Rest.READY
    writer = _Writer(canonical, cleared_before_use(stepper) if is_between and not counts_cleared else ())
    walk = _Walk(copies_parameters=False)
    walk.canonical = canonical
    walk.leave_out([*_data_beside(stepper, counts_dataset=counts_cleared), *canonical.left_out])
    walk.look_from(roots_of(stepper.training))
    for place, thing in walk.met:
        if not _is_dict_of_hooks(place):
            writer.thing(_NUMBER_OF_HOOK.sub("hooks[]", str(place)), thing)
    _write_own(writer, stepper)
    return writer.digest()


def _data_beside(stepper: Stepper, *, counts_dataset: bool) -> list[object]:
    """What is drawn from, and how: none of the training's state, but for a dataset that its own code can change and that
    checkpoints in memory have."""
    batches = stepper.loop.batches
    dataset = batches.dataset
    is_kept = counts_dataset and batches.can_draw_again and parts_to_keep(dataset) is not None
    return [part for part in batches.parts if not (is_kept and part is dataset)]


def _is_dict_of_hooks(place: Place) -> bool:
    """Of a module or an optimizer: ours are in it."""
    return type(place.key) is str and place.key.startswith("_") and "hooks" in place.key


class _Walk(Walk):
    """Copies nothing; what is met, in order."""

    canonical: Canonical | None = None

    def __post_init__(self) -> None:
        self.met: list[tuple[Place, object]] = []
        super().__post_init__()

    def _keep(self, place: Place, what: str, holder: Holder) -> None:
        super()._keep(place, what, holder)
        self.met.append((place, holder))

    def _keep_items(
        self,
        place: Place,
        what: str,
        holder: ItemsHolder,
        place_of_item: Callable[[Any], Place] | None = None,
    ) -> None:
        known = len(self._waiting)
        super()._keep_items(place, what, holder, place_of_item)
        if self.canonical is not None and isinstance(holder, DictHolder):
            inside = [self._waiting.pop() for _ in range(len(self._waiting) - known)]
            is_told = self.canonical.is_told_by_value
            self._waiting += [pair for pair in reversed(inside) if not is_told(holder.content, pair[1])]

    def _visit_module(self, place: Place, attributes: dict[str, Any]) -> None:
        known = len(self.found)
        super()._visit_module(place, attributes)
        for inner, _, holder in self.found[known:]:
            if isinstance(holder, DictHolder):
                self.met.append((inner, holder))

    def _visit_tensor(self, place: Place, tensor: Tensor, *, is_buffer: bool) -> None:
        self.met.append((place, tensor))
        self._push([(place.attribute(name), item) for name, item in vars(tensor).items()])

    def _visit_array(self, place: Place, array: np.ndarray[Any, Any]) -> None:
        self.met.append((place, array))


class _Writer:
    """Everything is preceded by what it is and how long it is, so that no two things are written alike."""

    def __init__(self, canonical: Canonical | None = None, cleared: Collection[int] = ()) -> None:
        """`cleared`: ids of tensors whose gradients do not count."""
        self._canonical, self._cleared = canonical, cleared
        self._digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._numbers: dict[int, int] = {}
        self._alive: list[object] = []

    def digest(self) -> str:
        return self._digest.hexdigest()

    def bytes(self, kind: str, content: bytes | memoryview) -> None:
        view = memoryview(content)
        self._digest.update(f"{kind}:{view.nbytes}:".encode())
        self._digest.update(view.cast("B") if view.nbytes else b"")

    def text(self, kind: str, text: str) -> None:
        self.bytes(kind, text.encode("utf-8", "surrogatepass"))

    def thing(self, name: str, thing: object) -> None:
        """Something under a name."""
        self.text("name", name)
        if isinstance(thing, ItemsHolder):
            self._items(thing)
        elif isinstance(thing, Tensor):
            self.tensor(thing)
        elif isinstance(thing, np.ndarray):
            self._array(thing)
        elif isinstance(thing, RandomHolder):
            self.value(thing.taken())
        elif isinstance(thing, (BytesHolder, MemoryHolder)):
            self.bytes("bytes", bytes(thing.taken()))

    def tensor(self, tensor: Tensor) -> None:
        self._tensor_alone(tensor)
        gradient = tensor.grad if tensor.is_leaf and id(tensor) not in self._cleared else None
        if gradient is None:
            self.text("grad", "none")
        else:
            self._tensor_alone(gradient)

    def value(self, value: Any) -> None:
        """A plain value by its bits; anything else by its class, and when it was first met."""
        kind = type(value)
        if value is MISSING:
            self.text("missing", "")
        elif kind is float:
            self.bytes("float", struct.pack("<d", value))
        elif kind is complex:
            self.bytes("complex", struct.pack("<dd", value.real, value.imag))
        elif kind in (type(None), bool, int, range, slice, torch.dtype, torch.device, torch.Size, type(...)):
            self.text(kind.__name__, repr(value))
        elif kind is str:
            self.text("str", value)
        elif kind is bytes:
            self.bytes("bytes", value)
        elif isinstance(value, np.generic):
            self.text("numpy", value.dtype.str)
            self.bytes("scalar", value.tobytes())
        elif isinstance(value, Enum):
            self.text("enum", f"{qualified_name(kind)}.{value.name}")
        elif kind in (tuple, frozenset) or isinstance(value, tuple):
            self._many(value)
        else:
            self._object(value)

    def contents(self, value: Any) -> None:
        """Of a structure that nothing else refers to: what is in it."""
        if isinstance(value, Tensor):
            self.tensor(value)
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif isinstance(value, Mapping):
            self.text("mapping", str(len(value)))
            for key, item in value.items():
                self.value(key)
                self.contents(item)
        elif isinstance(value, (list, tuple)):
            self.text("list", str(len(value)))
            for item in value:
                self.contents(item)
        else:
            self.value(value)

    # ------------------------------------------------------------------------------------------ private

    def _items(self, holder: ItemsHolder) -> None:
        keys, values = holder.keys, holder.values
        if self._canonical is not None and isinstance(holder, DictHolder):
            keys, values = self._canonical.items(holder.content, keys, values)
        self.text("items", f"{type(holder).__name__} {len(keys)} {len(values)}")
        if isinstance(holder, SetHolder):
            self._unordered(values)
            return
        if all(type(key) is str for key in keys) and "params" in keys:
            # A group of parameters: torch's load_state_dict orders its options anew.
            order = sorted(range(len(keys)), key=keys.__getitem__)
            keys, values = [keys[i] for i in order], [values[i] for i in order]
        is_scaler = any(key == _BY_ID for key in keys if type(key) is str)
        for key in keys:
            self.value(key)
        for i, value in enumerate(values):
            if keys and type(keys[i]) is str and keys[i].startswith(_OF_COMPILER):
                continue
            if is_scaler and keys[i] == _BY_ID:
                self.contents([*value.values()])
            elif self._canonical is not None and self._canonical.is_told_by_value(holder.content, value):
                self.contents(value)
            else:
                self.value(value)

    def _many(self, value: Any) -> None:
        self.text(qualified_name(type(value)), str(len(value)))
        if isinstance(value, frozenset):
            self._unordered(list(value))
            return
        for item in value:
            self.value(item)

    def _unordered(self, values: list[Any]) -> None:
        written = []
        for value in values:
            alone = _Writer()
            alone.value(value)
            written.append(alone.digest())
        for text in sorted(written):
            self.text("member", text)

    def _object(self, value: Any) -> None:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._numbers)
            # Nothing else gets its id.
            self._alive.append(value)
        what = getattr(value, "__qualname__", "") if callable(value) else ""
        self.text("object", f"{qualified_name(type(value))} {what if type(what) is str else ''} {number}")

    def _tensor_alone(self, tensor: Tensor) -> None:
        self.text(
            "tensor", f"{tensor.dtype} {_shape_of(tensor)} {tensor.device} {tensor.layout} {tensor.requires_grad}"
        )
        if torch.nn.parameter.is_lazy(tensor):
            return
        for part in parts_of(tensor):
            self.bytes("bits", safely(partial(_bytes_of, part), memoryview(b"")))

    def _array(self, array: np.ndarray[Any, Any]) -> None:
        self.text("array", f"{array.dtype.str} {array.shape}")
        if array.dtype.hasobject:
            for item in array.flat:
                self.value(item)
        else:
            self.bytes("bits", array.tobytes())


def _shape_of(tensor: Tensor) -> str:
    return "lazy" if torch.nn.parameter.is_lazy(tensor) else str(tuple(tensor.shape))


def _bytes_of(tensor: Tensor) -> memoryview:
    own = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return own.view(-1).view(torch.uint8).numpy().data


def _write_own(writer: _Writer, stepper: Stepper) -> None:
    training, loop, batches = stepper.training, stepper.loop, stepper.loop.batches
    writer.text("part", "settings")
    for name in _SETTINGS:
        writer.value(getattr(training, name))
    writer.text("part", "place")
    window = loop.window
    writer.value((stepper.book.step, str(stepper.book.rest), loop.turn.name, window.size, window.micro, window.epoch))
    writer.contents(window.losses)
    writer.contents(window.batches)
    writer.contents(loop.epoch_end.losses)
    writer.text("part", "data")
    writer.value((batches.epoch, batches.index, batches.draws, batches.is_broken_off))
    writer.contents(list(batches.generator_states))
    for waiting in (batches.loaded(), batches.ahead):
        writer.text("batch", type(waiting).__name__)
        for path, tensor in tensor_leaves(waiting):
            writer.thing(path, tensor)
    writer.value(loop.loss if stepper.book.rest is Rest.FORWARD else None)
    writer.text("part", "random")
    _write_random(writer, RandomStates.capture())


def _write_random(writer: _Writer, states: RandomStates) -> None:
    writer.value(states.python)
    numpy = states.numpy
    writer.contents(numpy if isinstance(numpy, dict) else list(numpy))
    writer.contents([states.torch_cpu, *states.cuda, *([] if states.mps is None else [states.mps])])
