"""What a session offers of all this: steps that are tried, the loss around a step, a batch that is run again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.devices import copy_batch
from gradscope.engine.what_if.along import loss_along
from gradscope.engine.what_if.bench import Progressing
from gradscope.engine.what_if.place import Place, samples_in
from gradscope.engine.what_if.probe import RecipeProbe
from gradscope.engine.what_if.probed import NEWEST, Probed, checked_every, checked_mode, one_of
from gradscope.engine.what_if.surface import Past, loss_surface
from gradscope.engine.what_if.trials import Given, try_steps
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import AT_REST
from gradscope.protocol.what_if.tried import (
    AlongUpdate,
    Directions,
    Mode,
    ProbeSetting,
    Surface,
    Trials,
)


class WhatIf(Stepper, Probed):
    """The part of a `Session` that tries things out.

    Everything here is done at rest, between two phases: after a Backward it is the training's own step that is tried, with
    the gradients that wait; otherwise the gradients are those of the newest batch. Losses are of the newest batch, in train
    mode, with the buffers and random numbers that its forward began with. Afterwards parameters, buffers, optimizers,
    gradients, random states and the place in the data are as before, bit for bit, whatever was raised.

    Each method raises BadInput with a sentence inside a phase, in the middle of an accumulation, before the first Forward,
    and for arguments that make no sense; UserCodeFailed where the user's code fails; and TrialCancelled where `progress`,
    which is called after every forward, returns False.
    """

    def what_if(
        self,
        alternatives: Sequence[Given] | None = None,
        *,
        other_batches: int = 0,
        progress: Progressing | None = None,
    ) -> Trials:
        """Take the step that comes in several ways, and measure the loss of the same batch before and after each.

        `alternatives`: each an `Alternative`, or a dict of some of its fields ({} is the step as it is); default: as it is,
        rate x 0.1 and x 10, without clipping, without weight decay, by SGD and by Adam. One that there is no sense in here
        (no clipping to leave out) says why in its `refusal`. `other_batches`: how many other
        batches of the data the mean loss is taken of as well.
        """
        return try_steps(self, alternatives, other_batches=other_batches, progress=progress)

    def loss_along_update(
        self,
        alternative: Given | None = None,
        *,
        low: float = -1.0,
        high: float = 3.0,
        points: int = 41,
        progress: Progressing | None = None,
    ) -> AlongUpdate:
        """The loss at theta + a * update for so many a from `low` (at most 0) to `high` (at least 1), and its slope at 0."""
        given = {} if alternative is None else alternative
        return loss_along(self, given=given, low=low, high=high, points=points, progress=progress)

    def loss_surface(
        self,
        directions: Directions | str = Directions.UPDATE_AND_GRADIENT,
        *,
        mode: Mode | str = Mode.TRAIN,
        side: int = 25,
        reach: float | None = None,
        seed: int = 0,
        progress: Progressing | None = None,
    ) -> Surface:
        """The losses on a plane through the parameters, side x side of them, from -reach to reach in units of the directions
        (default 2 updates, or 1 for random directions).

        `seed`: of the random directions; the training's random numbers are left alone.
        """
        kind = one_of(Directions, directions, "directions")
        return loss_surface(
            self,
            directions=kind,
            mode=checked_mode(mode),
            side=side,
            reach=(1.0 if kind is Directions.RANDOM else 2.0) if reach is None else reach,
            seed=seed,
            past=self._past_parameters(),
            progress=progress,
        )

    def _past_parameters(self) -> Past:
        """Of earlier steps than the newest, where they are kept."""
        return ()

    # ------------------------------------------------------------------------------------------ the probe

    def set_probe(self, batch: Any | None, *, every: int = 1, mode: Mode | str = Mode.EVAL) -> ProbeSetting | None:
        """Pin a batch (one as the training's loader gives them, or `NEWEST`), which is run after every so many steps from now
        on (0: by `run_probe` only); None takes it away.

        A run is a forward without gradients in train or eval mode, always with the same random numbers; see `probe_records`.
        The first one is made at once: it raises UserCodeFailed where this batch cannot be run. Training goes on bit for bit
        as without it.
        """
        self._need_rest_for_probe()
        if batch is None:
            self._probe = None
            return None
        checked_every(every)
        if any(is_uninitialised(tensor) for tensor, _ in named_tensors(self.recipe.model).values()):
            raise BadInput("Parameters of the model have no shape yet; expected a Forward before the first probe")
        step, turn = self.position.step, self.loop.turn
        if isinstance(batch, str) and batch == NEWEST:
            place = Place.of(self)
            batch, step, turn = copy_batch(place.batch, self.device), place.batch_step, place.turn
        setting = ProbeSetting(batch_step=step, every=every, mode=checked_mode(mode), samples=samples_in(batch))
        probe = RecipeProbe(self, batch, turn, setting)
        probe.keep(probe.tried(self.position.step))
        self._probe = probe
        return setting

    def _need_rest_for_probe(self) -> None:
        if self.position.rest not in AT_REST or self.is_broken:
            raise BadInput("A probe can be set or run between two phases: finish this one first")

    def step(self) -> PhaseReport:
        """As the loop makes it; then the probe."""
        report = super().step()
        try:
            self.run_probe_if_due()
        except BaseException:
            # Only an interruption comes through: as with a validation, the step stays done.
            self.undone = "The probe was broken off; the step is done"
            raise
        return report
