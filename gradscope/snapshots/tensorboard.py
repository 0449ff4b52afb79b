"""TensorBoard's event files: numbers and histograms as its messages, in its record format.

The package `tensorboard` is an extra, and imported when it is first needed. Only its messages are used: its EventFileWriter
writes in a thread that cannot say that the disk is full, and imports tensorflow if there is one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.failure import BadInput
from gradscope.protocol.subjects import (
    COUNT,
    EXPONENT_BINS,
    HISTOGRAM_BINS,
    INF,
    L2,
    MAX,
    MEAN,
    MIN,
    NAN,
    STD,
    ZERO,
    SubjectKey,
    histogram_edges,
)
from gradscope.snapshots.records import record

SCALARS = {"l2": L2, "mean": MEAN, "std": STD, "min": MIN, "max": MAX}
"""What is written of every subject, by the end of its tag."""
COUNTS = {"nan": NAN, "inf": INF}
"""What is written of those subjects only that had any."""
_NOTHING = float(np.finfo(np.float32).smallest_subnormal)
"""Zeros have the bucket from -_NOTHING to _NOTHING; TensorBoard draws in float32."""
_numbers = count()


def missing() -> str | None:
    """One sentence that says how to install what event files need; None where it is installed."""
    if importlib.util.find_spec("tensorboard") is not None:
        return None
    return f"Event files need the package tensorboard; install it with:  {sys.executable} -m pip install tensorboard"


def occupied(folder: Path) -> str | None:
    """One sentence if `folder` is none, or holds event files already: TensorBoard would take both for one run."""
    if folder.exists() and not folder.is_dir():
        return f"{folder} is no folder; expected one for the event files"
    if folder.is_dir() and any("tfevents" in file.name for file in folder.iterdir()):
        return f"{folder} holds event files already; expected a folder without any"
    return None


class EventFile:
    """One event file in `folder`, which is made if need be. Raises BadInput, one sentence, if it cannot be written.

    It has its name when it is closed; until then TensorBoard does not see it, and `discard` leaves nothing behind. With
    `live` TensorBoard sees it grow.
    """

    def __init__(self, folder: Path, *, live: bool = False) -> None:
        reason = missing() or occupied(folder)
        if reason is not None:
            raise BadInput(reason)
        _check_messages()
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._made = not folder.exists()
        self.path = folder / name
        self._written = self.path if live else folder / f".gradscope-{os.getpid()}-{next(_numbers)}.partial"
        self._live = live
        self._size = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Without a buffer of Python's nothing of a record is left to be written when the disk is full.
            self._file = self._written.open("xb", buffering=0 if live else -1)
        except OSError as error:
            raise self._refusal(error) from error
        try:
            self._write(_event(file_version="brain.Event:2"))
        except BadInput:
            self.discard()
            raise

    def add(self, step: int, values: Iterable[Any]) -> None:
        """Write the values (`scalar`, `histogram`) of a step; steps come in order."""
        event = _event(step=step)
        event.summary.value.extend(values)
        self._write(event)

    def close(self) -> int:
        """Finish the file; returns its size in bytes."""
        try:
            self._file.close()
            self._written.replace(self.path)
            return self.path.stat().st_size
        except OSError as error:
            raise self._refusal(error) from error

    def discard(self) -> None:
        """Remove what was written, and the folder if it was made for it."""
        # What could not be written when the disk was full cannot be written now either.
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._written.unlink(missing_ok=True)
            if self._made:
                self.path.parent.rmdir()

    def _write(self, event: Any) -> None:
        rest = memoryview(record(event.SerializeToString()))
        size = len(rest)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            self._size += size
        except OSError as error:
            if self._live:
                # What is there can be read: a record that is cut off is an error for its readers.
                with contextlib.suppress(OSError):
                    self._file.truncate(self._size)
                    self._file.seek(self._size)
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> BadInput:
        return BadInput(f"The event file cannot be written to {self.path.parent}: {error.strerror or error}")


def _check_messages() -> None:
    try:
        import tensorboard.compat.proto.event_pb2
        import tensorboard.compat.proto.summary_pb2  # noqa: F401
    except Exception as error:
        # An installation that has come apart: protobuf of another version, for example.
        raise BadInput(f"The package tensorboard cannot be imported: {type(error).__name__}: {error}") from error


def _event(**fields: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=time.time(), **fields)


# ------------------------------------------------------------------------------------------------------------ values


def subject_tag(key: SubjectKey) -> str:
    """`activation/block#2:.h[0]`: TensorBoard makes a section of what comes before the first slash."""
    name = f"{key.name or '(model)'}{f'#{key.call}' if key.call else ''}{f':{key.leaf}' if key.leaf else ''}"
    return tag_of(key.kind.value, name)


def tag_of(section: str, name: str) -> str:
    """`section/name`, with what UTF-8 cannot hold replaced."""
    return f"{section}/{name}".encode("utf-8", "replace").decode("utf-8")


def rate_tags(owners: Sequence[str], count: int) -> list[str]:
    """The tags of the rates of `count` parameter groups; `owners` names each group's optimizer ("": the only one)."""
    tags = []
    for i in range(count):
        owner = owners[i] if i < len(owners) else ""
        if not owner:
            tags.append(f"learning_rate/group_{i}")
        else:
            is_alone = owners.count(owner) == 1
            tags.append(tag_of("learning_rate", owner if is_alone else f"{owner}/group_{i}"))
    return tags


