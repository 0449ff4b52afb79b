"""What a script does to gradients by itself: clearing, unscaling, clipping; and those that are there without it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.book.clips import clip_of, dominant_of
from gradscope.engine.script.finding.optimizers import gradient_identity
from gradscope.protocol.phases import SubStep
from gradscope.protocol.source import SourceLine

if TYPE_CHECKING:
    from gradscope.engine.script.following import Following


class GradientCalls:
    """Of one script: the taps tell it, and it tells the book and the notes on the order."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._dominant = "", 0.0
        """Of the gradients that are being clipped: the name of the largest, and its share."""
        self._left_over: dict[int, tuple[int, int]] | None = {}
        """None: to be noted before the next backward."""

    def expect_left_over(self) -> None:
        """Gradients that are there already are not those of a backward that is seen. The thread that trains will look at
        them: to read `.grad` while another thread's backward writes it may crash the process."""
        self._left_over = None

    def before_backward(self) -> None:
        """In the thread that trains."""
        if self._left_over is None:
            held = self._following.found.optimizers.held()
            self._left_over = {id(tensor): gradient_identity(tensor) for tensor in held}

    def find_reached(self) -> None:
        """After a backward: what optimizers hold, has a gradient, and was in no model that was called."""
        following = self._following
        if self._left_over is None:
            # It had begun before anybody looked.
            self.before_backward()
            return
        new = following.found.newly_reached(self._left_over)
        if new and following.found.follow_reached(new):
            following.start_or_grow(stops=False)

    def cleared(self, tensors: Iterable[Tensor], *, detail: str = "") -> None:
        """zero_grad, whoever does it."""
        following = self._following
        station = following.station(SubStep.ZERO_GRAD, detail=detail)
        following.order.clear(tensors, station.line)
        following.beside.done(station)

    def clipped(self, parameters: list[Tensor], norm: float, limit: float | None, line: SourceLine | None) -> None:
        """By norm, with its `limit`; by value, where there is none. `norm` is that of the gradients before."""
        following = self._following
        if not following.open_step(None):
            following.station(SubStep.CLIP)
            return
        gradients = following.facts.gradients
        named = gradients.named(parameters)
        following.facts.clip = clip_of(norm, limit, self._dominant)
        gradients.note_clipped(named, may_change=False)
        assert following.session is not None
        for key, gradient in gradients.clipped():
            following.session.book.observer.note(key, gradient)
        following.pass_station(SubStep.CLIP, line=line)

    def clipping(self, parameters: list[Tensor], line: SourceLine | None) -> None:
        """Gradients are about to be clipped."""
        following = self._following
        notes = following.order.clip(parameters, line)
        self._dominant = "", 0.0
        if following.open_step(None):
            following.facts.notes += notes
            self.remember(is_changing=True)
            if not following.session_is_off:
                self._dominant = dominant_of(following.facts.gradients.named(parameters))
            following.beside.begins(SubStep.CLIP)

    def remember(self, *, is_changing: bool) -> None:
        """A step begins, which may change the gradients."""
        following = self._following
        following.facts.gradients.remember(is_changing=is_changing, is_kept=not following.session_is_off)

    def scaled_by(self, scaler: torch.amp.GradScaler) -> None:
        if self._following.session is not None:
            self._following.facts.scaler = scaler

    def unscaling(self, optimizer: Optimizer, line: SourceLine | None) -> None:
        following = self._following
        notes = following.order.unscale(optimizer, line)
        if following.open_step(following.found.turn(optimizer)):
            following.facts.notes += notes
            self.remember(is_changing=True)
            following.beside.begins(SubStep.UNSCALE)

    def unscaled(self) -> None:
        following = self._following
        if following.session is not None:
            following.facts.gradients.note_unscaled()
        following.pass_station(SubStep.UNSCALE)
