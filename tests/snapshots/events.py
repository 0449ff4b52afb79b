"""Event files read back with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.data_compat import migrate_value
from tensorboard.util.tensor_util import make_ndarray

EVERYTHING = {"scalars": 0, "histograms": 0, "tensors": 0}


def read(folder: Path) -> EventAccumulator:
    """Every event of the files in a folder, none left out."""
    return EventAccumulator(str(folder), size_guidance=EVERYTHING).Reload()


def scalars(reader: EventAccumulator, tag: str) -> dict[int, float]:
    """Step -> value."""
    return {event.step: event.value for event in reader.Scalars(tag)}


def as_drawn(value: Summary.Value) -> np.ndarray:
    """The buckets (left, right, count) that TensorBoard's histogram dashboard draws."""
    return make_ndarray(migrate_value(value).tensor)
