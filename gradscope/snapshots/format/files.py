"""The files of one snapshot, read one by one; whatever is wrong with one is told in a sentence that names it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gradscope.protocol.failure import BadInput
from gradscope.snapshots.format import json_files, tensor_file
from gradscope.snapshots.format.damage import Damaged, in_bytes
from gradscope.snapshots.format.reading import Reading
from gradscope.snapshots.format.source import Source, open_source, read_all
from gradscope.snapshots.format.tensor_file import TensorInfo

MAX_JSON_BYTES = 32 * 1024**2
MAX_ARRAYS_BYTES = 1024**3
"""Of a file whose arrays are all read at once."""
MAX_INFLATED_ARRAYS_BYTES = 256 * 1024**2
"""The same where the file is compressed, and may be small."""
MAX_TABLE_BYTES = 256 * 1024**2


class SnapshotFiles:
    """Every method raises BadInput (what, where, what was expected) and nothing else, whatever the files hold; and GivenUp
    where nobody waits for it any more."""

    def __init__(self, path: Path, reading: Reading) -> None:
        self.path = path
        self.reading = reading
        self._source: Source = open_source(path, reading)

    @property
    def sizes(self) -> Mapping[str, int]:
        """The size of each file, by name."""
        return self._source.sizes

    def read(self, name: str, limit: int) -> bytes:
        with self.told(name):
            return read_all(self._source, name, limit)

    def json(self, name: str) -> dict[str, Any]:
        with self.told(name):
            return json_files.load_object(read_all(self._source, name, MAX_JSON_BYTES))

    @contextlib.contextmanager
    def opened(self, name: str, limit: int) -> Iterator[BinaryIO]:
        with self.told(name):
            if self.sizes[name] > limit:
                raise Damaged(f"it has {in_bytes(self.sizes[name])}; at most {limit} are read")
            with self._source.opened(name) as file:
                yield file

    def tensors(self, name: str) -> dict[str, TensorInfo]:
        """What the header of a tensor file says."""
        with self.told(name), self._source.opened(name) as file:
            return tensor_file.read_header(file, self.sizes[name])

    def runs(self, name: str, info: TensorInfo, runs: Iterable[tuple[int, int]]) -> list[np.ndarray[Any, Any]]:
        """Some elements of a tensor, counted in the order of its rows: from the first number to before the second."""
        size = info.dtype.raw.itemsize
        spans = ((info.start + first * size, info.start + last * size) for first, last in runs)
        with self.told(name):
            return [tensor_file.numbers_of(data, info.dtype) for data in self._source.spans(name, spans)]

    def arrays(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """All arrays of a file, read into memory."""
        with self.told(name):
            limit = MAX_INFLATED_ARRAYS_BYTES if self._source.is_compressed(name) else MAX_ARRAYS_BYTES
            return tensor_file.decode(read_all(self._source, name, limit))

    @contextlib.contextmanager
    def told(self, name: str) -> Iterator[None]:
        self.reading.advance(name)
        try:
            yield
        except Damaged as reason:
            raise BadInput(f"{self.path}: {name} is damaged: {reason}") from None
        except OSError as error:
            raise BadInput(f"{self.path}: {name} cannot be read: {error.strerror or error}") from error
        except MemoryError:
            raise BadInput(f"{self.path}: {name} needs more memory than there is") from None
