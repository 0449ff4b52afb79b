"""A report that is too large for a frame goes without its histograms, which are four fifths of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from gradscope.protocol.messages import InitialParameters, Report
from gradscope.protocol.subjects import HISTOGRAM_BINS

_Summaries = TypeVar("_Summaries", bound=Report | InitialParameters)


def without_histograms(message: _Summaries) -> _Summaries:
    """All else that it tells."""
    return replace(
        message,
        histograms=np.zeros((0, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.zeros(len(message.subjects), dtype=np.int64),
    )


def with_histograms(message: _Summaries) -> _Summaries:
    """Where they were left out, one that has looked at nothing for each subject, shape (n, HISTOGRAM_BINS): they are all the
    same memory, and cannot be written to. Otherwise the message itself."""
    count = len(message.subjects)
    if len(message.histograms) == count:
        return message
    nothing = np.zeros((1, HISTOGRAM_BINS), dtype=np.int32)
    return replace(message, histograms=np.broadcast_to(nothing, (count, HISTOGRAM_BINS)))
