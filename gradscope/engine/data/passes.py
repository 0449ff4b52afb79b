"""One pass over a loader, recorded so that another process can go through it again to the same place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _DatasetKind

from gradscope.engine.data.iterators import Iterators, end_workers_of
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error
from gradscope.protocol.failure import BadInput

MOST_STATES = 4096
"""Each is 10 KB."""
_MOST_DATA = 100
"""Data sets that one is made of; those beyond are not looked into."""


def generators_of(loader: DataLoader[Any]) -> list[torch.Generator]:
    """The generators of a loader and its samplers, and those that are attributes of its data; one may be there more than
    once."""
    with users_code("Reading the generators of the DataLoader and its samplers"):
        owners = (loader, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
        found = [getattr(owner, "generator", None) for owner in owners]
    # Workers have copies of the data.
    for data in _data_of(loader) if loader.num_workers == 0 else ():
        found += getattr(data, "__dict__", {}).values()
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def _data_of(loader: DataLoader[Any]) -> list[Any]:
    """The data set, and those that it is made of (a `Subset`, a `ConcatDataset`)."""
    found: list[Any] = []
    waiting = [loader.dataset]
    while waiting and len(found) < _MOST_DATA:
        data = waiting.pop()
        attributes = getattr(data, "__dict__", {})
        found.append(data)
        waiting += [part for part in (attributes.get("dataset"), attributes.get("data_source")) if part is not None]
        many = attributes.get("datasets")
        waiting += many if isinstance(many, (list, tuple)) else ()
    return found


@dataclass(frozen=True)
class DrawStates:
    """Where the random numbers of a loader come from, at one moment: the global generators, and those of its own."""

    globals: RandomStates
    own: tuple[Tensor, ...]

    @staticmethod
    def capture(generators: list[torch.Generator], newest: DrawStates | None = None) -> DrawStates:
        """As they are now; `newest` was captured before, of the same generators, and is returned where none has moved."""
        states = RandomStates.capture(None if newest is None else newest.globals)
        own = tuple([generator.get_state() for generator in generators])
        if newest is not None and states is newest.globals and all(map(torch.equal, own, newest.own)):
            return newest
        return DrawStates(states, own)

    def restore(self, generators: list[torch.Generator]) -> None:
        self.globals.restore()
        for generator, state in zip(generators, self.own, strict=True):
            generator.set_state(state)

    def is_same(self, other: DrawStates) -> bool:
        return self is other or (self.globals.is_same(other.globals) and all(map(torch.equal, self.own, other.own)))

    def packed(self) -> dict[str, Any]:
        return {"globals": self.globals.packed(), "own": list(self.own)}

    @staticmethod
    def unpacked(packed: Mapping[str, Any]) -> DrawStates:
        return DrawStates(RandomStates.unpacked(packed["globals"]), tuple(packed["own"]))


@dataclass(frozen=True, kw_only=True)
class PassRecord:
    """What a pass has drawn so far, and with which random numbers."""

    start: DrawStates
    draws: int
    states: Mapping[int, DrawStates]
    """Before those draws that moved the generators, unless the draws before them lead there anyway."""
    failed: tuple[int, ...]
    """The draws that raised (the end of the data, too)."""
    is_complete: bool = True
    """False: there were too many states to keep."""

    def packed(self) -> dict[str, Any]:
        return {
            "start": self.start.packed(),
            "draws": self.draws,
            "states": {number: states.packed() for number, states in self.states.items()},
            "failed": list(self.failed),
            "is_complete": self.is_complete,
        }

    @staticmethod
    def unpacked(packed: Mapping[str, Any]) -> PassRecord:
        return PassRecord(
            start=DrawStates.unpacked(packed["start"]),
            draws=packed["draws"],
            states={number: DrawStates.unpacked(states) for number, states in packed["states"].items()},
            failed=tuple(packed["failed"]),
            is_complete=packed["is_complete"],
        )


class Pass:
    """The batches of one pass. What is drawn and recorded is the sampler's indices where that leads to the same place, so
    that samples need not be loaded again: for a map-style dataset in this process. Otherwise it is the batches."""

    def __init__(self, iterators: Iterators) -> None:
        loader = iterators.loader
        generators = generators_of(loader)
        self._start = DrawStates.capture(generators)
        self._iterator = iterators.begin()
        self._sampled = _Sampled.within(self._iterator)
        source = self._iterator if self._sampled is None else self._sampled.source
        is_recorded = self._sampled is None or not draws_at_once(loader)
        self._draws = _Recorded(source, generators if is_recorded else None)
        if self._sampled is not None:
            self._sampled.source = self._draws

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._draws if self._sampled is None else self._iterator)

    def end_workers(self) -> None:
        """Nothing is drawn any more: its worker processes end now. The garbage collector may not come by for long."""
        end_workers_of(self._iterator)

    def put_back(self) -> bool:
        """The samples that could not be loaded come once more. False if that cannot be done."""
        return self._sampled is not None and self._sampled.put_back()

    def has_next(self) -> bool | None:
        """Whether there is another batch, where the sampler can be asked without loading one; None: only loading it tells."""
        return None if self._sampled is None else self._sampled.has_next()

    @property
    def is_put_back(self) -> bool:
        """The newest draw was put back, and not taken again."""
        return self._sampled is not None and self._sampled.is_put_back

    @property
    def can_put_back(self) -> bool:
        """`put_back` would do it."""
        return self._sampled is not None and self._sampled.has_newest

    @property
    def draws(self) -> int:
        """How much was drawn so far."""
        return self._draws.count

    @property
    def newest_samples(self) -> tuple[Any, ...]:
        """What the sampler gave for the newest batch: one thing, or nothing where that is not known."""
        return () if self._sampled is None else self._sampled.newest

    def record(self) -> PassRecord:
        draws = self._draws
        return PassRecord(
            start=self._start,
            draws=draws.count,
            states=dict(draws.states),
            failed=tuple(draws.failed),
            is_complete=draws.is_complete,
        )

    @staticmethod
    def again(iterators: Iterators, record: PassRecord) -> tuple[Pass, list[Any], BaseException | None]:
        """A new pass that stands where the recorded one did, the last two things that were drawn, and what the last draw has
        raised.

        Leaves the generators as they happen to be then. Raises BadInput if the data does not lead there.
        """
        generators = generators_of(iterators.loader)
        record.start.restore(generators)
        repeated = Pass(iterators)
        newest: list[Any] = []
        raised: BaseException | None = None
        for number in range(record.draws):
            if number in record.states:
                record.states[number].restore(generators)
            try:
                newest, raised = [*newest[-1:], next(repeated._draws)], None
            except BaseException as error:
                if is_interruption(error):
                    raise
                if number not in record.failed:
                    ended = isinstance(error, StopIteration)
                    what = "the data ends there" if ended else describe_error(error)
                    raise BadInput(
                        f"The place in the data cannot be found again: draw {number + 1} of {record.draws} failed: {what}",
                        traceback="" if ended else cut_traceback(error),
                    ) from error
                raised = error
        return repeated, newest, raised

    @property
    def is_by_samples(self) -> bool:
        """What is drawn are samples, still to be loaded."""
        return self._sampled is not None

    def take_next(self, drawn: Any) -> None:
        """These samples are those of the next batch."""
        assert self._sampled is not None
        self._sampled.take_next(drawn)


@dataclass
class _Recorded:
    """An iterator whose draws are counted; `generators` None: not even the first draw depends on more than the start."""

    source: Iterator[Any]
    generators: list[torch.Generator] | None
    count: int = 0
    states: dict[int, DrawStates] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)
    is_complete: bool = True
    _led_to: DrawStates | None = None
    """Where the start and the draws lead, if nothing else draws between them."""

    def __post_init__(self) -> None:
        if self.generators is not None:
            self._led_to = DrawStates.capture(self.generators)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        before = None if self.generators is None else DrawStates.capture(self.generators, self._led_to)
        try:
            drawn = next(self.source)
        except BaseException as error:
            if not is_interruption(error):
                self.failed.append(self.count)
                self._note(before)
            raise
        self._note(before)
        return drawn

    def _note(self, before: DrawStates | None) -> None:
        number, self.count = self.count, self.count + 1
        if self.generators is None or before is None or not self.is_complete:
            return
        after = DrawStates.capture(self.generators, before)
        if after.is_same(before):
            return
        if self._led_to is None or not before.is_same(self._led_to):
            self.states[number] = before
        self._led_to = after
        if len(self.states) > MOST_STATES:
            self.is_complete = False
            self.states.clear()


class _Sampled:
    """Between a single-process loader's iterator and its sampler: the last draw can be put back."""

    def __init__(self, source: Iterator[Any]) -> None:
        self.source = source
        self._last: list[Any] = []
        self._again: list[Any] = []

    @staticmethod
    def within(iterator: Iterator[Any]) -> _Sampled | None:
        """None for any other loader than a map-style one in this process."""
        if type(iterator).__name__ != "_SingleProcessDataLoaderIter" or not hasattr(iterator, "_sampler_iter"):
            return None
        if getattr(iterator, "_dataset_kind", None) != _DatasetKind.Map:
            return None
        sampled = _Sampled(iterator._sampler_iter)
        iterator._sampler_iter = sampled
        return sampled

    @property
    def is_put_back(self) -> bool:
        return bool(self._again)

    @property
    def newest(self) -> tuple[Any, ...]:
        """The last draw, while it can be put back."""
        return tuple(self._last)

    @property
    def has_newest(self) -> bool:
        return bool(self._last)

    def put_back(self) -> bool:
        """The last draw comes once more. False if there is none."""
        self._again, self._last = self._last, []
        return bool(self._again)

    def has_next(self) -> bool:
        """Draws, if need be; the draw comes with the next call."""
        if not self._again:
            # Broken off here, there is nothing to be put back: the current batch is there.
            self._last = []
            try:
                self._again = [next(self.source)]
            except StopIteration:
                return False
        return True

    def take_next(self, drawn: Any) -> None:
        """Something that was drawn before comes with the next call."""
        self._last, self._again = [], [drawn]

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._again:
            self._last = []
            self._again = [next(self.source)]
        self._last, self._again = self._again, []
        return self._last[0]


def draws_at_once(loader: DataLoader[Any]) -> bool:
    """True for torch's own samplers: they use the global generators for the first of their draws only."""
    samplers = (loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
    return all(sampler is None or type(sampler).__module__ == "torch.utils.data.sampler" for sampler in samplers)


def loads_by_samples(loader: DataLoader[Any]) -> bool:
    """True where a batch can be loaded once more in this process: from a map-style dataset, by what torch's own samplers
    gave for it."""
    return is_map_style(loader) and loader.num_workers == 0 and draws_at_once(loader)


def is_map_style(loader: DataLoader[Any]) -> bool:
    return getattr(loader, "_dataset_kind", None) == _DatasetKind.Map
