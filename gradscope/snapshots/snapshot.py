"""A snapshot that has been written: what it tells, the values of its tensors, and its pictures. Read when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradscope.protocol.parts import Contents
from gradscope.protocol.subjects import SubjectKey
from gradscope.snapshots.content import Content
from gradscope.snapshots.files import SnapshotFiles
from gradscope.snapshots.names import PART_OF_KIND, PLOTS, TENSOR_FILES, tensor_name
from gradscope.snapshots.tensor_file import TensorInfo

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

    def values(self, key: SubjectKey, index: Any = ()) -> np.ndarray[Any, Any]:
        """The numbers of a subject, or those at `index` (as numpy takes it); see `tensor`.

        Raises ValuesMissing if they are not in the snapshot.
        """
        self.need_info(key)
        return self.tensor(TENSOR_FILES[key.kind], tensor_name(key), index)

    def tensor(self, file: str, name: str, index: Any = ()) -> np.ndarray[Any, Any]:
        """One tensor of a file, or what it has at `index`. Floats of 16 and 8 bits become float32, exactly.

        Where no conversion is needed, the array is a part of the file mapped into memory: only what is looked at is read.
        Raises BadInput if the file has been damaged meanwhile.
        """
        return self.files.tensor(file, self.tensors[file][name], index)

    @property
    def pictures(self) -> tuple[str, ...]:
        """The names of the plots that are there as files: "plots/loss.png", "plots/loss.svg"."""
        return tuple(sorted(name for name in self.files.sizes if name.startswith(PLOTS)))

    def picture(self, name: str) -> bytes:
        """A plot's file."""
        return self.files.read(name, MAX_PICTURE_BYTES)

    def _why_not(self, key: SubjectKey) -> str:
        part = PART_OF_KIND.get(key.kind)
        if part is not None and part not in self.parts:
            return f"The snapshot was written without the {part.value.replace('_', ' ')}"
        return "The snapshot has no values of this: there were none at its moment"
