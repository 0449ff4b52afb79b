"""NaN and Inf in the buffers of a model: what a forward began with, and what it has left there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from gradscope.engine.book.driver import Driver
from gradscope.engine.capture.observer import Observer
from gradscope.engine.nonfinite.counts import NONE, Counts, counts_of
from gradscope.protocol.subjects import SubjectKey, SubjectKind


@dataclass(frozen=True)
class LeftInBuffer:
    """More of it than the forward began with."""

    key: SubjectKey
    before: Counts
    after: Counts

    @property
    def layer(self) -> str:
        return layer_of(self.key.name)


class BufferWatch:
    """Of one training. Nothing but -Inf beside finite numbers is a mask, and no finding."""

    def __init__(self, driver: Driver, observer: Observer) -> None:
        self._driver, self._observer = driver, observer
        self.forget()

    def forget(self) -> None:
        """Training stands somewhere else."""
        self._known: dict[str, int] = {}
        """How many elements were not finite after the newest forward, of those that had any."""

    def left_by_forward(self, bad: Iterable[tuple[SubjectKey, Counts]]) -> LeftInBuffer | None:
        """The first buffer that the newest forward has made NaN or Inf in. `bad`: all that was not finite after it."""
        found = {key: counts.nan + counts.inf for key, counts in bad if key.kind is SubjectKind.BUFFER}
        known, self._known = self._known, {key.name: count for key, count in found.items()}
        # A mask is not looked at in every forward.
        grown = [key for key, count in found.items() if count > known.get(key.name, 0)]
        now = self._observer.buffers() if grown else {}
        for key in grown:
            copy = self._copy(key.name)
            before, after = NONE if copy is None else counts_of(copy), counts_of(now[key.name])
            if after.nan + after.inf > before.nan + before.inf and not after.is_mask_like:
                return LeftInBuffer(key, before, after)
        return None

    def before_forward(self, inside: str = "") -> Iterator[tuple[str, Tensor]]:
        """(name, values) of those whose names begin so, as the newest forward began with them; without masks."""
        for name in self._observer.buffers():
            copy = self._copy(name) if name.startswith(inside) else None
            if copy is not None and not counts_of(copy).is_mask_like:
                yield name, copy

    def _copy(self, name: str) -> Tensor | None:
        module = self._observer.modules().get(layer_of(name))
        return None if module is None else self._driver.buffer_before(module, name.rpartition(".")[2])


def layer_of(name: str) -> str:
    """The name of the layer that a buffer belongs to."""
    return name.rpartition(".")[0]
