"""The iterators of a DataLoader: whose they are, and who ends their worker processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from gradscope.engine.surroundings.error_parts import safely

_OF_OTHERS: list[object] = []
"""In a process that was forked: iterators whose workers belong to the process before. Torch would end these from here, too,
where nobody holds the iterator any more."""


def end_workers_of(iterator: object) -> None:
    """The worker processes of a DataLoader's iterator, where it has any, and this process has started them."""
    if not isinstance(iterator, _MultiProcessingDataLoaderIter):
        return
    if any(getattr(worker, "_parent_pid", os.getpid()) != os.getpid() for worker in iterator._workers):
        _OF_OTHERS.append(iterator)
    else:
        safely(iterator._shutdown_workers, None)


def _is_usable(iterator: object) -> bool:
    """False where a worker process is gone: whatever is asked of the iterator then fails."""
    if not isinstance(iterator, _MultiProcessingDataLoaderIter):
        return True
    own = os.getpid()
    return not iterator._shutdown and all(
        getattr(worker, "_parent_pid", own) == own and worker.is_alive() for worker in iterator._workers
    )


class Iterators:
    """Of one loader, for one session.

    Where workers outlive a pass, torch has one iterator for all passes of a loader, and whoever begins a pass breaks off that
    of everybody else. So each session has one of its own; what the loader has is not touched. Only where there was one before
    the first pass, that is gone on with, as a plain loop does.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader
        self._own: Any = None
        self._is_given = False
        """It was there before."""
        self._has_begun = False

    def begin(self) -> Iterator[Any]:
        """Another pass."""
        loader = self.loader
        if not loader.persistent_workers:
            return iter(loader)
        if not _is_usable(self._own):
            self.end()
        there = loader._iterator
        self._is_given = self._is_given if self._has_begun else there is not None
        loader._iterator = self._own if self._has_begun else there
        self._has_begun = True
        try:
            return iter(loader)
        finally:
            self._own, loader._iterator = loader._iterator, there

    @contextlib.contextmanager
    def renewed(self, *, has_begun: bool) -> Iterator[None]:
        """Inside, as in a process where nothing has run, or (`has_begun`) a first pass. What raises leaves all as it was."""
        before = self._own, self._is_given, self._has_begun
        self._own, self._is_given, self._has_begun = None, False, True
        try:
            if has_begun and self.loader.persistent_workers:
                self.begin()
            yield
        except BaseException:
            self._own, self._is_given, self._has_begun = before
            raise

    def end(self) -> None:
        """Those workers that outlive a pass; the next one would start others."""
        own, is_given = self._own, self._is_given
        self._own, self._is_given = None, False
        if own is not None and not is_given:
            end_workers_of(own)
