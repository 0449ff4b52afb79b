"""The training's own steps once more, over kept batches, with something changed: the contract of `Recipe` without the stops,
the capture and the undoing of a session."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradscope.engine.book.window import Window
from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.runs import Change, CheckUpCancelled, Run
from gradscope.engine.findings.yardstick import Measure
from gradscope.engine.model.closures import asks_for_closure, needs_closure
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.model.losses import checked_loss, input_and_target, loss_of, or_nan
from gradscope.engine.model.modules import parameters_of
from gradscope.engine.recipe.fields import TRAIN_LOSS
from gradscope.engine.stepping.closure import Closure
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.stepping.training import RecipeTurn
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.surroundings.devices import copy_batch
from gradscope.engine.surroundings.error_parts import message_of
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.protocol.failure import UserCodeFailed

_THAWED_RATE = 1e-3
"""Adam's default, where the training's own optimizer cannot be made again."""

_USUAL_BETA = 0.999
"""The second one of Adam."""
_OF_ITS_OWN = ("params", "param_names", "initial_lr")
"""Options of a group that belong to its parameters, or to a scheduler."""

Measuring = Callable[[Tensor, object], Measure | None]


class Rerun:
    """Trains in place, from the state that the stepper's training is in: between two steps of a single optimizer."""

    def __init__(
        self,
        stepper: Stepper,
        stream: Sequence[Any],
        change: Change,
        *,
        measure: Measuring,
        tick: Callable[[bool], None],
        batch_index: int,
        length: int | None,
    ) -> None:
        """`stream`: micro-batches, one pass after the other. `tick` is called after each forward (True) and backward (False).
        `batch_index`: of the first of them in its pass of `length`."""
        self._stepper, self._training = stepper, stepper.training
        self._turn: RecipeTurn = stepper.training.turns[0]
        self._stream = stream[: change.batches] if change.batches else stream
        self._change, self._measure, self._tick = change, measure, tick
        self._place, self._length, self._taken = batch_index, length, 0
        self._closure = Closure(stepper.training, stepper.observer, self._clip)
        self._needs_closure = self._turn.needs_closure
        self._epoch_losses: list[float] = []
        self._done = 0
        self._own_adam: torch.optim.Optimizer | None = None
        self._thawing: torch.optim.Optimizer | None = None

    def go(self, steps: int) -> Run:
        """So many steps; the run is over as soon as the loss is not finite."""
        self._prepare()
        run = Run()
        for self._done in range(steps):
            try:
                loss, measured = self._step()
            except BaseException as error:
                is_told = isinstance(error, UserCodeFailed) and not is_interruption(error)
                if not is_told or self._are_finite():
                    raise
                # A forward may refuse numbers that are not finite: the run has diverged.
                loss = measured = math.inf
            run.own.append(loss if math.isfinite(loss) else math.inf)
            run.measures.append(measured if math.isfinite(loss) and math.isfinite(measured) else math.inf)
            if not math.isfinite(loss):
                break
        for values in (run.own, run.measures):
            values += [math.inf] * (steps - len(values))
        return run

    # ------------------------------------------------------------------------------------------ one step

    def _step(self) -> tuple[float, float]:
        """(loss, yardstick) of its first micro-batch, as the record has them."""
        training, scaler = self._training, self._training.scaler
        size = training.accumulate if self._length is None else min(training.accumulate, self._length - self._place)
        window = Window(size=max(1, size))
        if training.zero_grad == "auto":
            self._clear()
        first: tuple[float, float] | None = None
        ends_pass = False
        for _ in range(window.size):
            batch = self._next_batch()
            loss, measured = self._forward(batch)
            value = float(loss.detach())
            first = first or (value, measured)
            if not math.isfinite(value):
                return first if not math.isfinite(first[0]) else (value, math.inf)
            window.losses.append(value)
            window.batches.append(batch)
            share = window.share_of(loss)
            with self._user("The backward"):
                (share if scaler is None else scaler.scale(share)).backward()
            self._tick(False)
            self._place += 1
            ends_pass = self._length is not None and self._place >= self._length
            if ends_pass:
                self._place = 0
        assert first is not None
        is_skipped = self._move(window)
        self._epoch_losses += window.losses
        self._schedule(window, ends_pass=ends_pass, is_skipped=is_skipped)
        if ends_pass:
            self._epoch_losses = []
        return first

    def _next_batch(self) -> Any:
        batch = copy_batch(self._stream[self._taken % len(self._stream)], self._stepper.device)
        self._taken += 1
        if self._change.inputs is not None:
            x, *rest = batch
            batch = (self._change.inputs(x), *rest)
        if self._change.targets is not None:
            x, y = batch
            batch = (x, self._change.targets(y))
        return batch

    def _forward(self, batch: Any) -> tuple[Tensor, float]:
        training, turn = self._training, self._turn
        output: Any = None
        with self._user("The forward"), training.autocast():
            if turn.training_step is not None:
                returned = turn.training_step(training.model, batch)
                loss, output = loss_of(returned), returned[1] if isinstance(returned, tuple) else None
                target: Any = batch[1] if isinstance(batch, (list, tuple)) and len(batch) == 2 else None
            else:
                x, target = input_and_target(batch)
                assert callable(training.model) and training.loss is not None
                output = training.model(x)
                loss = training.loss(output, target)
            loss = checked_loss(loss)
        self._tick(True)
        first = next((tensor for _, tensor in tensor_leaves(output)), None)
        measure = None if first is None else self._measure(first, target)
        return loss, float(loss.detach()) if measure is None else measure.value

    def _move(self, window: Window) -> bool:
        """Unscale, clip, move the parameters; whether the scaler has left the step out."""
        turn, scaler = self._turn, self._training.scaler
        before = None if scaler is None else float(scaler.get_scale())
        optimizers = [self._own_adam or turn.optimizer, *([self._thawing] if self._thawing is not None else [])]
        if scaler is not None:
            for optimizer in optimizers:
                scaler.unscale_(optimizer)
        self._clip(turn)
        with self._changed_options():
            for optimizer in optimizers:
                if scaler is not None:
                    with self._user("The optimizer's step"):
                        scaler.step(optimizer)
                elif optimizer is turn.optimizer:
                    self._step_own(window)
                else:
                    _step_ours(optimizer)
        if scaler is None:
            return False
        scaler.update()
        return float(scaler.get_scale()) < or_nan(before)

    def _step_own(self, window: Window) -> None:
        optimizer: Any = self._turn.optimizer
        self._closure.prepare(self._turn, window)
        if not self._needs_closure:
            try:
                with self._user("The optimizer's step"):
                    optimizer.step()
                return
            except Exception as error:
                cause = error.__cause__ or error
                if not (self._turn.may_need_closure and asks_for_closure(cause)):
                    raise
                self._needs_closure = True
        with self._user("The optimizer's step"):
            optimizer.step(self._evaluate)

    def _evaluate(self) -> Tensor:
        value = self._closure.evaluate()
        if self._closure.evaluations > 1:
            self._tick(True)
            self._tick(False)
        return value

    def _clip(self, turn: RecipeTurn) -> None:
        training = self._training
        if not self._change.clip or not training.clips:
            return
        parameters = training.clipped_parameters(turn)
        if training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        if training.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, training.clip_value)

    def _clear(self) -> None:
        with self._user("The optimizer's zero_grad()"):
            self._turn.optimizer.zero_grad(set_to_none=True)
        for other in (self._own_adam, self._thawing):
            if other is not None:
                other.zero_grad(set_to_none=True)

    def _schedule(self, window: Window, *, ends_pass: bool, is_skipped: bool) -> None:
        scheduler, training = self._turn.scheduler, self._training
        end = self._change.schedule_ends
        if scheduler is None or self._own_adam is not None or (end is not None and self._done >= end):
            return
        is_due = ends_pass if training.scheduler_unit == "epoch" else not is_skipped
        if not is_due:
            return
        with warnings.catch_warnings(), self._user("The scheduler's step"):
            warnings.simplefilter("ignore")
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()
            elif training.scheduler_metric == TRAIN_LOSS and self._epoch_losses:
                scheduler.step(sum(self._epoch_losses) / len(self._epoch_losses))

    # ------------------------------------------------------------------------------------------ what is changed

    def _prepare(self) -> None:
        change, model = self._change, self._training.model
        held = {id(tensor) for tensor in self._turn.parameters}
        for parameter in change.thawed:
            parameter.requires_grad_(True)
        if change.adam is not None:
            all_of_it: list[Tensor] = [
                *(parameters_of(model) if isinstance(model, torch.nn.Module) else model.values())
            ]
            trained = [tensor for tensor in all_of_it if tensor.requires_grad]
            self._own_adam = torch.optim.Adam(trained, lr=change.adam)
        elif others := [tensor for tensor in change.thawed if id(tensor) not in held]:
            self._thawing = _one_more(self._turn.optimizer, others)

    @contextlib.contextmanager
    def _changed_options(self) -> Iterator[None]:
        """Around the step alone: a scheduler goes by the options as they are."""
        change, before = self._change, []
        for number, group in enumerate(self._turn.optimizer.param_groups):
            if change.rate != 1.0 and "lr" in group and change.group in (None, number):
                before.append((group, "lr", group["lr"]))
                group["lr"] = group["lr"] * change.rate
            if change.weight_decay is not None and "weight_decay" in group:
                before.append((group, "weight_decay", group["weight_decay"]))
                group["weight_decay"] = change.weight_decay
            option, value = momentum_of(group)
            if change.momentum is not None and option:
                before.append((group, option, group[option]))
                is_beta = option == "betas"
                group[option] = (change.momentum, max(value[1], _USUAL_BETA)) if is_beta else change.momentum
        try:
            yield
        finally:
            for group, option, value in before:
                group[option] = value

    def _are_finite(self) -> bool:
        tensors = [tensor for tensor in self._turn.parameters if tensor.layout is torch.strided]
        return all(bool(torch.isfinite(tensor.detach()).all()) for tensor in tensors)

    @contextlib.contextmanager
    def _user(self, what: str) -> Iterator[None]:
        try:
            with users_code(f"{what} of a run beside the training"), self._stepper.loop.user_code():
                yield
        except UserCodeFailed as error:
            if isinstance(error.__cause__, CheckUpCancelled):
                # Inside an optimizer that evaluates the loss itself.
                raise error.__cause__ from None
            raise


