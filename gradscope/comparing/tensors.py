"""The tensors of two snapshots of the same moment, element by element: summaries may agree where these do not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gradscope.protocol.phases import Position
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.comparing import compare
from gradscope.snapshots.format.names import BATCH, TENSOR_FILES
from gradscope.snapshots.format.tensor_file import TensorInfo
from gradscope.snapshots.pieces import Flat
from gradscope.snapshots.snapshot import Snapshot

_ANY = SubjectKey(SubjectKind.PARAMETER, "")
"""What is compared has its name beside it."""
_FILES = {BATCH: "the batch", **{file: kind.value.replace("_", " ") for kind, file in TENSOR_FILES.items()}}


@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    file: str
    """Of the snapshots: "parameters.safetensors"."""
    name: str
    """In that file."""
    kind: str
    """What the file holds: "parameter", "the batch"."""
    count: int
    differing: int
    """How many elements are not the same."""
    absolute: float
    """The largest difference."""
    relative: float
    """The largest one as a share of the larger number."""
    at: tuple[int, ...]
    """Where `absolute` is."""


def tensor_differences(
    ours: Snapshot | None, theirs: Snapshot | None, *, rtol: float
) -> tuple[tuple[TensorDifference, ...], tuple[str, ...]]:
    """(the tensors that differ by more than `rtol` in an element, what has to be known of that). Raises BadInput for a file
    that is damaged."""
    if ours is None or theirs is None:
        return (), ()
    if _place(ours.position) != _place(theirs.position):
        stands = [f"{one.path} stands at step {one.position.step} ({one.position.rest})" for one in (ours, theirs)]
        return (), (f"The values of the tensors are not compared: {stands[0]}, and {stands[1]}",)
    return tuple(_differences(ours, theirs, rtol)), ()


def _flat(snapshot: Snapshot, file: str, info: TensorInfo) -> Flat:
    return lambda start, stop: snapshot.files.runs(file, info, [(start, stop)])[0]


def _place(position: Position) -> tuple[object, ...]:
    return position.step, position.rest, position.micro


def _differences(ours: Snapshot, theirs: Snapshot, rtol: float) -> Iterator[TensorDifference]:
    for file, kind in _FILES.items():
        a, b = ours.tensors.get(file, {}), theirs.tensors.get(file, {})
        for name in a:
            if name not in b or a[name].shape != b[name].shape:
                continue
            one, other = a[name], b[name]
            found = compare(
                _ANY,
                one.shape,
                _flat(ours, file, one),
                _flat(theirs, file, other),
            )
            if found.differing and not found.relative <= rtol:
                yield TensorDifference(
                    file=file,
                    name=name,
                    kind=kind,
                    count=math.prod(one.shape),
                    differing=found.differing,
                    absolute=found.absolute,
                    relative=found.relative,
                    at=found.at,
                )
