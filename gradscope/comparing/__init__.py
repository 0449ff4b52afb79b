"""Two runs beside each other: where they part, which rows only one of them has, and what was different about them.

Standard library, numpy and snapshots; no torch, no Qt, no session and no window. How two tensors differ element by element is
`gradscope.snapshots.comparing`; what a person sees of it in the window is not here.
"""

from gradscope.comparing.comparison import Beside, Comparison, compare, lay_over, read_run
from gradscope.comparing.divergence import Agreement, Divergence, first_divergence
from gradscope.comparing.rows import Entry, Line, Presence, RowKey, Rows
from gradscope.comparing.sheets import Recorded

__all__ = [
    "Agreement",
    "Beside",
    "Comparison",
    "Divergence",
    "Entry",
    "Line",
    "Presence",
    "Recorded",
    "RowKey",
    "Rows",
    "compare",
    "first_divergence",
    "lay_over",
    "read_run",
]
