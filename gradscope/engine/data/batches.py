"""The batches of a session: the loader made by the contract, and the passes over it."""

from __future__ import annotations

import contextlib
import inspect
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from torch.utils.data._utils import signal_handling

from gradscope.engine.data.iterators import Iterators
from gradscope.engine.data.loader_position import LoaderPosition
from gradscope.engine.data.passes import Pass, PassRecord, generators_of, is_map_style, loads_by_samples
from gradscope.engine.data.tape import PassLike, Tape, TapePlace
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.surroundings.blame import is_users_error, users_code, users_failure
from gradscope.engine.surroundings.error_parts import message_of
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error
from gradscope.protocol.failure import BadInput, UserCodeFailed


def make_loader(recipe: Recipe, seed: int) -> DataLoader[Any]:
    """The loader of the determinism contract (see `Recipe`). Raises BadInput if the dataset is empty or has no length."""
    return _make(recipe, recipe.dataset, "dataset", shuffle=recipe.shuffle, seed=seed)


def make_validation_loader(recipe: Recipe) -> DataLoader[Any]:
    """The loader of the recipe's validation data, in the order of the data. Raises BadInput as `make_loader` does."""
    return _make(recipe, recipe.validation, "validation dataset", shuffle=False, seed=0)


def _make(recipe: Recipe, dataset: Any, what: str, *, shuffle: bool, seed: int) -> DataLoader[Any]:
    if isinstance(dataset, DataLoader):
        loader = dataset
    else:
        is_iterable = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
        options: dict[str, Any] = {} if is_iterable else {"shuffle": shuffle}
        try:
            loader = DataLoader(
                _Iterable(dataset) if is_iterable and not isinstance(dataset, IterableDataset) else dataset,
                recipe.batch_size,
                collate_fn=recipe.collate,
                generator=torch.Generator().manual_seed(seed),
                **options,
            )
        except BaseException as error:
            if is_interruption(error):
                raise
            if is_users_error(error):
                raise UserCodeFailed(users_failure(f"The length of the {what} cannot be had", error)) from error
            if not is_iterable and hasattr(dataset, "__len__") and _length(dataset, what) == 0:
                raise BadInput(f"The {what} is empty; expected at least one sample") from error
            raise BadInput(
                f"No DataLoader can be made of the {what}: {describe_error(error)}", traceback=cut_traceback(error)
            ) from error
    if length_of(loader, what) == 0:
        raise BadInput(
            f"The {what} gives no batch; expected at least one (is it empty, or drop_last with too few samples?)"
        )
    return loader


def length_of(loader: DataLoader[Any], what: str = "dataset") -> int | None:
    """Batches in an epoch; None where the loader cannot know."""
    return _length(loader, what)


def _length(sized: Any, what: str) -> int | None:
    with users_code(f"The length of the {what} (its __len__)"):
        try:
            return len(sized)
        except (TypeError, NotImplementedError):
            return None


def _counts_right(loader: DataLoader[Any]) -> bool:
    """torch's own samplers over a map-style dataset do; a sampler of one's own may only estimate its length."""
    with users_code("Reading the DataLoader's dataset and samplers"):
        dataset, sampler, batches = loader.dataset, loader.sampler, loader.batch_sampler
    if isinstance(dataset, IterableDataset):
        return False
    return type(sampler) in _EXACT_SAMPLERS and (batches is None or type(batches) is BatchSampler)


class _Iterable(IterableDataset[Any]):
    """An ordinary iterable (a generator function's result can be gone through only once) as an IterableDataset."""

    def __init__(self, samples: Any) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[Any]:
        return iter(self._samples)


_EXACT_SAMPLERS = (RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler)
_READY_AGAIN = "the same batch is ready again"


@dataclass(frozen=True)
class SourceSpot:
    """Where a `BatchSource` stands on its tape."""

    epoch: int
    index: int
    fate: str
    current: tuple[Any] | None
    ahead: tuple[Any] | BaseException | None
    loaded_with: RandomStates | None
    is_broken_off: bool
    tape: TapePlace


