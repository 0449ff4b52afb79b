"""The data that a training's own code holds. It is none of the training's state, for what was drawn from it is on the tape:
it is only seen whether it is still as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from gradscope.engine.aside.places import Place
from gradscope.engine.aside.value_holders import MeasuredHolder, samples_of, version_of
from gradscope.engine.timeline.plain_sums import sum_of_plain
from gradscope.engine.timeline.walks import Walk


class SeenDataset(MeasuredHolder):
    """Its plain values, the versions of its tensors, and some elements of its arrays."""

    def __init__(self, dataset: object) -> None:
        super().__init__(lambda: _measure(dataset), dataset)


class _Look(Walk):
    """Copies nothing."""

    def __post_init__(self) -> None:
        self.seen: list[Any] = []
        super().__post_init__()

    def _visit_tensor(self, place: Place, tensor: Tensor, *, is_buffer: bool) -> None:
        self.seen.append((str(place), tuple(tensor.shape), version_of(tensor)))

    def _visit_array(self, place: Place, array: np.ndarray[Any, Any]) -> None:
        self.seen.append((str(place), array.shape, None if array.dtype.hasobject else samples_of(array)))


def _measure(dataset: object) -> tuple[Any, ...]:
    look = _Look(copies_parameters=False, only_looks=True)
    look.look_from({"the dataset": dataset})
    plain = [(str(place), sum_of_plain(holder.taken())) for place, _, holder in look.found]
    return (*look.seen, *plain)
