"""A history as TensorBoard's event files: what is to be written is copied at once, and written by any thread later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.protocol.arrays import FloatArray, IntArray
from gradscope.snapshots.tensorboard import (
    COUNTS,
    SCALARS,
    EventFile,
    histogram,
    rate_tags,
    scalar,
    subject_tag,
    tag_of,
)
from gradscope.state.history import History
from gradscope.state.records.block import Block
from gradscope.state.records.curve import Curve
from gradscope.state.records.histograms import HistogramColumn
from gradscope.state.records.step_curves import ClipColumn

MAX_POINTS = 1000
"""Of one series; TensorBoard itself shows no more by default."""
MAX_SCALARS = 500_000
MAX_HISTOGRAMS = 60_000
"""Of all subjects together: a file of some 30 MB. Where there would be more, fewer steps are written, evenly over the run."""


class Cancelled(Exception):
    """The person does not want the file any more; nothing of it is left."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Numbers over the same steps; a NaN is a number that there is not, unless `is_nan_data`."""

    tags: list[str]
    steps: IntArray
    """Shape (m,)."""
    values: FloatArray
    """Shape (len(tags), m)."""
    is_nan_data: bool = False

    def events(self) -> Iterator[tuple[int, list[Any]]]:
        for step, column in zip(self.steps.tolist(), self.values.T, strict=True):
            pairs = zip(self.tags, column.tolist(), strict=True)
            yield step, [scalar(tag, value) for tag, value in pairs if self.is_nan_data or value == value]


@dataclass(frozen=True, kw_only=True)
class Histograms:
    """The histograms of one kind of subject; `tags` by the subject's number."""

    tags: list[str]
    columns: list[HistogramColumn]

    def events(self) -> Iterator[tuple[int, list[Any]]]:
        for column in self.columns:
            made = (
                histogram(self.tags[row], column.counts(i), column.summaries[i], int(column.sampled[i]))
                for i, row in enumerate(column.rows.tolist())
            )
            yield column.step, [value for value in made if value is not None]


@dataclass(frozen=True, kw_only=True)
class EventSource:
    """Everything that will be in the file, apart from the history, which goes on."""

    parts: tuple[Series | Histograms, ...]

    @property
    def scalars(self) -> int:
        """How many numbers will be there: what was not measured is left out."""
        return sum(
            part.values.size if part.is_nan_data else int(np.count_nonzero(~np.isnan(part.values)))
            for part in self.parts
            if isinstance(part, Series)
        )

    @property
    def histograms(self) -> int:
        """How many at most: where only norms were captured there is none."""
        return sum(
            int(np.count_nonzero(column.sampled))
            for part in self.parts
            if isinstance(part, Histograms)
            for column in part.columns
        )

    @property
    def steps(self) -> int:
        """How many different steps it has something of."""
        steps = [
            part.steps
            if isinstance(part, Series)
            else np.array([column.step for column in part.columns], dtype=np.int64)
            for part in self.parts
        ]
        return len(np.unique(np.concatenate(steps)))


