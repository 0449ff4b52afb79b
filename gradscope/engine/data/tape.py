"""What a loader has given, kept so that a training can go back in its data: the loader itself only ever moves forward.

Each pass over the data is a `Reel` of what was drawn in it, with the random numbers that this took. A `TapedPass` is a place
on a reel: up to what was drawn it gives the same again, and then the loader is asked.

A draw that had moved the global random generators, and is read again where these stand elsewhere (something was changed that
draws other numbers), would have been another one. Samples of a map-style dataset are loaded again then, with the numbers of
now, and a pass that has not begun begins anew. What is drawn in other ways, or from data that is gone through once, is given
as it was, and `take_notes` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from gradscope.engine.data.iterators import Iterators
from gradscope.engine.data.passes import Pass, PassRecord, draws_at_once, generators_of, loads_by_samples
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption

_STATES_BYTES = 32 * 1024
"""Of two states of all global generators."""
_END = object()
"""In the place of a batch: the pass was over."""
_ONCE = "The data can be gone through only once: a pass is as it was, though random numbers are others now"
_AS_IT_WAS = "Batches are as they were before, though random numbers that were drawn for them are others now"


class PassLike(Protocol):
    """What a `BatchSource` asks of a pass."""

    def __next__(self) -> Any: ...
    def has_next(self) -> bool | None: ...
    def put_back(self) -> bool: ...
    @property
    def is_put_back(self) -> bool: ...
    @property
    def draws(self) -> int: ...
    def record(self) -> PassRecord: ...
    def end_workers(self) -> None: ...


@dataclass(frozen=True)
class Drawn:
    """One thing that was asked of the loader, and what had come of it."""

    kind: str
    """ "begin", "next" or "has_next"."""
    result: Any
    """A batch, _END, an error, or an answer."""
    moves: tuple[RandomStates, RandomStates] | None
    """The states of the global generators before and after it; None where it has not moved them."""
    own: tuple[Tensor, ...]
    """The states of the loader's own generators after it."""
    draws: int
    """How much the pass has drawn after it."""
    is_put_back: bool
    samples: tuple[Any, ...] = ()
    """What the sampler gave for this batch, where that is known."""
    size_bytes: int = 0

    def without_result(self) -> Drawn:
        """The same without what it takes memory for."""
        return replace(self, result=None, samples=(), size_bytes=0)


@dataclass
class Reel:
    """One pass."""

    number: int
    real: Pass
    begun: Drawn
    drawn: list[Drawn | None] = field(default_factory=list)
    """None for what was let go of."""
    let_go: int = 0
    """So many of the first are None."""
    newest_gone: Drawn | None = None
    """The last of them, without its batch."""
    newest: Drawn | None = None
    """The last one that was drawn, likewise."""
    samples: int | None = None
    """How many the data had when it began, where that decides its order."""

    @property
    def end(self) -> int:
        return len(self.drawn)


@dataclass(frozen=True)
class TapePlace:
    """Where on the tape a source stands, in a form that a checkpoint can keep."""

    reels: int
    """So many passes were begun."""
    own: tuple[Tensor, ...]
    passes: tuple[tuple[Reel, int] | None, tuple[Reel, int] | None]
    """The current pass, and the one before that is still to be asked for its end."""


