"""The compiled taps: what the observer has of the extension.

Nothing depends on them: the observer's own methods do the same, several times slower, and everything that is unusual.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from gradscope.engine.capture.awaited import AwaitedGradients
from gradscope.engine.capture.hooks import LayerListener
from gradscope.engine.capture.keeper import Keeper
from gradscope.engine.capture.parameter_hooks import GradientListener
from gradscope.engine.capture.record import PhaseRecord
from gradscope.engine.capture.running import Gated, RunningLayers
from gradscope.engine.capture.sites import Sites
from gradscope.engine.nonfinite.births import Births
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.kernel.extension import NATIVE
from gradscope.protocol.phases import Phase


class Taps(LayerListener, GradientListener, Protocol):
    """What the extension's type offers, beside what it is told."""

    def begin(
        self,
        record: PhaseRecord,
        is_forward: bool,
        is_backward: bool,
        of_pass: int,
        summarise: int,
        summarise_all: int,
        norms: bool,
        /,
    ) -> None:
        """The addresses are those of the kernel's functions for one tensor and for many."""

    def take_changes(
        self, named: list[tuple[str, Tensor]], at: int, of: Mapping[str, Tensor], copies: Mapping[str, Tensor], /
    ) -> int:
        """Parameters and what a step has added to them, from a place in the list on: how many were taken. `of`: what each
        name was before the step, `copies`: its value then."""

    def end(self) -> None: ...


def taps_of(
    observer: object,
    gated: Gated,
    running: RunningLayers,
    sites: Sites,
    awaited: AwaitedGradients,
    births: Births,
    keeper: Keeper,
) -> Taps | None:
    """What hooks are to tell in the place of an observer; None where they tell it itself."""
    if NATIVE is None:
        return None
    taps: Taps = NATIVE.Taps(observer, gated, running, sites.calls, sites.parameters, awaited, births, keeper)
    return taps


def begin(taps: Taps, record: PhaseRecord, *, of_pass: int, norms: bool) -> None:
    """A phase begins. Without the kernel everything is left to the observer."""
    phase = record.phase
    kernel = summary.KERNEL
    one, many = (0, 0) if kernel is None else (kernel.one_address[norms], kernel.all_address)
    taps.begin(record, phase is Phase.FORWARD, phase is Phase.BACKWARD, of_pass, one, many, norms)
