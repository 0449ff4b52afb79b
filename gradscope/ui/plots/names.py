"""Long names made short by leaving out what all of them share. No Qt."""

from __future__ import annotations

from collections.abc import Sequence


def shortened(names: Sequence[str]) -> list[str]:
    """The names without the first and the last dotted parts that they have in common, "…" instead.

    "layers.0.proj.weight", "layers.1.proj.weight" become "…0…", "…1…". What is left is never empty.
    """
    parts = [name.split(".") for name in names]
    shortest = min((len(part) for part in parts), default=0)
    if len(parts) < 2 or shortest < 2:
        return list(names)
    before = _shared(parts, shortest - 1)
    after = _shared([part[::-1] for part in parts], shortest - 1 - before)
    return [
        ("…" if before else "") + ".".join(part[before : len(part) - after]) + ("…" if after else "") for part in parts
    ]


def _shared(parts: list[list[str]], at_most: int) -> int:
    """How many leading parts all have in common."""
    for i in range(at_most):
        if len({part[i] for part in parts}) > 1:
            return i
    return max(0, at_most)