class Tape:
    """Of one loader. `is_keeping`: what is drawn is kept, for somebody may come back."""

    def __init__(self, iterators: Iterators) -> None:
        self._iterators, self._loader = iterators, iterators.loader
        self.is_keeping = True
        self.loads_again = False
        """The data changes as it is trained on: what was drawn is loaded again from what the data is, if it can be."""
        self.used_bytes = 0
        self._notes: list[str] = []
        self._newest: RandomStates | None = None
        self._reels: list[Reel] = []
        self._first = 0
        """Number of the first reel that is kept."""
        self._begun = 0
        """Passes that were begun, where training stands."""
        self.own: tuple[Tensor, ...] = self._own_now()
        """The states of the loader's own generators, where training stands."""

    def begin_pass(self) -> TapedPass:
        """The next pass: as it was, or anew."""
        at = self._begun - self._first
        if at < len(self._reels):
            reel = self._reels[at]
            is_as_long = not self.loads_again or reel.samples == self._samples_now()
            if is_as_long and not self._is_another_now(reel.begun):
                self._begun += 1
                self._apply(reel.begun)
                return TapedPass(self, reel, 0)
            if self.is_gone_through_once:
                self._begun += 1
                self._note(_ONCE)
                return TapedPass(self, reel, 0)
            # Its order would have been another one.
            del self._reels[at:]
        self._put_own()
        before = RandomStates.capture(self._newest)
        real = Pass(self._iterators)
        drawn = self._drawn("begin", None, before, real)
        reel = Reel(number=self._first + len(self._reels), real=real, begun=drawn, samples=self._samples_now())
        self._reels.append(reel)
        self._begun = reel.number + 1
        return TapedPass(self, reel, 0)

    def begin_again(self, reel: Reel) -> Reel:
        """A pass of which nothing was drawn before, where its first draw would be another one now."""
        states = RandomStates.capture(self._newest)
        real = Pass(self._iterators)
        states.restore()
        self._put_own()
        self._use_again(reel)
        new = Reel(number=reel.number, real=real, begun=reel.begun, samples=self._samples_now())
        self._reels[-1] = new
        return new

    def take_over(self, begun: Pass) -> TapedPass:
        """A pass that is under way already: what was drawn from it before is not on the tape."""
        self.own = self._own_now()
        reel = Reel(
            number=self._first + len(self._reels),
            real=begun,
            begun=Drawn("begin", None, None, self.own, begun.draws, begun.is_put_back),
        )
        self._reels.append(reel)
        self._begun = reel.number + 1
        return TapedPass(self, reel, 0)

    def place(self, current: PassLike | None, finished: PassLike | None) -> TapePlace:
        """Where a source with these passes stands."""
        return TapePlace(self._begun, self.own, (_spot(current), _spot(finished)))

    def go_to(self, place: TapePlace) -> tuple[TapedPass | None, TapedPass | None]:
        """Stand there: the current pass and the finished one."""
        self._begun, self.own = place.reels, place.own
        kept: list[TapedPass | None] = []
        for spot in place.passes:
            if spot is None:
                kept.append(None)
                continue
            reel, at = spot
            if self._is_elsewhere(reel):
                self._use_again(reel)
            kept.append(TapedPass(self, reel, at))
        return kept[0], kept[1]

    def end_workers(self) -> None:
        """Nothing more is drawn from the loader."""
        for reel in self._reels:
            reel.real.end_workers()

    def let_go_before(self, places: list[TapePlace]) -> None:
        """Nobody comes back further than to the first of these."""
        spots = [(reel.number, at) for place in places for reel, at in filter(None, place.passes)]
        spots += [(place.reels, 0) for place in places]
        number, at = min(spots, default=(self._begun, 0))
        while self._reels and self._first < number:
            self.let_go_of(self._reels[0], self._reels[0].end)
            del self._reels[0]
            self._first += 1
        if self._reels and self._first == number:
            self.let_go_of(self._reels[0], min(at, self._reels[0].end))

    def let_go_of(self, reel: Reel, end: int) -> None:
        """What was drawn from a pass before that place."""
        for at in range(reel.let_go, end):
            drawn = reel.drawn[at]
            if drawn is not None:
                self.used_bytes -= drawn.size_bytes
                reel.drawn[at], reel.newest_gone = None, drawn.without_result()
        reel.let_go = max(reel.let_go, end)

    # ------------------------------------------------------------------------------------------ private

    @property
    def is_gone_through_once(self) -> bool:
        """There is no other pass over this data."""
        data: Any = self._loader.dataset
        samples = vars(data).get("_samples", data) if type(data).__module__.startswith("gradscope.") else data
        return hasattr(type(samples), "__next__")

    def take_notes(self) -> list[str]:
        """What was not quite as it would have been, since they were taken the last time."""
        notes, self._notes = self._notes, []
        return notes

    def _is_elsewhere(self, reel: Reel) -> bool:
        """It was taken out of the tape, because another one begins in its place now."""
        at = reel.number - self._first
        return not (0 <= at < len(self._reels) and self._reels[at] is reel)

    def _use_again(self, reel: Reel) -> None:
        at = reel.number - self._first
        del self._reels[max(0, at) :]
        if at < 0 or at > len(self._reels):
            self._first, self._reels = reel.number, []
        self._reels.append(reel)

    def draw(self, reel: Reel, kind: str) -> Drawn:
        """Ask the loader."""
        self._put_own()
        before = RandomStates.capture(self._newest)
        result: Any
        try:
            result = next(reel.real) if kind == "next" else reel.real.has_next()
        except StopIteration:
            result = _END
        except BaseException as error:
            if is_interruption(error) or reel.real.can_put_back:
                self.own = self._own_now()
                raise
            result = error
        drawn = self._drawn(kind, result, before, reel.real)
        reel.drawn.append(drawn if self.is_keeping else None)
        if self.is_keeping:
            self.used_bytes += drawn.size_bytes
        reel.newest = drawn.without_result()
        return drawn

    def again(self, drawn: Drawn) -> Any:
        """What it had given, with the random numbers that it had left, or as it would be with those of now."""
        self.own = drawn.own
        is_another = self._is_another_now(drawn)
        is_batch = drawn.kind == "next" and drawn.result is not _END
        if is_batch and drawn.samples and (is_another or self.loads_again) and draws_at_once(self._loader):
            return self._load(drawn.samples[0])
        if is_another and is_batch:
            self._note(_AS_IT_WAS)
        elif not is_another and drawn.moves is not None:
            drawn.moves[1].restore()
        return drawn.result

    def begins_otherwise(self, first: Drawn) -> bool:
        """The first draw of a pass, which decides its order, would be another one now."""
        return self._is_another_now(first) and not self.is_gone_through_once

    def _is_another_now(self, drawn: Drawn) -> bool:
        """It took random numbers that are others now."""
        return drawn.moves is not None and not drawn.moves[0].is_same(RandomStates.capture(self._newest))

    def _drawn(self, kind: str, result: Any, before: RandomStates, real: Pass) -> Drawn:
        after = RandomStates.capture(before)
        is_moved = not after.is_same(before)
        own, before_own = self._own_now(), self.own
        if all(map(torch.equal, own, self.own)) and len(own) == len(self.own):
            own = self.own
        self.own, self._newest = own, after
        is_batch = kind == "next" and result is not _END
        size = _bytes_of(result) if is_batch else 0
        return Drawn(
            kind,
            result,
            (before, after) if is_moved else None,
            own,
            real.draws,
            real.is_put_back,
            samples=real.newest_samples if is_batch else (),
            size_bytes=size + (_STATES_BYTES if is_moved else 0) + (0 if own is before_own else _bytes_of(own)),
        )

    def _samples_now(self) -> int | None:
        """Asked as torch's samplers ask when a pass begins."""
        data: Any = self._loader.dataset
        return safely(lambda: len(data), None) if loads_by_samples(self._loader) else None

    def _load(self, samples: Any) -> Any:
        dataset, collate = self._loader.dataset, self._loader.collate_fn
        if self._loader.batch_sampler is None:
            return collate(dataset[samples])
        many = getattr(dataset, "__getitems__", None)
        return collate(many(samples) if callable(many) else [dataset[index] for index in samples])

    def _apply(self, drawn: Drawn) -> None:
        self.own = drawn.own
        if drawn.moves is not None:
            drawn.moves[1].restore()

    @property
    def states(self) -> tuple[Tensor, ...]:
        """The same as `own` in the order of `generators_of`, where one may be there more than once."""
        known = dict(zip(map(id, self._generators()), self.own, strict=True))
        return tuple(known[id(generator)] for generator in generators_of(self._loader))

    def _generators(self) -> list[torch.Generator]:
        """Each once."""
        return list({id(generator): generator for generator in generators_of(self._loader)}.values())

    def _own_now(self) -> tuple[Tensor, ...]:
        return tuple(generator.get_state() for generator in self._generators())

    def _put_own(self) -> None:
        """The loader's generators where training stands: they may be further on."""
        for generator, state in zip(self._generators(), self.own, strict=True):
            if not torch.equal(generator.get_state(), state):
                generator.set_state(state)

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)


