"""The batches of a session: the loader made by the contract, and the passes over it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.dataloader import _DatasetKind

from gradscope.engine.recipe import Recipe
from gradscope.engine.usercode import cut_traceback, describe_error
from gradscope.protocol.failure import BadInput


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
        except (TypeError, ValueError) as error:
            if not is_iterable and hasattr(dataset, "__len__") and _length(dataset) == 0:
                raise BadInput(f"The {what} is empty; expected at least one sample") from error
            raise BadInput(
                f"No DataLoader can be made of the {what}: {describe_error(error)}", traceback=cut_traceback(error)
            ) from error
    if length_of(loader) == 0:
        raise BadInput(
            f"The {what} gives no batch; expected at least one (is it empty, or drop_last with too few samples?)"
        )
    return loader


def length_of(loader: DataLoader[Any]) -> int | None:
    """Batches in an epoch; None where the loader cannot know."""
    return _length(loader)


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None


class _Iterable(IterableDataset[Any]):
    """An ordinary iterable (a generator function's result can be gone through only once) as an IterableDataset."""

    def __init__(self, samples: Any) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[Any]:
        return iter(self._samples)


_READY_AGAIN = "the same batch is ready again"


class BatchSource:
    """`for epoch: for batch in loader`, one batch at a time. The current batch stays until its step is done.

    A map-style loader knows its length, and a batch is only loaded when it is asked for. An iterable one does not (or may be
    wrong), so `is_last` looks one batch ahead, which is just what the plain loop does at that point.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.length = length_of(loader)
        """Batches in an epoch as announced; None where unknown."""
        self._is_exact = self.length is not None and not isinstance(loader.dataset, IterableDataset)
        self.epoch = 0
        self.index = 0
        """Of the current batch in its epoch (or of the next one to come)."""
        self._loader = loader
        self._iterator: Iterator[Any] | None = None
        self._finished: Iterator[Any] | None = None
        self._drawn: _Replayed | None = None
        self.fate = _READY_AGAIN
        """What has become of the current batch, for a message: a batch that could not be loaded may be lost."""
        self._current: tuple[Any] | None = None
        self._ahead: tuple[Any] | BaseException | None = None

    def current(self) -> Any:
        """The current batch, loaded if need be. Raises what the dataset raises, and StopIteration never."""
        if self._current is None:
            self.fate = _READY_AGAIN
            try:
                self._current = (self._load(),)
            except BaseException as error:
                self._lose(error)
                raise
        return self._current[0]

    def loaded(self) -> Any | None:
        """The current batch if it is there."""
        return self._current[0] if self._current is not None else None

    def is_last(self) -> bool:
        """Whether the current batch is the last one of its epoch."""
        if self._is_exact and self.length is not None:
            return self.index + 1 >= self.length
        if self._ahead is None:
            try:
                self._ahead = (next(self._iterator),) if self._iterator is not None else None
            except Exception as error:
                # Told when the batch is asked for; the end of the data is no error.
                self._ahead = error
        return isinstance(self._ahead, StopIteration)

    def advance(self) -> None:
        """The current batch is done."""
        last = self.is_last()
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
        started = self._iterator is None
        if self._finished is not None:
            # The plain loop asks once more before it knows that the epoch is over; the sampler may draw numbers then.
            next(self._finished, None)
            self._finished = None
        if self._iterator is None:
            with without_signals():
                self._iterator = iter(self._loader)
            self._drawn = _Replayed.within(self._iterator)
        try:
            return next(self._iterator)
        except StopIteration:
            if started:
                raise EmptyData("the dataset gave no batch; expected at least one") from None
            # Shorter than its announced length: the epoch ends here.
            self._next_epoch()
            return self._load()

    def _lose(self, error: BaseException) -> None:
        """Loading was broken off: have the same samples again, or say what is lost."""
        if _is_dead_worker(error):
            # Its iterator is of no use any more.
            self.fate = "a worker process of the DataLoader has died, so the pass over the data begins anew"
            self._next_epoch()
            self._finished = None
            return
        if self._iterator is None or (self._drawn is not None and self._drawn.put_back()):
            return
        if not self._is_exact:
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
        """Let go of the loader's workers and of the batch."""
        self._iterator = self._finished = self._current = self._ahead = self._drawn = None

    def _next_epoch(self) -> None:
        self.epoch += 1
        self.index = 0
        self._finished = self._iterator if self._ahead is None else None
        self._iterator = None
        self._ahead = None


class _Replayed:
    """The sampler's draws of one pass in this process, of which the last can be put back."""

    def __init__(self, draws: Iterator[Any]) -> None:
        self._draws = draws
        self._last: list[Any] = []
        self._again: list[Any] = []

    @staticmethod
    def within(iterator: Iterator[Any]) -> _Replayed | None:
        """Put between a single-process loader's iterator and its sampler; None for any other loader."""
        if type(iterator).__name__ != "_SingleProcessDataLoaderIter" or not hasattr(iterator, "_sampler_iter"):
            return None
        if getattr(iterator, "_dataset_kind", None) != _DatasetKind.Map:
            return None
        replayed = _Replayed(iterator._sampler_iter)
        iterator._sampler_iter = replayed
        return replayed

    def put_back(self) -> bool:
        """The last draw comes once more. False if there is none."""
        self._again, self._last = self._last, []
        return bool(self._again)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._again:
            self._last = []
            self._again = [next(self._draws)]
        self._last, self._again = self._again, []
        return self._last[0]


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """An iterator with workers, made inside, raises for a dead one where its batch is waited for.

    torch's handler of SIGCHLD, which raises wherever the main thread happens to be, is taken out again.
    """
    is_possible = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD) if is_possible else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGCHLD, before)


def _is_dead_worker(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker")


class EmptyData(Exception):
    """A pass over the data gave nothing."""
