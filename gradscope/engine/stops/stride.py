"""Stepping through layers: from where training stands, which moment is the next one to stop at."""

from __future__ import annotations

from gradscope.engine.capture.running import RunningLayers
from gradscope.protocol.phases import BEGINS, Moment, Verb
from gradscope.protocol.stops.tree import Event

STRIDES = frozenset({Verb.INTO, Verb.OVER, Verb.OUT})


class Stride:
    """One of INTO, OVER, OUT, which begins at a moment, or (INTO only) between two phases. The phase's end ends it too."""

    def __init__(self, verb: Verb, start: Moment | None, running: RunningLayers) -> None:
        self._running = running
        self._inside_call: tuple[str, int] | None = None
        """The call that has to be left first."""
        self._inside_layer: str | None = None
        """In a backward: nothing in this layer is stopped at."""
        self._to_end = False
        if start is None or verb is Verb.INTO:
            return
        is_gradient = start.event == Event.GRADIENT
        if verb is Verb.OVER:
            if start.event == Event.ENTER:
                self._inside_call = start.layer, start.call
            elif is_gradient:
                self._inside_layer = start.layer
            return
        around = running.around()
        if is_gradient:
            self._inside_layer = start.layer.rpartition(".")[0]
            self._to_end = not start.layer
        elif around:
            self._inside_call = around[-1]
        else:
            self._to_end = True

    def stops_at(self, moment: Moment) -> bool:
        if self._to_end or moment.event == BEGINS:
            return False
        if self._inside_call is not None and self._inside_call in self._running.around():
            return False
        if self._inside_layer is not None and moment.event == Event.GRADIENT:
            return not self._is_inside(moment.layer)
        return True

    def _is_inside(self, name: str) -> bool:
        layer = self._inside_layer
        return not layer or name == layer or name.startswith(f"{layer}.")