def event_source(history: History, owners: Sequence[str] = ()) -> EventSource:
    """A copy of what is to be written; `owners` names the optimizer of each parameter group, where there are several."""
    blocks = [block for block in history.blocks.values() if block.keys]
    width = sum(len(SCALARS) * len(block.keys) for block in blocks)
    points = min(MAX_POINTS, max(2, MAX_SCALARS // max(1, width)))
    parts: list[Series | Histograms] = [*_step_curves(history, owners)]
    for block in blocks:
        parts += _block(block, points)
    parts.append(_update_ratio(history, points))
    parts += _histograms(history)
    return EventSource(parts=tuple(parts))


def _step_curves(history: History, owners: Sequence[str]) -> Iterator[Series]:
    """As `gradscope run --tensorboard` names them."""
    for name, curve in history.losses.items():
        yield _curve(curve, [tag_of("loss", name)], is_nan_data=True)
    if not history.losses:
        yield _curve(history.every_loss, ["loss"], is_nan_data=True)
    yield _curve(history.lr, rate_tags(owners, history.lr.values.shape[1]))
    yield _curve(history.scale, ["loss_scale"])
    clipping = _curve(history.clipping, [column.name for column in ClipColumn], is_nan_data=True)
    yield replace(clipping, tags=["clip/norm"], values=clipping.values[[ClipColumn.NORM]])
    yield replace(
        clipping, tags=["clip/coefficient"], values=clipping.values[[ClipColumn.COEFFICIENT]], is_nan_data=False
    )
    for name, curve in history.validations.items():
        series = _curve(curve, [tag_of("validation", name)], is_nan_data=True)
        # One from before the first step has no step of its own.
        yield replace(series, steps=np.maximum(series.steps, 0))


def write_events(source: EventSource, folder: Path, *, go_on: Callable[[float], bool]) -> tuple[Path, int]:
    """Write the file into `folder`; returns its path and its size in bytes. Any thread.

    `go_on` is told the share that is done, from 0 to 1; when it returns False, Cancelled is raised. Raises BadInput, one
    sentence, if the file cannot be written. Either way nothing is left behind.
    """
    file, total, done = EventFile(folder), max(1, source.steps), 0
    try:
        streams = merge(*(part.events() for part in source.parts), key=lambda event: event[0])
        for step, events in groupby(streams, key=lambda event: event[0]):
            values = [value for _, part in events for value in part]
            file.add(step, values)
            done += 1
            if not go_on(done / total):
                raise Cancelled
        return file.path, file.close()
    except BaseException:
        file.discard()
        raise


def _curve(curve: Curve, tags: list[str], *, is_nan_data: bool = False) -> Series:
    chosen = _evenly(len(curve), max(2, MAX_SCALARS // (4 * len(tags))))
    return Series(tags=tags, steps=curve.steps[chosen], values=curve.values[chosen].T.copy(), is_nan_data=is_nan_data)


def _block(block: Block, points: int) -> Iterator[Series]:
    steps, tags = block.steps, [subject_tag(key) for key in block.keys]
    chosen = _evenly(len(steps), points)
    for name, column in SCALARS.items():
        values = block.column(column)[:, chosen].astype(np.float64)
        yield Series(tags=[f"{tag}/{name}" for tag in tags], steps=steps[chosen], values=values)
    for name, column in COUNTS.items():
        counts = block.column(column)
        had_any = np.flatnonzero((counts > 0).any(axis=1))
        if had_any.size:
            # The greatest of the steps that are left out before each chosen one: none that matters is lost.
            starts = np.concatenate([[0], chosen[:-1] + 1])
            values = np.fmax.reduceat(counts[had_any], starts, axis=1).astype(np.float64)
            yield Series(tags=[f"{tags[i]}/{name}" for i in had_any], steps=steps[chosen], values=values)


def _update_ratio(history: History, points: int) -> Series:
    keys, steps, ratios = history.update_ratio()
    chosen = _evenly(len(steps), points)
    tags = [tag_of("update_ratio", key.name) for key in keys]
    return Series(tags=tags, steps=steps[chosen], values=ratios[:, chosen].astype(np.float64))


def _histograms(history: History) -> Iterator[Histograms]:
    kinds = {kind: list(history.histograms[kind]) for kind in history.histograms}
    total = sum(len(column.rows) for columns in kinds.values() for column in columns)
    for kind, columns in kinds.items():
        chosen = _evenly(len(columns), max(2, len(columns) * MAX_HISTOGRAMS // max(1, total)))
        tags = [subject_tag(key) for key in history.blocks[kind].keys]
        yield Histograms(tags=tags, columns=[columns[i] for i in chosen.tolist()])


def _evenly(count: int, limit: int) -> IntArray:
    """At most `limit` of `count` indices, evenly spread, with the last one; the first one too if there is more than one."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64))