class TapedPass:
    """A place on a reel, that moves as it is read."""

    def __init__(self, tape: Tape, reel: Reel, at: int) -> None:
        self._tape, self.reel, self.at = tape, reel, at
        self._is_given_back = False
        """What was to be given again could not be loaded again, and comes once more."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        drawn, result = self._ask("next")
        if result is _END:
            raise StopIteration
        if drawn.kind == "next" and isinstance(result, BaseException):
            raise result
        return result

    def end_workers(self) -> None:
        """See `Pass.end_workers`."""
        self.reel.real.end_workers()

    def has_next(self) -> bool | None:
        """See `Pass.has_next`."""
        if self.reel.real.is_by_samples:
            coming = self._coming
            if coming is not None and coming.kind == "next":
                # It was not asked in this place then.
                return coming.result is not _END
            answer: bool | None = self._ask("has_next")[1]
            return answer
        return None

    def put_back(self) -> bool:
        """See `Pass.put_back`."""
        is_given_back, self._is_given_back = self._is_given_back, False
        return is_given_back or (self.at == self.reel.end and self.reel.real.put_back())

    @property
    def is_put_back(self) -> bool:
        if self.at == self.reel.end:
            return self.reel.real.is_put_back
        return self._newest.is_put_back

    def record(self) -> PassRecord:
        """Of what was drawn up to here."""
        whole = self.reel.real.record()
        if self.at == self.reel.end:
            return whole
        draws = self._newest.draws
        return PassRecord(
            start=whole.start,
            draws=draws,
            states={number: states for number, states in whole.states.items() if number < draws},
            failed=tuple(number for number in whole.failed if number < draws),
            is_complete=whole.is_complete,
        )

    @property
    def draws(self) -> int:
        """How much was drawn up to here."""
        return self._newest.draws if self.at < self.reel.end else self.reel.real.draws

    @property
    def _coming(self) -> Drawn | None:
        return self.reel.drawn[self.at] if self.at < self.reel.end else None

    @property
    def _newest(self) -> Drawn:
        if not self.at:
            return self.reel.begun
        return self.reel.drawn[self.at - 1] or self.reel.newest_gone or self.reel.begun

    def _ask(self, kind: str) -> tuple[Drawn, Any]:
        if self.at == self.reel.end:
            drawn = self._tape.draw(self.reel, kind)
            self.at += 1
            return drawn, drawn.result
        coming = self._coming
        assert coming is not None
        if not self._tape.is_keeping:
            self._tape.let_go_of(self.reel, self.at)
        if self.at == 0 and not self.reel.begun.draws and self._tape.begins_otherwise(coming):
            self.reel = self._tape.begin_again(self.reel)
            return self._ask(kind)
        self.at += 1
        if coming.kind == "has_next" and kind == "next":
            # Then it was asked whether there is one before it was drawn.
            self._tape.again(coming)
            return self._ask(kind)
        try:
            return coming, self._tape.again(coming)
        except BaseException:
            self.at -= 1
            self._is_given_back = True
            raise


def _spot(taped: PassLike | None) -> tuple[Reel, int] | None:
    assert taped is None or isinstance(taped, TapedPass)
    return None if taped is None else (taped.reel, taped.at)


def _bytes_of(batch: Any) -> int:
    """Of the memory that its tensors lie in, once."""
    storages = {}
    for _, tensor in tensor_leaves(batch):
        if tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        else:
            storages[id(tensor)] = tensor.numel() * tensor.element_size()
    return sum(storages.values())
