"""The data that a training's own code holds. What was drawn from it is on the tape; the data itself is kept in checkpoints
where it is small enough, and can be drawn from again. Of other data it is only seen whether it is still as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from gradscope.engine.aside.places import Place
from gradscope.engine.aside.value_holders import MeasuredHolder, samples_of, version_of
from gradscope.engine.timeline.plain_sums import sum_of_plain
from gradscope.engine.timeline.walks import Walk

MOST_KEPT_BYTES = 32 * 1024 * 1024
"""Of the tensors and arrays of a dataset that is kept."""
MOST_KEPT_OBJECTS = 20_000


class SeenDataset(MeasuredHolder):
    """Its plain values, the versions of its tensors, and some elements of its arrays."""

    def __init__(self, dataset: object) -> None:
        super().__init__(lambda: _measure(dataset), dataset)


class _Look(Walk):
    """Copies nothing."""

    def __post_init__(self) -> None:
        self.seen: list[Any] = []
        self.parts: list[object] = []
        """The tensors and arrays."""
        self.size_bytes = 0
        super().__post_init__()

    def _visit_tensor(self, place: Place, tensor: Tensor, *, is_buffer: bool) -> None:
        self.seen.append((str(place), tuple(tensor.shape), version_of(tensor)))
        self.parts.append(tensor)
        self.size_bytes += tensor.numel() * tensor.element_size()

    def _visit_array(self, place: Place, array: np.ndarray[Any, Any]) -> None:
        self.seen.append((str(place), array.shape, None if array.dtype.hasobject else samples_of(array)))
        self.parts.append(array)
        self.size_bytes += array.nbytes


def parts_to_keep(dataset: object, most_bytes: int = MOST_KEPT_BYTES) -> dict[int, object] | None:
    """All that can change in a dataset, by ids; None where that is too much to be kept."""
    look = _look_at(dataset)
    if look.size_bytes > most_bytes or look.size > MOST_KEPT_OBJECTS:
        return None
    contents = [holder.content for _, _, holder in look.found if holder.content is not None]
    return {id(part): part for part in [*contents, *look.parts]}


def _look_at(dataset: object) -> _Look:
    look = _Look(copies_parameters=False, only_looks=True)
    look.look_from({"the dataset": dataset})
    return look


def _measure(dataset: object) -> tuple[Any, ...]:
    look = _look_at(dataset)
    plain = [(str(place), sum_of_plain(holder.taken())) for place, _, holder in look.found]
    return (*look.seen, *plain)
