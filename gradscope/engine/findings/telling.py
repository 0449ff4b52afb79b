"""What several rules need to say where something is, and by which numbers it is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.record import ParameterFacts, Record
from gradscope.protocol.findings import Evidence

SOME_STEPS = 5
"""A verdict about what never happens takes more than a few steps: a warm-up from 0, layers that start at 0."""


def seen(name: str, value: float | None, threshold: float | None = None, unit: str = "", *, text: str = "") -> Evidence:
    return Evidence(name=name, value=value, threshold=threshold, unit=unit, text=text)


def number(value: float) -> str:
    """ "0.00123", "1.5e+06", "12"."""
    return f"{value:.3g}"


def listed(names: Iterable[str], most: int = 3) -> str:
    """ "a, b, c and 4 more"."""
    names = list(names)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def need_steps(record: Record, least: int) -> None:
    """Raises CannotJudge where there were fewer."""
    if len(record.steps) < least:
        raise CannotJudge(f"it takes {least} steps, and there were {len(record.steps)}")


def layer_of(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def tops(record: Record, affected: Collection[str]) -> list[str]:
    """The highest modules all of whose layers with parameters are among `affected`, in the order of the model."""
    with_parameters = {facts.layer for facts in record.parameters.values()}
    found: list[str] = []
    for layer in affected:
        best, parts = layer, layer.split(".")
        for length in range(len(parts) - 1, 0, -1):
            up = ".".join(parts[:length])
            if not {other for other in with_parameters if other == up or other.startswith(f"{up}.")} <= set(affected):
                break
            best = up
        if best not in found:
            found.append(best)
    order = list(record.layers)
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def place_of(record: Record, layer: str) -> int:
    """When it was first left, -1 if never."""
    facts = record.layers.get(layer)
    return -1 if facts is None else facts.place


def weights(record: Record) -> list[ParameterFacts]:
    """Parameters of two or more dimensions whose layer was called, in the order of the calls."""
    found = [p for p in record.parameters.values() if len(p.shape) > 1 and place_of(record, p.layer) >= 0]
    return sorted(found, key=lambda p: place_of(record, p.layer))
