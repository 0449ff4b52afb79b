"""Rules that judge a record of what was seen along the way. They run nothing of the user's.

Importing this fills `draft.RULES`.
"""

from gradscope.engine.findings.rules import (
    losses,
    modes,
    nonfinite,
    norms,
    output,
    precision,
    reach,
    scale,
    shapes,
    ties,
    units,
    zero_grad,
)

__all__ = [
    "losses",
    "modes",
    "nonfinite",
    "norms",
    "output",
    "precision",
    "reach",
    "scale",
    "shapes",
    "ties",
    "units",
    "zero_grad",
]
