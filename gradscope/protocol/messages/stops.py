"""Where the training is to stop, and where it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gradscope.protocol.limits import AtMost
from gradscope.protocol.stops.point import MAX_STOPS, StopHit, StopPoint


@dataclass(frozen=True, kw_only=True)
class SetStops:
    """These are the stops from now on, in the place of those before; hits stay with their ids. Reply: Pong or Failed."""

    stops: Annotated[tuple[StopPoint, ...], AtMost(MAX_STOPS)]


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Event, before the Done of the Go that it ends: the training stands at these points."""

    hits: Annotated[tuple[StopHit, ...], AtMost(MAX_STOPS)]