def momentum_of(group: dict[str, Any]) -> tuple[str, tuple[float, float]]:
    """("momentum" or "betas", (the momentum, the second beta or 0)); ("", (0, 0)) where the group has none."""
    betas = group.get("betas")
    if isinstance(betas, (tuple, list)) and len(betas) == 2 and all(isinstance(beta, float) for beta in betas):
        return "betas", (betas[0], betas[1])
    momentum = group.get("momentum")
    return ("momentum", (momentum, 0.0)) if isinstance(momentum, float) else ("", (0.0, 0.0))


def _step_ours(optimizer: torch.optim.Optimizer) -> None:
    try:
        optimizer.step()
    except RuntimeError as error:
        # It knows no sparse gradients, say.
        raise CannotJudge(f"{type(optimizer).__name__} cannot train this model: {message_of(error)}") from error


def _one_more(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """What would train those parameters if they had not been frozen: the same with the options of its first group."""
    options = {key: value for key, value in optimizer.param_groups[0].items() if key not in _OF_ITS_OWN}
    if type(optimizer).__module__.startswith("torch.optim") and not needs_closure(optimizer):
        with contextlib.suppress(TypeError, ValueError):
            return type(optimizer)([{**options, "params": parameters}], lr=options["lr"])  # type: ignore[call-arg]
    return torch.optim.Adam(parameters, lr=_THAWED_RATE)