class BatchSource:
    """`for epoch: for batch in loader`, one batch at a time. The current batch stays until its step is done.

    A map-style loader knows its length, and a batch is only loaded when it is asked for. An iterable one does not (or may be
    wrong), so `is_last` looks one batch ahead, which is just what the plain loop does at that point.
    """

    def __init__(self, loader: DataLoader[Any], iterators: Iterators | None = None) -> None:
        """`iterators`: of another source over the same loader that this one takes the place of."""
        self.length = length_of(loader)
        """Batches in an epoch as announced; None where unknown."""
        self.is_exact = self.length is not None and _counts_right(loader)
        """The announced length is right; else the next batch is asked for, to know whether there is one."""
        self.is_broken_off = False
        """The look ahead was broken off, and with it the pass."""
        self.epoch = 0
        self.index = 0
        """Of the current batch in its epoch (or of the next one to come)."""
        self._loader = loader
        self._iterators = iterators or Iterators(loader)
        self._pass: PassLike | None = None
        self._finished: PassLike | None = None
        self.tape: Tape | None = None
        """What was drawn, where somebody may go back in it."""
        self.fate = _READY_AGAIN
        """What has become of the current batch, for a message: a batch that could not be loaded may be lost."""
        self._current: tuple[Any] | None = None
        self._ahead: tuple[Any] | BaseException | None = None
        self._loaded_with: RandomStates | None = None

    @property
    def batch_size(self) -> int | None:
        """Samples in a batch; None where the loader does not say."""
        with users_code("Reading the DataLoader's batch size"):
            size = self._loader.batch_size
        return size if isinstance(size, int) and size >= 0 else None

    def current(self, states: RandomStates | None = None) -> Any:
        """The current batch, loaded if need be. Raises what the dataset raises, and StopIteration never.

        `states` are the random states now, where they are known; without them the position cannot be told before the batch
        is done.
        """
        if self._current is None:
            self.fate = _READY_AGAIN
            self._loaded_with = states
            try:
                self._current = (self._load(),)
            except (ConnectionError, EOFError) as error:
                if not self._loader.num_workers:
                    self._lose(error)
                    raise
                # The pipe of a worker that died while it was sending.
                died = RuntimeError(f"DataLoader worker exited unexpectedly ({describe_error(error)})")
                self._lose(died)
                raise died from error
            except BaseException as error:
                self._lose(error)
                raise
        return self._current[0]

    def loaded(self) -> Any | None:
        """The current batch if it is there."""
        return self._current[0] if self._current is not None else None

    def is_last(self) -> bool:
        """Whether the current batch is the last one of its epoch."""
        if self.is_exact and self.length is not None:
            is_last = self.index + 1 >= self.length
            # Where the training's own code has put more into the data, torch's sampler tells when it is asked.
            if not (is_last and self._has_grown()):
                return is_last
        if self._ahead is None:
            try:
                has_next = None if self._pass is None else self._pass.has_next()
                if has_next is not None:
                    return not has_next
                self._ahead = (next(self._pass),) if self._pass is not None else None
            except BaseException as error:
                if not is_interruption(error):
                    # Told when the batch is asked for; the end of the data is no error.
                    self._ahead = error
                    return isinstance(error, StopIteration)
                if self._pass is None or not self._pass.put_back():
                    # A generator that was broken off gives nothing more.
                    self._ahead, self.is_broken_off = StopIteration(), True
                    self.fate = "the pass over the data was broken off with it, and ends with this batch"
                raise
        return isinstance(self._ahead, StopIteration)

    def _has_grown(self) -> bool:
        now = length_of(self._loader)
        return now is not None and self.length is not None and now > self.length

    def advance(self) -> None:
        """The current batch is done."""
        last = self.is_last()
        self.is_broken_off = False
        self._current = None
        self.index += 1
        if last:
            self._next_epoch()

    def _load(self) -> Any:
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, tuple):
            return ahead[0]
        if ahead is not None:
            raise ahead
        started = self._pass is None
        self._finish()
        if self._pass is None:
            with without_signals():
                self._pass = Pass(self._iterators) if self.tape is None else self.tape.begin_pass()
        try:
            return next(self._pass)
        except StopIteration:
            if started:
                raise EmptyData("the dataset gave no batch; expected at least one") from None
            # Shorter than its announced length: the epoch ends here.
            self._next_epoch()
            return self._load()

    def _lose(self, error: BaseException) -> None:
        """Loading was broken off: have the same samples again, or say what is lost."""
        if _is_dead_worker(error):
            # Its iterator is of no use any more, nor are the other workers.
            if self._pass is not None:
                self._pass.end_workers()
            self.fate = "a worker process of the DataLoader has died, so the pass over the data begins anew"
            self._next_epoch()
            self._finished = None
            return
        if self._pass is None or self._pass.put_back():
            return
        if not self.is_exact:
            # A generator that has raised is finished.
            self.fate = "the pass over the data begins anew"
            self._next_epoch()
            self._finished = None
        else:
            self.fate = "the batch that could not be loaded is skipped"
            self.index += 1
            if self.length is not None and self.index >= self.length:
                self._next_epoch()

    def close(self) -> None:
        """Let go of the pass, its workers, and the batch."""
        self._pass = self._finished = self._current = self._ahead = None

    def end_workers(self) -> None:
        """Also those that outlive their pass, and those of passes that one could have gone back to."""
        for begun in (self._pass, self._finished, self.tape):
            if begun is not None:
                begun.end_workers()
        self.close()
        self._iterators.end()

    def _next_epoch(self) -> None:
        self.epoch += 1
        self.index = 0
        self._finished = self._pass if self._ahead is None else None
        self._pass = None
        self._ahead = None

    def _finish(self) -> None:
        """The plain loop asks once more before it knows that the epoch is over; the sampler may draw numbers then."""
        if self._finished is not None:
            next(self._finished, None)
            self._finished = None

    # ------------------------------------------------------------------------------------------ going back

    def keep_tape(self) -> Tape:
        """From here on, what is drawn is kept: `go_to` a `spot` of before."""
        self._finish()
        self.tape = Tape(self._iterators)
        if isinstance(self._pass, Pass):
            self._pass = self.tape.take_over(self._pass)
        return self.tape

    def spot(self) -> SourceSpot:
        """Where this stands now, on its tape."""
        assert self.tape is not None
        return SourceSpot(
            self.epoch,
            self.index,
            self.fate,
            self._current,
            self._ahead,
            self._loaded_with,
            is_broken_off=self.is_broken_off,
            tape=self.tape.place(self._pass, self._finished),
        )

    def go_to(self, spot: SourceSpot) -> None:
        """Stand there. The random states are left alone."""
        assert self.tape is not None
        self.epoch, self.index, self.fate, self.is_broken_off = spot.epoch, spot.index, spot.fate, spot.is_broken_off
        self._current, self._ahead, self._loaded_with = spot.current, spot.ahead, spot.loaded_with
        self._pass, self._finished = self.tape.go_to(spot.tape)

    @property
    def dataset(self) -> object:
        """What is loaded from."""
        with users_code("Reading the DataLoader's dataset"):
            return self._loader.dataset

    @property
    def can_draw_again(self) -> bool:
        """Going back, what was drawn leads to the same data: it is loaded again, or in other processes."""
        loader = self._loader
        return loads_by_samples(loader) or (is_map_style(loader) and loader.num_workers > 0)

    def data_changes(self) -> None:
        """As it is trained on, by the training's own code. Workers have copies of their own."""
        if self.tape is not None and loads_by_samples(self._loader):
            self.tape.loads_again = True

    @property
    def parts(self) -> list[object]:
        """The loader, and what it draws from."""
        loader = self._loader
        with users_code("Reading the DataLoader's dataset and samplers"):
            return [loader, loader.dataset, loader.sampler, loader.batch_sampler, *self.generators]

    @property
    def ahead(self) -> tuple[Any] | BaseException | None:
        """The next batch, or what came in its place, where that was asked for already."""
        return self._ahead

    @property
    def draws(self) -> int | None:
        """How much was drawn in this pass; None before it has begun."""
        return None if self._pass is None else self._pass.draws

    # ------------------------------------------------------------------------------------------ the place in the data

    def position(self) -> LoaderPosition:
        """Where this stands between two steps. Raises what the loader raises at the end of an epoch."""
        self._finish()
        return LoaderPosition(
            epoch=self.epoch,
            index=self.index,
            begun=None if self._pass is None else self._pass.record(),
            generators=self.generator_states,
            is_ahead=self._ahead is not None and not self.is_broken_off,
            is_broken_off=self.is_broken_off,
            is_put_back=self._pass is not None and self._pass.is_put_back,
            loaded_with=self._loaded_with if self._current is not None else None,
        )

    def elsewhere(self, position: LoaderPosition) -> BatchSource:
        """Another source over the same loader, that stands at `position`.

        A map-style dataset of this process loads nothing for it: its sampler draws again. Otherwise the batches before are
        loaded again. Raises BadInput if the data does not lead there. The random states are what they happen to be then.
        """
        other = BatchSource(self._loader, self._iterators)
        other.epoch, other.index = position.epoch, position.index
        generators = self.generators
        if len(position.generators) != len(generators):
            raise BadInput(
                f"The place in the data cannot be found again: it was saved with {len(position.generators)} generators of "
                f"the loader, and this loader has {len(generators)}"
            )
        # Persistent workers were made for the first epoch: a pass in a later one makes none, and draws no seed for them.
        with without_signals(), self._iterators.renewed(has_begun=position.epoch > 0):
            if position.begun is not None:
                other._go_through(position.begun, position)
        for generator, state in zip(generators, position.generators, strict=True):
            generator.set_state(state)
        return other

    def at_start_of(self, epoch: int) -> BatchSource:
        """Another source over the same loader, at the start of a pass."""
        other = BatchSource(self._loader, self._iterators)
        other.epoch = epoch
        return other

    @property
    def generators(self) -> list[torch.Generator]:
        """The loader's own; one may be there more than once."""
        return generators_of(self._loader)

    @property
    def generator_states(self) -> tuple[Tensor, ...]:
        """Theirs, where training stands."""
        return self.tape.states if self.tape is not None else tuple(own.get_state() for own in self.generators)

    @property
    def has_persistent_workers(self) -> bool:
        return bool(self._loader.persistent_workers)

    def _go_through(self, record: PassRecord, position: LoaderPosition) -> None:
        begun, newest, raised = Pass.again(self._iterators, record)
        self._pass = begun
        if position.is_broken_off:
            self._ahead, self.is_broken_off = StopIteration(), True
        elif position.is_ahead:
            self._ahead = (newest.pop(),) if raised is None else raised
        waiting = [newest.pop()] if position.is_put_back else []
        if position.loaded_with is not None:
            if begun.is_by_samples:
                begun.take_next(newest[-1])
                position.loaded_with.restore()
            self._loaded_with = position.loaded_with
            self._current = (next(begun) if begun.is_by_samples else newest[-1],)
        if waiting:
            begun.take_next(waiting[0])


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """An iterator with workers, made inside, raises for a dead one where its batch is waited for.

    torch's handler of SIGCHLD, which raises wherever the main thread happens to be, is taken out again; also where a loop of
    the user's own has put it in before.
    """
    is_possible = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
    before = _without_torch(signal.getsignal(signal.SIGCHLD)) if is_possible else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGCHLD, before)


def _without_torch(handler: Any) -> Any:
    """What torch's handler of SIGCHLD passes the signal on to; any other handler as it is."""
    while inspect.isfunction(handler) and handler.__module__ == signal_handling.__name__:
        handler = inspect.getclosurevars(handler).nonlocals.get("previous_handler") or signal.SIG_DFL
    return handler


def _is_dead_worker(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and message_of(error).startswith("DataLoader worker")


class EmptyData(Exception):
    """A pass over the data gave nothing."""
