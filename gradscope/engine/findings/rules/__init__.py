"""Rules that judge a record of what was seen along the way. They run nothing of the user's.

Importing this fills `draft.RULES`.
"""

from gradscope.engine.findings.rules import (
    growth,
    losses,
    modes,
    nonfinite,
    norms,
    output,
    precision,
    reach,
    scale,
    shapes,
    terms,
    ties,
    units,
    zero_grad,
)

__all__ = [
    "growth",
    "losses",
    "modes",
    "nonfinite",
    "norms",
    "output",
    "precision",
    "reach",
    "scale",
    "shapes",
    "terms",
    "ties",
    "units",
    "zero_grad",
]
