"""A snapshot that has been written: what it tells, the values of its tensors, and its pictures. Read when asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.protocol.parts import Contents
from gradscope.protocol.subjects import SubjectKey
from gradscope.snapshots import slices
from gradscope.snapshots.format.content import Content, FirstWeights
from gradscope.snapshots.format.files import SnapshotFiles
from gradscope.snapshots.format.names import PART_OF_KIND, PLOTS, TENSOR_FILES, tensor_name
from gradscope.snapshots.format.tensor_file import TensorInfo
from gradscope.snapshots.pieces import PIECE, Array, Flat, Part

MAX_PICTURE_BYTES = 64 * 1024**2


class ValuesMissing(Exception):
    """The values of a subject are not in the snapshot; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where a snapshot comes from."""

    created: str
    """ISO 8601, in UTC."""
    versions: Mapping[str, str]
    """By name: gradscope, python, torch, numpy."""
    platform: str
    device: str
    seed: int
    first_weights: FirstWeights | None = None
    """None in a snapshot of a version that did not note it, and where there was no digest."""


@dataclass(frozen=True, kw_only=True)
class Snapshot(Content):
    """What `open_snapshot` gives. The files have to stay where they are: values are read when they are asked for."""

    files: SnapshotFiles = field(repr=False)
    format_version: int
    environment: Environment
    parts: Contents
    """What is there of what can be chosen."""
    optimizer: Mapping[str, Any] | None
    """As in optimizer.json: options of the groups, counters, the scheduler's state."""
    tensors: Mapping[str, Mapping[str, TensorInfo]] = field(repr=False)
    """file -> name -> dtype and shape of every tensor."""
    remarks: tuple[str, ...]
    """What a reader should know: what was left out in writing, what is missing."""

    @property
    def path(self) -> Path:
        return self.files.path

    def info(self, key: SubjectKey) -> TensorInfo | None:
        """Shape and dtype of a subject's tensor; None if it is not in the snapshot."""
        return self.tensors.get(TENSOR_FILES.get(key.kind, ""), {}).get(tensor_name(key))

    def need_info(self, key: SubjectKey) -> TensorInfo:
        """The same. Raises ValuesMissing, with the reason, if it is not in the snapshot."""
        info = self.info(key)
        if info is None:
            raise ValuesMissing(self._why_not(key))
        return info

    def flat(self, key: SubjectKey) -> Flat:
        """The numbers of a subject as `flat(start, stop)`, in the order of its rows; read when it is called.

        Floats of 16 and 8 bits become float32, exactly. Raises ValuesMissing if they are not in the snapshot; `flat` raises
        BadInput if a file has been damaged or changed meanwhile.
        """
        info = self.need_info(key)
        return lambda start, stop: self._runs(key, info, [(start, stop)])

    def plane(self, key: SubjectKey, number: int = 0) -> Part:
        """One 2-d slice of a subject as `part(rows, columns)`, read when it is called; `number` counts the slices.

        A vector is a single column. Raises as `flat` does.
        """
        info = self.need_info(key)
        count, width = slices.plane_shape(info.shape)

        def part(rows: slice, columns: slice) -> Array:
            lines, beside = range(*rows.indices(count)), range(*columns.indices(width))
            firsts = [(number * count + line) * width for line in lines]
            if not lines or not beside:
                return self._runs(key, info, [(0, 0)]).reshape(len(lines), len(beside))
            if len(lines) * width <= PIECE or len(beside) == width:
                whole = self._runs(key, info, [(firsts[0], firsts[-1] + width)])
                return whole.reshape(len(lines), width)[:, columns]
            runs = [(first + beside.start, first + beside.stop) for first in firsts]
            return self._runs(key, info, runs).reshape(len(lines), len(beside))

        return part

    def values(self, key: SubjectKey) -> Array:
        """All numbers of a subject, in memory; see `flat`. Raises ValuesMissing if they are not in the snapshot."""
        self.need_info(key)
        return self.tensor(TENSOR_FILES[key.kind], tensor_name(key))

    def tensor(self, file: str, name: str) -> Array:
        """One tensor of a file, in memory. Raises BadInput if the file has been damaged meanwhile."""
        info = self.tensors[file][name]
        return self.files.runs(file, info, [(0, math.prod(info.shape))])[0].reshape(info.shape)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The names of the plots that are there as files: "plots/loss.png", "plots/loss.svg"."""
        return tuple(sorted(name for name in self.files.sizes if name.startswith(PLOTS)))

    def picture(self, name: str) -> bytes:
        """A plot's file."""
        return self.files.read(name, MAX_PICTURE_BYTES)

    def _runs(self, key: SubjectKey, info: TensorInfo, runs: list[tuple[int, int]]) -> Array:
        found = self.files.runs(TENSOR_FILES[key.kind], info, runs)
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _why_not(self, key: SubjectKey) -> str:
        part = PART_OF_KIND.get(key.kind)
        if part is not None and part not in self.parts:
            return f"The snapshot was written without the {part.value.replace('_', ' ')}"
        return "The snapshot has no values of this: there were none at its moment"
