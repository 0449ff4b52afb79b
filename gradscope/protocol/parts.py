"""The parts of a snapshot that a person can choose from. What tells the moment and its summaries is always there."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """In the order in which they are offered and written."""

    PARAMETERS = "parameters"
    BUFFERS = "buffers"
    GRADIENTS = "gradients"
    UPDATES = "updates"
    OPTIMIZER = "optimizer"
    """What the optimizer remembers of each parameter, its options, and the scheduler's state."""
    ACTIVATIONS = "activations"
    ACTIVATION_GRADIENTS = "activation_gradients"
    BATCH = "batch"
    HISTORY = "history"
    """The summaries of every subject over all steps, as the app has seen them."""
    PLOTS = "plots"
    REPORT = "report"
    """report.html, with the plots in it."""


Contents = frozenset[Part]

EVERYTHING: Contents = frozenset(Part)
