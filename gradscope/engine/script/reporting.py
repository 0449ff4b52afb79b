"""What a script has come through, for its JSON lines."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from gradscope.engine.script.stations import Passage, Station
from gradscope.protocol.phases import Phase
from gradscope.protocol.source import SourceLine


def more_of(phase: Phase, passage: Passage) -> dict[str, Any]:
    """The fields that a phase of a script has beside those of a recipe's."""
    content: dict[str, Any] = {"stations": stations_of(passage.stations)}
    if passage.stations and (line := passage.stations[-1].line) is not None:
        content["line"] = _line(line)
    if not passage.knows_epoch:
        content |= {"epoch": None, "batch": None}
    if phase is not Phase.STEP:
        content["loss_name"] = passage.loss_name
        if passage.losses:
            content["loss"] = [None if loss is None or not math.isfinite(loss) else loss for loss in passage.losses]
    if phase is Phase.FORWARD:
        content["calls"] = list(passage.calls)
    if phase is Phase.STEP:
        content["backwards"] = passage.backwards
    return content


def stations_of(stations: Iterable[Station]) -> list[dict[str, Any]]:
    found = []
    for station in stations:
        one: dict[str, Any] = {"kind": station.kind.value}
        if station.line is not None:
            one["line"] = _line(station.line)
        if station.detail:
            one["detail"] = station.detail
        if station.calls:
            one["calls"] = station.calls
        found.append(one)
    return found


def _line(line: SourceLine) -> dict[str, Any]:
    return {"file": line.file, "line": line.line, "function": line.function}
