"""The batches of a bench: read once by a pass of its own, and kept. The training's own loader, its iterators and its random
numbers are as before."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, IterableDataset

from gradscope.engine.aside.door import Aside
from gradscope.engine.aside.walk import Reached
from gradscope.engine.data.batches import make_loader, make_validation_loader, without_signals
from gradscope.engine.findings.restore import State
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.devices import copy_batch
from gradscope.engine.surroundings.randomness import RandomStates, seed_everything
from gradscope.engine.surroundings.unwinding import is_interruption

T = TypeVar("T")

MOST_BATCHES = 64
MOST_BYTES = 256 * 1024 * 1024
MOST_MICRO_BATCHES = 512
"""Of the passes that a run goes through, where gradients are accumulated."""
_MOVES_ON = ("a generator", "a file", "a queue", "the iterator of a DataLoader")
"""Kinds of things that an iterable dataset can go through only once."""


class Kept:
    """`batches` of one pass, `stream` of as many passes as it takes."""

    def __init__(self, stepper: Stepper, start: State | None, tick: Callable[[], None]) -> None:
        """`start`: with its random numbers a pass begins; default: with those of now. `tick` is called after each batch, and
        may raise."""
        self._stepper, self._start, self._tick = stepper, start, tick
        self._stream: list[Any] = []
        self._has_read_all = False
        self.length: int | None = stepper.loop.batches.length
        """Micro-batches of a pass; None where nobody knows."""
        self.random: RandomStates | None = None
        """The random states when the first batch has been loaded; None where nothing could be read."""
        self.notes: list[str] = []
        self._first_pass = 0

    def batches(self) -> list[Any]:
        """At most MOST_BATCHES of one pass, in the training's order."""
        self._read(MOST_BATCHES)
        return self._stream[: min(self._first_pass, MOST_BATCHES)]

    def stream(self, count: int) -> list[Any]:
        """The first `count` micro-batches of the training, one pass after the other; fewer where there is no room."""
        self._read(min(max(count, MOST_BATCHES), MOST_MICRO_BATCHES))
        return self._stream

    def validation(self, passes: int) -> list[list[Any]]:
        """At most MOST_BATCHES of so many passes over the validation data, one after the other: each draws on from where the
        one before has come to, as it does in the training."""
        stepper = self._stepper
        loader = _own_workers(make_validation_loader(stepper.recipe), stepper.recipe.validation)
        with Aside({"the validation data": _parts_of(loader)}, copies_parameters=False) as aside, torch.no_grad():
            seed_everything(0)
            read = [self._pass_of(loader) for _ in range(passes)]
        self.notes += [note for note in aside.notes if note not in self.notes]
        return read

    def beside(self, look: Callable[[Any], T]) -> T | None:
        """What `look` returns of the data itself, which may be read then: it is put back after. None where it has no samples
        that can be asked for by index."""
        stepper = self._stepper
        loader = _own_loader(stepper)
        if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__getitem__"):
            return None
        with Aside({"the data": _parts_of(loader)}, copies_parameters=False) as aside, torch.no_grad():
            seed_everything(0)
            with stepper.loop.user_code():
                found = look(loader.dataset)
        self.notes += [note for note in aside.notes if note not in self.notes]
        return found

    def _pass_of(self, loader: DataLoader[Any]) -> list[Any]:
        batches, size = list[Any](), 0
        with self._stepper.loop.user_code(), without_signals():
            iterator = iter(loader)
        while len(batches) < MOST_BATCHES and size <= MOST_BYTES:
            with self._stepper.loop.user_code():
                batch = next(iterator, self)
            if batch is self:
                break
            batches.append(copy_batch(batch, self._stepper.device))
            size += sum(tensor.numel() * tensor.element_size() for _, tensor in tensor_leaves(batch))
            self._tick()
        return batches

    def _read(self, count: int) -> None:
        if self._has_read_all or len(self._stream) >= count:
            return
        stepper = self._stepper
        if _is_gone_through_once(stepper):
            newest = stepper.loop.batch
            self._stream = [] if newest is None else [copy_batch(newest, stepper.device)]
            self._first_pass, self._has_read_all = len(self._stream), True
            return
        loader = _own_loader(stepper)
        roots = {**stepper.training.roots(), "the data": _parts_of(loader)}
        with Aside(roots, copies_parameters=False) as aside, torch.no_grad():
            if self._start is not None:
                self._start.random.restore()
                if isinstance(stepper.recipe.dataset, DataLoader):
                    # The generators are the training's own; the door puts them back.
                    self._start.put_generators()
            self._go_through(loader, count)
        self.notes += [note for note in aside.notes if note not in self.notes]

    def _go_through(self, loader: DataLoader[Any], count: int) -> None:
        stepper, found, size = self._stepper, self._stream, 0
        self._stream, self._first_pass = [], 0
        passes = 0
        while len(self._stream) < count:
            before = len(self._stream)
            with stepper.loop.user_code(), without_signals():
                iterator = iter(loader)
            while len(self._stream) < count:
                number = len(self._stream)
                try:
                    with stepper.loop.user_code():
                        batch = next(iterator)
                except StopIteration:
                    break
                except BaseException as error:
                    if is_interruption(error):
                        raise
                    # The training will come to it, and tell.
                    self._has_read_all = True
                    return
                if not number:
                    self.random = RandomStates.capture()
                batch = copy_batch(batch, stepper.device)
                size += sum(tensor.numel() * tensor.element_size() for _, tensor in tensor_leaves(batch))
                if size > MOST_BYTES and self._stream:
                    self._has_read_all = True
                    return
                # What was read before is the same, and may be in use.
                self._stream.append(found[number] if number < len(found) else batch)
                if not passes:
                    self._first_pass += 1
                self._tick()
            else:
                return
            if len(self._stream) == before:
                self._has_read_all = True
                return
            if not passes:
                self.length = len(self._stream)
            passes += 1


def _own_loader(stepper: Stepper) -> DataLoader[Any]:
    """A loader that shares no iterator and no worker with the training's."""
    return _own_workers(make_loader(stepper.recipe, stepper.seed), stepper.recipe.dataset)


def _own_workers(loader: DataLoader[Any], given: object) -> DataLoader[Any]:
    """The loader itself, unless it is the one that was `given`: then a twin that works in this process."""
    if loader is not given:
        return loader
    twin = copy.copy(loader)
    # Not by setattr: a DataLoader refuses some of them.
    vars(twin).update(_iterator=None, num_workers=0, persistent_workers=False, prefetch_factor=None, timeout=0)
    return twin


def _parts_of(loader: DataLoader[Any]) -> list[object]:
    dataset: Any = loader.dataset
    # A wrapper of ours has what the recipe gave.
    samples = vars(dataset).get("_samples", dataset) if type(dataset).__module__.startswith("gradscope.") else dataset
    return [samples, loader.sampler, loader.batch_sampler, loader.collate_fn, loader.generator]


def _is_gone_through_once(stepper: Stepper) -> bool:
    """What a pass of our own takes would be missing in the training: a generator, lines of an open file."""
    data: Any = stepper.recipe.dataset
    samplers: list[object] = []
    if isinstance(data, DataLoader):
        samplers = [data.sampler, data.batch_sampler]
        data = data.dataset
    if hasattr(type(data), "__next__"):
        return True
    is_iterable = isinstance(data, IterableDataset) or not hasattr(data, "__getitem__")
    reached = Reached(copies_parameters=False, only_looks=True)
    reached.look_from({"samplers": samplers, **({"data": data} if is_iterable else {})})
    return any(what in _MOVES_ON for _, what, _ in reached.found)