def scalar(tag: str, value: float) -> Any:
    """A number; TensorBoard holds it as float32."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=tag, simple_value=value)


def histogram(tag: str, counts: npt.NDArray[Any], summary: FloatArray, sampled: int) -> Any | None:
    """A subject's histogram, (HISTOGRAM_BINS,) counts, with its exact number, range, sum and zeros from `summary`.

    The buckets' counts are scaled to the whole where only `sampled` elements were looked at. NaN and Inf are in none of
    them. None where there is nothing to be drawn: no element is finite, or they are whole numbers, which have no bins.
    """
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

    finite = float(summary[COUNT] - summary[NAN] - summary[INF])
    if finite <= 0 or sampled <= 0:
        return None
    zeros, binned = float(summary[ZERO]), float(counts.sum())
    scale = (finite - zeros) / binned if binned else 0.0
    buckets = np.zeros(HISTOGRAM_BINS + 1)
    buckets[:EXPONENT_BINS] = counts[:EXPONENT_BINS] * scale
    buckets[EXPONENT_BINS] = zeros
    buckets[EXPONENT_BINS + 1 :] = counts[EXPONENT_BINS:] * scale
    low, high = float(summary[MIN]), float(summary[MAX])
    limits, kept = _limits(high), _kept(buckets)
    mean, norm = (0.0 if np.isnan(summary[column]) else float(summary[column]) for column in (MEAN, L2))
    proto = HistogramProto(
        min=low,
        max=high,
        num=finite,
        sum=mean * finite,
        sum_squares=norm * norm,
        bucket_limit=limits[kept],
        bucket=buckets[kept],
    )
    return Summary.Value(tag=tag, histo=proto)


def _limits(high: float) -> FloatArray:
    """The upper limit of each bucket: the bins' own, but for the outermost ones of each sign, which take in all beyond."""
    edges = histogram_edges()
    negative, positive = edges[1 : EXPONENT_BINS + 1].copy(), edges[EXPONENT_BINS + 2 :].copy()
    negative[-1] = -_NOTHING
    positive[-1] = max(positive[-1], high)
    return np.concatenate([negative, [_NOTHING], positive])


def _kept(buckets: FloatArray) -> npt.NDArray[np.intp]:
    """The buckets to write: the filled ones and one before each, which is empty or stands for a whole empty stretch."""
    filled = np.flatnonzero(buckets)
    return np.union1d(filled, filled[filled > 0] - 1)
