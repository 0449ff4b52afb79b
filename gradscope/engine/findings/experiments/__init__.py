"""Experiments on a training's own state, on the bench, where everything is put back.

A module in here is found by itself. What is exact comes first: while such a cause is known, nothing is trained again.
"""

FIRST = (
    "graph",
    "data",
    "rereading",
    "validation_data",
    "layer_inputs",
    "samples",
    "evaluation",
    "time",
    "masks",
    "padding",
    "additivity",
    "cut",
    "undone_steps",
)
"""Modules whose experiments are run before all others: leaves that nobody knows (they are put back from then on), the facts
of the data (others judge by them), and what one or a few forwards tell."""
LAST = ("labels",)
"""The longest one, which is to name what is left when nothing else is found."""
