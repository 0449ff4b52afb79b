"""One step of an optimizer with something changed: the contract of `Recipe` from the gradients on, on a bench."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradscope.engine.book.window import Window
from gradscope.engine.edits.choices import class_named
from gradscope.engine.model.closures import asks_for_closure, needs_closure
from gradscope.engine.model.losses import or_nan
from gradscope.engine.stepping.closure import Closure
from gradscope.engine.stepping.training import RecipeTurn
from gradscope.engine.surroundings.error_parts import message_of
from gradscope.engine.what_if.bench import StepBench
from gradscope.engine.what_if.place import resized, samples_in
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.what_if.tried import Alternative, Mode


@dataclass(frozen=True)
class Taken:
    """What a step has come to; everything else is as before."""

    after: list[Tensor]
    """The parameters' values."""
    samples: int
    is_skipped: bool


class OneStep:
    """Takes steps from where a bench stands."""

    def __init__(self, bench: StepBench, more: list[Any]) -> None:
        """`more`: batches that a larger one can be made of."""
        self._bench, self._training, self._turn = bench, bench.training, bench.place.turn
        self._more = more
        self._needs_closure = self._turn.needs_closure

    def take(self, alternative: Alternative) -> Taken:
        """Raises BadInput with the reason where there is no such step here."""
        self._check(alternative)
        bench, place, turn = self._bench, self._bench.place, self._turn
        batch = None
        if alternative.batch_size:
            if place.has_gradients and self._training.zero_grad != "auto":
                raise BadInput("Its gradients add to older ones: with other samples, they cannot be told apart")
            batch = resized([place.batch, *self._more], alternative.batch_size)
        optimizer = self._optimizer_for(alternative)
        bench.rewind()
        window = self._with_gradients(batch)
        is_skipped = self._move(optimizer, window, alternative)
        samples = samples_in(place.batch if batch is None else batch)
        for tensor in turn.parameters:
            tensor.grad = None
        return Taken(bench.parameters.now, samples * (place.window if batch is None else 1), is_skipped)

    def _check(self, alternative: Alternative) -> None:
        groups = self._turn.optimizer.param_groups
        own = type(self._turn.optimizer).__name__
        if not alternative.clip and not self._training.clips:
            raise BadInput("This training clips no gradients")
        if not alternative.weight_decay and not any(float(group.get("weight_decay") or 0.0) for group in groups):
            raise BadInput(f"{own} has no weight decay here")
        if alternative.optimizer and self._is_own(alternative.optimizer):
            raise BadInput(f"{own} is the training's own optimizer: that is the step as it is")
        if alternative.rate != 1.0 and not any("lr" in group for group in groups):
            raise BadInput(f"{own} has no learning rate")

    # ------------------------------------------------------------------------------------------ gradients

    def _with_gradients(self, batch: Any) -> Window:
        """Those of the step that waits, or new ones, of `batch` or the newest."""
        bench, place, loop = self._bench, self._bench.place, self._bench.stepper.loop
        if place.has_gradients and batch is None:
            bench.put_gradients(waiting=True)
            if not loop.window.batches:
                return Window(size=1, losses=list(loop.window.losses), batches=[bench.own(None)])
            batches = [bench.own(each) for each in loop.window.batches]
            return Window(size=loop.window.size, losses=list(loop.window.losses), batches=batches)
        bench.put_gradients(waiting=place.standing is not place.standing.BETWEEN and not place.has_gradients)
        bench.begin_forward(Mode.TRAIN)
        used = bench.own(batch)
        loss = bench.value_of(used, checked=True)
        bench.tick()
        scaler = self._training.scaler
        with bench.calling("The backward"):
            (loss if scaler is None else scaler.scale(loss)).backward()
        return Window(size=1, losses=[or_nan(float(loss.detach()))], batches=[bench.own(batch)])

    # ------------------------------------------------------------------------------------------ the step

    def _move(self, optimizer: Optimizer, window: Window, alternative: Alternative) -> bool:
        """Whether the scaler has left it out."""
        bench, scaler = self._bench, self._training.scaler
        before = 0.0 if scaler is None else float(scaler.get_scale())
        if scaler is not None:
            scaler.unscale_(optimizer)
        if alternative.clip:
            self._clip(self._turn)
        _change_options(optimizer, alternative)
        if scaler is None:
            self._step(optimizer, window, alternative)
            return False
        with bench.calling("The optimizer's step"):
            scaler.step(optimizer)
        scaler.update()
        return float(scaler.get_scale()) < before

    def _step(self, optimizer: Optimizer, window: Window, alternative: Alternative) -> None:
        bench = self._bench
        is_own = optimizer is self._turn.optimizer
        clip = self._clip if alternative.clip else _no_clip
        closure = Closure(self._training, bench.stepper.observer, clip)
        closure.prepare(self._turn, window)

        def evaluate() -> Tensor:
            value = closure.evaluate()
            if closure.evaluations > 1:
                bench.tick()
            return value

        step: Any = optimizer.step
        if self._needs_closure if is_own else needs_closure(optimizer):
            with bench.calling("The optimizer's step"):
                step(evaluate)
            return
        try:
            with bench.calling("The optimizer's step"):
                step()
        except UserCodeFailed as error:
            cause = error.__cause__ or error
            if is_own and self._turn.may_need_closure and asks_for_closure(cause):
                self._needs_closure = True
                raise _Again from None
            if is_own:
                raise
            raise BadInput(f"{type(optimizer).__name__} cannot step here: {message_of(cause)}") from error

    def _clip(self, turn: RecipeTurn) -> None:
        training = self._training
        parameters = training.clipped_parameters(turn)
        if training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        if training.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, training.clip_value)

    # ------------------------------------------------------------------------------------------ what is changed

    def _is_own(self, name: str) -> bool:
        """Whether one of that class, made anew, would take the very step of the training's own: the same options, and
        nothing remembered."""
        own = self._turn.optimizer
        states = [own.state.get(parameter) or {} for parameter in self._turn.parameters]
        is_fresh = all(value is None for state in states for value in state.values())
        if type(own) is not getattr(torch.optim, name, None) or not is_fresh:
            return False
        options = [{name: value for name, value in group.items() if name in own.defaults} for group in own.param_groups]
        made = self._optimizer_for(Alternative(optimizer=name))
        return options == [
            {name: group.get(name) for name in each} for each, group in zip(options, made.param_groups, strict=True)
        ]

    def _optimizer_for(self, alternative: Alternative) -> Optimizer:
        own = self._turn.optimizer
        if not alternative.optimizer:
            return own
        cls: Any = class_named("optimizers", alternative.optimizer)
        groups = [
            {"params": list(group["params"]), **({"lr": group["lr"]} if "lr" in group else {})}
            for group in own.param_groups
        ]
        try:
            made: Optimizer = cls(groups)
        except Exception as error:
            raise BadInput(f"{alternative.optimizer} cannot train this model: {message_of(error)}") from error
        if needs_closure(made) and self._training.scaler is not None:
            raise BadInput(f"{alternative.optimizer} cannot be used with fp16: torch's GradScaler takes no closure")
        return made


def _change_options(optimizer: Optimizer, alternative: Alternative) -> None:
    """The groups are put back with everything else."""
    for group in optimizer.param_groups:
        if alternative.rate != 1.0 and "lr" in group:
            group["lr"] = group["lr"] * alternative.rate
        if not alternative.weight_decay and "weight_decay" in group:
            group["weight_decay"] = 0.0


class _Again(Exception):
    """The optimizer's step turns out to need a closure."""


def take(step: OneStep, alternative: Alternative) -> Taken:
    """A step, and once more with a closure where the optimizer turns out to need one."""
    try:
        return step.take(alternative)
    except _Again:
        return step.take(alternative)


def _no_clip(turn: RecipeTurn) -> None:
    return None
